"""The README of a trained policy."""

from pathlib import Path
from typing import Any

from flag_kedro.names import TINY
from flag_kedro.policy.manifest import CARD
from flag_kedro.policy.origin import BackboneOrigin
from flag_kedro.policy.smollm2 import HUB_ID

READS = {
    "last": "alone",
    "lines": "and the sum of what leaves the trunk at the end of each headline, both standardised (`standard.*`)",
}
VOLATILITY = """ A third head, which reads the same, forecasts the logarithm of the realised variance of
the next {sessions} sessions: its output times {deviation:g}, plus {mean:g}."""
BESIDE = "../backbone"
"""Where a run leaves its backbone, seen from its policy."""
LICENCES = {TINY: "apache-2.0", HUB_ID: "apache-2.0"}
"""Of backbones, which what was trained on them shares: this project's own, and that of the hub's model card."""


def write_model_card(
    description: dict[str, Any], origin: BackboneOrigin, folder: Path, layers_name: str = "layers"
) -> None:
    """Write the card of a policy into its folder.

    Args:
        description: its `policy.json`.
        origin: of its backbone.
        folder: of the bundle.
        layers_name: what the backbone calls its layers.
    """
    policy, windows = description["policy"], description["windows"]
    lora = policy["trainable"] == "lora"
    layers = "" if policy["num_layers"] is None else f", the first {policy['num_layers']} layers of it"
    licence = LICENCES.get(origin.model or policy["backbone"])
    head = {
        "license": licence or "other",
        "license_name": None if licence else "that-of-its-backbone",
        "base_model": origin.model,
        "library_name": "peft" if lora else "transformers",
        "tags": "[reinforcement-learning, trading, flag-trader]",
    }
    forecast = description.get("volatility_head")
    third = "" if forecast is None else VOLATILITY.format(**forecast)
    lines = "\n".join(f"{name}: {value}" for name, value in head.items() if value is not None)
    card = f"""---
{lines}
---
# A flag_kedro trading policy

Actor-critic on `{origin.name}`{layers}; layers from {policy["frozen_layers"]} on
trained by PPO ({policy["trainable"]}).
Backbone: {origin}; sha256 {description["backbone_hash"]}.
Market: {description.get("market", "not said")}.
Symbols {" ".join(description["symbols"])}; trained on {" to ".join(windows["train"])}, meant to be judged on
{" to ".join(windows["test"])}. `policy.json` holds everything else.

{_opening(policy, origin, layers_name)}

`heads.safetensors` holds the policy head (sell, hold, buy) and the value head; both read the last token of the prompt
{READS[policy["readout"]]}.{third}
This is research software, not investment advice.
"""
    (folder / CARD).write_text(card)


def _opening(policy: dict[str, Any], origin: BackboneOrigin, layers_name: str) -> str:
    """How to open what was trained."""
    place = _place(origin)
    base = (
        f"AutoModel.from_pretrained({place!r})"
        if place == origin.hub_id
        else f'AutoModel.from_pretrained(f"{{bundle}}/{place}")'
    )
    if policy["trainable"] != "lora":
        return f"`top_layers.safetensors` replaces the layers from {policy['frozen_layers']} on of `{base}`."
    beside = "" if place != BESIDE else f"`{BESIDE}` is the backbone that the run left beside the policy.\n"
    kept = policy["num_layers"]
    cut = "" if kept is None else f"base.{layers_name} = base.{layers_name}[:{kept}]\n"
    return f"""Open the adapter on `AutoModel`. On `AutoModelForCausalLM` its keys do not match and PEFT only warns.
{beside}
```python
from peft import PeftModel
from transformers import AutoModel
bundle = "."  # the folder of this file
base = {base}
{cut}model = PeftModel.from_pretrained(base, bundle)
```
PEFT's `AutoPeftModel` would look for the backbone where Python was started, not here."""


def _place(origin: BackboneOrigin) -> str:
    """Where the backbone is: in the bundle, on the hub, or beside the bundle, where the run left it."""
    return "backbone" if origin.source == "built here" else origin.hub_id or BESIDE
