"""Where a backbone comes from: built here, a folder or the hub; checked at once and without torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flag_kedro.errors import ParameterError
from flag_kedro.names import TINY
from flag_kedro.policy.config import PolicyConfig

TINY_GEOMETRY = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
    "initializer_range": 0.005,
}
"""Small weights make the random attention nearly uniform, so the frozen trunk hands on a bag of tokens from which a
headline can be read; larger ones scramble it (docs/experiments.md)."""
HUB_TIMEOUT = 10.0
"""Seconds to wait for the hub's first answer."""
OFFLINE_HINT = (
    "Offline, copy the model's folder (config.json, tokenizer.json, *.safetensors) to this machine and set "
    "policy.backbone to that folder, or use policy.backbone=tiny"
)


@dataclass(frozen=True)
class BackboneSource:
    """A backbone that exists, and where it is loaded from."""

    name: str
    """A folder, a hub id, or `tiny`."""
    local_files_only: bool
    """Whether everything must come from this machine (a folder, or a hub id already in the cache)."""
    geometry: dict[str, Any]
    """Its config.json."""


def find_backbone(config: PolicyConfig) -> BackboneSource:
    """Find the backbone, asking the hub one short question at most, and check it against the parameters.

    Raises:
        ParameterError: when there is no such backbone, or all of its layers would be frozen.
    """
    if config.backbone == TINY:
        source = BackboneSource(TINY, True, dict(TINY_GEOMETRY))
    elif Path(config.backbone).expanduser().is_dir():
        source = _find_folder(Path(config.backbone).expanduser(), config)
    elif config.backbone.startswith((".", "/", "~")) or config.backbone.count("/") != 1:
        raise ParameterError(
            f"policy.backbone: {config.backbone} is neither a folder here nor a hub id like "
            "HuggingFaceTB/SmolLM2-135M-Instruct, nor tiny"
        )
    else:
        source = _find_on_hub(config)
    num_layers = source.geometry.get("num_hidden_layers")
    if not isinstance(num_layers, int):
        raise ParameterError(
            f"policy.backbone: {config.backbone} is no language model: its config has no num_hidden_layers"
        )
    if config.frozen_layers >= num_layers:
        raise ParameterError(
            f"policy.frozen_layers is {config.frozen_layers}, but {config.backbone} has {num_layers} layers; "
            "leave at least one to learn"
        )
    return source


def _find_folder(folder: Path, config: PolicyConfig) -> BackboneSource:
    if config.revision is not None:
        raise ParameterError(
            "policy.revision names a version of a hub id, but policy.backbone is a folder; set it to null"
        )
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise ParameterError(
            f"policy.backbone: {folder} lacks {', '.join(missing)}; save the model there with save_pretrained "
            "(model and tokenizer), or copy its whole folder"
        )
    return BackboneSource(str(folder), True, _read_json(folder / "config.json"))


def _find_on_hub(config: PolicyConfig) -> BackboneSource:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    name, revision = config.backbone, config.revision
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=HUB_TIMEOUT)
    except Exception as error:  # whatever its client raises: no network, not found, not allowed, offline mode
        if isinstance(cached, str):
            return BackboneSource(name, True, _read_json(Path(cached)))
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ParameterError(
            f"policy.backbone: {name} could not be had from the hub ({reason}), nor is it in the local cache.\n"
            f"{OFFLINE_HINT}"
        ) from error
    return BackboneSource(name, False, _read_json(Path(hf_hub_download(name, "config.json", revision=revision))))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ParameterError(f"policy.backbone: {path} is not JSON ({error})") from error
    return content
