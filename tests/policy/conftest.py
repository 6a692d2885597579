"""Tiny backbones of several families, states to ask about, and an actor-critic."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2Model,
    GPTNeoXConfig,
    GPTNeoXModel,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
)

from flag_kedro.env.prompt import compact_account_texts
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trunk import open_trunk_cache

torch.set_num_threads(1)  # tiny models lose more to waiting threads than they gain

NUM_LAYERS = 3
GEOMETRY = {
    "vocab_size": 1024,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "bos_token_id": 0,
    "initializer_range": 0.15,  # so that attention is far from uniform
}
GROUPED = GEOMETRY | {"num_key_value_heads": 2}
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaModel(LlamaConfig(**GROUPED)),
    "qwen2": lambda: Qwen2Model(Qwen2Config(**GROUPED)),
    "qwen3": lambda: Qwen3Model(Qwen3Config(**GROUPED, head_dim=8)),
    "mistral": lambda: MistralModel(MistralConfig(**GROUPED)),
    "gpt_neox": lambda: GPTNeoXModel(GPTNeoXConfig(**GEOMETRY)),
    "gpt2": lambda: GPT2Model(GPT2Config(**GEOMETRY, n_inner=48, eos_token_id=0)),
}
PREFIXES = (
    *((0, 1), (1, 3), (2, 7), (3, 1), (4, 12), (5, 3), (6, 1), (7, 7)),
    *((8, 1), (9, 1), (10, 3), (11, 1), (12, 7), (13, 1)),
)
"""Session, and how often its text is repeated: 15 to 230 tokens, in several buckets."""


@pytest.fixture(scope="session")
def tiny_backbone(small_window: TradingWindow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny backbone, its tokenizer learned from the small window."""
    folder = tmp_path_factory.mktemp("backbone")
    write_backbone(PolicyConfig(), [text for texts in small_window.prefixes for text in texts], 0, folder)
    return folder


@pytest.fixture(scope="session")
def save_backbone(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[PreTrainedModel], Path]:
    """Put a model into a folder of its own, with the tiny tokenizer."""

    def save(model: PreTrainedModel) -> Path:
        folder = tmp_path_factory.mktemp("family")
        model.save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((tiny_backbone / name).read_bytes())
        return folder

    return save


@pytest.fixture(scope="session", params=FAMILIES)
def family_backbone(request: pytest.FixtureRequest, save_backbone: Callable[[PreTrainedModel], Path]) -> Path:
    """A backbone of each family, biases and norms drawn at random too."""
    return save_backbone(draw(FAMILIES[request.param]))


@pytest.fixture(scope="session")
def llama_backbone(save_backbone: Callable[[PreTrainedModel], Path]) -> Path:
    """A Llama of three layers."""
    return save_backbone(draw(FAMILIES["llama"]))


@pytest.fixture(scope="session", params=["llama", "gpt2"])
def positioned_backbone(request: pytest.FixtureRequest, save_backbone: Callable[[PreTrainedModel], Path]) -> Path:
    """A backbone of each kind of positions: rotated into keys and queries, or added to the embeddings."""
    return save_backbone(draw(FAMILIES[request.param]))


def draw(make: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        model = make()
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return model


@pytest.fixture(scope="session")
def states_of(small_window: TradingWindow) -> Callable[[Sequence[tuple[int, int]]], States]:
    """States from pairs (row of PREFIXES, account text); flat accounts cannot sell, long ones not buy."""
    texts = compact_account_texts()

    def make(rows: Sequence[tuple[int, int]]) -> States:
        chosen = [PREFIXES[prefix] for prefix, _ in rows]
        return States(
            prefix=[small_window.prefixes[0][session] * times for session, times in chosen],
            account=[texts[account] for _, account in rows],
            action_mask=np.array([[account > 0, True, account == 0] for _, account in rows]),
        )

    return make


@pytest.fixture(scope="session")
def build() -> Callable[..., ActorCritic]:
    """Open a backbone with the cache that the config asks for; LoRA and heads are large enough to show differences."""

    def make(folder: Path, config: PolicyConfig, rows: Path | None = None) -> ActorCritic:
        cpu = torch.device("cpu")
        model = build_actor_critic(folder, config, 0, cpu, open_trunk_cache(folder, config, cpu, rows))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_" in name or name.startswith("heads."):
                    weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
        return model

    return make


@pytest.fixture
def actor_critic(tiny_backbone: Path) -> ActorCritic:
    """A fresh actor-critic, one of two layers frozen, whose heads are large enough to show differences."""
    model = build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1), 0, torch.device("cpu"))
    with torch.no_grad():
        for head in model.heads.values():
            head.weight.mul_(100.0)
    return model
