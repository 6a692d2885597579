"""Bits of a state depend neither on what is asked beside it nor on its place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import (
    GPT2Config,
    GPT2Model,
    GPTNeoXConfig,
    GPTNeoXModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
)

from flag_kedro.env.states import States
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.config import PolicyConfig

NEVER = PolicyConfig(frozen_layers=1, trunk_cache="never")
ROWS = [(prefix, account) for prefix in range(8) for account in (0, 3, 17)]
WIDE = {
    "vocab_size": 1024,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "bos_token_id": 0,
    "initializer_range": 0.1,
}
Build = Callable[..., ActorCritic]
StatesOf = Callable[[Sequence[tuple[int, int]]], States]


@pytest.fixture(scope="module")
def wide_backbone(save_backbone: Callable[[PreTrainedModel], Path]) -> Path:
    """Heads of 32 numbers: the smallest at which one query and two threads show."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return save_backbone(LlamaModel(LlamaConfig(**WIDE, num_key_value_heads=1)))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("dtype", "change"),
    [
        ("float32", {}),
        ("bfloat16", {}),
        ("float32", {"packing": False}),
        ("float32", {"distinct_states": False}),
        ("float32", {"trunk_cache": "ram"}),
        ("float32", {"batch_tokens": 832}),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(map(str, given.items())) or "default",
)
def test_bits_of_a_state_depend_neither_on_neighbours_nor_on_its_place(
    build: Build, dtype: str, change: dict[str, object], wide_backbone: Path, states_of: StatesOf
):
    model = build(wide_backbone, replace(NEVER, dtype=dtype, **change))
    alone = {row: model.evaluate(states_of([row])) for row in ROWS}
    assert len({float(evaluation.values.detach()) for evaluation in alone.values()}) == len(ROWS)

    @settings(max_examples=12)
    @given(st.permutations(ROWS), st.integers(1, len(ROWS)), st.integers(0, 3))
    @example(ROWS, len(ROWS), 3)
    def check(order: list[tuple[int, int]], num: int, repeated: int) -> None:
        chosen = order[:num] + order[:repeated]
        evaluation = model.evaluate(states_of(chosen))
        for index, row in enumerate(chosen):
            assert torch.equal(evaluation.values[index], alone[row].values[0]), (index, row)
            assert torch.equal(evaluation.log_probs[index], alone[row].log_probs[0]), (index, row)

    check()


def test_a_volatility_head_changes_no_bit_of_policy_and_value_and_has_bits_of_its_own(
    build: Build, wide_backbone: Path, states_of: StatesOf
):
    model = build(wide_backbone, NEVER)
    before = model.evaluate(states_of(ROWS))
    assert before.volatility is None
    model.add_volatility_head()
    assert not model.evaluate(states_of(ROWS)).volatility.detach().any()  # type: ignore[union-attr]
    torch.nn.init.normal_(model.heads["volatility"].weight, generator=torch.Generator().manual_seed(0))
    alone = {row: model.evaluate(states_of([row])).volatility.tolist()[0] for row in ROWS}  # type: ignore[union-attr]
    assert len(set(alone.values())) == len(ROWS)
    for order in (ROWS, ROWS[::-1], ROWS[5:11]):
        after = model.evaluate(states_of(order))
        assert after.volatility.tolist() == [alone[row] for row in order]  # type: ignore[union-attr]
    whole = model.evaluate(states_of(ROWS))
    assert torch.equal(whole.log_probs, before.log_probs)
    assert torch.equal(whole.values, before.values)
    # what it reads is the vector that the others read
    expected = model.vectors(states_of(ROWS)) @ model.heads["volatility"].weight.T
    torch.testing.assert_close(whole.volatility[:, None], expected)  # type: ignore[index]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["gpt_neox", "qwen2", "gpt2"])
def test_neither_do_those_of_families_with_biases_whose_layers_learn(
    build: Build, family: str, dtype: str, save_backbone: Callable[[PreTrainedModel], Path], states_of: StatesOf
):
    models = {
        "gpt_neox": lambda: GPTNeoXModel(GPTNeoXConfig(**WIDE)),
        "qwen2": lambda: Qwen2Model(Qwen2Config(**WIDE, num_key_value_heads=1)),
        "gpt2": lambda: GPT2Model(GPT2Config(**WIDE, n_inner=160)),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        folder = save_backbone(models[family]())
    model = build(folder, replace(NEVER, dtype=dtype, trainable="layers"))
    alone = {row: model.evaluate(states_of([row])).values.tolist()[0] for row in ROWS}
    for order in (ROWS, ROWS[::-1], ROWS[5:11]):
        assert model.evaluate(states_of(order)).values.tolist() == [alone[row] for row in order]


@pytest.mark.usefixtures("two_threads")
def test_neither_do_they_with_two_threads(build: Build, wide_backbone: Path, states_of: StatesOf):
    model = build(wide_backbone, NEVER)
    alone = {row: model.evaluate(states_of([row])).values.tolist() for row in ROWS}

    @settings(max_examples=6)
    @given(st.permutations(ROWS), st.integers(1, len(ROWS)))
    @example(ROWS, len(ROWS))
    def check(order: list[tuple[int, int]], num: int) -> None:
        values = model.evaluate(states_of(order[:num])).values.tolist()
        assert values == [alone[row][0] for row in order[:num]]

    check()
