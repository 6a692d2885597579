"""Hidden states of the frozen trunk, kept in RAM under a budget of bytes and, if wanted, in a folder.

The layers below `frozen_layers` give the same outputs for the same token ids for ever. So these are kept by content:
token ids, and a context that names all else they depend on. Seeds, folds and several processes at once may share a
folder.

Shape legend: P = tokens of a prefix, S = tokens of a suffix, H = hidden size.
"""

import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from flag_kedro.policy.packing import TokenIds
from flag_kedro.policy.prefix_kv_store import PrefixKVStore

logger = logging.getLogger(__name__)

RowKey = TokenIds | tuple[TokenIds, ...]
"""What RAM finds a row by: its prefix, or, where prompts share nothing, its suffixes."""
EXTENSION = ".safetensors"
ENTRY = "trunk_row"
"""The only entry of a file's metadata: safetensors writes several in random order, but equal rows are equal files."""
PREFIX_TENSOR, SUFFIX_TENSOR = "stem", "leaf.{index}"
"""Names of tensors in a file; they stay as files written by older versions have them."""
TEMPORARY = re.compile(rf"\.[0-9a-f]{{64}}{re.escape(EXTENSION)}\.\d+\.[0-9a-f]{{16}}")
LEFT_BEHIND_SECONDS = 3600.0
"""A temporary file of this age has no writer any more: writing one takes seconds."""


@dataclass(frozen=True, eq=False)
class TrunkRow:
    """The trunk's outputs for a prefix and for suffixes (account texts) that each follow it directly."""

    prefix: Tensor
    """[P, H] on the CPU; P is 0 for the empty prefix."""
    suffixes: Mapping[TokenIds, Tensor]
    """[S, H] on the CPU by the suffix's token ids; S differs between suffixes."""

    @property
    def tensors(self) -> list[Tensor]:
        """The prefix, then the suffixes in their order."""
        return [self.prefix, *self.suffixes.values()]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)


class TrunkCache:
    """Rows by prefix: the least recently used leaves RAM first; a file holds one row and is verified when read.

    Rows that are handed out are the cache's own: nobody may write into them. Copies of a model share the cache.
    """

    def __init__(
        self,
        context: Mapping[str, str | int],
        max_bytes: int,
        folder: Path | None = None,
        keys_values: PrefixKVStore | None = None,
    ) -> None:
        """An empty cache.

        Args:
            context: all that hidden states depend on besides token ids: weights, split, dtype, layout, versions and
                so on. Rows of another context are not found.
            max_bytes: budget of RAM for tensors; token ids are not counted.
            folder: where rows put with `persist` are kept; None keeps none.
            keys_values: of the prefixes, so that a suffix that is new needs only itself to be read; None keeps none.
        """
        self.context = dict(context)
        self.max_bytes = max_bytes
        self.folder = folder
        self.keys_values = PrefixKVStore(0) if keys_values is None else keys_values
        self.nbytes = 0
        self.hits = self.disk_hits = self.misses = self.rejected = 0
        self._rows: dict[RowKey, TrunkRow] = {}  # the least recently used first
        self._warned: set[Path] = set()

    def get(self, prefix: TokenIds, suffixes: Sequence[TokenIds]) -> TrunkRow | None:
        """A row with at least these suffixes from RAM, or the one with exactly these from the folder, or None.

        Args:
            prefix: token ids.
            suffixes: token ids of distinct suffixes; a file is found under the order in which it was put.
        """
        key = _row_key(prefix, suffixes)
        row = self._rows.get(key)
        if row is not None and all(suffix in row.suffixes for suffix in suffixes):
            self._rows[key] = self._rows.pop(key)
            self.hits += 1
            return row
        row = self._read(prefix, suffixes)
        if row is None:
            self.misses += 1
            return None
        self._insert(prefix, row)
        self.disk_hits += 1
        return row

    def find(self, prefix: TokenIds) -> TrunkRow | None:
        """The row of a prefix with whatever suffixes RAM has of it; None without a prefix, which prompts share then."""
        return self._rows.get(prefix) if prefix else None

    def put(self, prefix: TokenIds, row: TrunkRow, *, persist: bool = False) -> None:
        """Put a row into RAM, joined with the suffixes there; with `persist` also into the folder, if there is one.

        What does not fit beside the row leaves RAM, oldest first; a row above the whole budget does not enter it.

        Raises:
            OSError: when the file cannot be written; nothing of it is left behind.
        """
        row = TrunkRow(
            _owning_memory(row.prefix), {suffix: _owning_memory(hidden) for suffix, hidden in row.suffixes.items()}
        )
        assert _fits(prefix, row), "a row needs one vector per token"
        self._insert(prefix, row)
        if persist and self.folder is not None:
            self._write(self._path(self.folder, prefix, list(row.suffixes)), row)

    def on_disk(self, prefix: TokenIds, suffixes: Sequence[TokenIds]) -> bool:
        """Whether the folder has a file for exactly this row; damage shows only when it is read."""
        path = None if self.folder is None else self._path(self.folder, prefix, suffixes)
        return path is not None and path.is_file() and path.stat().st_size > 0

    def sweep(self) -> None:
        """Remove temporary files that killed processes left in the folder; younger ones may have a writer."""
        for temporary in self.folder.glob(f"??/.*{EXTENSION}.*") if self.folder is not None else ():
            with suppress(OSError):  # renamed or removed meanwhile, or another user's
                age = time.time() - temporary.stat().st_mtime
                if TEMPORARY.fullmatch(temporary.name) and age > LEFT_BEHIND_SECONDS:
                    temporary.unlink()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def _insert(self, prefix: TokenIds, row: TrunkRow) -> None:
        if row.nbytes > self.max_bytes:
            return
        key = _row_key(prefix, list(row.suffixes))
        present = self._rows.pop(key, None)
        if present is not None:
            self.nbytes -= present.nbytes
            joined = TrunkRow(present.prefix, {**row.suffixes, **present.suffixes})
            row = joined if joined.nbytes <= self.max_bytes else row
        self._rows[key] = row
        self.nbytes += row.nbytes
        while self.nbytes > self.max_bytes:
            self.nbytes -= self._rows.pop(next(iter(self._rows))).nbytes

    def _path(self, folder: Path, prefix: TokenIds, suffixes: Sequence[TokenIds]) -> Path:
        address = json.dumps([self.context, prefix, list(suffixes)], sort_keys=True, separators=(",", ":"))
        key = sha256(address.encode()).hexdigest()
        return folder / key[:2] / f"{key}{EXTENSION}"

    def _description(self, path: Path, row: TrunkRow) -> str:
        """The metadata of a row's file, by which a file of another row or a damaged one is recognised."""
        return json.dumps({"key": path.stem, "checksum": _checksum(row), "context": self.context}, sort_keys=True)

    def _write(self, path: Path, row: TrunkRow) -> None:
        """Replace the file in one step, without a sync: a file torn by a crash fails its checksum."""
        names = _tensor_names(len(row.suffixes))
        content = save(dict(zip(names, row.tensors, strict=True)), {ENTRY: self._description(path, row)})
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{token_hex(8)}")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self, prefix: TokenIds, suffixes: Sequence[TokenIds]) -> TrunkRow | None:
        """The row of a verified file; one that is damaged is removed, so that the row is computed and written again.

        A file that cannot be read just now stays: others may be able to.
        """
        if self.folder is None:
            return None
        path = self._path(self.folder, prefix, suffixes)
        try:
            return self._verified(path, path.read_bytes(), prefix, suffixes)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._reject(path, error)
        except (ValueError, KeyError, SafetensorError) as error:  # KeyError: a dtype that torch does not have
            self._reject(path, error)
            with suppress(OSError):  # another user's; a sound one that another process put there is written again
                path.unlink(missing_ok=True)
        return None

    def _reject(self, path: Path, error: Exception) -> None:
        self.rejected += 1
        if path not in self._warned:
            self._warned.add(path)
            logger.warning("%s is no use (%s); it is computed again", path, error)

    def _verified(self, path: Path, content: bytes, prefix: TokenIds, suffixes: Sequence[TokenIds]) -> TrunkRow:
        """The row that a file holds.

        Raises:
            ValueError: when it is damaged, or another row's.
            KeyError: when it has a dtype that torch does not have.
            SafetensorError: when it is not in safetensors' format.
        """
        tensors = load(content)
        names = _tensor_names(len(suffixes))
        if tensors.keys() != set(names):
            raise ValueError(f"its tensors are not a prefix and {len(suffixes)} suffixes")
        first, *others = (tensors[name].clone() for name in names)  # into aligned memory, as a computed tensor's is
        row = TrunkRow(first, dict(zip(suffixes, others, strict=True)))
        if not _fits(prefix, row):
            raise ValueError("it has other numbers of tokens")
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        description = header.get("__metadata__", {}).get(ENTRY, "")
        if description != self._description(path, row):
            raise ValueError("its checksum differs" if path.stem in description else "it is another row")
        return row


def _row_key(prefix: TokenIds, suffixes: Sequence[TokenIds]) -> RowKey:
    return prefix or tuple(suffixes)


def _tensor_names(num_suffixes: int) -> list[str]:
    return [PREFIX_TENSOR, *(SUFFIX_TENSOR.format(index=index) for index in range(num_suffixes))]


def _fits(prefix: TokenIds, row: TrunkRow) -> bool:
    """Whether a row has one vector per token."""
    lengths = [len(prefix), *map(len, row.suffixes)]
    return all(tensor.ndim == 2 and len(tensor) == n for tensor, n in zip(row.tensors, lengths, strict=True))


def _owning_memory(tensor: Tensor) -> Tensor:
    """The tensor, or a copy where it is a view: a small view would keep a large storage alive beyond the budget."""
    assert tensor.device.type == "cpu"
    assert not tensor.requires_grad
    if tensor.untyped_storage().nbytes() == tensor.nbytes and tensor.is_contiguous():
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def _checksum(row: TrunkRow) -> str:
    digest = sha256()
    for tensor in row.tensors:
        digest.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()
