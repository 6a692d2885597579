"""Where a backbone comes from, checked at once and without torch: built here, a folder, a GGUF file or the hub."""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from flag_kedro.errors import ParameterError
from flag_kedro.names import SMOLLM2, TINY
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.gguf_check import check_gguf
from flag_kedro.policy.gguf_header import GgufHeader
from flag_kedro.policy.origin import BUILT_HERE, BackboneOrigin, read_origin
from flag_kedro.policy.smollm2 import HUB_ID, PACKAGED, find_packaged_weights

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
GGUF = ".gguf"
PLAIN_FORMATS = ("F32", "F16", "BF16")
HUB_TIMEOUT = 10.0
"""Seconds to wait for the hub's first answer."""
NEEDED = ("config.json", "tokenizer.json", "model.safetensors")
"""Files of SmolLM2 without which the hub's cache is of no use."""
OFFLINE_HINT = (
    "Offline, copy the model's folder (config.json, tokenizer.json, *.safetensors) to this machine and set "
    "policy.backbone to that folder, or use policy.backbone=smollm2, whose weights a package carries, or tiny"
)


@dataclass(frozen=True)
class BackboneSource:
    """A backbone that exists, and where it is loaded from."""

    kind: Literal["built here", "folder", "gguf", "hub"]
    name: str
    """A folder, a GGUF file, a hub id, or `tiny`."""
    local_files_only: bool
    """Whether everything must come from this machine (a folder, or a hub id already in the cache)."""
    geometry: dict[str, Any]
    """Its config.json, or as much of that as a GGUF file's header tells."""
    origin: BackboneOrigin


def find_backbone(config: PolicyConfig) -> BackboneSource:
    """Find the backbone, asking the hub one short question a process at most, and check it against the parameters.

    Raises:
        ParameterError: when there is no such backbone, or all of the layers that are used would be frozen.
    """
    source = _find(config)
    num_layers = source.geometry.get("num_hidden_layers", source.geometry.get("n_layer"))  # GPT-2's name
    if not isinstance(num_layers, int):
        raise ParameterError(
            f"policy.backbone: {config.backbone} is no language model: its config has no num_hidden_layers"
        )
    if config.num_layers is not None and config.num_layers > num_layers:
        raise ParameterError(
            f"policy.num_layers is {config.num_layers}, but {config.backbone} has {num_layers} layers; lower it, or "
            "set it to null to use all"
        )
    if config.frozen_layers >= num_layers:
        raise ParameterError(
            f"policy.frozen_layers is {config.frozen_layers}, but {config.backbone} has {num_layers} layers; "
            "leave at least one to learn"
        )
    return source


def _find(config: PolicyConfig) -> BackboneSource:
    name, path = config.backbone, Path(config.backbone).expanduser()
    if name == TINY:
        return BackboneSource("built here", TINY, True, dict(TINY_GEOMETRY), BUILT_HERE)
    if name == SMOLLM2:
        return _find_smollm2()
    if path.is_dir() or path.suffix == GGUF:
        if config.revision is not None:
            raise ParameterError(
                "policy.revision names a version of a hub id, but policy.backbone is a "
                f"{'folder' if path.is_dir() else 'file'}; set it to null"
            )
        return _find_folder(path) if path.is_dir() else _find_file(path)
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ParameterError(
            f"policy.backbone: {name} is neither a folder here nor a hub id like {HUB_ID}, nor a .gguf file, smollm2 "
            "or tiny"
        )
    return _find_on_hub(name, config.revision)


def _find_folder(folder: Path) -> BackboneSource:
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if missing:
        raise ParameterError(
            f"policy.backbone: {folder} lacks {', '.join(missing)}; save the model there with save_pretrained "
            "(model and tokenizer), or copy its whole folder"
        )
    origin = read_origin(folder) or BackboneOrigin(name=folder.resolve().name, source="folder")
    return BackboneSource("folder", str(folder), True, _read_json(folder / "config.json"), origin)


def _find_file(path: Path) -> BackboneSource:
    if not path.is_file():
        raise ParameterError(f"policy.backbone: there is no file {path}; give the path of a .gguf file")
    header = check_gguf(path)
    claimed = " ".join(str(header.metadata.get("general.name", "")).split()) or None
    dequantised = "" if header.kind in PLAIN_FORMATS else ", dequantised"
    name = f"{path.stem} ({header.kind}{dequantised})"
    return _gguf_source(path, header, BackboneOrigin(name=name, source="gguf", claimed=claimed))


def _gguf_source(path: Path, header: GgufHeader, origin: BackboneOrigin) -> BackboneSource:
    geometry = {"num_hidden_layers": header.number(f"{header.architecture}.block_count")}
    return BackboneSource("gguf", str(path), True, geometry, origin)


def _find_smollm2() -> BackboneSource:
    """The hub's weights where the hub answers or all of them are in its cache, else those of the package."""
    cached = [_cached(HUB_ID, name, None) for name in NEEDED]
    unreachable = _ask_hub(HUB_ID, None)
    if unreachable is None or all(cached):
        return _find_on_hub(HUB_ID, None)
    try:
        path = find_packaged_weights()
    except ParameterError as error:
        raise ParameterError(
            f"policy.backbone: {SMOLLM2} could not be had. The hub did not answer ({unreachable}), nor is {HUB_ID} in "
            f"its cache; and {error}\nor run once where the hub can be reached"
        ) from error
    return _gguf_source(path, check_gguf(path), PACKAGED)


def _find_on_hub(name: str, revision: str | None) -> BackboneSource:
    from huggingface_hub import hf_hub_download

    origin = BackboneOrigin(name=name.partition("/")[2], source="hub", model=name)
    if reason := _ask_hub(name, revision):
        cached = _cached(name, "config.json", revision)
        if cached is None:
            raise ParameterError(
                f"policy.backbone: {name} could not be had from the hub ({reason}), nor is it in the local cache.\n"
                f"{OFFLINE_HINT}"
            )
        path = cached
    else:
        path = Path(hf_hub_download(name, "config.json", revision=revision))
    commit = path.parent.name  # the cache keeps each commit in a folder of its own
    return BackboneSource("hub", name, bool(reason), _read_json(path), replace(origin, version=commit))


def _cached(name: str, file: str, revision: str | None) -> Path | None:
    """A file of the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


@cache
def _ask_hub(name: str, revision: str | None) -> str | None:
    """Why the hub does not give a model, None where it does; asked once a process."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=HUB_TIMEOUT)
    except Exception as error:  # whatever its client raises: no network, not found, not allowed, offline mode
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ParameterError(f"policy.backbone: {path} is not JSON ({error})") from error
    return content
