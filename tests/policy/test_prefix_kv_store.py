"""Keys and values of known prefixes: a new account text costs its own tokens, in bounded memory, and no bit changes."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flag_kedro.env.states import States
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.packing import TokenIds
from flag_kedro.policy.prefix_kv_cache import KeysValues
from flag_kedro.policy.prefix_kv_store import PrefixKVStore

Build = Callable[..., ActorCritic]
StatesOf = Callable[[Sequence[tuple[int, int]]], States]
CONFIG = PolicyConfig(frozen_layers=2, trunk_cache="ram")
PREFIXES = range(8)
FIRST, SECOND = 0, 17
"""Two account texts."""


@pytest.fixture(params=["float32", "bfloat16"])
def config(request: pytest.FixtureRequest) -> PolicyConfig:
    return replace(CONFIG, dtype=request.param)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What trunks read from now on: `prefill` or `extend`, and rows times padded tokens of the batch."""
    batches: list[tuple[str, int]] = []
    from flag_kedro.policy.trunk import Trunk

    def recorded(name: str) -> Callable[..., object]:
        method = getattr(Trunk, name)

        def call(self: Trunk, hidden: Tensor, *rest: object) -> object:
            batches.append((name, hidden.shape[0] * hidden.shape[1]))
            return method(self, hidden, *rest)

        return call

    for name in ("prefill", "extend"):
        monkeypatch.setattr(Trunk, name, recorded(name))
    return batches


def bits(model: ActorCritic, states: States) -> list[Tensor]:
    with torch.no_grad():
        evaluation = model.evaluate(states)
    return [evaluation.log_probs, evaluation.values]


def assert_same_bits(actual: list[Tensor], expected: list[Tensor]) -> None:
    assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


# --- what is read


def test_new_account_behind_a_known_prefix_reads_itself_alone(
    build: Build, config: PolicyConfig, positioned_backbone: Path, states_of: StatesOf, read: list[tuple[str, int]]
):
    first, second = (states_of([(prefix, account) for prefix in PREFIXES]) for account in (FIRST, SECOND))
    expected = bits(build(positioned_backbone, replace(config, trunk_cache="never")), second)
    model = build(positioned_backbone, config)
    read.clear()
    bits(model, first)
    assert {name for name, _ in read} == {"prefill", "extend"}
    read.clear()
    assert_same_bits(bits(model, second), expected)
    assert read
    assert {name for name, _ in read} == {"extend"}
    read.clear()
    assert_same_bits(bits(model, second), expected)
    assert not read


def test_without_a_budget_the_prefix_is_read_again(
    build: Build, positioned_backbone: Path, states_of: StatesOf, read: list[tuple[str, int]]
):
    model = build(positioned_backbone, replace(CONFIG, prefix_kv_mb=0))
    bits(model, states_of([(0, FIRST)]))
    read.clear()
    bits(model, states_of([(0, SECOND)]))
    assert [name for name, _ in read] == ["prefill", "extend"]


def test_known_and_unknown_prefixes_in_one_call_give_the_bits_of_a_cold_policy(
    build: Build, config: PolicyConfig, positioned_backbone: Path, states_of: StatesOf
):
    asked = states_of([(prefix, account) for prefix in PREFIXES for account in (FIRST, SECOND, 5)])
    expected = bits(build(positioned_backbone, replace(config, trunk_cache="never")), asked)
    model = build(positioned_backbone, config)
    bits(model, states_of([(prefix, FIRST) for prefix in (6, 1, 3)]))
    assert_same_bits(bits(model, asked), expected)


def test_rows_that_left_memory_come_back_with_the_same_bits(
    build: Build, positioned_backbone: Path, states_of: StatesOf
):
    """The cache of rows holds nothing, that of keys and values everything, and the other way round."""
    asked = states_of([(prefix, SECOND) for prefix in PREFIXES])
    expected = bits(build(positioned_backbone, replace(CONFIG, trunk_cache="never")), asked)
    for config in (replace(CONFIG, trunk_cache_mb=0), replace(CONFIG, prefix_kv_mb=0)):
        model = build(positioned_backbone, config)
        bits(model, states_of([(prefix, FIRST) for prefix in PREFIXES]))
        assert_same_bits(bits(model, asked), expected)


def test_full_store_stays_within_its_budget_and_changes_no_bit(
    build: Build, positioned_backbone: Path, states_of: StatesOf
):
    rounds = [states_of([(prefix, account) for prefix in PREFIXES]) for account in (FIRST, SECOND, 5, 9)]
    cold = build(positioned_backbone, replace(CONFIG, trunk_cache="never"))
    expected = [bits(cold, states) for states in rounds]
    model = build(positioned_backbone, CONFIG)
    assert model.trunk.cache is not None
    store = model.trunk.cache.keys_values
    store.max_bytes = 60_000
    for states, wanted in zip(rounds, expected, strict=True):
        assert_same_bits(bits(model, states), wanted)
        assert 0 < store.nbytes <= store.max_bytes
        assert 0 < len(store) < len(PREFIXES)


def test_keys_and_values_are_those_of_the_real_tokens_in_every_frozen_layer(
    build: Build, positioned_backbone: Path, states_of: StatesOf
):
    model = build(positioned_backbone, CONFIG)
    states = states_of([(2, FIRST)])
    bits(model, states)
    prefix = model.tokenise(states.prefix[0], states.account[0]).prefix
    assert model.trunk.cache is not None
    kept = model.trunk.cache.keys_values.get(prefix)
    assert kept is not None
    base = model.trunk.base
    base.set_attn_implementation("sdpa")
    past = base(input_ids=torch.tensor([prefix]), use_cache=True).past_key_values
    for layer in range(CONFIG.frozen_layers):
        torch.testing.assert_close(kept.tensor[layer, 0], past.layers[layer].keys[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(kept.tensor[layer, 1], past.layers[layer].values[0], atol=1e-5, rtol=1e-4)


# --- the store


def keys_values(prefix: TokenIds) -> KeysValues:
    """8 bytes for each token."""
    return KeysValues(torch.zeros(1, 2, 1, len(prefix), 1))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(0, 100))
def test_bytes_counted_are_bytes_held_and_never_above_the_budget(lengths: list[int], max_bytes: int):
    store = PrefixKVStore(max_bytes)
    for number, length in enumerate(lengths):
        prefix = (number % 7,) * length
        fits = 8 * length <= max_bytes
        store.put(prefix, keys_values(prefix))
        assert (store.get(prefix) is not None) == fits
        held = [kept.nbytes for kept in store._kept.values()]
        assert store.nbytes == sum(held) <= max_bytes
        assert len(store) == len(held)


def test_going_round_a_window_larger_than_the_budget_still_finds_a_part():
    """The least recently used prefix would be the very one that comes next, and nothing would ever be found."""
    prefixes = [(number,) for number in range(100)]
    store = PrefixKVStore(50 * 8)
    for _ in range(10):
        for prefix in prefixes:
            if store.get(prefix) is None:
                store.put(prefix, keys_values(prefix))
    assert store.hits > 100


def test_copies_of_a_model_share_the_store():
    store = PrefixKVStore(100)
    assert copy.deepcopy(store) is store


def test_wrong_number_of_tokens_is_a_bug():
    with pytest.raises(AssertionError, match="one vector per token"):
        PrefixKVStore(100).put((1, 2), keys_values((1,)))


# --- reading ahead


@pytest.mark.parametrize("packing", [True, False])
def test_reading_ahead_changes_no_bit_and_leaves_the_account_alone_to_be_read(
    build: Build,
    config: PolicyConfig,
    positioned_backbone: Path,
    states_of: StatesOf,
    read: list[tuple[str, int]],
    packing: bool,
):
    asked = states_of([(prefix, SECOND) for prefix in PREFIXES])
    expected = bits(build(positioned_backbone, replace(config, trunk_cache="never", packing=packing)), asked)
    model = build(positioned_backbone, replace(config, packing=packing))
    read.clear()
    model.read_ahead(asked.prefix)
    assert {name for name, _ in read} == ({"prefill"} if packing else set())
    model.read_ahead(asked.prefix)
    read.clear()
    model.read_ahead(asked.prefix)
    assert not read
    assert_same_bits(bits(model, asked), expected)
    assert {name for name, _ in read} == {"extend"}


def test_reading_ahead_fills_batches(
    build: Build, positioned_backbone: Path, states_of: StatesOf, read: list[tuple[str, int]]
):
    """Prefixes asked for one by one are read beside dummies, at several times the cost."""
    asked = [states_of([(prefix, FIRST)]) for prefix in (0, 3, 6, 8, 9, 11, 13)]  # in two buckets
    one_by_one, ahead = (build(positioned_backbone, CONFIG) for _ in range(2))
    tokens = []
    for model, first in ((one_by_one, []), (ahead, [states.prefix[0] for states in asked])):
        read.clear()
        model.read_ahead(first)
        for states in asked:
            bits(model, states)
        tokens.append(sum(num for name, num in read if name == "prefill"))
    assert 2 * tokens[1] <= tokens[0]
