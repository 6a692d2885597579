"""All parameters against one model, before anything runs.

Kedro checks only the parameters of the pipelines that run and ignores unknown top-level keys.
"""

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.endpoint_config import EndpointConfig
from flag_kedro.data.config import DataConfig, NewsConfig, WindowsConfig
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.yahoo import YahooConfig
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.errors import ParameterError
from flag_kedro.experiments.config import (
    AuditConfig,
    CertifyConfig,
    ContaminationConfig,
    RobustnessConfig,
    Seeds,
    SweepConfig,
    WalkForwardConfig,
)
from flag_kedro.experiments.search_space import open_space
from flag_kedro.experiments.sweep import Combination, combinations
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.policy.config import PolicyConfig, PublishConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.serving.config import DecideConfig, TradeConfig
from flag_kedro.stores.config import StoreConfig

GONE = {"certify.processes": "set runtime.engine=ray, which trains as many side by side as there are cores"}
"""Parameters that there were, and what to give instead."""


class Settings(BaseModel):
    """Every parameter there is, one group per room."""

    model_config = ConfigDict(extra="forbid")

    data: DataConfig
    news: NewsConfig
    simulated: SimulatedConfig
    files: FilesConfig
    yahoo: YahooConfig
    features: FeaturesConfig
    env: EnvConfig
    portfolio: PortfolioConfig
    policy: PolicyConfig
    ppo: PPOConfig
    backtest: BacktestConfig
    audit: AuditConfig
    certify: CertifyConfig
    walk_forward: WalkForwardConfig
    sweep: SweepConfig
    contamination: ContaminationConfig
    robustness: RobustnessConfig
    decide: DecideConfig
    trade: TradeConfig
    publish: PublishConfig
    runtime: RuntimeConfig
    store: StoreConfig
    seed: int = Field(ge=0)
    seeds: Seeds | None = None
    data_dir: str | None = None
    trunk_cache_dir: str | None = None
    store_url: str | None = None


def check_parameters(parameters: Mapping[str, Any]) -> Settings:
    """Return all parameters typed.

    Raises:
        ParameterError: naming every wrong key by its path, with what was found and expected.
    """
    try:
        settings = Settings(**parameters)
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors()]
        raise ParameterError("parameters are not right; nothing was run\n  " + "\n  ".join(lines)) from error
    try:
        grid_points = _points(settings)
    except ValueError as error:
        raise ParameterError(f"parameters are not right; nothing was run\n  {error}") from error
    _check_events(settings.env, settings.features.digest_sessions, "env.decide_on is events")
    for point in grid_points:
        where = f"sweep.grid has a combination that trades on events ({point.as_params})"
        _check_events(point.env, settings.features.digest_sessions, where)
    return settings


def _points(settings: Settings) -> list[Combination]:
    """What a sweep tries: all of a grid, or the corners of what a sampler draws from."""
    own = (settings.env, settings.policy, settings.ppo)
    if settings.sweep.sampler == "grid":
        return combinations(settings.sweep.grid, *own)
    return open_space(settings.sweep, *own).corners()


def _check_events(env: EnvConfig, shown: int, where: str) -> None:
    """Refuse events of news where prompts show the news of more sessions (`shown`) than the one since the last close.

    Raises:
        ParameterError: beginning with `where`, and naming both parameters.
    """
    if env.event_rule is not None and env.event_rule.reads_news and shown != 1:
        raise ParameterError(
            f"{where}, some of them of news, but prompts show those of {shown} sessions; set "
            "features.digest_sessions=1, or trade on moves alone (env.event_news_burst=null,env.event_large_move=2)"
        )


def check_pipeline(settings: Settings, outputs: set[str]) -> None:
    """Refuse parameters that a pipeline with these outputs cannot run with, or would not read.

    Raises:
        ParameterError: for several trainings on several machines, of which all but one would leave after the first, for
            `seeds` where `certify.seeds` is read, for certificates of policies that trade on events or have a stop, and
            for events that the events pipeline cannot find.
    """
    if "certificate" in outputs and settings.seeds is not None:
        raise ParameterError("seeds is not read by this pipeline; give certify.seeds, those of the markets")
    if "certificate" in outputs and settings.env.decide_on == "events":
        raise ParameterError("certificates are of policies that trade every session; set env.decide_on=every_session")
    if "certificate" in outputs and settings.env.max_drawdown_stop is not None:
        raise ParameterError(
            "certificates hold a policy against time shifts of its positions, and those of a stopped account say "
            "nothing of timing; set env.max_drawdown_stop=null"
        )
    if "event_study" in outputs:
        _check_events(_on_events(settings.env), settings.features.digest_sessions, "this pipeline trades on events")
    several = bool({"walk_forward_results", "sweep_results"} & outputs)
    several |= "seed_results" in outputs and settings.seeds is not None
    if several and settings.ppo.num_machines > 1:
        raise ParameterError(
            f"ppo.num_machines is {settings.ppo.num_machines}, but only a single training can run on several machines; "
            "give each machine other seeds or folds with ppo.num_machines=1, or train one seed"
        )


def _on_events(env: EnvConfig) -> EnvConfig:
    """The environment of the events pipeline, whatever `env.decide_on` is.

    Raises:
        ParameterError: when no kind of event is asked for.
    """
    try:
        return replace(env, decide_on="events")
    except ValueError as error:
        raise ParameterError(
            "this pipeline trades on events, but no kind of event is asked for; set one of env.event_news_burst, "
            "env.event_news_ratio, env.event_large_move or env.event_filing"
        ) from error


def _explain(problem: dict[str, Any]) -> str:
    """One line for one pydantic error: path, rule, value found."""
    path = [str(part) for part in problem["loc"] if not _is_union_tag(part)]
    name = ".".join(path)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        if name in GONE:
            return f"{name}: is no parameter any more; {GONE[name]}"
        keys = _keys_of(path[:-1])
        groups = [group for group in _keys_of([]) if not path[:-1] and path[-1] in _keys_of([group])]
        if groups:
            return f"{name}: unknown parameter; did you mean {' or '.join(f'{group}.{name}' for group in groups)}?"
        near = difflib.get_close_matches(path[-1], keys, n=1)
        hint = f"did you mean {'.'.join([*path[:-1], near[0]])}?" if near else f"known here: {', '.join(keys)}"
        return f"{name}: unknown parameter; {hint}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{name}: missing"
    if message.startswith(f"{path[0]}."):  # a check of several fields names its own
        return str(message)
    return f"{name}: {message}; got {problem['input']!r}"


def _is_union_tag(part: object) -> bool:
    """Whether pydantic named a member of a union (`str`, `dict[str,str]`) rather than a key."""
    return isinstance(part, str) and (part in ("str", "int", "float", "none") or "[" in part)


def _keys_of(path: list[str]) -> list[str]:
    """Names of the parameters in a group; of the groups for an empty path."""
    if not path:
        return sorted(Settings.model_fields)
    nested: dict[tuple[str, ...], Any] = {
        ("data", "windows"): WindowsConfig,
        ("backtest", "endpoint"): EndpointConfig,
    }
    group = nested.get(tuple(path), Settings.model_fields[path[0]].annotation)
    return sorted(field.name for field in fields(group)) if is_dataclass(group) else []
