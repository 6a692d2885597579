"""Tasks that fetch a backbone themselves, on nodes that may have another one by the same name."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from flag_kedro.errors import DataError
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import hash_file
from flag_kedro.policy.source import find_backbone
from flag_kedro.ppo.runtime import RuntimeConfig


def fetching(policy: PolicyConfig, runtime: RuntimeConfig, work: "partial[Any]") -> "partial[Any]":
    """Work that fetches the backbone of `policy`; on a cluster it is refused where that is another one than here."""
    if runtime.ray_address is None:
        return work
    return partial(_on_backbone, backbone_facts(policy), policy, work.func, *work.args, **work.keywords)


def backbone_facts(policy: PolicyConfig) -> dict[str, Any]:
    """What tells a backbone from another one of the same name: its origin, and hashes of a folder's files.

    Raises:
        ParameterError: when there is no such backbone on this machine.
    """
    source = find_backbone(policy)
    facts: dict[str, Any] = {"origin": asdict(source.origin)}
    if source.kind == "folder":
        names = ("*.safetensors", "config.json", "tokenizer.json")
        files = sorted(file for name in names for file in Path(source.name).glob(name))
        facts["files"] = {file.name: hash_file(file) for file in files}
    return facts


def _on_backbone(
    expected: dict[str, Any], policy: PolicyConfig, work: Callable[..., Any], *arguments: Any, **keywords: Any
) -> Any:
    """Do the work if this node has the backbone that is meant.

    Raises:
        DataError: when it has another one.
    """
    found = backbone_facts(policy)
    if found != expected:
        raise DataError(
            f"policy.backbone={policy.backbone} is {found} on this node and {expected} where the command was started; "
            "copy the same folder or file to every machine, and let all or none of them reach the hub"
        )
    return work(*arguments, **keywords)
