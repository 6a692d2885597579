"""In which order the hooks of settings.py act around those of a plugin that stands for kedro-mlflow."""

import logging
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from filelock import FileLock, Timeout
from kedro.framework.hooks import _create_hook_manager, hook_impl
from kedro.framework.hooks.manager import _register_hooks
from kedro.io import DataCatalog

from flag_kedro import settings
from flag_kedro.datasets.folders import KeptFolder
from flag_kedro.errors import BusyError, ParameterError, RunInterrupted
from flag_kedro.hooks import print_summary, run_tags
from flag_kedro.hooks.data_folder import LOCK
from flag_kedro.hooks.signals import STOPPING
from flag_kedro.hooks.tracking import UNSENT
from flag_kedro.hooks.user_errors import show_error
from flag_kedro.tracking import opening, upload

CONF = Path(__file__).resolve().parents[2] / "conf" / "base"


class Recorder:
    """A plugin that is registered after the project's hooks, as kedro-mlflow is, and notes what it finds."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.events: list[str] = []

    def note(self, event: str) -> None:
        handled = signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.default_int_handler)
        self.events.append(f"{event}: {'locked' if self.is_locked() else 'free'}, {'handled' if handled else 'plain'}")

    def is_locked(self) -> bool:
        try:
            FileLock(self.data_dir / LOCK, timeout=0).acquire().lock.release()
        except Timeout:
            return True
        return False

    @hook_impl
    def after_context_created(self) -> None:
        self.events.append("context")

    @hook_impl
    def before_pipeline_run(self) -> None:
        self.note("run")

    @hook_impl
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        self.events.append(f"node: {inputs['params:env']}")

    @hook_impl
    def after_pipeline_run(self) -> None:
        self.note("end")

    @hook_impl
    def on_pipeline_error(self) -> None:
        self.note("failed")


@dataclass(frozen=True)
class Env:
    """A typed parameter."""

    fill: str = "next_open"


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Tags and summaries are noted as well."""
    recorder = Recorder(tmp_path / "data")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(run_tags, "set_tags", lambda tags: recorder.events.append(f"tags: {' '.join(tags)}"))
    monkeypatch.setattr(
        run_tags, "sweep_dead_runs", lambda folder, store: recorder.events.append(f"sweep {folder.name}")
    )
    monkeypatch.setattr(opening, "open_store", lambda *place: recorder.events.append("store"))
    monkeypatch.setattr(upload, "keep_in", lambda folder: recorder.note(f"keep in {folder.name}"))
    monkeypatch.setattr(upload, "num_kept", lambda: 0)
    summary = print_summary.Summary(lambda folder: recorder.note(f"summary of {folder}"), ())
    monkeypatch.setattr(print_summary, "SUMMARIES", {("policy",): summary})
    return recorder


@pytest.fixture
def hook(recorder: Recorder) -> Iterator[Any]:
    before = {number: signal.getsignal(number) for number in STOPPING}
    manager = _create_hook_manager()
    manager.trace.root.setwriter(logging.getLogger(__name__).debug)
    _register_hooks(manager, (*settings.HOOKS, recorder))
    yield manager.hook
    for plugin in settings.HOOKS:
        manager.unregister(plugin)
    assert {number: signal.getsignal(number) for number in STOPPING} == before


def context(recorder: Recorder, **runtime_params: Any) -> SimpleNamespace:
    class Loader(dict[str, Any]):
        pass

    parameters, mlflow = (yaml.safe_load((CONF / f"{name}.yml").read_text()) for name in ("parameters", "mlflow"))
    loader = Loader(parameters=parameters | runtime_params, globals={"data_dir": "data"}, mlflow=mlflow)
    loader.runtime_params, loader.config_patterns = runtime_params, {}
    tracking = SimpleNamespace(run=SimpleNamespace(name=None))
    return SimpleNamespace(
        config_loader=loader, env=None, project_path=recorder.data_dir.parent, mlflow=SimpleNamespace(tracking=tracking)
    )


def begin(hook: Any, recorder: Recorder, outputs: set[str] | None = None, **runtime_params: Any) -> dict[str, Any]:
    pipeline = SimpleNamespace(all_outputs=lambda: outputs or {"policy"}, inputs=set)
    run = {"run_params": {}, "pipeline": pipeline}
    hook.after_context_created(context=context(recorder, **runtime_params))
    run["catalog"] = DataCatalog({UNSENT: KeptFolder(filepath="unsent")})
    hook.before_pipeline_run(**run)
    return run


def test_a_run_is_locked_until_the_plugin_has_ended_it_and_then_summed_up(hook: Any, recorder: Recorder):
    run = begin(hook, recorder)
    for _ in range(2):  # tagged once
        hook.before_dataset_loaded(dataset_name="a", node=None)
    inputs = {"params:env": Env()}
    hook.before_node_run(
        node=SimpleNamespace(name="any"), catalog=run["catalog"], inputs=inputs, is_async=False, run_id="1"
    )
    hook.after_pipeline_run(run_result={}, **run)
    assert recorder.events == [
        "store", "context", "keep in unsent: locked, handled", "run: locked, handled",
        "tags: git_commit kedro_command", "sweep data", "node: {'fill': 'next_open'}",
        "end: locked, handled", "summary of data: free, plain",
    ]  # fmt: skip
    assert sys.excepthook is show_error


def test_a_failed_run_has_its_error_before_the_plugin_ends_it_and_frees_the_folder(hook: Any, recorder: Recorder):
    run = begin(hook, recorder)
    hook.on_pipeline_error(error=LookupError("gone"), **run)
    assert recorder.events[4:] == ["tags: flag.error", "failed: locked, handled"]
    assert not recorder.is_locked()


def test_folder_and_signals_are_given_back_even_if_the_error_cannot_be_noted(
    hook: Any, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
):
    def fail(tags: dict[str, str]) -> None:
        raise RunInterrupted("again")

    run = begin(hook, recorder)
    monkeypatch.setattr(run_tags, "set_tags", fail)
    with pytest.raises(RunInterrupted, match="again"):
        hook.on_pipeline_error(error=LookupError("gone"), **run)
    assert not recorder.is_locked()


def test_a_busy_folder_is_refused_before_signals_are_taken_over_and_the_plugin_begins(hook: Any, recorder: Recorder):
    recorder.data_dir.mkdir()
    with FileLock(recorder.data_dir / LOCK), pytest.raises(BusyError, match="another run is using"):
        begin(hook, recorder)
    assert recorder.events == ["store", "context"]


def test_parameters_are_refused_before_the_plugin_and_the_folder_know_of_the_run(hook: Any, recorder: Recorder):
    with pytest.raises(ParameterError, match="unknown parameter"):
        begin(hook, recorder, sed=1)
    assert recorder.events == []
    with pytest.raises(ParameterError, match="seeds is not read by this pipeline"):
        begin(hook, recorder, {"certificate"}, seeds="1 2")
    assert recorder.events == ["store", "context"]
    assert not recorder.data_dir.exists()
