"""Language models of known geometries with random weights, and texts of exact length in their tokens."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaModel


@dataclass(frozen=True)
class Geometry:
    """A Llama, and how many of its layers are frozen unless one says otherwise."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    frozen_layers: int


GEOMETRIES = {
    "tiny": Geometry(128, 256, 2, 4, 4, 1024, 1),
    "smollm2-135m": Geometry(576, 1536, 30, 9, 3, 49152, 24),
    "smollm2-360m": Geometry(960, 2560, 32, 15, 5, 49152, 26),
    "smollm2-1.7b": Geometry(2048, 8192, 24, 32, 32, 49152, 19),
    "llama-3.2-3b": Geometry(3072, 8192, 28, 24, 8, 128256, 22),
    "llama-3-8b": Geometry(4096, 14336, 32, 32, 8, 128256, 26),
}


def write_random_backbone(geometry: Geometry, seed: int, folder: Path) -> None:
    """An ordinary Hugging Face folder: weights drawn from `seed`, one token per word, no BOS."""
    config = LlamaConfig(
        hidden_size=geometry.hidden_size,
        intermediate_size=geometry.intermediate_size,
        num_hidden_layers=geometry.num_hidden_layers,
        num_attention_heads=geometry.num_attention_heads,
        num_key_value_heads=geometry.num_key_value_heads,
        vocab_size=geometry.vocab_size,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaModel(config).save_pretrained(folder, max_shard_size="100GB")
    words = {"[UNK]": 0} | {f"w{index}": index for index in range(1, geometry.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))


def random_texts(num: int, num_tokens: int, geometry: Geometry, rng: np.random.Generator) -> list[str]:
    """Texts of exactly `num_tokens` tokens, no two of which begin alike."""
    words = rng.integers(1, geometry.vocab_size, (num, num_tokens))
    words[:, 0] = rng.choice(np.arange(1, geometry.vocab_size), num, replace=False)
    return [" ".join(f"w{word}" for word in row) for row in words]
