"""The actor-critic: one answer per distinct state, independent of its neighbours."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from flag_kedro.env.prompt import compact_account_texts
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import load_backbone
from flag_kedro.policy.config import PolicyConfig


def make_states(window: TradingWindow, rows: list[tuple[int, int]]) -> States:
    """States from (session, account text) pairs of the first symbol; flat accounts cannot sell, long ones not buy."""
    texts = compact_account_texts()
    return States(
        prefix=[window.prefixes[0][session] for session, _ in rows],
        account=[texts[account] for _, account in rows],
        action_mask=np.array([[account > 0, True, account == 0] for _, account in rows]),
    )


def test_equal_states_are_evaluated_once(actor_critic: ActorCritic, small_window: TradingWindow):
    num_suffixes: list[int] = []
    extend = actor_critic.top.extend
    actor_critic.top.extend = lambda *given: num_suffixes.append(int((given[2] > 1).sum())) or extend(*given)
    actor_critic.evaluate(make_states(small_window, [(0, 0), (0, 0), (1, 0), (0, 5), (0, 0)]))
    assert sum(num_suffixes) == 3  # a dummy has one token


def test_repeated_states_get_the_gradient_of_separate_ones(actor_critic: ActorCritic, small_window: TradingWindow):
    rows = [(0, 0), (0, 0), (1, 3), (0, 0), (1, 3)]
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.5])
    together = gradients(
        actor_critic, lambda model: (model.evaluate(make_states(small_window, rows)).values * weights).sum()
    )
    alone = gradients(
        actor_critic,
        lambda model: sum(
            model.evaluate(make_states(small_window, [row])).values.sum() * weight
            for row, weight in zip(rows, weights, strict=True)
        ),
    )
    assert float((together - alone).norm() / alone.norm()) <= 1e-5


def gradients(model: ActorCritic, loss: object) -> torch.Tensor:
    model.zero_grad()
    loss(model).backward()  # type: ignore[operator]
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


def test_bits_of_a_state_do_not_depend_on_its_neighbours(actor_critic: ActorCritic, small_window: TradingWindow):
    everything = [(session, account) for session in range(12) for account in (0, 1, 7, 30)]
    with torch.no_grad():
        together = actor_critic.evaluate(make_states(small_window, everything))
        for index in (0, 5, 17, 47):
            alone = actor_critic.evaluate(make_states(small_window, [everything[index]]))
            assert torch.equal(alone.values[0], together.values[index])
            assert torch.equal(alone.log_probs[0], together.log_probs[index])


def test_masked_actions_have_probability_zero_and_the_rest_sums_to_one(
    actor_critic: ActorCritic, small_window: TradingWindow
):
    decided = actor_critic.decide(make_states(small_window, [(0, 0), (1, 4), (2, 0)]))
    assert decided.probabilities is not None
    assert decided.probabilities[0, 0] == decided.probabilities[1, 2] == decided.probabilities[2, 0] == 0
    np.testing.assert_allclose(decided.probabilities.sum(axis=1), 1.0, rtol=1e-6)
    assert (decided.actions == decided.probabilities.argmax(axis=1)).all()


def test_answers_equal_transformers_on_one_unpadded_prompt(
    actor_critic: ActorCritic, small_window: TradingWindow, tiny_backbone: Path
):
    """At the start LoRA adds nothing, so the plain backbone must give the same last hidden state."""
    states = make_states(small_window, [(3, 9)])
    plain = load_backbone(tiny_backbone, torch.device("cpu"))
    ids = [
        0,
        *actor_critic.tokenizer.encode(states.prefix[0]).ids,
        *actor_critic.tokenizer.encode(states.account[0]).ids,
    ]
    with torch.no_grad():
        hidden = plain(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        expected = actor_critic.heads["value"](hidden).item()
        value = actor_critic.evaluate(states).values.item()
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_nothing_holds_a_policy_after_its_last_use(tiny_backbone: Path, small_window: TradingWindow):
    """Not even itself: what it keeps of prompts are gigabytes, which a garbage collector does not count."""
    model = build_actor_critic(tiny_backbone, PolicyConfig(readout="lines"), 0, torch.device("cpu"))
    model.fit_readout(small_window.prefixes[0])
    model.evaluate(make_states(small_window, [(0, 0), (1, 3)]))
    last = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert last() is None
    finally:
        gc.enable()


def test_only_the_top_and_the_heads_learn(actor_critic: ActorCritic):
    learning = [name for name, weight in actor_critic.named_parameters() if weight.requires_grad]
    assert all("lora_" in name or name.startswith("heads.") for name in learning)
    assert all(".layers.1." in name for name in learning if "lora_" in name)
    assert sum("lora_" in name for name in learning) == 7 * 2


def test_whole_layers_learn_without_lora(tiny_backbone: Path):
    config = PolicyConfig(frozen_layers=1, trainable="layers")
    model = build_actor_critic(tiny_backbone, config, 0, torch.device("cpu"))
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning == {
        name for name, _ in model.named_parameters() if ".layers.1." in name or name.startswith("heads.")
    }


def test_untrained_policy_is_nearly_uniform_over_legal_actions(tiny_backbone: Path, small_window: TradingWindow):
    model = build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1), 0, torch.device("cpu"))
    probabilities = model.decide(make_states(small_window, [(0, 0), (4, 2)])).probabilities
    assert probabilities is not None
    assert np.abs(probabilities[0] - [0, 0.5, 0.5]).max() < 0.1
    assert np.abs(probabilities[1] - [0.5, 0.5, 0]).max() < 0.1


def test_prompt_over_the_token_limit_names_what_to_change(tiny_backbone: Path, small_window: TradingWindow):
    model = build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1, max_tokens=16), 0, torch.device("cpu"))
    states = make_states(small_window, [(0, 0)])
    long = States([states.prefix[0] * 20], states.account, states.action_mask)
    with pytest.raises(DataError, match=r"limit is 16 .*features\.digest_chars"):
        model.evaluate(long)


def test_backbone_that_looks_ahead_is_refused(tiny_backbone: Path):
    model = build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1), 0, torch.device("cpu"))
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    with pytest.raises(ParameterError, match="causal"):
        model.check_backbone("float32")


def test_same_seed_gives_the_same_weights_and_another_seed_others(tiny_backbone: Path):
    first, again, other = (
        build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1), seed, torch.device("cpu")).state_dict()
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_padding_is_obeyed_by_a_plain_call_of_the_backbone(tiny_backbone: Path):
    model = build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1), 0, torch.device("cpu"))
    ids = torch.arange(1, 11)[None]
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], dim=1)
    mask = (torch.arange(14) >= 4).long()[None]
    positions = (torch.arange(14) - 4).clamp(min=0)[None]
    with torch.no_grad():
        expected = model.backbone(input_ids=ids).last_hidden_state[0, -1]
        output = model.backbone(input_ids=padded, attention_mask=mask, position_ids=positions).last_hidden_state[0, -1]
    assert torch.allclose(output, expected, atol=1e-5)
