"""The prefix KV cache: every suffix gets the keys and values of its own prefix."""

import torch

from flag_kedro.policy.attention import KVCache
from flag_kedro.policy.packing import Batch
from flag_kedro.policy.prefix_kv_cache import PrefixKVCache, TakenRows, append_suffixes


def keys_values(rows: list[float], length: int) -> KVCache:
    """Layers 1 and 2, one head of size 1; keys hold the row's number, values ten times it."""
    keys = torch.tensor(rows).reshape(-1, 1, 1, 1).expand(-1, 1, length, 1)
    return {layer: (keys, 10 * keys) for layer in (1, 2)}


def test_prefixes_of_several_batches_are_taken_in_any_order_and_repeatedly():
    cache = PrefixKVCache()
    cache.add(Batch([4, 0], rows=3, length=64), keys_values([4.0, 0.0, -1.0], 64))  # the third row is a dummy
    cache.add(Batch([7], rows=3, length=64), keys_values([7.0, -1.0, -1.0], 64))
    cache.add(Batch([2], rows=1, length=128), keys_values([2.0], 128))
    assert cache.padded_length == {4: 64, 0: 64, 7: 64, 2: 128}
    for _ in range(2):
        taken = cache.take([7, 4, 7, 0], 64)
        assert taken.keys() == {1, 2}
        for keys, values in taken.values():
            assert keys.shape == (4, 1, 64, 1)
            assert keys[:, 0, 0, 0].tolist() == [7, 4, 7, 0]
            assert values[:, 0, 0, 0].tolist() == [70, 40, 70, 0]
    assert cache.take([2], 128)[1][0].shape == (1, 1, 128, 1)
    assert cache.take([2], 128).length == 128


def test_taken_rows_keep_no_copies():
    taken = TakenRows(keys_values([4.0, 5.0], 2), [1, 1], 2)
    assert taken[1][0].data_ptr() != taken[1][0].data_ptr()


def test_empty_prefixes_have_no_keys():
    cache = PrefixKVCache()
    cache.add(Batch([1, 3], rows=1, length=0), {})
    assert cache.padded_length == {1: 0, 3: 0}
    taken = cache.take([3, 1], 0)
    assert not taken
    assert taken.length == 0


def test_suffixes_stand_behind_their_prefixes():
    past, suffixes = TakenRows(keys_values([1.0], 3), [0], 3), {2: keys_values([5.0], 2)[2]}
    joined = append_suffixes(past, suffixes)
    assert joined.keys() == {2}
    assert joined[2][0][0, 0, :, 0].tolist() == [1, 1, 1, 5, 5]
    assert joined[2][1][0, 0, :, 0].tolist() == [10, 10, 10, 50, 50]
    assert append_suffixes(TakenRows({}, [0], 0), suffixes)[2][0] is suffixes[2][0]


def test_padding_makes_prefixes_of_two_lengths_share_a_batch_and_keeps_their_rows():
    cache = PrefixKVCache()
    cache.add(Batch([4], rows=2, length=64), keys_values([4.0, -1.0], 64), bucket=256)
    cache.add(Batch([7, 2], rows=2, length=128), keys_values([7.0, 2.0], 128), bucket=256)
    cache.add(Batch([9], rows=1, length=320), keys_values([9.0], 320), bucket=256)
    assert cache.padded_length == {4: 256, 7: 256, 2: 256, 9: 512}
    keys, values = cache.take([2, 4, 7], 256)[1]
    assert keys.shape == (3, 1, 256, 1)
    assert keys[:, 0, 0, 0].tolist() == [2, 4, 7]
    assert values[:, 0, 63, 0].tolist() == [20, 40, 70]
    assert keys[1, 0, 64:].abs().max() == 0
    assert keys[0, 0, 128:].abs().max() == 0
