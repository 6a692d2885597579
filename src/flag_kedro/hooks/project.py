"""The project's one hook class."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from filelock import FileLock, Timeout
from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError

from flag_kedro.errors import (
    BusyError,
    FlagError,
    ParameterError,
)
from flag_kedro.hooks.backtest_summary import print_backtest
from flag_kedro.hooks.parameters import Settings, check_parameters, check_pipeline
from flag_kedro.hooks.summary import print_certificate, print_reproduced, print_trained
from flag_kedro.hooks.summary_data import print_data
from flag_kedro.hooks.summary_diagnostics import print_contamination, print_robustness
from flag_kedro.hooks.summary_experiments import print_seeds, print_sweep, print_walk_forward
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.policy.source import find_backbone
from flag_kedro.tracking.interrupts import forget_interrupt, interrupt, stop_if_asked
from flag_kedro.tracking.log import set_tags, sweep_dead_runs

LOCK = ".run.lock"
STOPPING = (signal.SIGINT, signal.SIGTERM)
ROWS_OF = {"walk_forward_results": "walk_forward_rows", "seed_results": "seed_rows", "sweep_results": "sweep_rows"}
"""Outputs of experiments, and where rows of their trainings wait until they are saved."""


class ProjectHooks:
    """Checks parameters, locks the data folder, tags and ends MLflow runs, prints the summary."""

    def __init__(self) -> None:
        self._data_dir = Path("data")
        self._project = Path()
        self._lock: FileLock | None = None
        self._catalog: Any = None
        self._settings: Settings | None = None
        self._tagged = False
        self._signals: dict[signal.Signals, Any] = {}
        self._interrupts = 0

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: Any) -> None:
        """Refuse wrong parameters before MLflow or any node starts."""
        sys.excepthook = _tell_without_traceback
        self._settings = settings = check_parameters(context.config_loader["parameters"])
        self._project = Path(context.project_path)
        runtime = context.config_loader.runtime_params or {}
        if settings.data_dir is not None and "data_dir" not in runtime:
            raise ParameterError("data_dir: set it in conf/<environment>/globals.yml, or with --params=data_dir=DIR")
        if settings.seeds is not None and runtime.get("seed", settings.seeds[0]) != settings.seeds[0]:
            raise ParameterError(
                f"seed: {runtime['seed']} was asked for together with seeds, whose first, {settings.seeds[0]}, is the "
                "seed of the policy that is kept; leave seed out, or put it first in seeds"
            )
        if settings.trunk_cache_dir is not None and "trunk_cache_dir" not in runtime:
            raise ParameterError("trunk_cache_dir: set it with --params=trunk_cache_dir=DIR")
        self._data_dir = self._project / (runtime.get("data_dir") or context.config_loader["globals"]["data_dir"])

    @hook_impl
    def after_catalog_created(self, catalog: Any) -> None:
        """Let the first of `seeds` be the seed of all nodes."""
        if self._settings is not None and self._settings.seeds is not None:
            catalog["params:seed"].save(self._settings.seeds[0])

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Take the data folder for this run and turn signals into an ordinary failure."""
        self._release()  # a run that failed before it began may have left the folder locked
        self._catalog = catalog
        if self._settings is not None:
            check_pipeline(self._settings, pipeline.all_outputs())
        if {"backbone", "shared_backbone"} & pipeline.all_outputs():
            assert self._settings is not None
            find_backbone(self._settings.policy)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._data_dir / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(
                f"another run is using {self._data_dir}; wait for it, "
                "or use a folder of your own with --params=data_dir=DIR"
            ) from error
        self._lock = lock
        if threading.current_thread() is threading.main_thread():
            self._interrupts = 0
            self._signals = {number: signal.signal(number, self._interrupt) for number in STOPPING}

    @hook_impl(tryfirst=True)
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """Stop if asked to; show kedro-mlflow typed parameters as dicts, so that it logs `room.field` each.

        Kedro hands hooks a copy of the node's inputs, so the node still gets the typed ones.
        """
        stop_if_asked()
        for name, value in inputs.items():
            if name.startswith("params:") and is_dataclass(value) and not isinstance(value, type):
                inputs[name] = asdict(value)

    @hook_impl(trylast=True)
    def before_dataset_loaded(self, dataset_name: str) -> None:
        """Tag the run with the code it runs, once MLflow has opened it."""
        if self._catalog is not None and not self._tagged:
            self._tagged = True
            set_tags({"git_commit": _git_commit(self._project)})
            sweep_dead_runs(self._data_dir)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Tag the run with the policy it trained, so that a later backtest finds it; drop what is needed no more."""
        if dataset_name == "policy":
            set_tags({"trained": "true", "policy_hash": folder_hash(self._catalog["policy"].load())})
        if dataset_name == "training_history":  # the last output of a training
            from flag_kedro.ppo.checkpoint import remove_finished  # imports torch

            remove_finished(self._catalog["checkpoints"].load())
        if dataset_name in ROWS_OF and data:
            from flag_kedro.experiments.finished import remove_rows  # imports torch

            remove_rows(self._catalog[ROWS_OF[dataset_name]].load(), data["key"])

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Any, catalog: Any) -> None:
        """Print what came out and where to look next."""
        self._release()
        made = pipeline.all_outputs()
        if {"backtest_metrics", "backtest_inference", "causality_audit"} <= made:
            metrics, inference = catalog["backtest_metrics"].load(), catalog["backtest_inference"].load()
            audit, warnings = catalog["causality_audit"].load(), catalog["data_report"].load()["warnings"]
            print_backtest(metrics, inference, audit, warnings, self._shown_data_dir())
        elif "certificate" in made:
            print_certificate(catalog["certificate"].load(), self._shown_data_dir())
        elif "walk_forward_results" in made:
            print_walk_forward(catalog["walk_forward_results"].load(), self._shown_data_dir())
        elif "sweep_results" in made:
            print_sweep(catalog["sweep_results"].load(), self._shown_data_dir())
        elif "contamination" in made:
            print_contamination(catalog["contamination"].load(), self._shown_data_dir())
        elif "robustness" in made:
            print_robustness(catalog["robustness"].load(), self._shown_data_dir())
        elif "policy" in made:
            print_trained(self._shown_data_dir())
        elif {"published_rows", "published_audit"} <= made:
            print_reproduced(
                catalog["published_rows"].load(), catalog["published_audit"].load(), self._shown_data_dir()
            )
        elif "data_report" in made:
            print_data(catalog["data_report"].load(), self._shown_data_dir())
        if "seed_results" in made and (seeds := catalog["seed_results"].load()):
            print_seeds(seeds, self._shown_data_dir())

    @hook_impl(wrapper=True)
    def on_pipeline_error(self, error: Exception) -> Generator[None, Any, Any]:
        """Leave the reason with the run, let kedro-mlflow mark it as failed, then let go of everything."""
        try:
            set_tags({"flag.error": f"{type(error).__name__}: {error}"[:500]})
            return (yield)
        finally:
            self._release()

    def _shown_data_dir(self) -> Path:
        return (
            self._data_dir.relative_to(self._project)
            if self._data_dir.is_relative_to(self._project)
            else self._data_dir
        )

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Stop the run at the first signal, tidy up through the second, die at the third."""
        self._interrupts += 1
        name = signal.Signals(number).name
        if self._interrupts == 1:
            interrupt(f"stopped by {name}; outputs of finished nodes are whole, and an unfinished training can go on")
        if self._interrupts > 2:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _release(self) -> None:
        """Give the data folder and the signals back."""
        for number, handler in self._signals.items():
            signal.signal(number, handler)
        self._signals = {}
        forget_interrupt()
        self._tagged = False
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _git_commit(project: Path) -> str:
    """The checkout's commit, marked when files differ from it; `unknown` outside git."""
    try:
        run = ["git", "-C", str(project), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        return subprocess.run(run, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _tell_without_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what a user can mend as a message; anything else with its traceback."""
    known: BaseException | None = error
    while isinstance(known, DatasetError) and known.__cause__ is not None:
        known = known.__cause__
    if isinstance(known, FlagError):
        print(f"\n{type(known).__name__}: {known}", file=sys.stderr)  # noqa: T201
    else:
        sys.__excepthook__(kind, error, trace)
