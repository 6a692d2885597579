"""Small GGUF files of small language models, written by gguf's own writer as llama.cpp's converter writes them."""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

BEGIN, END = "<|begin|>", "<|end|>"
MERGES = ["Ġ Ġ", "Ġ t", "h e", "Ġt he", "1 2", "Ġ 1", "i n", "ĠĠ 1"]
TOKENS = [
    BEGIN,
    END,
    *sorted(pre_tokenizers.ByteLevel.alphabet()),
    *(merge.replace(" ", "") for merge in MERGES),
]
CONTROL, NORMAL = 3, 1
GEOMETRY = {
    "vocab_size": len(TOKENS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 2048,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "initializer_range": 0.15,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GEOMETRY, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**GEOMETRY, tie_word_embeddings=False)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**GEOMETRY, head_dim=16, tie_word_embeddings=False)),
}


def draw_model(architecture: str) -> PreTrainedModel:
    """A model whose biases and norms are random too."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        model = MODELS[architecture]()
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return model.eval()


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    *,
    architecture: str | None = None,
    tokenizer: str | None = "gpt2",
    pre: str = "smollm",
    begin: int | None = 0,
    name: str | None = None,
    scaling: str | None = None,
    without: str | None = None,
    extra: str | None = None,
    end: int = 1,
    context: int | None = None,
    rotated: int | None = None,
    num_types: int | None = None,
    merge: str | None = None,
    norm_kind: gguf.GGMLQuantizationType | None = None,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
) -> Path:
    """Write a model into a GGUF file."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture or config.model_type)
    if name is not None:
        writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings if context is None else context)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.model_type == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if rotated is not None:
        writer.add_rope_dimension_count(rotated)
    if scaling is not None:
        writer.add_string(f"{config.model_type}.rope.scaling.type", scaling)
    if tokenizer is not None:
        writer.add_tokenizer_model(tokenizer)
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(TOKENS)
        writer.add_token_types([CONTROL if token in (BEGIN, END) else NORMAL for token in TOKENS[:num_types]])
        writer.add_token_merges([*MERGES, *([] if merge is None else [merge])])
        writer.add_eos_token_id(end)
        if begin is not None:
            writer.add_bos_token_id(begin)
    for tensor, weight in _tensors(model).items():
        if tensor == "output_norm.weight" and norm_kind is not None:
            writer.add_tensor(tensor, weight.astype(np.float64), raw_dtype=norm_kind)
        elif tensor != without:
            quantised = gguf.GGMLQuantizationType.F32 if weight.ndim == 1 else kind
            writer.add_tensor(tensor, gguf.quantize(weight, quantised), raw_dtype=quantised)
    if extra is not None:
        writer.add_tensor(extra, np.ones(8, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(model: PreTrainedModel) -> dict[str, NDArray[np.float32]]:
    """Weights by the names of GGUF; llama.cpp has the rows of queries and keys in another order for Llama."""
    config, tensors = model.config, {}
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == config.model_type)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values, projection = weight.numpy(), name.split(".")[-2]
        if config.model_type == "llama" and projection in heads:
            pairs = values.reshape(heads[projection], 2, -1, values.shape[1])
            values = np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(values.shape))
        tensors[names.get_name(name, try_suffixes=(".weight", ".bias"))] = values
    return tensors
