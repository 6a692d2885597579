"""A KV cache of prefixes, from which each suffix takes the keys and values of the prefix before it.

Shape legend: B = rows of a batch, N = layers, G = key-value heads, P = tokens of prefixes, L = tokens of suffixes,
D = head size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from flag_kedro.policy.attention import KVCache
from flag_kedro.policy.packing import Batch


@dataclass(frozen=True, eq=False)
class KeysValues:
    """Keys and values of one prefix in all layers of a stack, as long as the prefix is."""

    tensor: Tensor
    """[N, 2, G, P, D], without padding; it owns its memory."""

    def __len__(self) -> int:
        return self.tensor.shape[3]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return self.tensor.nbytes


class PrefixKVCache:
    """Keys and values of some prefixes, held by padded length; a prefix goes by its index in the caller's list."""

    def __init__(self) -> None:
        self.padded_length: dict[int, int] = {}
        """P of each prefix."""
        self._row: dict[int, int] = {}
        self._num_rows: dict[int, int] = {}
        self._batches: dict[int, list[KVCache]] = {}

    def add(self, batch: Batch, cache: KVCache, bucket: int = 1) -> None:
        """Add the prefixes of a batch with their keys and values [B, G, P, D]; a batch of empty ones has none.

        Args:
            batch: the prefixes.
            cache: their keys and values.
            bucket: these are padded on the right to a multiple of it with zeros, to which nothing attends.
        """
        length = -(-batch.length // bucket) * bucket
        first_row = self._num_rows.get(length, 0)
        for row, prefix in enumerate(batch.members):
            self.padded_length[prefix], self._row[prefix] = length, first_row + row
        self._num_rows[length] = first_row + batch.rows
        self._batches.setdefault(length, []).append(_pad(cache, length - batch.length))

    def take(self, prefixes: Sequence[int], length: int) -> "TakenRows":
        """Keys and values of each of `prefixes`, all of the padded `length`; a prefix may be named several times."""
        batches = self._batches[length]
        if len(batches) > 1:
            batches[:] = [_stack_batches(batches)]
        return TakenRows(batches[0], [self._row[prefix] for prefix in prefixes], length)


class TakenRows(Mapping[int, tuple[Tensor, Tensor]]):
    """Keys and values of some rows by layer, copied whenever a layer is asked for, so that nobody keeps all copies."""

    def __init__(self, cache: KVCache, rows: Sequence[int], length: int) -> None:
        self.kept = cache
        """From which rows are taken."""
        self._rows = torch.tensor(rows)
        self.length = length if cache else 0
        """P; 0 where there are no prefixes."""

    def __getitem__(self, layer: int) -> tuple[Tensor, Tensor]:
        key, value = self.kept[layer]
        return _take_rows(key, self._rows), _take_rows(value, self._rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)


def row_of(cache: KVCache, row: int, num_tokens: int) -> KeysValues:
    """A copy of one row of [B, G, P, D] without its padding."""
    return KeysValues(
        torch.stack([torch.stack([part[row, :, :num_tokens] for part in pair]) for pair in cache.values()])
    )


def stack_rows(rows: Sequence[KeysValues], layers: Sequence[int], batch: Batch) -> KVCache:
    """Rows of a batch padded on the right with zeros, [B, G, P, D] by layer: nothing attends to padding or dummies."""
    num_layers, _, groups, _, size = rows[0].tensor.shape
    stacked = rows[0].tensor.new_zeros(num_layers, 2, batch.rows, groups, batch.length, size)
    for index, row in enumerate(rows):
        stacked[:, :, index, :, : len(row)] = row.tensor
    return {layer: (keys, values) for layer, (keys, values) in zip(layers, stacked, strict=True)}


def append_suffixes(past: TakenRows, suffixes: KVCache) -> KVCache:
    """Keys and values of suffixes behind those of their prefixes, [B, G, P + L, D], for the layers of `suffixes`."""
    if not past:
        return suffixes
    joined = {}
    for layer, own in suffixes.items():
        key, value = (torch.cat(parts, dim=2) for parts in zip(past[layer], own, strict=True))
        joined[layer] = key, value
    return joined


def _pad(cache: KVCache, missing: int) -> KVCache:
    """Keys and values with so many zeros behind the last token."""
    if missing == 0:
        return cache
    return {
        layer: (pad(key, (0, 0, 0, missing)), pad(value, (0, 0, 0, missing))) for layer, (key, value) in cache.items()
    }


def _stack_batches(batches: Sequence[KVCache]) -> KVCache:
    """One batch of all rows."""
    return {
        layer: (torch.cat([batch[layer][0] for batch in batches]), torch.cat([batch[layer][1] for batch in batches]))
        for layer in batches[0]
    }


def _take_rows(tensor: Tensor, rows: Tensor) -> Tensor:
    return tensor.index_select(0, rows.to(tensor.device))
