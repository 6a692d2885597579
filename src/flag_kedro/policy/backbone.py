"""Backbones: the tiny one built here, SmolLM2, a hub id, a folder, a GGUF file; all end as a Hugging Face folder."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModel,
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
from flag_kedro.policy.architecture import architecture_of, unknown_build
from flag_kedro.policy.attention import ATTENTION
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.gguf_folder import convert_gguf
from flag_kedro.policy.manifest import MANIFEST
from flag_kedro.policy.origin import BUILT_HERE, BackboneOrigin, write_origin
from flag_kedro.policy.pretrained import TOKENIZER, without_load_report, write_pretrained
from flag_kedro.policy.source import TINY_GEOMETRY, find_backbone

logger = logging.getLogger(__name__)

disable_progress_bar()  # a second's work each; training has a bar of its own

TINY_VOCABULARY = 1024
BOS = "<|begin|>"
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
WEIGHTS = "model.safetensors"


def write_backbone(config: PolicyConfig, texts: Iterable[str], seed: int, folder: Path) -> BackboneOrigin:
    """Put the backbone into `folder` as an ordinary Hugging Face folder (config, tokenizer, safetensors).

    It keeps its language-model head, where it has one, and all of its layers. Beside it lies `origin.json`.

    Args:
        config: which backbone.
        texts: prompts of the training window, from which the tiny tokenizer learns its merges.
        seed: of random weights.
        folder: an existing empty folder.

    Returns:
        Where it came from.

    Raises:
        ParameterError: when the backbone cannot be had.
    """
    if config.backbone == TINY:
        tokenizer, model = _build_tiny(texts, seed)
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder, max_shard_size="100GB")
        return BUILT_HERE
    source = find_backbone(config)
    if source.kind == "gguf":
        converted = convert_gguf(Path(source.name), source.origin)
        shutil.copytree(converted, folder, ignore=shutil.ignore_patterns(MANIFEST), dirs_exist_ok=True)
    else:
        write_pretrained(source, config, folder)
        write_origin(source.origin, folder)
    origin = source.origin if config.weights == "pretrained" else _draw_weights_anew(folder, source.origin, seed)
    logger.info("the backbone is %s", origin)
    return origin


def _draw_weights_anew(folder: Path, origin: BackboneOrigin, seed: int) -> BackboneOrigin:
    """Replace the weights in a backbone's folder by random ones, as its geometry draws them at first."""
    geometry = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "random weights"))
        model = AutoModel.from_config(geometry, dtype=torch.float32)
    model.save_pretrained(folder, max_shard_size="100GB")
    drawn = BackboneOrigin(name=f"random weights in the geometry of {origin.name}", source="built here")
    write_origin(drawn, folder)
    return drawn


def write_random_copy(folder: Path, seed: int, target: Path) -> None:
    """Write a backbone's tokenizer and geometry with weights drawn anew: what is having read worth?

    Args:
        folder: the backbone's.
        seed: of the weights.
        target: existing folder that gets it.
    """
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(MANIFEST, "*.safetensors*"), dirs_exist_ok=True)
    _draw_weights_anew(target, BackboneOrigin(name=folder.name, source="built here"), seed)


def load_backbone(folder: Path, device: torch.device, num_layers: int | None = None) -> PreTrainedModel:
    """Open a folder that `write_backbone` made; the language-model head is never built.

    Args:
        folder: the backbone's.
        device: where to put it.
        num_layers: layers that are kept, counted from the embeddings, the final norm behind them; None keeps all.

    Raises:
        ParameterError: when transformers cannot read it with scaled_dot_product_attention, or it has fewer layers.
    """
    try:
        with without_load_report():
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
            f"policy.backbone: {error}; use a model such as Llama, Qwen, Mistral, GPT-NeoX or GPT-2"
        ) from error
    if num_layers is not None:
        _keep_first_layers(model, num_layers)
    return model.to(device).eval()


def _keep_first_layers(model: PreTrainedModel, num_layers: int) -> None:
    """Drop the layers above the first `num_layers`, as if the model had been built with those alone."""
    architecture = architecture_of(model)
    layers = architecture.layers_of(model)
    if num_layers > len(layers):
        raise ParameterError(f"policy.num_layers is {num_layers}, but the backbone has {len(layers)} layers")
    setattr(model, architecture.layers, layers[:num_layers])
    model.config.num_hidden_layers = num_layers
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:num_layers]


def use_shared_prefix_attention(base: PreTrainedModel) -> None:
    """Switch a model of a supported build to shared-prefix attention.

    Raises:
        ParameterError: when it has other parts than the layers, positions and final norm that are read here.
    """
    architecture_of(base)
    base.set_attn_implementation(ATTENTION)
    if base.config._attn_implementation != ATTENTION:
        raise unknown_build(base)


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
    digest = hashlib.sha256()
    for name in ("config.json", TOKENIZER, WEIGHTS):
        with (folder / name).open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)  # goes on with the same hash
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
