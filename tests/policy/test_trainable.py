"""What learns, in which number format, and what a frozen copy shares."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaModel, PreTrainedModel

from flag_kedro.env.states import States
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trainable import frozen_copy

ROWS = [(prefix, account) for prefix in range(8) for account in (0, 3, 17)]
Build = Callable[..., ActorCritic]
StatesOf = Callable[[Sequence[tuple[int, int]]], States]


@pytest.fixture(params=["lora", "layers"])
def trainable(request: pytest.FixtureRequest) -> str:
    learns: str = request.param
    return learns


# --- number formats


def test_bfloat16_gives_nearly_the_answers_of_float32(
    build: Build, trainable: str, family_backbone: Path, states_of: StatesOf
):
    states = states_of(ROWS)
    full, half = (
        build(family_backbone, PolicyConfig(trainable=trainable, lora_alpha=4.0, dtype=dtype))
        for dtype in ("float32", "bfloat16")
    )
    expected, lowered = full.evaluate(states), half.evaluate(states)
    assert lowered.values.dtype == lowered.log_probs.dtype == torch.float32
    legal = torch.from_numpy(states.action_mask)
    for name in ("values", "log_probs"):
        truth, answer = getattr(expected, name), getattr(lowered, name)
        if name == "log_probs":
            truth, answer = truth[legal], answer[legal]
        difference = float((answer - truth).detach().norm() / truth.detach().norm())
        assert 1e-4 < difference < 0.05, name  # bfloat16 has eight bits: it must show
    assert float(expected.values.detach().std()) > 0.1


def test_bfloat16_gradients_are_summed_in_float32(
    build: Build, trainable: str, save_backbone: Callable[[PreTrainedModel], Path], states_of: StatesOf
):
    """With a prompt a batch, a weight's gradient is a sum over hundreds of batches; bfloat16 would lose its digits."""
    geometry = {"vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        folder = save_backbone(LlamaModel(LlamaConfig(**geometry, num_attention_heads=4, bos_token_id=0)))
    states = states_of([(prefix, account) for prefix in (0, 3, 6, 8, 9, 11, 13) for account in range(31)])

    def gradients(dtype: str, **batches: object) -> torch.Tensor:
        model = build(
            folder, PolicyConfig(frozen_layers=1, trainable=trainable, lora_alpha=4.0, dtype=dtype, **batches)
        )
        evaluation = model.evaluate(states)
        (evaluation.values * torch.linspace(0.5, 1.5, len(states))).mean().backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    expected = gradients("float32")
    together, apart = gradients("bfloat16", batch_tokens=16384), gradients("bfloat16", batch_tokens=64, packing=False)
    errors = [float((gradient - expected).norm() / expected.norm()) for gradient in (together, apart)]
    assert errors[0] > 1e-4
    assert errors[1] < 1.3 * errors[0], errors


def test_only_what_is_frozen_in_layers_and_embeddings_is_bfloat16(build: Build, trainable: str, family_backbone: Path):
    model = build(family_backbone, PolicyConfig(trainable=trainable, dtype="bfloat16"))
    formats = {name: weight.dtype for name, weight in model.named_parameters()}
    for name, weight in model.named_parameters():
        in_layers = any(part in name for part in (".layers.", ".h.", "embed", "wte", "wpe"))
        lowered = in_layers and not weight.requires_grad
        assert formats[name] == (torch.bfloat16 if lowered else torch.float32), name
    assert torch.bfloat16 in formats.values()
    assert all(buffer.dtype != torch.bfloat16 for buffer in model.buffers())


def test_weights_and_gradients_stay_float32_through_a_step(
    build: Build, trainable: str, llama_backbone: Path, states_of: StatesOf
):
    model = build(llama_backbone, PolicyConfig(trainable=trainable, dtype="bfloat16"))
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=1e-5)
    before = [weight.detach().clone() for weight in learning]
    evaluation = model.evaluate(states_of(ROWS))
    (evaluation.values.square().sum() + evaluation.log_probs.exp().square().sum()).backward()
    optimizer.step()
    for weight, old in zip(learning, before, strict=True):
        assert weight.grad is not None
        assert weight.dtype == weight.grad.dtype == torch.float32
        moved = (weight.detach() - old).abs().max()
        assert 0 < moved < 2e-5  # a step that bfloat16 would swallow


# --- frozen copies


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_frozen_copy_shares_what_is_frozen_and_the_cache(
    build: Build, trainable: str, dtype: str, llama_backbone: Path
):
    model = build(llama_backbone, PolicyConfig(trainable=trainable, dtype=dtype))
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    copied = frozen_copy(model)
    assert isinstance(copied, ActorCritic)
    weights, copies = dict(model.named_parameters()), dict(copied.named_parameters())
    assert weights.keys() == copies.keys()
    for name, weight in weights.items():
        assert (copies[name].data_ptr() == weight.data_ptr()) == (name not in learning), name
        assert torch.equal(copies[name], weight)
        assert not copies[name].requires_grad
        assert weight.requires_grad == (name in learning)
    assert copied.trunk.cache is model.trunk.cache is not None


def test_frozen_copy_shares_no_layer_that_learns(build: Build, trainable: str, llama_backbone: Path):
    model = build(llama_backbone, PolicyConfig(trainable=trainable))
    copied = frozen_copy(model)
    assert isinstance(copied, ActorCritic)
    learning = {id(part) for part in model.modules() if any(weight.requires_grad for weight in part.parameters())}
    copies = set(map(id, copied.modules()))
    parts = [*copied.trunk.layers, copied.trunk.embed, *copied.top.layers, copied.top.norm, *copied.top.heads]
    assert {id(part) for part in parts} <= copies
    assert learning
    assert not copies & learning
    assert copied.trunk.layers == model.trunk.layers  # whose parts other processes may hold


def test_frozen_copy_answers_the_same_and_stays_where_it_was(
    build: Build, trainable: str, llama_backbone: Path, states_of: StatesOf
):
    model = build(llama_backbone, PolicyConfig(trainable=trainable))
    states = states_of(ROWS)
    before = model.evaluate(states)
    copied = frozen_copy(model)
    cache = model.trunk.cache
    assert cache is not None
    misses = cache.misses
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
    after = copied.evaluate(states)
    assert torch.equal(after.values, before.values)
    assert torch.equal(after.log_probs, before.log_probs)
    assert not after.values.requires_grad
    assert cache.misses == misses  # it knows what the model has read
    assert not torch.equal(model.evaluate(states).values, before.values)


def test_ordinary_copy_shares_the_cache_but_no_weight(build: Build, llama_backbone: Path):
    model = build(llama_backbone, PolicyConfig())
    copied = copy.deepcopy(model)
    assert copied.trunk.cache is model.trunk.cache
    pairs = zip(model.parameters(), copied.parameters(), strict=True)
    assert all(weight.data_ptr() != other.data_ptr() for weight, other in pairs)
