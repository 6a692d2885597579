"""Wrong parameters stop the command before MLflow or any node starts."""

from dataclasses import replace
from typing import Any

from kedro.framework.hooks import hook_impl

from flag_kedro.errors import ParameterError
from flag_kedro.hooks.parameters import Settings, check_parameters, check_pipeline
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.source import find_backbone


class CheckParameters:
    """Checks all parameters against their model, then against the pipeline, and settles the run's seed."""

    def __init__(self) -> None:
        self._settings: Settings | None = None

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: Any) -> None:
        """Refuse parameters that no pipeline could run with.

        Raises:
            ParameterError: naming every wrong parameter.
        """
        settings = check_parameters(context.config_loader["parameters"])
        check_given(settings, context.config_loader.runtime_params or {})
        self._settings = settings

    @hook_impl
    def after_catalog_created(self, catalog: Any) -> None:
        """Let the first of `seeds` be the seed of all nodes."""
        if self._settings is not None and self._settings.seeds is not None:
            catalog["params:seed"].save(self._settings.seeds[0])

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Refuse parameters that this pipeline cannot run with, and a backbone that is not there; settle the dtype.

        Raises:
            ParameterError: naming the parameter.
        """
        if self._settings is None:
            return
        outputs = pipeline.all_outputs()
        check_pipeline(self._settings, outputs)
        if {"backbone", "shared_backbone"} & outputs:
            find_backbone(self._settings.policy)
        if self._settings.policy.dtype == "auto" and "params:policy" in pipeline.inputs():
            catalog["params:policy"].save(_with_faster_dtype(self._settings))


def _with_faster_dtype(settings: Settings) -> PolicyConfig:
    """The policy's parameters with a number format in place of `auto`."""
    from flag_kedro.policy.precision import faster_dtype  # imports torch
    from flag_kedro.ppo.device import prepare_torch

    dtype = faster_dtype(prepare_torch(settings.runtime), settings.runtime.threads)
    return replace(settings.policy, dtype=dtype)


def check_given(settings: Settings, runtime: dict[str, Any]) -> None:
    """Refuse folders that do not come from the command line, and a seed that contradicts `seeds`.

    Args:
        settings: all parameters.
        runtime: those of them that were given on the command line.

    Raises:
        ParameterError: naming the parameter.
    """
    if settings.data_dir is not None and "data_dir" not in runtime:
        raise ParameterError("data_dir: set it in conf/<environment>/globals.yml, or with --params=data_dir=DIR")
    if settings.store_url is not None and "store_url" not in runtime:
        raise ParameterError("store_url: set it in conf/<environment>/globals.yml, or with --params=store_url=URL")
    if settings.seeds is not None and runtime.get("seed", settings.seeds[0]) != settings.seeds[0]:
        raise ParameterError(
            f"seed: {runtime['seed']} was asked for together with seeds, whose first, {settings.seeds[0]}, is the "
            "seed of the policy that is kept; leave seed out, or put it first in seeds"
        )
    if settings.trunk_cache_dir is not None and "trunk_cache_dir" not in runtime:
        raise ParameterError("trunk_cache_dir: set it with --params=trunk_cache_dir=DIR")
