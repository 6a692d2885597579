"""What a sampler draws combinations from: values of a grid as categories, and ranges of numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import TypeAdapter, ValidationError

from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments.config import SweepConfig
from flag_kedro.experiments.sweep import NEEDS, Combination, Groups, as_text, check_path, combine
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Params = dict[str, Any]
"""A point as Optuna keeps it: numbers of ranges, and the text of a category."""
DIGITS = 4
"""Significant digits of a number that is drawn, so that it can be read and typed."""
MAX_CORNERS = 1_024
"""Corners of a space that are looked at before anything is trained."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both are `int`."""

    low: float
    high: float
    log: bool

    def distribution(self) -> "BaseDistribution":
        """As Optuna draws from it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def rounded(self, value: float) -> float:
        """`value` with `DIGITS` significant digits, not beyond the ends; whole numbers as they are."""
        if isinstance(value, int):
            return value
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class SearchSpace:
    """All combinations that may be tried, on top of the run's own parameters."""

    categories: Mapping[str, Mapping[str, Any]]
    """Path -> text of a value -> the value."""
    ranges: Mapping[str, Range]
    groups: Groups

    def distributions(self) -> "dict[str, BaseDistribution]":
        """As Optuna draws from it, by path."""
        from optuna.distributions import CategoricalDistribution

        named: dict[str, BaseDistribution] = {
            path: CategoricalDistribution(list(values)) for path, values in self.categories.items()
        }
        return named | {path: each.distribution() for path, each in self.ranges.items()}

    def rounded(self, params: Mapping[str, Any]) -> Params:
        """What was drawn, with numbers as `Range.rounded` has them."""
        return {
            path: self.ranges[path].rounded(value) if path in self.ranges else value for path, value in params.items()
        }

    def combination(self, params: Mapping[str, Any]) -> Combination:
        """The combination at a point.

        Raises:
            ValueError: where its values do not fit together.
        """
        values = {path: self.categories[path][text] for path, text in params.items() if path in self.categories}
        values |= {path: value for path, value in params.items() if path in self.ranges}
        return combine(values, self.groups, self.ranges)

    def corners(self) -> list[Combination]:
        """Every category with every other and with both ends of all ranges, at most `MAX_CORNERS` of them.

        Raises:
            ValueError: naming what is not right.
        """
        ends: dict[str, tuple[Any, ...]] = {path: tuple(values) for path, values in self.categories.items()}
        ends |= {path: (each.low, each.high) for path, each in self.ranges.items()}
        points = islice(product(*ends.values()), MAX_CORNERS)
        return [self.combination(dict(zip(ends, point, strict=True))) for point in points]


def open_space(config: SweepConfig, env: EnvConfig, policy: PolicyConfig, ppo: PPOConfig) -> SearchSpace:
    """The space of `sweep.grid` and `sweep.ranges`.

    Args:
        config: with a sampler.
        env: the run's parameters.
        policy: the same.
        ppo: the same.

    Raises:
        ValueError: naming a path that cannot be tried or has no effect, values that are not right or do not fit
            together, or more trials than there are combinations.
    """
    if not config.grid and not config.ranges:
        raise ValueError(
            "sweep.ranges and sweep.grid are empty: name what to try, such as kedro run --pipelines=sweep "
            f'--params="sweep.sampler={config.sampler},sweep.trials={config.trials},'
            'sweep.ranges.ppo.learning_rate=1e-4 1e-2 log"'
        )
    groups = {"env": env, "policy": policy, "ppo": ppo}
    categories = {path: _categories(path, values, groups) for path, values in config.grid.items()}
    space = SearchSpace(categories, {path: _range(path, ends, groups) for path, ends in config.ranges.items()}, groups)
    corners = space.corners()
    _refuse_without_effect(space, corners)
    names = {corner.name for corner in corners}
    assert config.trials is not None
    if not space.ranges and len(corners) < MAX_CORNERS and config.trials > len(names):
        raise ValueError(
            f"sweep.trials is {config.trials}, but sweep.grid has {len(names)} combination(s) only; try all of them "
            "with sweep.sampler=grid, or give sweep.ranges"
        )
    return space


def search_facts(config: SweepConfig, seed: int) -> dict[str, Any]:
    """What the trainings of a search depend on besides their own parameters, fit for JSON.

    Not how many trials there are: more of them begin with the same ones.
    """
    names = ("sampler", "batch", "prune", "prune_startup_trials", "prune_warmup", "grid", "ranges")
    return {name: getattr(config, name) for name in names} | {"seed": seed}


def _categories(path: str, values: tuple[Any, ...], groups: Groups) -> dict[str, Any]:
    check_path(path, groups)
    if not values:
        raise ValueError(f"sweep.grid.{path} has no values; give at least one")
    parsed = [_parsed(f"sweep.grid.{path}", path, value, groups) for value in values]
    texts = [as_text(value) for value in parsed]
    if len(set(texts)) < len(texts):
        raise ValueError(f"sweep.grid.{path} holds a value twice ({' '.join(texts)}); give each once")
    return dict(zip(texts, parsed, strict=True))


def _range(path: str, ends: tuple[Any, ...], groups: Groups) -> Range:
    name = f"sweep.ranges.{path}"
    check_path(path, groups, "sweep.ranges")
    if len(ends) not in (2, 3) or (len(ends) == 3 and ends[2] != "log"):
        given = " ".join(map(str, ends))
        raise ValueError(f"{name} is {given!r}; give LOW HIGH, or LOW HIGH log for a logarithmic scale")
    low, high = (_parsed(name, path, end, groups) for end in ends[:2])
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, (int, float)):
            raise ValueError(f"{name}: only numbers have a range, {end!r} is none; list values in sweep.grid.{path}")
    if not low < high:
        raise ValueError(f"{name}: the low end must come first, and the ends differ; got {low} {high}")
    if len(ends) == 3 and low <= 0:
        raise ValueError(f"{name}: a logarithmic scale needs a low end above 0; got {low}")
    return Range(low, high, len(ends) == 3)


def _parsed(name: str, path: str, value: Any, groups: Groups) -> Any:
    """One value as its config reads it.

    Raises:
        ValueError: beginning with `name` where it cannot.
    """
    group, _, field = path.partition(".")
    info = groups[group].__pydantic_fields__[field]
    kind: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{name}: {first['msg'].removeprefix('Value error, ')}; got {first['input']!r}") from error


def _refuse_without_effect(space: SearchSpace, corners: list[Combination]) -> None:
    """Refuse a parameter that is off in every corner, so that it would change nothing.

    Raises:
        ValueError: naming it and what would turn it on.
    """
    for path in {**space.categories, **space.ranges}:
        name = path.partition(".")[2]
        if name not in NEEDS:
            continue
        others: dict[str, set[str]] = {}
        for corner in corners:
            rest = str({other: value for other, value in corner.values.items() if other != path})
            others.setdefault(rest, set()).add(corner.name)
        if all(len(names) == 1 for names in others.values()):
            section = "ranges" if path in space.ranges else "grid"
            raise ValueError(
                f"sweep.{section}.{path} has no effect without {NEEDS[name]}; turn that on, or leave it out"
            )
