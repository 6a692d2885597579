"""What a run is called in MLflow."""

from collections.abc import Mapping
from typing import Any

from kedro.framework.hooks import hook_impl

from flag_kedro.data.simulated import DEFAULT_SYMBOLS
from flag_kedro.hooks.command import flatten, written
from flag_kedro.hooks.parameters import Settings, check_parameters

SHOWN = {"__default__": "run", "training": "train"}
"""Pipelines that are called otherwise; a whole one may be the name of what it does."""
WITHOUT_SYMBOLS = ("certify", "reproduce")
"""Pipelines that read neither `data.symbols` nor `seed`."""
TOLD_ALREADY = ("data_dir", "store_url", "data.symbols", "data.path", "seed", "seeds")
"""Parameters that a name does not repeat, or that say where things are."""
LONGEST = 200
"""Characters of a name; all parameters are with the run."""


class NameRun:
    """Names the run by what is done to what."""

    def __init__(self) -> None:
        self._context: Any = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Note where the parameters are; kedro-mlflow puts its own settings beside them."""
        self._context = context

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Tell kedro-mlflow the name, unless its settings have one."""
        tracking = self._context.mlflow.tracking
        if tracking.run.name is None:
            settings = check_parameters(self._context.config_loader["parameters"])
            pipelines = run_params.get("pipeline_names") or ["__default__"]
            tracking.run.name = run_name(pipelines, settings, flatten(run_params.get("runtime_params") or {}))


def run_name(pipelines: list[str], settings: Settings, given: Mapping[str, Any] | None = None) -> str:
    """Such as `train ALDR+5 seed 0 env.cost_bps=2`.

    Args:
        pipelines: that run.
        settings: of all parameters.
        given: those of the command line, flat, by which runs of one profile differ.
    """
    words = ["+".join(SHOWN.get(name, name) for name in pipelines)]
    if not set(pipelines) <= set(WITHOUT_SYMBOLS):
        seeds = settings.seeds or (settings.seed,)
        words += [name_symbols(settings), "seed" if len(seeds) == 1 else "seeds", *map(str, seeds)]
    words += [f"{name}={written(value)}" for name, value in (given or {}).items() if name not in TOLD_ALREADY]
    return " ".join(words)[:LONGEST]


def name_symbols(settings: Settings) -> str:
    """The first symbol and how many more there are; the source where it knows which itself."""
    symbols = settings.data.symbols or (DEFAULT_SYMBOLS if settings.data.source == "simulated" else ())
    if not symbols:
        return settings.data.source
    return symbols[0] if len(symbols) == 1 else f"{symbols[0]}+{len(symbols) - 1}"
