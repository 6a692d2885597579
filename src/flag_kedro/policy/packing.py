"""Packing: which prompts share a stem, and in which batches stems and leaves are computed.

Every batch has a shape that depends on the lengths of its own members only (canonical shapes): lengths are
padded to a multiple of a bucket, the number of rows follows from the padded length, and dummies fill what is
left. So the bits of a prompt do not depend on which others stand beside it.

Shape legend: B = rows of a batch, P = tokens of a stem after padding, L = tokens of a leaf after padding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LAYOUT_VERSION = 1
"""To be raised whenever shapes, and so bits, change."""
STEM_BUCKET = 64
LEAF_BUCKET = 8
LEAF_SHARE = 4
"""A batch of leaves has a fourth of the tokens of a batch of stems."""
EVEN_ROWS = 4
"""Rows of a batch of leaves are a multiple of this, or one: with other numbers, matrix products of MKL treat the last
rows differently, and bits would depend on a row's place (docs/experiments.md)."""
CHUNK_BATCHES = 8
"""Batches of stems whose keys and values are held at once."""
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """A tokenised prompt: its ids are stem + leaf."""

    stem: Ids
    """What it shares with others; empty where nothing is shared."""
    leaf: Ids


@dataclass(frozen=True)
class RowIds:
    """A stem and the distinct leaves behind it."""

    stem: Ids
    leaves: tuple[Ids, ...]


def rows_of(prompts: Sequence[Prompt]) -> tuple[list[RowIds], list[int]]:
    """One row for all prompts of a stem, and each prompt's row; without a stem every leaf is a row of its own."""
    leaves: dict[Ids | tuple[Ids], dict[Ids, None]] = {}
    keys = [prompt.stem or (prompt.leaf,) for prompt in prompts]
    for key, prompt in zip(keys, prompts, strict=True):
        leaves.setdefault(key, {})[prompt.leaf] = None
    place = {key: row for row, key in enumerate(leaves)}
    stems = {key: prompt.stem for key, prompt in zip(keys, prompts, strict=True)}
    return [RowIds(stems[key], tuple(own)) for key, own in leaves.items()], [place[key] for key in keys]


@dataclass(frozen=True)
class Batch:
    """Members (row numbers of a longer list) that are computed together."""

    members: list[int]
    rows: int
    """B, dummies included."""
    length: int
    """Tokens of each row after padding."""


@dataclass(frozen=True)
class LeafBatch(Batch):
    """Leaves behind stems of one padded length."""

    stem_length: int
    """P."""


def chunks_of_stems(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[Batch]]:
    """Batches of stems with `lengths`, shortest first, a few at a time; empty stems need none.

    Args:
        lengths: tokens of each stem.
        batch_tokens: a batch has as many rows as fit into so many tokens, at least one.
    """
    batches: list[Batch] = []
    for padded, members in _by_length(dict(enumerate(lengths)), STEM_BUCKET).items():
        rows = 1 if padded == 0 else max(1, batch_tokens // padded)
        size = len(members) if padded == 0 else rows
        for start in range(0, len(members), size):
            batches.append(Batch(members[start : start + size], rows, padded))
            if len(batches) == CHUNK_BATCHES:
                yield batches
                batches = []
    if batches:
        yield batches


def batches_of_leaves(
    lengths: Mapping[int, int], stem_lengths: Mapping[int, int], batch_tokens: int
) -> Iterator[LeafBatch]:
    """Batches of leaves, of one padded length each for stem and leaf.

    Args:
        lengths: tokens of each leaf.
        stem_lengths: padded tokens of each leaf's stem.
        batch_tokens: as for stems.
    """
    for stem_length in sorted(set(stem_lengths.values())):
        behind = {leaf: lengths[leaf] for leaf, length in stem_lengths.items() if length == stem_length}
        budget = batch_tokens // LEAF_SHARE if stem_length else batch_tokens
        for padded, members in _by_length(behind, LEAF_BUCKET if stem_length else STEM_BUCKET).items():
            rows = budget // padded // EVEN_ROWS * EVEN_ROWS or 1
            for start in range(0, len(members), rows):
                yield LeafBatch(members[start : start + rows], rows, padded, stem_length)


def tree_mask(stem_tokens: Tensor, stem_length: int, leaf_length: int) -> Tensor:
    """What leaves see: their stem without its padding, and causally themselves; bool [B, 1, L, P + L].

    Args:
        stem_tokens: real tokens of each leaf's stem, [B].
        stem_length: P.
        leaf_length: L.
    """
    rows, device = len(stem_tokens), stem_tokens.device
    stem = torch.arange(stem_length, device=device) < stem_tokens[:, None, None]
    own = torch.ones(leaf_length, leaf_length, dtype=torch.bool, device=device).tril()
    parts = [stem.expand(rows, leaf_length, stem_length), own.expand(rows, leaf_length, leaf_length)]
    return torch.cat(parts, dim=2)[:, None]


def _by_length(lengths: Mapping[int, int], bucket: int) -> dict[int, list[int]]:
    """Members by padded length, shortest first."""
    groups: dict[int, list[int]] = {}
    for member, length in lengths.items():
        groups.setdefault(-(-length // bucket) * bucket, []).append(member)
    return dict(sorted(groups.items()))
