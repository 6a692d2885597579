"""The prefix KV cache: every suffix gets the keys and values of its own prefix."""

import torch

from flag_kedro.policy.attention import KVCache
from flag_kedro.policy.packing import Batch
from flag_kedro.policy.prefix_kv_cache import PrefixKVCache, append_suffixes, prefix_length


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


def test_empty_prefixes_have_no_keys():
    cache = PrefixKVCache()
    cache.add(Batch([1, 3], rows=1, length=0), {})
    assert cache.padded_length == {1: 0, 3: 0}
    assert cache.take([3, 1], 0) == {}
    assert prefix_length({}) == 0


def test_suffixes_stand_behind_their_prefixes():
    past, suffixes = keys_values([1.0], 3), {2: keys_values([5.0], 2)[2]}
    joined = append_suffixes(past, suffixes)
    assert joined.keys() == {2}
    assert joined[2][0][0, 0, :, 0].tolist() == [1, 1, 1, 5, 5]
    assert joined[2][1][0, 0, :, 0].tolist() == [10, 10, 10, 50, 50]
    assert prefix_length(joined) == 5
    assert append_suffixes({}, suffixes)[2][0] is suffixes[2][0]
