"""Hidden states of the frozen trunk, remembered in RAM under a budget of bytes and, if wanted, in a folder.

The layers below `frozen_layers` say the same of the same token ids for ever. So what they say is kept by content: token
ids, and a context that names all else it depends on. Seeds, folds and several processes at once may share a folder.

Shape legend: P = tokens of a stem, S = tokens of a leaf, H = hidden size.
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

from flag_kedro.policy.packing import Ids

logger = logging.getLogger(__name__)

Place = Ids | tuple[Ids, ...]
SUFFIX = ".safetensors"
ENTRY = "trunk_row"
"""The only entry of a file's metadata: safetensors writes several in random order, but equal rows are equal files."""
TEMPORARY = re.compile(rf"\.[0-9a-f]{{64}}{re.escape(SUFFIX)}\.\d+\.[0-9a-f]{{16}}")
LEFT_BEHIND_SECONDS = 3600.0
"""A temporary file of this age has no writer any more: writing one takes seconds."""


@dataclass(frozen=True, eq=False)
class TrunkRow:
    """What the trunk says of a stem (a prompt's prefix) and of leaves (account texts) that each follow it directly."""

    stem: Tensor
    """[P, H] on the CPU; P is 0 for the empty stem."""
    leaves: Mapping[Ids, Tensor]
    """[S, H] on the CPU by the leaf's token ids; S differs between leaves."""

    @property
    def tensors(self) -> list[Tensor]:
        """The stem, then the leaves in their order."""
        return [self.stem, *self.leaves.values()]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)


class TrunkCache:
    """Rows by stem: the least recently used leaves RAM first; a file holds one row and is verified when read.

    Rows that are handed out are the cache's own: nobody may write into them. Copies of a model share the cache.
    """

    def __init__(self, context: Mapping[str, str | int], max_bytes: int, folder: Path | None = None) -> None:
        """An empty cache.

        Args:
            context: all that hidden states depend on besides token ids: weights, split, dtype, layout, versions and
                so on. Rows of another context are not found.
            max_bytes: budget of RAM for tensors; token ids are not counted.
            folder: where rows put with `persist` are kept; None keeps none.
        """
        self.context = dict(context)
        self.max_bytes = max_bytes
        self.folder = folder
        self.nbytes = 0
        self.hits = self.disk_hits = self.misses = self.rejected = 0
        self._rows: dict[Place, TrunkRow] = {}  # the least recently used first
        self._warned: set[Path] = set()

    def get(self, stem: Ids, leaves: Sequence[Ids]) -> TrunkRow | None:
        """A row with at least these leaves from RAM, or the one with exactly these from the folder, or None.

        Args:
            stem: token ids.
            leaves: token ids of distinct leaves; a file is found under the order in which it was put.
        """
        place = _place(stem, leaves)
        row = self._rows.get(place)
        if row is not None and all(leaf in row.leaves for leaf in leaves):
            self._rows[place] = self._rows.pop(place)
            self.hits += 1
            return row
        row = self._read(stem, leaves)
        if row is None:
            self.misses += 1
            return None
        self._keep(stem, row)
        self.disk_hits += 1
        return row

    def put(self, stem: Ids, row: TrunkRow, *, persist: bool = False) -> None:
        """Keep a row in RAM, joined with the leaves known there; with `persist` also in the folder, if there is one.

        What does not fit beside the row leaves RAM, oldest first; a row above the whole budget does not enter it.

        Raises:
            OSError: when the file cannot be written; nothing of it is left behind.
        """
        row = TrunkRow(_owned(row.stem), {leaf: _owned(tensor) for leaf, tensor in row.leaves.items()})
        assert _fits(stem, row), "a row needs one vector per token"
        self._keep(stem, row)
        if persist and self.folder is not None:
            self._write(self._path(self.folder, stem, list(row.leaves)), row)

    def on_disk(self, stem: Ids, leaves: Sequence[Ids]) -> bool:
        """Whether the folder has a file for exactly this row; damage shows only when it is read."""
        path = None if self.folder is None else self._path(self.folder, stem, leaves)
        return path is not None and path.is_file() and path.stat().st_size > 0

    def sweep(self) -> None:
        """Remove temporary files that killed processes left in the folder; younger ones may have a writer."""
        for temporary in self.folder.glob(f"??/.*{SUFFIX}.*") if self.folder is not None else ():
            with suppress(OSError):  # renamed or removed meanwhile, or another user's
                age = time.time() - temporary.stat().st_mtime
                if TEMPORARY.fullmatch(temporary.name) and age > LEFT_BEHIND_SECONDS:
                    temporary.unlink()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def _keep(self, stem: Ids, row: TrunkRow) -> None:
        if row.nbytes > self.max_bytes:
            return
        place = _place(stem, list(row.leaves))
        held = self._rows.pop(place, None)
        if held is not None:
            self.nbytes -= held.nbytes
            joined = TrunkRow(held.stem, {**row.leaves, **held.leaves})
            row = joined if joined.nbytes <= self.max_bytes else row
        self._rows[place] = row
        self.nbytes += row.nbytes
        while self.nbytes > self.max_bytes:
            self.nbytes -= self._rows.pop(next(iter(self._rows))).nbytes

    def _path(self, folder: Path, stem: Ids, leaves: Sequence[Ids]) -> Path:
        address = json.dumps([self.context, stem, list(leaves)], sort_keys=True, separators=(",", ":"))
        key = sha256(address.encode()).hexdigest()
        return folder / key[:2] / f"{key}{SUFFIX}"

    def _description(self, path: Path, row: TrunkRow) -> str:
        """What a file says of itself, so that it is known for foreign or damaged."""
        return json.dumps({"key": path.stem, "checksum": _checksum(row), "context": self.context}, sort_keys=True)

    def _write(self, path: Path, row: TrunkRow) -> None:
        """Replace the file in one step, without a sync: a file torn by a crash fails its checksum."""
        names = _names(len(row.leaves))
        content = save(dict(zip(names, row.tensors, strict=True)), {ENTRY: self._description(path, row)})
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{token_hex(8)}")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self, stem: Ids, leaves: Sequence[Ids]) -> TrunkRow | None:
        """The row of a verified file; one that is damaged is removed, so that the row is computed and written again.

        A file that cannot be read just now stays: others may be able to.
        """
        if self.folder is None:
            return None
        path = self._path(self.folder, stem, leaves)
        try:
            return self._verified(path, path.read_bytes(), stem, leaves)
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

    def _verified(self, path: Path, content: bytes, stem: Ids, leaves: Sequence[Ids]) -> TrunkRow:
        tensors = load(content)
        names = _names(len(leaves))
        if tensors.keys() != set(names):
            raise ValueError(f"its tensors are not a stem and {len(leaves)} leaves")
        first, *rest = (tensors[name].clone() for name in names)  # into aligned memory, as a computed tensor's is
        row = TrunkRow(first, dict(zip(leaves, rest, strict=True)))
        if not _fits(stem, row):
            raise ValueError("it has other numbers of tokens")
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        found = header.get("__metadata__", {}).get(ENTRY, "")
        if found != self._description(path, row):
            raise ValueError("its checksum differs" if path.stem in found else "it is another row")
        return row


def _place(stem: Ids, leaves: Sequence[Ids]) -> Place:
    """Where RAM has a row: at its stem, or, where prompts share nothing, at its leaves."""
    return stem or tuple(leaves)


def _names(num_leaves: int) -> list[str]:
    return ["stem", *(f"leaf.{index}" for index in range(num_leaves))]


def _fits(stem: Ids, row: TrunkRow) -> bool:
    lengths = [len(stem), *map(len, row.leaves)]
    return all(tensor.ndim == 2 and len(tensor) == n for tensor, n in zip(row.tensors, lengths, strict=True))


def _owned(tensor: Tensor) -> Tensor:
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
