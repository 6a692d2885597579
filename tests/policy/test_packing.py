"""Packing: who shares what, and in which shapes it is computed."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.policy.packing import (
    CHUNK_BATCHES,
    Batch,
    Prompt,
    RowIds,
    SuffixBatch,
    batches_of_suffixes,
    chunks_of_prefixes,
    group_by_prefix,
    suffix_mask,
)

PREFIX, OTHER = (1, 2, 3), (4, 5)
batch_tokens = st.integers(64, 2048)


def ceil_to(length: int, bucket: int) -> int:
    return (length + bucket - 1) // bucket * bucket


# --- rows


def test_prompts_of_one_prefix_are_one_row_with_each_suffix_once():
    prompts = [
        Prompt(PREFIX, (7,)),
        Prompt(OTHER, (7,)),
        Prompt(PREFIX, (8, 9)),
        Prompt(PREFIX, (7,)),
        Prompt(OTHER, (6,)),
    ]
    rows, row_of_prompt = group_by_prefix(prompts)
    assert rows == [RowIds(PREFIX, ((7,), (8, 9))), RowIds(OTHER, ((7,), (6,)))]
    assert row_of_prompt == [0, 1, 0, 0, 1]


def test_prompts_without_a_prefix_share_nothing_but_equal_ones():
    rows, row_of_prompt = group_by_prefix([Prompt((), (7, 8)), Prompt((), (7, 9)), Prompt((), (7, 8))])
    assert rows == [RowIds((), ((7, 8),)), RowIds((), ((7, 9),))]
    assert row_of_prompt == [0, 1, 0]


def test_suffix_without_a_prefix_is_not_taken_for_a_prefix():
    prompts = [Prompt((), PREFIX), Prompt(PREFIX, (7,))]
    rows, row_of_prompt = group_by_prefix(prompts)
    assert rows == [RowIds((), (PREFIX,)), RowIds(PREFIX, ((7,),))]
    assert row_of_prompt == [0, 1]


few_ids = st.sampled_from([(), (1,), (2,), (1, 2), (2, 1)])


@given(st.lists(st.builds(Prompt, few_ids, few_ids.filter(bool)), min_size=1, max_size=20))
def test_every_prompt_finds_its_prefix_and_suffix_in_its_row(prompts: list[Prompt]):
    rows, row_of_prompt = group_by_prefix(prompts)
    for prompt, row in zip(prompts, row_of_prompt, strict=True):
        assert rows[row].prefix == prompt.prefix
        assert prompt.suffix in rows[row].suffixes
    assert sum(len(row.suffixes) for row in rows) == len(set(prompts))
    prefixes = [row.prefix for row in rows if row.prefix]
    assert len(prefixes) == len(set(prefixes))


# --- mask


def test_suffix_sees_its_prefix_without_padding_and_itself_up_to_now():
    """Prefixes of 2 and 0 real tokens padded to 3, suffixes padded to 2."""
    mask = suffix_mask(torch.tensor([2, 0]), prefix_length=3, suffix_length=2)
    assert mask.shape == (2, 1, 2, 5)
    assert mask.dtype == torch.bool
    assert mask[0, 0].int().tolist() == [[1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    assert mask[1, 0].int().tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]


def test_without_a_prefix_the_mask_is_causal():
    mask = suffix_mask(torch.tensor([0]), prefix_length=0, suffix_length=3)
    assert mask[0, 0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(9, 12), st.integers(1, 5))
def test_every_token_sees_the_prefix_and_as_much_of_its_suffix_as_its_position(
    prefix_tokens: list[int], prefix_length: int, suffix_length: int
):
    num_seen = suffix_mask(torch.tensor(prefix_tokens), prefix_length, suffix_length)[:, 0].sum(dim=2)
    assert num_seen.tolist() == [
        [tokens + position + 1 for position in range(suffix_length)] for tokens in prefix_tokens
    ]


# --- batches of prefixes

lengths_of_prefixes = st.lists(st.integers(0, 700), min_size=1, max_size=60)


def test_prefixes_of_one_bucket_stand_in_one_batch():
    """512 tokens: sixteen rows of 32, eight of 64, five of 96, three of 160, one of 576, none for what is empty."""
    chunks = list(chunks_of_prefixes(dict(enumerate([10, 64, 65, 0, 600 - 24, 150, 3, 0])), batch_tokens=512))
    assert chunks == [
        [
            Batch([3, 7], 1, 0),
            Batch([0, 6], 16, 32),
            Batch([1], 8, 64),
            Batch([2], 5, 96),
            Batch([5], 3, 160),
            Batch([4], 1, 576),
        ]
    ]


@given(lengths_of_prefixes, batch_tokens)
def test_every_prefix_is_in_one_batch_that_fits_it(lengths: list[int], batch_tokens: int):
    chunks = list(chunks_of_prefixes(dict(enumerate(lengths)), batch_tokens))
    assert all(1 <= len(chunk) <= CHUNK_BATCHES for chunk in chunks)
    batches = [batch for chunk in chunks for batch in chunk]
    assert Counter(prefix for batch in batches for prefix in batch.members) == Counter(range(len(lengths)))
    assert [batch.length for batch in batches] == sorted(batch.length for batch in batches)
    for batch in batches:
        assert all(batch.length == ceil_to(lengths[prefix], 32) for prefix in batch.members)
        assert batch.length == 0 or len(batch.members) <= batch.rows


@given(lengths_of_prefixes, batch_tokens)
def test_rows_of_a_batch_of_prefixes_depend_on_its_length_alone(lengths: list[int], batch_tokens: int):
    for chunk in chunks_of_prefixes(dict(enumerate(lengths)), batch_tokens):
        for batch in chunk:
            ((alone,),) = chunks_of_prefixes({0: lengths[batch.members[0]]}, batch_tokens)
            assert (batch.rows, batch.length) == (alone.rows, alone.length)


# --- batches of suffixes

suffixes = st.lists(
    st.tuples(st.sampled_from([1, 17, 20, 24, 90]), st.sampled_from([0, 64, 192])), min_size=1, max_size=60
).map(lambda pairs: dict(enumerate(pairs)))
"""Lengths of each suffix and, padded, of its prefix."""


def unzip(pairs: dict[int, tuple[int, int]]) -> tuple[dict[int, int], dict[int, int]]:
    return {index: pair[0] for index, pair in pairs.items()}, {index: pair[1] for index, pair in pairs.items()}


def test_suffixes_of_one_length_behind_prefixes_of_one_length_stand_in_one_batch():
    """An eighth of 512 tokens: four rows of 16, one of 72; without a prefix, all 512 are sixteen rows of 32."""
    batches = batches_of_suffixes(
        {1: 9, 2: 16, 3: 10, 4: 66, 5: 9, 6: 30, 7: 11, 8: 12},
        {1: 64, 2: 64, 3: 192, 4: 64, 5: 64, 6: 0, 7: 64, 8: 64},
        batch_tokens=512,
    )
    assert list(batches) == [
        SuffixBatch([6], 16, 32, 0),
        SuffixBatch([1, 2, 5, 7], 4, 16, 64),
        SuffixBatch([8], 4, 16, 64),
        SuffixBatch([4], 1, 72, 64),
        SuffixBatch([3], 4, 16, 192),
    ]


@given(suffixes, batch_tokens)
def test_every_suffix_is_in_one_batch_that_fits_it_and_its_prefix(
    suffixes: dict[int, tuple[int, int]], batch_tokens: int
):
    lengths, prefix_lengths = unzip(suffixes)
    batches = list(batches_of_suffixes(lengths, prefix_lengths, batch_tokens))
    assert Counter(suffix for batch in batches for suffix in batch.members) == Counter(suffixes.keys())
    for batch in batches:
        assert len(batch.members) <= batch.rows
        assert batch.rows == 1 or batch.rows % 4 == 0
        for suffix in batch.members:
            assert prefix_lengths[suffix] == batch.prefix_length
            assert batch.length == ceil_to(lengths[suffix], 8 if batch.prefix_length else 32)


@given(suffixes, batch_tokens)
def test_shape_of_a_batch_of_suffixes_depends_on_its_lengths_alone(
    suffixes: dict[int, tuple[int, int]], batch_tokens: int
):
    lengths, prefix_lengths = unzip(suffixes)
    for batch in batches_of_suffixes(lengths, prefix_lengths, batch_tokens):
        suffix = batch.members[0]
        (alone,) = batches_of_suffixes({suffix: lengths[suffix]}, {suffix: prefix_lengths[suffix]}, batch_tokens)
        assert (batch.rows, batch.length, batch.prefix_length) == (alone.rows, alone.length, alone.prefix_length)


@pytest.mark.parametrize("batch_tokens", [64, 512, 100_000])
def test_tokens_of_a_batch_stay_within_the_budget_unless_one_row_exceeds_it(batch_tokens: int):
    for length in range(1, 1200, 7):
        ((prefixes,),) = chunks_of_prefixes({0: length}, batch_tokens)
        assert prefixes.rows == 1 or prefixes.rows * prefixes.length <= batch_tokens
        for prefix_length, budget in ((0, batch_tokens), (64, batch_tokens // 4)):
            (batch,) = batches_of_suffixes({0: length}, {0: prefix_length}, batch_tokens)
            assert batch.rows == 1 or batch.rows * batch.length <= budget
