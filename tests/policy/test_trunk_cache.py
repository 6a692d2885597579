"""The trunk cache: within its budget, never wrong, and not to be fooled by any file."""

import copy
import logging
import multiprocessing
import os
import random
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn

from flag_kedro.policy.trunk_cache import TokenIds, TrunkCache, TrunkRow

CONTEXT: dict[str, str | int] = {"backbone": "abc", "split": 1, "dtype": "float32"}
PREFIX, OTHER, THIRD = (1, 2), (3, 4), (5, 6)
SUFFIX, LONG_SUFFIX = (7,), (8, 9)
AMPLE = 10**9


def truth(
    prefix: TokenIds,
    suffixes: Sequence[TokenIds] = (SUFFIX,),
    hidden: int = 2,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> TrunkRow:
    """A row that depends on the token ids alone, as the trunk's do: 8 bytes per token unless told otherwise."""

    def hidden_states(*ids: TokenIds) -> Tensor:
        generator = torch.Generator().manual_seed(hash((ids, seed)) % 2**63)
        return torch.randn(len(ids[-1]), hidden, generator=generator).to(dtype)

    return TrunkRow(hidden_states(prefix), {suffix: hidden_states(prefix, suffix) for suffix in suffixes})


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return tensor.dtype, tuple(tensor.shape), tensor.view(torch.uint8).numpy().tobytes()


def assert_same(cached: TrunkRow | None, expected: TrunkRow) -> None:
    """Bit by bit; the cached row may have more suffixes."""
    assert cached is not None
    assert bits(cached.prefix) == bits(expected.prefix)
    for suffix, tensor in expected.suffixes.items():
        assert bits(cached.suffixes[suffix]) == bits(tensor)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


# --- RAM


def test_oldest_row_leaves_an_overfull_cache():
    cache = TrunkCache(CONTEXT, max_bytes=48)  # two rows of 3 tokens, 8 bytes each
    for prefix in (PREFIX, OTHER, THIRD):
        cache.put(prefix, truth(prefix))
    assert cache.nbytes == 48
    assert cache.get(PREFIX, [SUFFIX]) is None
    assert_same(cache.get(OTHER, [SUFFIX]), truth(OTHER))
    assert_same(cache.get(THIRD, [SUFFIX]), truth(THIRD))
    assert (cache.hits, cache.disk_hits, cache.misses, cache.rejected) == (2, 0, 1, 0)


def test_row_just_asked_for_outlives_a_younger_one():
    cache = TrunkCache(CONTEXT, max_bytes=48)
    cache.put(PREFIX, truth(PREFIX))
    cache.put(OTHER, truth(OTHER))
    cache.get(PREFIX, [SUFFIX])
    cache.put(THIRD, truth(THIRD))
    assert_same(cache.get(PREFIX, [SUFFIX]), truth(PREFIX))
    assert cache.get(OTHER, [SUFFIX]) is None


def test_suffixes_of_one_prefix_are_joined():
    cache = TrunkCache(CONTEXT, AMPLE)
    cache.put(PREFIX, truth(PREFIX, [SUFFIX]))
    assert cache.get(PREFIX, [SUFFIX, LONG_SUFFIX]) is None
    cache.put(PREFIX, truth(PREFIX, [LONG_SUFFIX]))
    assert cache.nbytes == (2 + 1 + 2) * 8
    assert_same(cache.get(PREFIX, [LONG_SUFFIX, SUFFIX]), truth(PREFIX, [SUFFIX, LONG_SUFFIX]))


def test_growing_row_pushes_others_out():
    cache = TrunkCache(CONTEXT, max_bytes=48)
    cache.put(PREFIX, truth(PREFIX))
    cache.put(OTHER, truth(OTHER))
    cache.put(PREFIX, truth(PREFIX, [LONG_SUFFIX]))
    assert cache.get(OTHER, [SUFFIX]) is None
    assert_same(cache.get(PREFIX, [SUFFIX]), truth(PREFIX))
    assert cache.nbytes == 40


def test_row_above_the_budget_is_not_kept_and_pushes_nobody_out():
    cache = TrunkCache(CONTEXT, max_bytes=24)
    cache.put(PREFIX, truth(PREFIX))
    cache.put(OTHER, truth(OTHER, [LONG_SUFFIX]))  # 32 bytes
    assert cache.get(OTHER, [LONG_SUFFIX]) is None
    assert_same(cache.get(PREFIX, [SUFFIX]), truth(PREFIX))


def test_new_suffixes_replace_old_ones_where_both_exceed_the_budget():
    cache = TrunkCache(CONTEXT, max_bytes=32)
    cache.put(PREFIX, truth(PREFIX, [SUFFIX]))
    cache.put(PREFIX, truth(PREFIX, [LONG_SUFFIX]))  # 24 and 32 bytes, 40 together
    assert_same(cache.get(PREFIX, [LONG_SUFFIX]), truth(PREFIX, [LONG_SUFFIX]))
    assert cache.get(PREFIX, [SUFFIX]) is None
    assert cache.nbytes == 32


def test_views_are_copied_so_that_bytes_counted_are_bytes_held():
    batch = torch.arange(400.0).reshape(100, 4)
    cache = TrunkCache(CONTEXT, AMPLE)
    cache.put(PREFIX, TrunkRow(batch[:2], {SUFFIX: batch[50:51], LONG_SUFFIX: batch.T[:2], (): batch[:0]}))
    row = cache.get(PREFIX, [])
    assert row is not None
    assert sum(tensor.untyped_storage().nbytes() for tensor in row.tensors) == cache.nbytes == (8 + 4 + 200) * 4
    batch.zero_()
    assert row.suffixes[SUFFIX].tolist() == [[200.0, 201.0, 202.0, 203.0]]


def test_tensor_that_owns_its_memory_is_not_copied():
    row = truth(PREFIX)
    cache = TrunkCache(CONTEXT, AMPLE)
    cache.put(PREFIX, row)
    cached = cache.get(PREFIX, [])
    assert cached is not None
    assert cached.prefix is row.prefix


def test_row_with_another_number_of_tokens_is_refused():
    with pytest.raises(AssertionError, match="one vector per token"):
        TrunkCache(CONTEXT, AMPLE).put((1, 2, 3), truth(PREFIX))


def test_copies_of_a_model_share_the_cache():
    model = nn.Module()
    model.cache = TrunkCache(CONTEXT, AMPLE)
    assert copy.deepcopy(model).cache is model.cache


prefixes = st.sampled_from([(), (1,), PREFIX, (1, 2, 3)])
suffix_sets = st.lists(st.sampled_from([(), SUFFIX, LONG_SUFFIX, (7, 8, 9)]), unique=True)
puts = st.tuples(st.sampled_from(["put", "persist"]), prefixes, suffix_sets)
steps = st.lists(puts | st.tuples(st.sampled_from(["get", "restart"]), prefixes, suffix_sets), max_size=20)


@given(steps, st.integers(0, 120))
def test_any_sequence_keeps_the_budget_and_the_truth(steps: list[tuple[str, TokenIds, list[TokenIds]]], max_bytes: int):
    with TemporaryDirectory() as folder:
        cache = TrunkCache(CONTEXT, max_bytes, Path(folder))
        persisted = set()
        for step, prefix, suffixes in steps:
            row = truth(prefix, suffixes)
            if step == "restart":
                cache = TrunkCache(CONTEXT, max_bytes, Path(folder))
            elif step == "get":
                cached = cache.get(prefix, suffixes)
                assert cached is not None or (prefix, *suffixes) not in persisted
                if cached is not None:
                    assert_same(cached, row)
            else:
                cache.put(prefix, row, persist=step == "persist")
                persisted |= {(prefix, *suffixes)} if step == "persist" else set()
                assert row.nbytes > max_bytes or cache.get(prefix, suffixes) is not None
            assert cache.nbytes <= max_bytes
        assert cache.rejected == 0
        cache.folder = None
        keys = [(prefix, suffixes) if not prefix else (prefix, []) for _, prefix, suffixes in steps]
        in_ram = {id(row): row for row in (cache.get(*key) for key in keys) if row is not None}
        assert cache.nbytes == sum(row.nbytes for row in in_ram.values())


# --- the folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prefix", [PREFIX, ()])
@pytest.mark.parametrize("suffixes", [[], [SUFFIX], [LONG_SUFFIX, SUFFIX]])
def test_row_comes_back_from_disk_bit_for_bit(
    prefix: TokenIds, suffixes: list[TokenIds], dtype: torch.dtype, tmp_path: Path
):
    row = truth(prefix, suffixes, dtype=dtype)
    TrunkCache(CONTEXT, 0, tmp_path).put(prefix, row, persist=True)
    cache = TrunkCache(CONTEXT, AMPLE, tmp_path)
    assert cache.on_disk(prefix, suffixes)
    for _ in range(2):
        assert_same(cache.get(prefix, suffixes), row)
    assert (cache.hits, cache.disk_hits, cache.misses, cache.rejected) == (1, 1, 0, 0)
    assert cache.nbytes == row.nbytes


def test_row_that_is_not_contiguous_comes_back_too(tmp_path: Path):
    transposed = torch.arange(8.0).reshape(4, 2).T
    TrunkCache(CONTEXT, 0, tmp_path).put(PREFIX, TrunkRow(transposed, {}), persist=True)
    row = TrunkCache(CONTEXT, 0, tmp_path).get(PREFIX, [])
    assert row is not None
    assert row.prefix.tolist() == [[0.0, 2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]]


def test_row_from_disk_lies_in_memory_as_torch_aligns_it(tmp_path: Path):
    suffixes = [(index,) for index in range(32)]
    TrunkCache(CONTEXT, 0, tmp_path).put(PREFIX, truth(PREFIX, suffixes), persist=True)
    row = TrunkCache(CONTEXT, 0, tmp_path).get(PREFIX, suffixes)
    assert row is not None
    assert {tensor.data_ptr() % 64 for tensor in row.tensors} == {0}


def test_only_persisted_rows_are_on_disk(tmp_path: Path):
    cache = TrunkCache(CONTEXT, AMPLE, tmp_path)
    cache.put(PREFIX, truth(PREFIX))
    assert not cache.on_disk(PREFIX, [SUFFIX])
    assert files(tmp_path) == []


def test_each_persisted_row_has_a_file_of_its_own_suffixes(tmp_path: Path):
    cache = TrunkCache(CONTEXT, AMPLE, tmp_path)
    for suffixes in ([SUFFIX], [LONG_SUFFIX]):
        cache.put(PREFIX, truth(PREFIX, suffixes), persist=True)
        assert_same(TrunkCache(CONTEXT, AMPLE, tmp_path).get(PREFIX, suffixes), truth(PREFIX, suffixes))
    assert not cache.on_disk(PREFIX, [SUFFIX, LONG_SUFFIX])
    assert len(files(tmp_path)) == 2


def test_row_written_by_another_after_our_miss_is_found(tmp_path: Path):
    ours, another = TrunkCache(CONTEXT, AMPLE, tmp_path), TrunkCache(CONTEXT, AMPLE, tmp_path)
    ours.put(PREFIX, truth(PREFIX, [LONG_SUFFIX]))
    assert ours.get(PREFIX, [SUFFIX]) is None
    another.put(PREFIX, truth(PREFIX, [SUFFIX]), persist=True)
    assert_same(ours.get(PREFIX, [SUFFIX]), truth(PREFIX, [SUFFIX]))
    assert_same(ours.get(PREFIX, [SUFFIX, LONG_SUFFIX]), truth(PREFIX, [SUFFIX, LONG_SUFFIX]))


@pytest.mark.parametrize(
    ("prefix", "suffixes"),
    [((1,), [(2, 7)]), ((1, 2, 7), []), ((12,), [(7,)]), ((1, 2), [(7,), ()]), ((1, 2), [(7, 7)]), ((2, 1), [(7,)])],
)
def test_other_token_ids_are_another_row(prefix: TokenIds, suffixes: list[TokenIds], tmp_path: Path):
    cache = TrunkCache(CONTEXT, 0, tmp_path)
    cache.put((1, 2), truth((1, 2), [(7,)]), persist=True)
    assert cache.get(prefix, suffixes) is None
    assert (cache.misses, cache.rejected) == (1, 0)


@pytest.mark.parametrize("change", [{"split": 2}, {"split": "1"}, {"backbone": "xyz"}, {"threads": 1}])
def test_row_of_another_context_is_not_found(change: dict[str, str | int], tmp_path: Path):
    TrunkCache(CONTEXT, 0, tmp_path).put(PREFIX, truth(PREFIX), persist=True)
    foreign = TrunkCache(CONTEXT | change, AMPLE, tmp_path)
    assert foreign.get(PREFIX, [SUFFIX]) is None
    assert foreign.rejected == 0
    same = TrunkCache(dict(reversed(CONTEXT.items())), AMPLE, tmp_path)
    assert_same(same.get(PREFIX, [SUFFIX]), truth(PREFIX))


def test_equal_rows_are_equal_files(tmp_path: Path):
    contents = set()
    for index in range(4):
        TrunkCache(CONTEXT, 0, tmp_path / str(index)).put(PREFIX, truth(PREFIX), persist=True)
        (file,) = files(tmp_path / str(index))
        contents.add((file.relative_to(tmp_path / str(index)), file.read_bytes()))
    assert len(contents) == 1


# --- files that are not what they should be


def foreign_row(prefix: TokenIds, suffixes: Sequence[TokenIds]) -> Callable[[bytes], bytes]:
    """The good file of another row, as it would be after a mistaken copy."""

    def replace(_: bytes) -> bytes:
        with TemporaryDirectory() as folder:
            TrunkCache(CONTEXT, 0, Path(folder)).put(prefix, truth(prefix, suffixes), persist=True)
            (file,) = files(Path(folder))
            return file.read_bytes()

    return replace


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "deserializing"),
    "garbage": (lambda _: bytes(range(256)) * 4, "deserializing"),
    "cut in the header's length": (lambda content: content[:5], "deserializing"),
    "cut in the header": (lambda content: content[:100], "deserializing"),
    "huge header": (lambda content: b"\xff" * 8 + content[8:], "deserializing"),
    "last byte missing": (lambda content: content[:-1], "deserializing"),
    "one byte more": (lambda content: content + b"\0", "deserializing"),
    "flipped bit in the data": (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "checksum"),
    "a dtype of the same size": (lambda content: content.replace(b'"F32"', b'"I32"'), "checksum"),
    "a dtype that torch lacks": (lambda content: content.replace(b'"F32"', b'"F4"').replace(b"2]", b"16]"), "F4"),
    "a shape of the same size": (lambda content: content.replace(b"[1,2]", b"[2,1]"), "numbers of tokens"),
    "no metadata": (lambda content: save(load(content)), "another row"),
    "other metadata": (lambda content: save(load(content), {"format": "pt"}), "another row"),
    "another prefix": (foreign_row(OTHER, [SUFFIX]), "another row"),
    "another suffix of the same length": (foreign_row(PREFIX, [(8,)]), "another row"),
    "a longer suffix": (foreign_row(PREFIX, [LONG_SUFFIX]), "numbers of tokens"),
    "a longer prefix": (foreign_row((1, 2, 3), [SUFFIX]), "numbers of tokens"),
    "fewer suffixes": (foreign_row(PREFIX, []), "a prefix and 1 suffixes"),
    "more suffixes": (foreign_row(PREFIX, [SUFFIX, LONG_SUFFIX]), "a prefix and 1 suffixes"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_is_told_removed_and_written_anew(
    damage: Callable[[bytes], bytes], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    TrunkCache(CONTEXT, 0, tmp_path).put(PREFIX, truth(PREFIX), persist=True)
    (file,) = files(tmp_path)
    content = file.read_bytes()
    cache = TrunkCache(CONTEXT, 0, tmp_path)
    for times in (1, 2):
        damaged = damage(content)
        assert damaged != content
        file.write_bytes(damaged)
        assert cache.get(PREFIX, [SUFFIX]) is None
        assert (cache.rejected, cache.misses, cache.disk_hits) == (times, times, 0)
        assert not file.exists()
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert str(file) in message
    assert reason in message
    assert "computed again" in message
    cache.put(PREFIX, truth(PREFIX), persist=True)
    assert_same(cache.get(PREFIX, [SUFFIX]), truth(PREFIX))


def test_a_flipped_bit_in_any_byte_is_noticed(tmp_path: Path):
    cache = TrunkCache(CONTEXT, 0, tmp_path)
    cache.put(PREFIX, truth(PREFIX), persist=True)
    (file,) = files(tmp_path)
    content = file.read_bytes()
    for offset in range(len(content)):
        flipped = bytearray(content)
        flipped[offset] ^= 1 << offset % 8
        file.write_bytes(flipped)
        assert cache.get(PREFIX, [SUFFIX]) is None, offset
    assert cache.rejected == len(content)


def test_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path: Path):
    resource = pytest.importorskip("resource", reason="limits of file size are POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    cache = TrunkCache(CONTEXT, AMPLE, tmp_path)
    row = truth(PREFIX, hidden=10_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            cache.put(PREFIX, row, persist=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path) == []
    cache.put(PREFIX, row, persist=True)
    assert cache.on_disk(PREFIX, [SUFFIX])


# --- several processes

SHARED_PREFIXES = [tuple(range(index, index + 16)) for index in range(20)]


def write_and_read(folder: Path, seed: int, barrier: Barrier) -> None:
    """Eight times, with an empty RAM each time: look every row up, compute what is not there, and write it."""
    torch.set_num_threads(1)
    order = random.Random(seed)
    barrier.wait(timeout=60)
    for _ in range(8):
        cache = TrunkCache(CONTEXT, AMPLE, folder)
        for prefix in order.sample(SHARED_PREFIXES, len(SHARED_PREFIXES)):
            row = truth(prefix, hidden=256)
            cached = cache.get(prefix, [SUFFIX])
            if cached is not None:
                assert_same(cached, row)
            cache.put(prefix, row, persist=True)
        assert cache.rejected == 0


def test_two_processes_write_and_read_the_same_rows_at_once(tmp_path: Path):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    workers = [spawn.Process(target=write_and_read, args=(tmp_path, seed, barrier)) for seed in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    cache = TrunkCache(CONTEXT, AMPLE, tmp_path)
    for prefix in SHARED_PREFIXES:
        assert_same(cache.get(prefix, [SUFFIX]), truth(prefix, hidden=256))
    assert {file.suffix for file in files(tmp_path)} == {".safetensors"}
    assert len(files(tmp_path)) == len(SHARED_PREFIXES)


def test_a_sweep_removes_what_a_killed_writer_left_and_nothing_else(tmp_path: Path) -> None:
    cache = TrunkCache(CONTEXT, AMPLE, tmp_path)
    cache.put(PREFIX, truth(PREFIX), persist=True)
    [row] = tmp_path.glob("*/*.safetensors")
    left, young = (row.with_name(f".{row.name}.123.{letter * 16}") for letter in "ab")
    foreign = row.with_name(".model.safetensors.part")
    for temporary in (left, young, foreign):
        temporary.write_bytes(b"half")
    day_before = row.stat().st_mtime - 86400
    for old in (left, foreign, row):
        os.utime(old, (day_before, day_before))
    cache.sweep()
    assert not left.exists()
    assert young.exists()
    assert foreign.exists()
    assert row.exists()


def test_a_file_that_cannot_be_read_now_stays_and_one_that_cannot_be_removed_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = TrunkCache(CONTEXT, 0, tmp_path)
    cache.put(PREFIX, truth(PREFIX), persist=True)
    (file,) = files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        assert cache.get(PREFIX, [SUFFIX]) is None
    assert_same(cache.get(PREFIX, [SUFFIX]), truth(PREFIX))
    file.write_bytes(b"damaged")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: (_ for _ in ()).throw(PermissionError(path)))
        assert cache.get(PREFIX, [SUFFIX]) is None


def test_an_empty_file_does_not_count_as_written(tmp_path: Path):
    cache = TrunkCache(CONTEXT, 0, tmp_path)
    cache.put(PREFIX, truth(PREFIX), persist=True)
    assert cache.on_disk(PREFIX, [SUFFIX])
    (file,) = files(tmp_path)
    file.write_bytes(b"")
    assert not cache.on_disk(PREFIX, [SUFFIX])
