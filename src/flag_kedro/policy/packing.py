"""Packing: which prompts share a prefix, and in which batches prefixes and suffixes are computed.

Every batch has a shape that depends on the lengths of its own members only (canonical shapes): lengths are
padded to a multiple of a bucket, the number of rows follows from the padded length, and dummies fill what is
left. So the bits of a prompt do not depend on which others stand beside it.

Shape legend: B = rows of a batch, P = tokens of a prefix after padding, L = tokens of a suffix after padding.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LAYOUT_VERSION = 2
"""To be raised whenever shapes, and so bits, change."""
PREFIX_BUCKET = 32
SUFFIX_BUCKET = 8
SUFFIX_SHARE = 8
"""A batch of suffixes has an eighth of the tokens of a batch of prefixes: a rollout's step asks for few new ones."""
TRUNK_KEYS_BUCKET, TOP_KEYS_BUCKET = 256, 64
"""Keys and values of prefixes are padded to multiples of this before suffixes are read behind them. In the trunk nearly
all prefixes have one length then, so that the few suffixes of a step share a batch; in the top, where all suffixes of a
minibatch come at once, attention over padding would cost more than it saves."""
EVEN_ROWS = 4
"""Rows of a batch of suffixes are a multiple of this, or one: with other numbers, matrix products of MKL treat the last
rows differently, and bits would depend on a row's place (docs/experiments.md)."""
CHUNK_BATCHES = 8
"""Batches of prefixes whose keys and values are held at once."""
TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """A tokenised prompt: its token ids are prefix + suffix."""

    prefix: TokenIds
    """What it shares with others, BOS included; empty where nothing is shared."""
    suffix: TokenIds
    """What follows, an account's text; never empty."""
    headline_ends: tuple[int, ...] = ()
    """Tokens at which headlines end, where the heads read them; indices into prefix + suffix."""


@dataclass(frozen=True)
class RowIds:
    """Token ids of a prefix and of the distinct suffixes behind it."""

    prefix: TokenIds
    suffixes: tuple[TokenIds, ...]


def group_by_prefix(prompts: Sequence[Prompt]) -> tuple[list[RowIds], list[int]]:
    """One row for all prompts of a prefix; without a prefix every distinct suffix is a row of its own.

    Returns:
        The rows in the order of their first prompts, and the number of each prompt's row.
    """
    suffixes: dict[TokenIds | tuple[TokenIds], dict[TokenIds, None]] = {}
    keys = [prompt.prefix or (prompt.suffix,) for prompt in prompts]
    for key, prompt in zip(keys, prompts, strict=True):
        suffixes.setdefault(key, {})[prompt.suffix] = None
    row_index = {key: row for row, key in enumerate(suffixes)}
    prefixes = {key: prompt.prefix for key, prompt in zip(keys, prompts, strict=True)}
    rows = [RowIds(prefixes[key], tuple(distinct)) for key, distinct in suffixes.items()]
    return rows, [row_index[key] for key in keys]


@dataclass(frozen=True)
class Batch:
    """Members (indices into a longer list) that are computed together."""

    members: list[int]
    rows: int
    """B, dummies included."""
    length: int
    """Tokens of each row after padding."""


@dataclass(frozen=True)
class SuffixBatch(Batch):
    """Suffixes behind prefixes of one padded length."""

    prefix_length: int
    """P."""


def chunks_of_prefixes(lengths: Mapping[int, int], batch_tokens: int) -> Iterator[list[Batch]]:
    """Batches of prefixes with `lengths`, shortest first, a few at a time; empty prefixes need none.

    Args:
        lengths: tokens of each prefix, by its index.
        batch_tokens: a batch has as many rows as fit into so many tokens, at least one.
    """
    batches: list[Batch] = []
    for padded, members in _by_length(lengths, PREFIX_BUCKET).items():
        rows = 1 if padded == 0 else max(1, batch_tokens // padded)
        size = len(members) if padded == 0 else rows
        for start in range(0, len(members), size):
            batches.append(Batch(members[start : start + size], rows, padded))
            if len(batches) == CHUNK_BATCHES:
                yield batches
                batches = []
    if batches:
        yield batches


def batches_of_suffixes(
    lengths: Mapping[int, int], prefix_lengths: Mapping[int, int], batch_tokens: int
) -> Iterator[SuffixBatch]:
    """Batches of suffixes, of one padded length each for prefix and suffix.

    Args:
        lengths: tokens of each suffix.
        prefix_lengths: padded tokens of each suffix's prefix.
        batch_tokens: as for prefixes.
    """
    for prefix_length in sorted(set(prefix_lengths.values())):
        behind = {suffix: lengths[suffix] for suffix, length in prefix_lengths.items() if length == prefix_length}
        budget = batch_tokens // SUFFIX_SHARE if prefix_length else batch_tokens
        for padded, members in _by_length(behind, SUFFIX_BUCKET if prefix_length else PREFIX_BUCKET).items():
            rows = budget // padded // EVEN_ROWS * EVEN_ROWS or 1
            for start in range(0, len(members), rows):
                yield SuffixBatch(members[start : start + rows], rows, padded, prefix_length)


def suffix_mask(prefix_tokens: Tensor, prefix_length: int, suffix_length: int) -> Tensor:
    """What suffixes attend to: their prefix without its padding, and causally themselves; bool [B, 1, L, P + L].

    Args:
        prefix_tokens: real tokens of each suffix's prefix, [B].
        prefix_length: P.
        suffix_length: L.
    """
    rows, device = len(prefix_tokens), prefix_tokens.device
    to_prefix = torch.arange(prefix_length, device=device) < prefix_tokens[:, None, None]
    to_suffix = torch.ones(suffix_length, suffix_length, dtype=torch.bool, device=device).tril()
    parts = [
        to_prefix.expand(rows, suffix_length, prefix_length),
        to_suffix.expand(rows, suffix_length, suffix_length),
    ]
    return torch.cat(parts, dim=2)[:, None]


def _by_length(lengths: Mapping[int, int], bucket: int) -> dict[int, list[int]]:
    """Members by padded length, shortest first."""
    groups: dict[int, list[int]] = {}
    for member, length in lengths.items():
        groups.setdefault(-(-length // bucket) * bucket, []).append(member)
    return dict(sorted(groups.items()))
