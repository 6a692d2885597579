"""The trained policy as a folder: a standard PEFT adapter, the heads, and what they were trained on."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from flag_kedro.data.realised import HORIZON
from flag_kedro.env.account import ACTION_NAMES
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import PROMPT_VERSION
from flag_kedro.errors import DataError, MadeOtherwiseError
from flag_kedro.names import SMOLLM2, TINY
from flag_kedro.policy.actor_critic import ActorCritic, assemble_actor_critic
from flag_kedro.policy.backbone import backbone_hash, load_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import hash_file, verify_manifest
from flag_kedro.policy.model_card import write_model_card
from flag_kedro.policy.origin import BUILT_HERE, BackboneOrigin, read_origin
from flag_kedro.policy.pretrained import TOKENIZER
from flag_kedro.policy.trainable import is_top
from flag_kedro.policy.trunk_cache import TrunkCache
from flag_kedro.policy.volatility_head import NAME as VOLATILITY

FORMAT = 2
ADAPTER, TOP_LAYERS, HEADS, DESCRIPTION = (
    "adapter_model.safetensors",
    "top_layers.safetensors",
    "heads.safetensors",
    "policy.json",
)
OFF: dict[str, dict[str, Any]] = {"env": asdict(EnvConfig()), "policy": {}, "ppo": {"volatility_coef": 0.0}}
"""Values, by group, of parameters that are not among the facts where they are off."""
STANDARD = "standard."
"""How names begin, among the heads, of what standardises what they read."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class TrainedPolicy:
    """A trained actor-critic and the facts that a later reader must agree with."""

    model: ActorCritic
    backbone: Path
    """Folder of the backbone it was trained on."""
    facts: dict[str, Any]
    """`data_hash`, `windows`, `env`, `symbols`, `seed`: whatever makes a decision reproducible."""

    @property
    def origin(self) -> BackboneOrigin:
        """Where the backbone came from."""
        if self.model.config.backbone == TINY:
            return BUILT_HERE
        folder = BackboneOrigin(name=portable_name(self.model.config), source="folder")
        return read_origin(self.backbone) or folder

    def write(self, folder: Path) -> None:
        """Write the bundle into an existing empty `folder`; the manifest is the caller's last step."""
        config = self.model.config
        if config.trainable == "lora":
            self._write_adapter(folder)
        else:
            top = {
                name: weight
                for name, weight in self.model.backbone.state_dict().items()
                if is_top(name, config.frozen_layers)
            }
            save_file({name: weight.contiguous().cpu() for name, weight in top.items()}, folder / TOP_LAYERS)
        heads = self.model.heads.state_dict()
        if self.model.standard is not None:
            heads |= {STANDARD + name: value for name, value in self.model.standard.state_dict().items()}
        save_file({name: weight.contiguous().cpu() for name, weight in heads.items()}, folder / HEADS)
        description = {
            "format": FORMAT,
            "policy": asdict(config) | {"backbone": portable_name(config)},
            "backbone_hash": backbone_hash(self.backbone),
            "backbone_origin": asdict(self.origin),
            "prompt_version": PROMPT_VERSION,
            "action_order": list(ACTION_NAMES),
            **self.facts,
            **_volatility_facts(self.model),
        }
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
        for name in TOKENIZER_FILES:
            if (self.backbone / name).is_file():
                shutil.copyfile(self.backbone / name, folder / name)
        if config.backbone == TINY:
            shutil.copytree(self.backbone, folder / "backbone", ignore=shutil.ignore_patterns("MANIFEST.json"))
        write_model_card(description, self.origin, folder, self.model.trunk.architecture.layers)

    def _write_adapter(self, folder: Path) -> None:
        assert isinstance(self.model.backbone, PeftModel)
        self.model.backbone.save_pretrained(folder, safe_serialization=True)
        path = folder / "adapter_config.json"
        adapter = json.loads(path.read_text())
        adapter["base_model_name_or_path"] = (
            "backbone" if self.model.config.backbone == TINY else self.origin.hub_id or portable_name(self.model.config)
        )
        adapter["revision"] = self.model.config.revision
        adapter["target_modules"] = sorted(adapter["target_modules"])  # PEFT writes a set, in any order
        path.write_text(json.dumps(adapter, indent=2, sort_keys=True) + "\n")


def read_description(bundle: Path) -> dict[str, Any]:
    """`policy.json` of a bundle whose files are all as they were written.

    Raises:
        DataError: when the bundle is damaged or of another format.
    """
    verify_manifest(bundle)
    description: dict[str, Any] = json.loads((bundle / DESCRIPTION).read_text())
    read = {"format": FORMAT, "prompt_version": PROMPT_VERSION, "action_order": list(ACTION_NAMES)}
    others = [
        f"{name} {description.get(name)}, not {value}" for name, value in read.items() if description.get(name) != value
    ]
    if others:
        raise DataError(
            f"{bundle} is not for this version of flag_kedro: it has {' and '.join(others)}; train again with "
            "kedro run --pipelines=train, or use the version that it was trained with"
        )
    return description


def check_facts(
    description: dict[str, Any], facts: dict[str, Any], location: str = "06_models/policy", train: str = "train"
) -> None:
    """Refuse a bundle that was trained on something else than what is read now.

    Args:
        description: what the bundle says of itself.
        facts: what is read now; facts that only the description has do not matter.
        location: where the bundle is, for the message.
        train: the pipeline that makes it.

    Raises:
        MadeOtherwiseError: naming each difference, trained and found.
    """
    differing = [name for name in facts if description.get(name) != facts[name]]
    if differing:
        lines = "\n".join(f"  {name}: trained on {description.get(name)}, found {facts[name]}" for name in differing)
        raise MadeOtherwiseError(
            f"the policy in {location} does not match what is read now:\n{lines}\n"
            f"Train again (kedro run --pipelines={train}), or give the parameters and data it was trained with",
            _params_of({name: (description.get(name), facts[name]) for name in differing}),
        )


def _params_of(differing: Mapping[str, tuple[Any, Any]]) -> dict[str, Any] | None:
    """Parameters that a bundle was trained with where facts differ, each trained and found; None for other facts."""
    params: dict[str, Any] = {}
    for name, (trained, found) in differing.items():
        if name == "seed":
            params["seed"] = trained
        elif name == "windows" and trained:
            params |= {f"data.windows.{window}": span for window, span in trained.items() if span != found.get(window)}
        elif name in ("env", "policy", "ppo") and trained:
            was = {key: OFF[name].get(key) for key in found} | trained
            params |= {f"{name}.{key}": value for key, value in was.items() if value != found.get(key)}
        else:
            return None
    return params


def load_policy(bundle: Path, backbone: Path, device: torch.device, cache: TrunkCache | None = None) -> ActorCritic:
    """Open a bundle on its backbone, giving exactly the model that was trained, with nothing left to learn.

    Args:
        bundle: folder written by `TrainedPolicy.write`, manifest included.
        backbone: the backbone's folder, unless the bundle brings its own; its hash must be the bundle's.
        device: where to put it.
        cache: what may hold the trunk's outputs, from `open_trunk_cache`.

    Raises:
        DataError: when the bundle is damaged, of another format, or the backbone is another one.
        ParameterError: when transformers cannot read the backbone, or it does not suit.
        ValueError: when the cache is of another policy.
    """
    description = read_description(bundle)
    if (bundle / "backbone").is_dir():
        backbone = bundle / "backbone"
    _check_backbone(bundle, backbone, description)
    config = PolicyConfig(**description["policy"])
    base = load_backbone(backbone, device, config.num_layers).requires_grad_(False)
    if config.trainable == "lora":
        top = PeftModel.from_pretrained(base, bundle)
    else:
        _, unexpected = base.load_state_dict(load_file(bundle / TOP_LAYERS), strict=False)
        assert not unexpected
        top = base
    model = assemble_actor_critic(top, backbone, config, 0, device, cache)
    heads = load_file(bundle / HEADS)
    if model.standard is not None:
        own = [name for name in heads if name.startswith(STANDARD)]
        model.standard.load_state_dict({name.removeprefix(STANDARD): heads.pop(name) for name in own})
    if f"{VOLATILITY}.weight" in heads:
        model.add_volatility_head()
    model.heads.load_state_dict(heads)
    return model


def _volatility_facts(model: ActorCritic) -> dict[str, Any]:
    """What is said of the head that forecasts volatility, where there is one."""
    head = model.volatility_head
    if head is None:
        return {}
    return {"volatility_head": {"sessions": HORIZON, "mean": float(head.mean), "deviation": float(head.deviation)}}


def _check_backbone(bundle: Path, backbone: Path, description: Mapping[str, Any]) -> None:
    """Refuse another backbone than the bundle's.

    Raises:
        DataError: saying whether the tokenizer or the model is another.
    """
    if backbone_hash(backbone) == description["backbone_hash"]:
        return
    own = bundle / TOKENIZER
    same = own.is_file() and hash_file(own) == hash_file(backbone / TOKENIZER)
    raise DataError(
        f"{backbone} is not the backbone that {bundle} was trained on ({description['policy']['backbone']}): its "
        f"{'model' if same else 'tokenizer'} is another; train again with kedro run --pipelines=train"
    )


def portable_name(config: PolicyConfig) -> str:
    """The backbone's name without any path of this machine: as it was given, or a local folder's or file's own name."""
    path = Path(config.backbone).expanduser()
    return path.resolve().name if path.exists() and config.backbone not in (TINY, SMOLLM2) else config.backbone
