"""Combinations of parameters, ranked by what they earn on the validation window, never by the test window."""

import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import product
from typing import Any

from pydantic import ValidationError

from flag_kedro.backtest.inference import SeedSummary, summarise_seeds
from flag_kedro.env.config import EVENT_FIELDS, EnvConfig
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import NOT_LEARNING, PPOConfig

FIXED = {
    "ppo": {*NOT_LEARNING, "num_processes", "num_machines"},
    "policy": {"backbone", "revision", "weights", "trunk_cache", "trunk_cache_mb", "prefix_kv_mb"},
    "env": {"fill", "positions", "cost_bps", "slippage_bps", "borrow_bps_year", "cash_rate"}
    | {"max_participation", "initial_cash"},
}
"""Parameters that a sweep cannot try: they change no result, how it is measured, or the backbone that all share."""

NEEDS = {"cvar_level": "env.cvar_penalty above 0", **dict.fromkeys(EVENT_FIELDS, "env.decide_on=events")}
"""Parameters of `env` that `EnvConfig.facts` leaves out while they are off, and what turns them on."""


FAILED = "failed"
"""In the row of a training of a search that could not go on: why."""

Groups = Mapping[str, Any]
"""The run's own `env`, `policy` and `ppo`, by these names."""


def as_text(value: Any) -> str:
    """A value as the command line takes it."""
    return json.dumps(value).strip('"')


@dataclass(frozen=True)
class Combination:
    """One point of the grid, or of the space that a sampler draws from."""

    values: Mapping[str, Any]
    """What differs from the run's parameters, by path."""
    env: EnvConfig
    policy: PolicyConfig
    ppo: PPOConfig
    is_base: bool = False
    """Whether these are the run's own parameters."""

    @property
    def name(self) -> str:
        """A hash of all its parameters."""
        parts = [self.env.facts(), asdict(self.policy), self.ppo.learning()]
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def as_params(self) -> str:
        """The values as `kedro run --params` takes them."""
        return ",".join(f"{path}={as_text(value)}" for path, value in self.values.items())


@dataclass(frozen=True)
class RankedCombination:
    """What a combination earned on the validation window; saved as JSON in this order."""

    values: dict[str, Any]
    """What differs from the run's parameters, by path."""
    params: str
    """The same as `kedro run --params` takes it."""
    validation_log_return: SeedSummary
    """Over seeds, of the sum over symbols."""
    by_seed: dict[str, float]
    collapsed: dict[str, str]
    """By seed, the constant position that the policy held on validation; other seeds are left out."""
    is_base: bool
    """Whether these are the run's own parameters."""
    validation_log_returns: list[list[float | None]]
    """Of each seed, of all symbols in one account; None from where it is ruined on."""

    @property
    def median(self) -> float:
        """Median over seeds of the validation log return."""
        return self.validation_log_return.median


def failure(row: Mapping[str, Any]) -> str | None:
    """Why a training earned nothing that can be compared; None for one that did."""
    if FAILED in row:
        return str(row[FAILED])
    return None if math.isfinite(row["validation_log_return"]) else "the account was ruined on validation"


def combinations(
    grid: Mapping[str, Sequence[Any]], env: EnvConfig, policy: PolicyConfig, ppo: PPOConfig
) -> list[Combination]:
    """Every value of the grid with every other, on top of the run's own parameters.

    Args:
        grid: values to try, by path such as `ppo.gamma`.
        env: the run's parameters.
        policy: the same.
        ppo: the same.

    Raises:
        ValueError: naming a path that cannot be tried, has no values or the same one twice, or the combination whose
            values are not right.
    """
    groups: dict[str, Any] = {"env": env, "policy": policy, "ppo": ppo}
    for path, values in grid.items():
        check_path(path, groups)
        if not values:
            raise ValueError(f"sweep.grid.{path} has no values; give at least one")
    grid_points = [combine(dict(zip(grid, values, strict=True)), groups) for values in product(*grid.values())]
    names = [combination.name for combination in grid_points]
    if len(set(names)) < len(names):
        raise ValueError(_explain_equal([each for each in grid_points if names.count(each.name) > 1]))
    return grid_points


def _explain_equal(grid_points: Sequence[Combination]) -> str:
    """Why two of `grid_points` are the same: a value that is given twice, or one of a parameter that is off."""
    first = grid_points[0]
    other = next(each for each in grid_points[1:] if each.name == first.name)
    differing = [path for path, value in first.values.items() if value != other.values[path]]
    if not differing:
        return f"sweep.grid holds {first.as_params} twice; give each value once"
    needed = sorted({NEEDS.get(path.partition(".")[2], "another parameter") for path in differing})
    return (
        f"sweep.grid holds {first.as_params} and {other.as_params}, which are the same: {', '.join(differing)} has no "
        f"effect without {' and '.join(needed)}; turn that on, or leave {', '.join(differing)} out"
    )


def rank(tried: Sequence[tuple[Combination, Sequence[Mapping[str, Any]]]]) -> list[RankedCombination]:
    """The combinations, the best median over seeds of the validation log return first; equals keep their order.

    Args:
        tried: each combination with its rows of `runs.run_validation`, one for each seed.

    Raises:
        DataError: where a validation log return is not finite.
    """
    ranked = []
    for combination, rows in tried:
        by_seed: dict[str, float] = {str(row["seed"]): row["validation_log_return"] for row in rows}
        summary = summarise_seeds(list(by_seed.values()))
        collapsed = {str(row["seed"]): row["collapsed_to"] for row in rows if row["collapsed_to"] is not None}
        values, returns = dict(combination.values), [list(row["validation_log_returns"]) for row in rows]
        ranked.append(
            RankedCombination(values, combination.as_params, summary, by_seed, collapsed, combination.is_base, returns)
        )
    return sorted(ranked, key=lambda each: -each.median)


def check_path(path: str, groups: Groups, section: str = "sweep.grid") -> None:
    """Refuse a path that cannot be tried.

    Args:
        path: such as `ppo.gamma`.
        groups: the run's parameters.
        section: of the parameters that have it.

    Raises:
        ValueError: naming the path and those that can be tried.
    """
    group, _, name = path.partition(".")
    allowed = {other: sorted(set(asdict(config)) - FIXED[other]) for other, config in groups.items()}
    if group not in groups:
        raise ValueError(f"{section}.{path}: only ppo.*, policy.* and env.* can be tried")
    if name not in allowed[group]:
        raise ValueError(f"{section}.{path}: cannot be tried; of {group} these can: {', '.join(allowed[group])}")


def combine(values: Mapping[str, Any], groups: Groups, ranges: Container[str] = ()) -> Combination:
    """The combination whose `values`, by path, stand in the `groups` env, policy and ppo.

    Args:
        values: by path.
        groups: the run's parameters.
        ranges: paths that are given as ranges, not as values.

    Raises:
        ValueError: naming the path whose value is not right, or saying which of them do not fit.
    """
    configs = {}
    for group, config in groups.items():
        changes = {path.partition(".")[2]: value for path, value in values.items() if path.startswith(f"{group}.")}
        try:
            configs[group] = replace(config, **changes)
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(str(part) for part in (group, *first["loc"][:1]))
            section = "sweep.ranges" if path in ranges else "sweep.grid"
            message = first["msg"].removeprefix("Value error, ")
            named = f"{section}.{path}: {message}; got {first['input']!r}"
            raise ValueError(named if first["loc"] else message) from error
    parsed = {path: getattr(configs[path.partition(".")[0]], path.partition(".")[2]) for path in values}
    return Combination(parsed, **configs, is_base=configs == dict(groups))
