"""Heads that read the ends of headlines: the right tokens, additive, the same bits in every way of reading."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flag_kedro.env.prompt import write_prefix
from flag_kedro.env.states import States
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import load_tokenizer
from flag_kedro.policy.bundle import TrainedPolicy, load_policy
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.policy.readout import Standardisation, headline_ends, sum_lines

Build = Callable[..., ActorCritic]
StatesOf = Callable[[Sequence[tuple[int, int]]], States]
LINES = PolicyConfig(frozen_layers=2, readout="lines", trunk_cache="ram")
MARKET = "1d +0.4%, RSI 51"
ROWS = [(0, 0), (1, 5), (2, 9), (2, 0), (5, 1), (7, 22)]


@pytest.mark.parametrize("news", ["none", "- one", "- one\n- two, and - three\n- four"])
def test_tokens_are_those_that_hold_the_ends_of_headlines(llama_backbone: Path, news: str):
    tokenizer, _ = load_tokenizer(llama_backbone)
    prefix = write_prefix(MARKET, news)
    ends = headline_ends(prefix, tokenizer)
    ids = tokenizer.encode(prefix, add_special_tokens=False).ids
    until = [tokenizer.decode(ids[: end + 1]) for end in ends]
    headlines = [line for line in prefix.splitlines() if line.startswith("- ")]
    assert len(ends) == len(headlines)
    for text, headline in zip(until, headlines, strict=True):
        assert text.endswith(f"{headline}\n")


def test_the_market_and_the_account_are_no_headlines(llama_backbone: Path):
    tokenizer, _ = load_tokenizer(llama_backbone)
    assert headline_ends(write_prefix(MARKET, "none"), tokenizer) == ()


def test_sum_is_of_vectors_of_unit_root_mean_square():
    hidden = torch.tensor([[3.0, 4.0], [9.0, 9.0], [0.0, -2.0]])
    root = 12.5**0.5  # of (9 + 16) / 2
    expected = [3 / root + 0, 4 / root - 2 / 2**0.5]
    assert sum_lines(hidden, (0, 2)).tolist() == pytest.approx(expected)
    assert sum_lines(hidden, ()).tolist() == [0.0, 0.0]


def answers(model: ActorCritic, states: States) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        evaluation = model.evaluate(states)
    return evaluation.log_probs, evaluation.values


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_way_of_reading_gives_the_same(build: Build, llama_backbone: Path, states_of: StatesOf, dtype: str):
    states = states_of(ROWS)
    config = replace(LINES, dtype=dtype)
    expected = answers(build(llama_backbone, replace(config, trunk_cache="never")), states)
    warm = build(llama_backbone, config)
    for _ in range(2):
        assert all(torch.equal(*pair) for pair in zip(answers(warm, states), expected, strict=True))
    whole = answers(build(llama_backbone, replace(config, packing=False)), states)
    tolerance = 1e-4 if dtype == "float32" else 0.1
    for actual, wanted in zip(whole, expected, strict=True):
        torch.testing.assert_close(actual, wanted, atol=tolerance, rtol=tolerance)


def test_answers_are_those_of_transformers_plus_the_headlines(build: Build, llama_backbone: Path, states_of: StatesOf):
    """Independent of the two steps: transformers' own forward pass over the whole prompt, layer by layer."""
    model, states = build(llama_backbone, LINES), states_of([(2, 9)])
    _, values = answers(model, states)
    prompt = model.tokenise(states.prefix[0], states.account[0])
    assert prompt.headline_ends
    base = model.trunk.base
    base.set_attn_implementation("sdpa")
    with torch.no_grad():
        output = base(input_ids=torch.tensor([prompt.prefix + prompt.suffix]), output_hidden_states=True)
        ends = output.hidden_states[LINES.frozen_layers][0, list(prompt.headline_ends)]
        summed = (ends / ends.square().mean(dim=1, keepdim=True).sqrt()).sum(dim=0)
        expected = model.heads["value"](torch.cat([output.last_hidden_state[0, -1], summed]))
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-4)


def test_standardised_headlines_have_mean_zero_and_deviation_one_on_the_training_prompts(
    build: Build, llama_backbone: Path, states_of: StatesOf
):
    """By numpy, from the hidden states of transformers' own forward pass over each prompt."""
    model = build(llama_backbone, LINES)
    texts = states_of([(row, 0) for row in range(8)]).prefix
    model.fit_readout(texts)
    assert model.standard is not None
    prompts = [model.tokenise(text, " flat. Decision:") for text in texts]
    base = model.trunk.base
    base.set_attn_implementation("sdpa")
    sums, read, last = [], [], []
    with torch.no_grad():
        for prompt in prompts:
            output = base(input_ids=torch.tensor([prompt.prefix + prompt.suffix]), output_hidden_states=True)
            hidden = output.hidden_states[LINES.frozen_layers][0]
            lines = hidden[list(prompt.headline_ends)].numpy()
            sums.append((lines / np.sqrt((lines**2).mean(axis=1, keepdims=True))).sum(axis=0))
            read.append(model.standard.headlines(hidden, prompt.headline_ends).numpy())
            last.append(model.standard.last(output.last_hidden_state[:, -1])[0].numpy())
    counts = np.array([len(prompt.headline_ends) for prompt in prompts])
    mean = np.sum(sums, axis=0) / counts.sum()
    expected = (np.array(sums) - counts[:, None] * mean) / (np.array(sums) - counts[:, None] * mean).std(axis=0)
    assert np.array(read) == pytest.approx(expected, abs=2e-3)
    assert np.array(last).mean(axis=0) == pytest.approx(0.0, abs=1e-3)
    assert np.array(last).std() == pytest.approx(0.1, abs=1e-4)  # it counts a tenth


def test_without_headlines_or_differences_nothing_becomes_infinite():
    standard = Standardisation(2)
    standard.fit(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), torch.ones(3, 2))
    assert standard.headlines(torch.ones(1, 2), ()).tolist() == [0.0, 0.0]
    assert standard.last(torch.ones(1, 2)).tolist() == [[0.0, 0.0]]


def test_what_standardises_is_in_the_bundle_and_the_policy_opens_with_it(
    llama_backbone: Path, states_of: StatesOf, tmp_path: Path
):
    config = replace(LINES, backbone=str(llama_backbone))
    model = build_actor_critic(llama_backbone, config, 0, torch.device("cpu"))
    states = states_of(ROWS)
    model.fit_readout(states.prefix)
    with torch.no_grad():
        model.heads["policy"].weight.add_(0.1)
    facts = {"windows": {"train": ["a", "b"], "test": ["c", "d"]}, "symbols": ["A"], "seed": 0}
    TrainedPolicy(model, llama_backbone, facts).write(tmp_path)
    write_manifest(tmp_path)
    opened = load_policy(tmp_path, llama_backbone, torch.device("cpu"))
    assert opened.standard is not None
    assert opened.standard.mean.abs().max() > 0
    assert all(torch.equal(*pair) for pair in zip(answers(opened, states), answers(model, states), strict=True))


def test_weights_for_headlines_begin_at_zero_and_learn(llama_backbone: Path, build: Build, states_of: StatesOf):
    hidden = 32
    model = build_actor_critic(llama_backbone, LINES, 0, torch.device("cpu"))
    last = build_actor_critic(llama_backbone, replace(LINES, readout="last"), 0, torch.device("cpu"))
    states = states_of(ROWS)
    for actual, wanted in zip(answers(model, states), answers(last, states), strict=True):
        torch.testing.assert_close(actual, wanted)
    model.evaluate(states).values.square().sum().backward()
    gradient = model.heads["value"].weight.grad
    assert gradient is not None
    assert gradient[:, hidden:].abs().max() > 0


@pytest.mark.parametrize("readout", ["last", "lines"])
def test_vectors_are_what_the_heads_read(build: Build, llama_backbone: Path, states_of: StatesOf, readout: str):
    model, states = build(llama_backbone, replace(LINES, readout=readout)), states_of(ROWS)
    if readout == "lines":
        model.fit_readout(states.prefix)
    read = model.vectors(states)
    assert read.shape == (len(states), (2 if readout == "lines" else 1) * 32)
    mask = torch.from_numpy(states.action_mask)
    logits = model.heads["policy"](read).masked_fill(~mask, -torch.inf)
    log_probs, values = answers(model, states)
    torch.testing.assert_close(torch.log_softmax(logits, dim=-1), log_probs)
    torch.testing.assert_close(model.heads["value"](read).squeeze(1), values)


def test_two_headlines_move_logits_by_the_sum_of_what_each_does(build: Build, llama_backbone: Path):
    """With a trunk of embeddings alone a headline's end does not know what stands before it."""
    config = replace(LINES, trunk_cache="never", num_layers=None)
    object.__setattr__(config, "frozen_layers", 0)  # refused to users: a line's last token is the same in all lines
    model = build(llama_backbone, config)
    with torch.no_grad():
        for head in model.heads.values():
            head.weight[:, :32] = 0.0
    news = ["none", "- one", "- two", "- one\n- two"]
    states = States(
        [write_prefix(MARKET, text) for text in news], [" flat. Decision:"] * 4, np.ones((4, 3), dtype=bool)
    )
    _, values = answers(model, states)
    none, one, two, both = values.tolist()
    assert both - none == pytest.approx(one - none + two - none, abs=1e-5)


def test_entries_that_differ_by_rounding_alone_are_left_as_they_are():
    standard = Standardisation(4)
    sums = torch.ones(64, 4) + torch.tensor([0.0, 1e-7, 0.5, 0.5]) * torch.randn(
        64, 4, generator=torch.Generator().manual_seed(0)
    )
    standard.fit(sums, torch.ones(64), torch.randn(8, 4))
    assert standard.scale[:2].tolist() == [1.0, 1.0]
    assert standard.scale[2:].tolist() == pytest.approx([2.0, 2.0], rel=0.3)


def test_lines_need_frozen_layers():
    with pytest.raises(ValueError, match=r"policy\.readout=lines reads what frozen layers make of headlines"):
        PolicyConfig(readout="lines", frozen_layers=0)
