"""Models of a folder or the hub, saved as they are: language-model head, float32 weights, tokenizer to the letter."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import get_verbosity, set_verbosity, set_verbosity_error

from flag_kedro.errors import ParameterError
from flag_kedro.policy.backbone_check import check_parts
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.source import OFFLINE_HINT, BackboneSource

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


def write_pretrained(source: BackboneSource, config: PolicyConfig, folder: Path) -> None:
    """Fill `folder` with the model of a folder or the hub, in float32, and its tokenizer.

    Args:
        source: of the kind `folder` or `hub`.
        config: the revision of a hub id.
        folder: an existing empty folder.

    Raises:
        ParameterError: when it cannot be loaded, weights are missing, or it has no fast tokenizer.
    """
    options = {
        "revision": config.revision or "main",
        "local_files_only": source.local_files_only,
        "trust_remote_code": False,
        "use_safetensors": True,
        "dtype": torch.float32,
        "output_loading_info": True,
    }
    try:
        model = _load_with_head(source.name, options)
        tokenizer = _write_tokenizer(source, config, folder)
        check_parts(model, tokenizer, config.backbone)
    except (OSError, ValueError, SafetensorError) as error:
        if isinstance(error, ParameterError):
            raise
        reason = str(error).strip().splitlines()[0]
        hint = "" if source.local_files_only else f"\n{OFFLINE_HINT}"
        raise ParameterError(f"policy.backbone: cannot load {config.backbone} ({reason}).{hint}") from error
    model.save_pretrained(folder, max_shard_size="100GB")


def _load_with_head(name: str, options: dict[str, Any]) -> PreTrainedModel:
    """The model with its language-model head; without it where its weights have none.

    Raises:
        ParameterError: when other weights are missing.
    """
    hub = {key: options[key] for key in ("revision", "local_files_only", "trust_remote_code")}
    has_class = type(AutoConfig.from_pretrained(name, **hub)) in MODEL_FOR_CAUSAL_LM_MAPPING
    with without_load_report():
        model, loading = (AutoModelForCausalLM if has_class else AutoModel).from_pretrained(name, **options)
    base, prefix = model.base_model, f"{model.base_model_prefix}." if has_class else ""
    if missing := sorted(key.removeprefix(prefix) for key in loading["missing_keys"] if key.startswith(prefix)):
        raise ParameterError(
            f"policy.backbone: {name} lacks {len(missing)} weights, first {missing[0]}; they would be random. Copy the "
            "whole model again"
        )
    return base if loading["missing_keys"] else model


def _write_tokenizer(source: BackboneSource, config: PolicyConfig, folder: Path) -> Tokenizer:
    """Copy the tokenizer to the letter, and open it.

    transformers would rebuild it by the name of its class, and that of SmolLM2 reads digits otherwise than its file.
    """
    for name in (TOKENIZER, TOKENIZER_CONFIG, "special_tokens_map.json"):
        if (path := _source_file(source, config, name)) is not None:
            shutil.copyfile(path, folder / name)
    if not (folder / TOKENIZER).is_file():
        raise ParameterError(
            f"policy.backbone: {config.backbone} has no fast tokenizer ({TOKENIZER}); use a model that has one"
        )
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises nothing more precise
        raise ParameterError(f"policy.backbone: {TOKENIZER} of {config.backbone} cannot be read ({error})") from error
    described = json.loads((folder / TOKENIZER_CONFIG).read_text()) if (folder / TOKENIZER_CONFIG).is_file() else {}
    described["tokenizer_class"] = PreTrainedTokenizerFast.__name__  # so that transformers takes the file as it is
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(described, indent=2) + "\n")
    return tokenizer


def _source_file(source: BackboneSource, config: PolicyConfig, name: str) -> Path | None:
    """A small file of a folder or the hub; None where there is none."""
    if source.kind == "folder":
        path = Path(source.name) / name
        return path if path.is_file() else None
    try:
        local = source.local_files_only
        return Path(hf_hub_download(source.name, name, revision=config.revision, local_files_only=local))
    except EntryNotFoundError:  # not found, or not in the cache
        return None


@contextmanager
def without_load_report() -> Iterator[None]:
    """Keep transformers from reporting a head that is missing or not asked for; what is missing is answered here."""
    level = get_verbosity()
    set_verbosity_error()
    try:
        yield
    finally:
        set_verbosity(level)
