"""The header of a GGUF file: what it says of itself, and where its tensors lie. Torch-free, and quick.

The format is <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. gguf's own reader makes an array of every
string of a vocabulary, which takes seconds; a file that is refused should be refused at once.
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from flag_kedro.errors import ParameterError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""By the format's number of a type; all but strings and arrays have a fixed size."""
MAX_DIMENSIONS = 4

Scalar = str | int | float | bool
Value = Scalar | list[Scalar]


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies."""

    shape: tuple[int, ...]
    """As torch has it, the slowest dimension first."""
    kind: str
    """Name of its number format, such as F32 or Q4_1."""
    first: int
    last: int
    """First byte in the file, and the one behind its last."""

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.last - self.first


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself."""

    metadata: dict[str, Value]
    tensors: dict[str, GgufTensor]

    @property
    def architecture(self) -> str:
        """Its name in llama.cpp."""
        return str(self.metadata.get("general.architecture", "none"))

    @property
    def kind(self) -> str:
        """Number format of most of its bytes."""
        nbytes: dict[str, int] = {}
        for tensor in self.tensors.values():
            nbytes[tensor.kind] = nbytes.get(tensor.kind, 0) + tensor.nbytes
        return max(nbytes, key=nbytes.__getitem__, default="F32")

    def number(self, name: str) -> int | None:
        """An integer of the metadata, None where there is none."""
        value = self.metadata.get(name)
        return value if isinstance(value, int) else None

    def texts(self, name: str) -> list[str]:
        """A list of strings of the metadata, empty where there is none."""
        value = self.metadata.get(name)
        return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def read_gguf_header(path: Path) -> GgufHeader:
    """Read what a GGUF file says of itself and check that all of its tensors are there.

    Raises:
        ParameterError: when it is no GGUF file, damaged or cut short.
    """
    size = path.stat().st_size
    if size < len(MAGIC) or path.open("rb").read(len(MAGIC)) != MAGIC:
        raise ParameterError(f"policy.backbone: {path} is no GGUF file: it does not begin with {MAGIC.decode()}")
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            header = _read_header(_Cursor(content))
    except EOFError as error:
        raise ParameterError(
            f"policy.backbone: {path} is cut short: it ends within its header, at byte {size}; copy it again"
        ) from error
    except ValueError as error:
        raise ParameterError(f"policy.backbone: {path} cannot be read as GGUF: {error}") from error
    for name, tensor in header.tensors.items():
        if tensor.last > size:
            raise ParameterError(
                f"policy.backbone: {path} is cut short: {name} ends at byte {tensor.last}, the file at {size}; copy it "
                "again"
            )
    return header


class _Cursor:
    """Reads from a file in memory, and never beyond its end."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.at = 0

    def take(self, nbytes: int) -> bytes:
        """The next bytes.

        Raises:
            EOFError: when there are fewer.
        """
        if nbytes > len(self.content) - self.at:
            raise EOFError
        self.at += nbytes
        return self.content[self.at - nbytes : self.at]

    def numbers(self, code: str, count: int = 1) -> tuple[int | float | bool, ...]:
        """The next `count` numbers of a format of `struct`."""
        return struct.unpack(f"<{count}{code[-1]}", self.take(count * struct.calcsize(code)))

    def integer(self, code: str) -> int:
        """The next integer."""
        return int(self.numbers(code)[0])

    def text(self) -> str:
        """The next string, which its length precedes."""
        return self.take(self.integer("<Q")).decode()

    def value(self, kind: int) -> Value:
        """The next value of a type."""
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.numbers(_scalar(kind))[0]
        inner, count = self.integer("<I"), self.integer("<Q")
        if inner == STRING:
            return [self.text() for _ in range(count)]
        return list(self.numbers(_scalar(inner), count))


def _scalar(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"it has a value of the unknown type {kind}")
    return SCALARS[kind]


def _read_header(cursor: _Cursor) -> GgufHeader:
    cursor.take(len(MAGIC))
    if (version := cursor.integer("<I")) not in VERSIONS:
        raise ValueError(f"its version is {version}, not one of {' and '.join(map(str, VERSIONS))}")
    num_tensors, num_values = cursor.integer("<Q"), cursor.integer("<Q")
    metadata: dict[str, Value] = {}
    for _ in range(num_values):
        name = cursor.text()
        metadata[name] = cursor.value(cursor.integer("<I"))
    entries = [_read_entry(cursor) for _ in range(num_tensors)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"its alignment is {alignment}")
    data = -(-cursor.at // alignment) * alignment
    tensors = {
        name: GgufTensor(shape, kind, data + offset, data + offset + nbytes)
        for name, shape, kind, offset, nbytes in entries
    }
    return GgufHeader(metadata, tensors)


def _read_entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], str, int, int]:
    """Name, shape, number format, offset into the data and size in bytes of the next tensor."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    name, num_dimensions = cursor.text(), cursor.integer("<I")
    if not 1 <= num_dimensions <= MAX_DIMENSIONS:
        raise ValueError(f"{name} has {num_dimensions} dimensions")
    shape = tuple(int(length) for length in reversed(cursor.numbers("<Q", num_dimensions)))
    kind = GGMLQuantizationType(cursor.integer("<I"))
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if shape[-1] % block:
        raise ValueError(f"a row of {name} has {shape[-1]} numbers, but {kind.name} packs {block} at a time")
    return name, shape, kind.name, cursor.integer("<Q"), prod(shape) // block * block_bytes
