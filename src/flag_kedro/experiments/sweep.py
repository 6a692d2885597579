"""Combinations of parameters, ranked by what they earn on the validation window, never by the test window."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import product
from typing import Any

from pydantic import ValidationError

from flag_kedro.backtest.inference import summarise_seeds
from flag_kedro.env.config import EnvConfig
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig

Row = dict[str, Any]
KEPT = {
    "ppo": {"resume", "checkpoint_interval", "num_processes", "num_machines", "rendezvous", "fsdp"},
    "policy": {"backbone", "revision", "trunk_cache", "trunk_cache_mb"},
    "env": {"fill", "positions", "cost_bps", "slippage_bps", "borrow_bps_year", "cash_rate"}
    | {"max_participation", "initial_cash"},
}
"""Parameters that a sweep cannot try: they change no result, what is judged, or the backbone that all share."""


@dataclass(frozen=True)
class Combination:
    """One point of the grid."""

    values: Mapping[str, Any]
    """What differs from the run's parameters, by path."""
    env: EnvConfig
    policy: PolicyConfig
    ppo: PPOConfig

    @property
    def name(self) -> str:
        """A hash of all its parameters."""
        parts = [asdict(part) for part in (self.env, self.policy, self.ppo)]
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def as_params(self) -> str:
        """The values as `kedro run --params` takes them."""
        return ",".join(f"{path}={json.dumps(value).strip(chr(34))}" for path, value in self.values.items())


def combinations(
    grid: Mapping[str, Sequence[Any]], env: EnvConfig, policy: PolicyConfig, ppo: PPOConfig
) -> list[Combination]:
    """Every value of the grid with every other, on top of the run's own parameters.

    Raises:
        ValueError: naming a path that cannot be tried, has no values or the same one twice, or the combination whose
            values are not right.
    """
    groups: dict[str, Any] = {"env": env, "policy": policy, "ppo": ppo}
    for path, values in grid.items():
        _check_path(path, groups)
        if not values:
            raise ValueError(f"sweep.grid.{path} has no values; give at least one")
    found = [_combine(dict(zip(grid, values, strict=True)), groups) for values in product(*grid.values())]
    names = [combination.name for combination in found]
    if len(set(names)) < len(names):
        twice = next(each for each in found if names.count(each.name) > 1)
        raise ValueError(f"sweep.grid holds {twice.as_params} twice; give each value once")
    return found


def rank(tried: Sequence[tuple[Combination, Sequence[Row]]]) -> list[Row]:
    """The combinations, the best median over seeds of the validation log return first; equals keep their order.

    Args:
        tried: each combination with its rows, one for each seed, which have `seed` and `validation_log_return`.
    """
    rows = []
    for combination, own in tried:
        by_seed = {str(row["seed"]): row["validation_log_return"] for row in own}
        summary = asdict(summarise_seeds(list(by_seed.values())))
        rows.append(
            {
                "values": dict(combination.values),
                "params": combination.as_params,
                "validation_log_return": summary,
                "by_seed": by_seed,
            }
        )
    return sorted(rows, key=lambda row: -row["validation_log_return"]["median"])


def _check_path(path: str, groups: Mapping[str, Any]) -> None:
    group, _, name = path.partition(".")
    known = {other: sorted(set(asdict(config)) - KEPT[other]) for other, config in groups.items()}
    if group not in groups:
        raise ValueError(f"sweep.grid.{path}: only ppo.*, policy.* and env.* can be tried")
    if name not in known[group]:
        raise ValueError(f"sweep.grid.{path}: cannot be tried; of {group} these can: {', '.join(known[group])}")


def _combine(values: dict[str, Any], groups: Mapping[str, Any]) -> Combination:
    made = {}
    for group, config in groups.items():
        own = {path.partition(".")[2]: value for path, value in values.items() if path.startswith(f"{group}.")}
        try:
            made[group] = replace(config, **own)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in ("sweep.grid", group, *first["loc"][:1]))
            message = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{place}: {message}; got {first['input']!r}" if first["loc"] else message) from error
    typed = {path: getattr(made[path.partition(".")[0]], path.partition(".")[2]) for path in values}
    return Combination(typed, **made)
