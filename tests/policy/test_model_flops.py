"""Formulas of benchmarks/model_flops.py: by hand, and as torch counts what is computed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from flag_kedro.env.states import States
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.attention import EVEN_QUERIES
from flag_kedro.policy.config import PolicyConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from actor_critic_backbone import GEOMETRIES, Geometry, random_texts, write_random_backbone
from actor_critic_meters import BACKWARD_PRODUCTS, count_flops
from model_flops import (
    Reading,
    keys_size,
    layer_weights,
    lora_weights,
    reading_of,
    top_backward,
    top_forward,
    total,
    total_weights,
    trunk_forward,
)

SMALL = Geometry(256, 512, 4, 4, 2, 256, 2)
PROMPTS, PREFIX, SUFFIX = 8, 64, 8
"""Full batches without padding: 8 prefixes of 64 tokens are 512, 8 suffixes of 8 an eighth of that."""


def test_pairs_are_those_of_causal_attention_over_whole_prompts_with_prefixes_once():
    assert reading_of(3, [2, 1]) == Reading(tokens=6, pairs=6 + (4 + 5) + 4, prompts=2, last_pairs=5 + 4)
    assert reading_of(3, [2], prefix_is_known=True) == Reading(tokens=2, pairs=4 + 5, prompts=1, last_pairs=5)
    assert total([reading_of(3, [2, 1]), reading_of(1, [1])]) == Reading(8, 19 + 3, 3, 11)


def test_one_token_through_one_layer_by_hand():
    tiny = Geometry(4, 6, 2, 2, 1, 10, 1)  # heads of 2, one of keys and values
    assert (keys_size(tiny), layer_weights(tiny).all) == (2, 2 * 16 + 2 * 8 + 3 * 24)
    assert trunk_forward(tiny, 1, reading_of(1, [])) == 2 * 120 + 2 * 2 * 4  # one score and one sum for each head
    assert lora_weights(tiny, 3).all == 3 * (2 * 8 + 2 * 6 + 3 * 10)


def test_weights_of_known_models_are_those_they_are_named_for():
    millions = {name: round(total_weights(geometry) / 1e6) for name, geometry in GEOMETRIES.items()}
    del millions["tiny"]
    assert millions == {
        "smollm2-135m": 135,
        "smollm2-360m": 362,
        "smollm2-1.7b": 1711,
        "llama-3.2-3b": 3213,
        "llama-3-8b": 7505,  # 8030 with a language-model head of its own, which is never built
    }


def test_weights_are_those_that_transformers_builds():
    config = LlamaConfig(
        hidden_size=SMALL.hidden_size, intermediate_size=SMALL.intermediate_size, vocab_size=SMALL.vocab_size,
        num_hidden_layers=SMALL.num_hidden_layers, num_attention_heads=SMALL.num_attention_heads,
        num_key_value_heads=SMALL.num_key_value_heads,
    )  # fmt: skip
    assert sum(weight.numel() for weight in LlamaModel(config).parameters()) == total_weights(SMALL)


@pytest.mark.parametrize("frozen", [2, 3])
@pytest.mark.parametrize("trainable", ["lora", "layers"])
def test_formulas_are_what_torch_counts_where_nothing_is_padded(tmp_path: Path, frozen: int, trainable: str):
    write_random_backbone(SMALL, 0, tmp_path)
    config = PolicyConfig(frozen_layers=frozen, trainable=trainable, trunk_cache="never")  # type: ignore[arg-type]
    model = build_actor_critic(tmp_path, config, 0, torch.device("cpu"))
    rng = np.random.default_rng(0)
    texts = random_texts(PROMPTS, PREFIX, SMALL, rng), random_texts(PROMPTS, SUFFIX, SMALL, rng)
    states = States(*texts, np.ones((PROMPTS, 3), dtype=np.bool_))
    layers, rank = SMALL.num_hidden_layers - frozen, config.lora_rank if trainable == "lora" else 0
    read = total([reading_of(PREFIX, [SUFFIX])] * PROMPTS)
    forward = trunk_forward(SMALL, frozen, read) + top_forward(SMALL, layers, rank, read)
    with torch.no_grad():
        assert count_flops(lambda: model.evaluate(states)) == pytest.approx(forward, rel=0.03)
    loss = model.evaluate(states).values.sum()
    kernel = 8 * SMALL.hidden_size * read.last_pairs * (EVEN_QUERIES * BACKWARD_PRODUCTS / 2 - 1)  # queries 8 times
    backward = top_backward(SMALL, layers, rank, read) + kernel
    assert count_flops(loss.backward) == pytest.approx(backward, rel=0.03)
