"""Packing: who shares what, and in which shapes it is computed."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.policy.packing import (
    CHUNK_BATCHES,
    Batch,
    LeafBatch,
    Prompt,
    RowIds,
    batches_of_leaves,
    chunks_of_stems,
    rows_of,
    tree_mask,
)

STEM, OTHER = (1, 2, 3), (4, 5)
batch_tokens = st.integers(64, 2048)


def ceil_to(length: int, bucket: int) -> int:
    return (length + bucket - 1) // bucket * bucket


# --- rows


def test_prompts_of_one_stem_are_one_row_with_each_leaf_once():
    prompts = [Prompt(STEM, (7,)), Prompt(OTHER, (7,)), Prompt(STEM, (8, 9)), Prompt(STEM, (7,)), Prompt(OTHER, (6,))]
    rows, places = rows_of(prompts)
    assert rows == [RowIds(STEM, ((7,), (8, 9))), RowIds(OTHER, ((7,), (6,)))]
    assert places == [0, 1, 0, 0, 1]


def test_prompts_without_a_stem_share_nothing_but_equal_ones():
    rows, places = rows_of([Prompt((), (7, 8)), Prompt((), (7, 9)), Prompt((), (7, 8))])
    assert rows == [RowIds((), ((7, 8),)), RowIds((), ((7, 9),))]
    assert places == [0, 1, 0]


def test_leaf_without_a_stem_is_not_taken_for_a_stem():
    prompts = [Prompt((), STEM), Prompt(STEM, (7,))]
    rows, places = rows_of(prompts)
    assert rows == [RowIds((), (STEM,)), RowIds(STEM, ((7,),))]
    assert places == [0, 1]


few_ids = st.sampled_from([(), (1,), (2,), (1, 2), (2, 1)])


@given(st.lists(st.builds(Prompt, few_ids, few_ids.filter(bool)), min_size=1, max_size=20))
def test_every_prompt_finds_its_stem_and_leaf_in_its_row(prompts: list[Prompt]):
    rows, places = rows_of(prompts)
    for prompt, place in zip(prompts, places, strict=True):
        assert rows[place].stem == prompt.stem
        assert prompt.leaf in rows[place].leaves
    assert sum(len(row.leaves) for row in rows) == len(set(prompts))
    stems = [row.stem for row in rows if row.stem]
    assert len(stems) == len(set(stems))


# --- mask


def test_leaf_sees_its_stem_without_padding_and_itself_up_to_now():
    """Stems of 2 and 0 real tokens padded to 3, leaves padded to 2."""
    mask = tree_mask(torch.tensor([2, 0]), stem_length=3, leaf_length=2)
    assert mask.shape == (2, 1, 2, 5)
    assert mask.dtype == torch.bool
    assert mask[0, 0].int().tolist() == [[1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    assert mask[1, 0].int().tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]


def test_without_a_stem_the_mask_is_causal():
    mask = tree_mask(torch.tensor([0]), stem_length=0, leaf_length=3)
    assert mask[0, 0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(9, 12), st.integers(1, 5))
def test_every_token_sees_the_stem_and_as_much_of_its_leaf_as_its_place(stem: list[int], padded: int, leaf: int):
    seen = tree_mask(torch.tensor(stem), padded, leaf)[:, 0].sum(dim=2)
    assert seen.tolist() == [[tokens + place + 1 for place in range(leaf)] for tokens in stem]


# --- batches of stems

lengths_of_stems = st.lists(st.integers(0, 700), min_size=1, max_size=60)


def test_stems_of_one_bucket_stand_in_one_batch():
    """512 tokens: eight rows of 64, four of 128, two of 192, one of 576, and no rows for what is empty."""
    chunks = list(chunks_of_stems([10, 64, 65, 0, 600 - 24, 150, 3, 0], batch_tokens=512))
    assert chunks == [
        [Batch([3, 7], 1, 0), Batch([0, 1, 6], 8, 64), Batch([2], 4, 128), Batch([5], 2, 192), Batch([4], 1, 576)]
    ]


@given(lengths_of_stems, batch_tokens)
def test_every_stem_is_in_one_batch_that_fits_it(lengths: list[int], batch_tokens: int):
    chunks = list(chunks_of_stems(lengths, batch_tokens))
    assert all(1 <= len(chunk) <= CHUNK_BATCHES for chunk in chunks)
    batches = [batch for chunk in chunks for batch in chunk]
    assert Counter(stem for batch in batches for stem in batch.members) == Counter(range(len(lengths)))
    assert [batch.length for batch in batches] == sorted(batch.length for batch in batches)
    for batch in batches:
        assert all(batch.length == ceil_to(lengths[stem], 64) for stem in batch.members)
        assert batch.length == 0 or len(batch.members) <= batch.rows


@given(lengths_of_stems, batch_tokens)
def test_rows_of_a_batch_of_stems_depend_on_its_length_alone(lengths: list[int], batch_tokens: int):
    for chunk in chunks_of_stems(lengths, batch_tokens):
        for batch in chunk:
            ((alone,),) = chunks_of_stems([lengths[batch.members[0]]], batch_tokens)
            assert (batch.rows, batch.length) == (alone.rows, alone.length)


# --- batches of leaves

leaves = st.lists(
    st.tuples(st.sampled_from([1, 17, 20, 24, 90]), st.sampled_from([0, 64, 192])), min_size=1, max_size=60
).map(lambda pairs: dict(enumerate(pairs)))


def test_leaves_of_one_length_behind_stems_of_one_length_stand_in_one_batch():
    """A fourth of 512 tokens: five rows of 24, so four; one of 72; without a stem, all 512 are eight rows of 64."""
    batches = batches_of_leaves(
        {1: 17, 2: 24, 3: 18, 4: 66, 5: 17, 6: 30, 7: 19, 8: 20},
        {1: 64, 2: 64, 3: 192, 4: 64, 5: 64, 6: 0, 7: 64, 8: 64},
        batch_tokens=512,
    )
    assert list(batches) == [
        LeafBatch([6], 8, 64, 0),
        LeafBatch([1, 2, 5, 7], 4, 24, 64),
        LeafBatch([8], 4, 24, 64),
        LeafBatch([4], 1, 72, 64),
        LeafBatch([3], 4, 24, 192),
    ]


@given(leaves, batch_tokens)
def test_every_leaf_is_in_one_batch_that_fits_it_and_its_stem(leaves: dict[int, tuple[int, int]], batch_tokens: int):
    lengths, stems = {at: leaf for at, (leaf, _) in leaves.items()}, {at: stem for at, (_, stem) in leaves.items()}
    batches = list(batches_of_leaves(lengths, stems, batch_tokens))
    assert Counter(leaf for batch in batches for leaf in batch.members) == Counter(leaves.keys())
    for batch in batches:
        assert len(batch.members) <= batch.rows
        assert batch.rows == 1 or batch.rows % 4 == 0
        for leaf in batch.members:
            assert stems[leaf] == batch.stem_length
            assert batch.length == ceil_to(lengths[leaf], 8 if batch.stem_length else 64)


@given(leaves, batch_tokens)
def test_shape_of_a_batch_of_leaves_depends_on_its_lengths_alone(leaves: dict[int, tuple[int, int]], batch_tokens: int):
    lengths, stems = {at: leaf for at, (leaf, _) in leaves.items()}, {at: stem for at, (_, stem) in leaves.items()}
    for batch in batches_of_leaves(lengths, stems, batch_tokens):
        leaf = batch.members[0]
        (alone,) = batches_of_leaves({leaf: lengths[leaf]}, {leaf: stems[leaf]}, batch_tokens)
        assert (batch.rows, batch.length, batch.stem_length) == (alone.rows, alone.length, alone.stem_length)


@pytest.mark.parametrize("batch_tokens", [64, 512, 100_000])
def test_tokens_of_a_batch_stay_within_the_budget_unless_one_row_exceeds_it(batch_tokens: int):
    for length in range(1, 1200, 7):
        ((stems,),) = chunks_of_stems([length], batch_tokens)
        assert stems.rows == 1 or stems.rows * stems.length <= batch_tokens
        for stem_length, budget in ((0, batch_tokens), (64, batch_tokens // 4)):
            (batch,) = batches_of_leaves({0: length}, {0: stem_length}, batch_tokens)
            assert batch.rows == 1 or batch.rows * batch.length <= budget
