"""The ways of reading a day that are compared, and the measurement of one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from actor_critic_day import Day, add_gradients, roll_out
from actor_critic_meters import (
    Gradients,
    count_flops,
    count_tokens,
    forget_peak,
    matrix_product_rate,
    now,
    peak_above,
    relative_difference,
    take_gradients,
)
from actor_critic_plain import PlainActorCritic
from torch import Tensor

from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.prefix_kv_store import PrefixKVStore
from flag_kedro.policy.trainable import load_trainable_state
from flag_kedro.policy.trunk import open_trunk_cache
from flag_kedro.policy.trunk_cache import TrunkCache

SAVINGS: dict[str, dict[str, Any]] = {
    "none": {"packing": False, "trunk_cache": "never", "distinct_states": False},
    "packing": {"packing": True, "trunk_cache": "never", "distinct_states": False},
    "trunk_cache": {"packing": True, "trunk_cache": "ram", "distinct_states": False},
    "full": {"packing": True, "trunk_cache": "ram", "distinct_states": True},
    "known_rows": {"packing": True, "trunk_cache": "ram", "distinct_states": True, "prefix_kv_mb": 0},
    "known_prefix": {"packing": True, "trunk_cache": "ram", "distinct_states": True},
    "warm": {"packing": True, "trunk_cache": "ram", "distinct_states": True},
}
"""Variants of ActorCritic, each saving in turn. When a day begins the trunk's cache is empty; but `warm` knows all, and
`known_rows` and `known_prefix` know the prefixes, the latter with keys and values, and no account text behind them."""
KNOWN = ("known_rows", "known_prefix")
VARIANTS = ("plain", *SAVINGS)
SLOW = ("plain", "none")
PLAIN_ROWS = (4, 16)
LORA_STD = 0.02

Model = PlainActorCritic | ActorCritic


@dataclass(frozen=True)
class Setting:
    """What all variants share."""

    folder: Path
    device: torch.device
    days: Sequence[Day]
    epochs: int
    policy: dict[str, Any]
    """Fields of PolicyConfig."""
    weights: Mapping[str, Tensor]
    """Those that learn."""
    repeats: int
    plain_repeats: int
    plain_rows: int | None
    """Accounts in a batch of the plain loop; None takes the fastest of `PLAIN_ROWS`."""
    seed: int

    def config(self, dtype: str, savings: Mapping[str, Any]) -> PolicyConfig:
        """The policy's parameters with some savings on."""
        return PolicyConfig(**self.policy, dtype=dtype, **savings)  # type: ignore[arg-type]


def draw_model(folder: Path, policy: dict[str, Any], seed: int) -> ActorCritic:
    """A fresh model, but LoRA's second factor is drawn too, else the first would get no gradient."""
    model = build_actor_critic(folder, PolicyConfig(**policy, trunk_cache="never"), seed, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=LORA_STD, generator=generator)
    return model


def measure_variant(
    name: str, dtype: str, setting: Setting, references: Mapping[str, Gradients]
) -> tuple[dict[str, Any], Gradients]:
    """One row of the report and the gradients; `references` are the plain loop's, by dtype.

    The untimed warm-up of a rollout and an epoch is the one in which tokens, operations and gradients are taken.
    Seconds and counts are of an average day.
    """
    model, device = _build(name, dtype, setting), setting.device
    _prepare(name, model, setting)
    rows = setting.plain_rows or min(PLAIN_ROWS)
    rows = rows if name == "plain" else _all_rows(setting)
    counted, gradients = _count(model, setting, rows)
    if name == "plain" and setting.plain_rows is None:
        rows = _fastest_rows(model, setting)
    _prepare(name, model, setting)
    rate_before = matrix_product_rate(getattr(torch, dtype), device)
    start = forget_peak(device)
    repeats = setting.plain_repeats if name in SLOW else setting.repeats
    runs = sorted((_time(name, model, setting, rows) for _ in range(repeats)), key=sum)
    rollout, update = runs[len(runs) // 2]
    row = {
        "variant": name,
        "dtype": dtype,
        "seconds": rollout + update,
        "rollout_seconds": rollout,
        "update_seconds": update,
        "repeats": repeats,
        "rows": rows if name == "plain" else None,
        **counted,
        "peak_memory_mb": peak_above(start, device),
    }
    row["matrix_flops_per_second"] = (rate_before + matrix_product_rate(getattr(torch, dtype), device)) / 2
    return row | _differences(name, dtype, gradients, references), gradients


def _build(name: str, dtype: str, setting: Setting) -> Model:
    if name == "plain":
        plain = PlainActorCritic(setting.folder, setting.config(dtype, {}), setting.device)
        load_trainable_state(plain, dict(setting.weights))  # type: ignore[arg-type]
        return plain
    config = setting.config(dtype, SAVINGS[name])
    cache = open_trunk_cache(setting.folder, config, setting.device)
    model = build_actor_critic(setting.folder, config, setting.seed, setting.device, cache)
    load_trainable_state(model, dict(setting.weights))
    return model


def _count(model: Model, setting: Setting, rows: int) -> tuple[dict[str, Any], Gradients]:
    """Tokens and operations of an average day, and the gradients of one epoch of all days together.

    Operations are those carried out, on padding too.
    """
    frozen_layers, num_days, epochs = int(setting.policy["frozen_layers"]), len(setting.days), setting.epochs
    with count_tokens(model.backbone, frozen_layers) as rolled_out:
        rollout_flops = count_flops(lambda: _roll_out_all(model, setting, rows))
    with count_tokens(model.backbone, frozen_layers) as learned:
        epoch_flops = count_flops(lambda: _add_gradients_of_all(model, setting, rows))
    counted = {
        "flops": (rollout_flops + epochs * epoch_flops) / num_days,
        "update_flops": epochs * epoch_flops / num_days,
        "trunk_tokens": (rolled_out.trunk.real + epochs * learned.trunk.real) / num_days,
        "trunk_tokens_computed": (rolled_out.trunk.computed + epochs * learned.trunk.computed) / num_days,
        "top_tokens": (rolled_out.top.real + epochs * learned.top.real) / num_days,
        "top_tokens_computed": (rolled_out.top.computed + epochs * learned.top.computed) / num_days,
    }
    return counted, take_gradients(model)


def _fastest_rows(model: Model, setting: Setting) -> int:
    """The number of accounts in a batch with which an epoch of the first day is fastest."""
    day = setting.days[0]
    seconds = {}
    for rows in sorted({min(rows, len(day.states)) for rows in PLAIN_ROWS}):
        started = now(setting.device)
        add_gradients(model, day, rows)
        seconds[rows] = now(setting.device) - started
        model.zero_grad(set_to_none=True)
    return min(seconds, key=lambda rows: seconds[rows])


def _time(name: str, model: Model, setting: Setting, rows: int) -> tuple[float, float]:
    """Seconds of rollout and update of an average day."""
    device = setting.device
    _prepare(name, model, setting)
    rollout = update = 0.0
    for day in setting.days:
        started = now(device)
        roll_out(model, day, rows)
        rolled_out = now(device)
        for _ in range(setting.epochs):
            model.zero_grad(set_to_none=True)
            add_gradients(model, day, rows)
        update += now(device) - rolled_out
        rollout += rolled_out - started
    model.zero_grad(set_to_none=True)
    return rollout / len(setting.days), update / len(setting.days)


def _prepare(name: str, model: Model, setting: Setting) -> None:
    """Let the trunk's cache, if there is one, know what it knows when a day begins."""
    if name == "plain" or not isinstance(model, ActorCritic) or model.trunk.cache is None:
        return
    if name == "warm":
        _roll_out_all(model, setting, _all_rows(setting))
        return
    old = model.trunk.cache
    model.trunk.cache = TrunkCache(old.context, old.max_bytes, keys_values=PrefixKVStore(old.keys_values.max_bytes))
    if name in KNOWN:
        for day in setting.days:
            model.read_ahead(day.states.prefix)


def _differences(
    name: str, dtype: str, gradients: Gradients, references: Mapping[str, Gradients]
) -> dict[str, float | None]:
    """Relative differences to the plain loop's gradients in the same dtype and in float32."""

    def to(reference: Gradients | None, *, layers_only: bool = False) -> float | None:
        if reference is None:
            return None
        chosen = [key for key in reference if not (layers_only and key.startswith("heads."))]
        return relative_difference({key: gradients[key] for key in chosen}, {key: reference[key] for key in chosen})

    same = references.get(dtype) if name != "plain" else None
    return {
        "relative_gradient_difference": to(same),
        "relative_gradient_difference_layers": to(same, layers_only=True),
        "relative_gradient_difference_to_float32": to(references.get("float32")) if dtype != "float32" else None,
    }


def _roll_out_all(model: Model, setting: Setting, rows: int) -> None:
    for day in setting.days:
        roll_out(model, day, rows)


def _add_gradients_of_all(model: Model, setting: Setting, rows: int) -> None:
    for day in setting.days:
        add_gradients(model, day, rows)


def _all_rows(setting: Setting) -> int:
    return max(len(day.states) for day in setting.days)
