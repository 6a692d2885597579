"""Backbones: the tiny one built here, any hub id, any local folder; all end as a Hugging Face folder."""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    AutoTokenizer,
    LlamaConfig,
    LlamaModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from flag_kedro.data.streams import derived_seed
from flag_kedro.errors import ParameterError
from flag_kedro.names import TINY
from flag_kedro.policy.attention import ATTENTION
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.source import OFFLINE_HINT, TINY_GEOMETRY, find_backbone

disable_progress_bar()  # a second's work each; training has a bar of its own

TINY_VOCABULARY = 1024
BOS = "<|begin|>"
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
FINAL_NORMS = ("norm", "final_layer_norm")
WEIGHTS = "model.safetensors"


def write_backbone(config: PolicyConfig, texts: Iterable[str], seed: int, folder: Path) -> None:
    """Put the backbone into `folder` as an ordinary Hugging Face folder (config, tokenizer, safetensors).

    Args:
        config: which backbone.
        texts: prompts of the training window, from which the tiny tokenizer learns its merges.
        seed: of the tiny model's random weights.
        folder: an existing empty folder.

    Raises:
        ParameterError: when the backbone cannot be had.
    """
    if config.backbone == TINY:
        tokenizer, model = _build_tiny(texts, seed)
    else:
        tokenizer, model = _load_pretrained(config)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder, max_shard_size="100GB")


def load_backbone(folder: Path, device: torch.device) -> PreTrainedModel:
    """Open a folder that `write_backbone` made; the language-model head is never built.

    Raises:
        ParameterError: when transformers cannot read it with scaled_dot_product_attention.
    """
    try:
        model: PreTrainedModel = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="sdpa",
        )
    except ValueError as error:
        raise ParameterError(
            f"policy.backbone: {error}; use a model such as Llama, Qwen, Mistral or GPT-NeoX"
        ) from error
    return model.to(device).eval()


def use_shared_prefix_attention(base: PreTrainedModel) -> None:
    """Switch a model of a supported build to shared-prefix attention.

    Raises:
        ParameterError: when it has other parts than the layers, rotary embedding and final norm that are read here.
    """
    norms = [name for name in FINAL_NORMS if hasattr(base, name)]
    if all(hasattr(base, part) for part in ("layers", "rotary_emb")) and norms:
        base.set_attn_implementation(ATTENTION)
    if base.config._attn_implementation != ATTENTION:
        raise unknown_build(base)


def unknown_build(base: PreTrainedModel) -> ParameterError:
    """The error for a model of another build."""
    return ParameterError(
        f"policy.backbone: {type(base).__name__} is not built as Llama, Qwen, Mistral and GPT-NeoX models are "
        "(layers, rotary_emb, a final norm, transformers' attention interface); use one of those"
    )


def longest_prompt(geometry: PretrainedConfig) -> int:
    """Tokens up to which every token of a prompt sees all before it, at positions that do not depend on its length.

    Raises:
        ParameterError: when the model's layers look at prompts in another way.
    """
    window = getattr(geometry, "sliding_window", None)
    kinds = set(getattr(geometry, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    if getattr(geometry, "num_experts", None) or getattr(geometry, "num_local_experts", None):
        raise ParameterError(
            "policy.backbone: mixtures of experts are not supported, since bits of a state would depend on those "
            "beside it; use a dense model"
        )
    rope = (getattr(geometry, "rope_parameters", None) or {}).get("rope_type", "default")
    if kinds - {"full_attention", "sliding_attention"} or rope in LENGTH_DEPENDENT_ROPE:
        raise ParameterError(
            f"policy.backbone: layers of type {' '.join(sorted(kinds))} with rotary embedding {rope} are not "
            "supported; use a decoder with full or sliding attention whose positions do not depend on a prompt's length"
        )
    longest = int(geometry.max_position_embeddings)
    return min(longest, int(window)) if window and "sliding_attention" in kinds else longest


def load_tokenizer(folder: Path) -> tuple[Tokenizer, list[int]]:
    """The folder's fast tokenizer, and the ids a prompt begins with (BOS, or nothing without one)."""
    config = json.loads((folder / "config.json").read_text())
    bos = config.get("bos_token_id")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # a special token spelt out in the news is ordinary text
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer, [] if bos is None else [int(bos)]


def backbone_hash(folder: Path) -> str:
    """sha256 over geometry, tokenizer and weights: what makes two backbones give the same numbers."""
    digest = sha256()
    for name in ("config.json", "tokenizer.json", WEIGHTS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _build_tiny(texts: Iterable[str], seed: int) -> tuple[PreTrainedTokenizerFast, LlamaModel]:
    """A small Llama with random weights over a byte-level BPE learned from `texts`."""
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split("\n", "merged_with_previous")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TINY_VOCABULARY,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "tiny"))
        model = LlamaModel(
            LlamaConfig(
                vocab_size=tokenizer.get_vocab_size(),
                bos_token_id=0,
                eos_token_id=0,
                pad_token_id=0,
                **TINY_GEOMETRY,
            )
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS), model


def _load_pretrained(config: PolicyConfig) -> tuple[PreTrainedTokenizerFast, PreTrainedModel]:
    source = find_backbone(config)
    options = {
        "revision": config.revision or "main",
        "local_files_only": source.local_files_only,
        "trust_remote_code": False,
    }
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.name, use_fast=True, **options)
        model, loading = AutoModel.from_pretrained(
            source.name, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        hint = "" if source.local_files_only else f"\n{OFFLINE_HINT}"
        raise ParameterError(f"policy.backbone: cannot load {config.backbone} ({reason}).{hint}") from error
    if missing := sorted(loading["missing_keys"]):
        raise ParameterError(
            f"policy.backbone: {config.backbone} lacks {len(missing)} weights, first {missing[0]}; they would be "
            "random. Copy the whole model again"
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ParameterError(
            f"policy.backbone: {config.backbone} has no fast tokenizer (tokenizer.json); use a model that has one"
        )
    return tokenizer, model
