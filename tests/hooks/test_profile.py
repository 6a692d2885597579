"""Which profile made a data folder is noted, named where others do not fit, and told before it is replaced."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.pipeline import node

from flag_kedro.errors import DataError, MadeOtherwiseError
from flag_kedro.hooks.profile import FILE, NoteProfile

TRAINING = node(lambda: None, None, "policy", name="train_policy")


def hook(folder: Path, env: str | None) -> NoteProfile:
    loader = SimpleNamespace(runtime_params={"data_dir": str(folder)})
    noting = NoteProfile()
    noting.after_context_created(SimpleNamespace(project_path=folder, config_loader=loader, env=env))
    return noting


def fail(noting: NoteProfile, env: str | None, error: Exception) -> list[str]:
    run_params: dict[str, Any] = {"env": env, "pipeline_names": ["backtest"], "runtime_params": {"seed": 1}}
    noting.on_pipeline_error(error, run_params)
    return getattr(error, "__notes__", [])


def test_profiles_are_noted_by_what_they_made(tmp_path: Path):
    hook(tmp_path, "smollm2").after_dataset_saved("ingest_facts")
    hook(tmp_path, "smollm2").after_dataset_saved("policy")
    hook(tmp_path, "local").after_dataset_saved("ingest_facts")
    hook(tmp_path, None).after_dataset_saved("equity")
    assert json.loads((tmp_path / FILE).read_text()) == {"ingest_facts": "base", "policy": "smollm2"}


def test_another_profile_is_told_the_command_that_reads_what_is_there(tmp_path: Path):
    for name in ("ingest_facts", "policy"):
        hook(tmp_path, "smollm2").after_dataset_saved(name)
    error = MadeOtherwiseError("differs", {"data.symbols": "ALDR"})
    (note,) = fail(hook(tmp_path, None), None, error)
    assert note.endswith(
        "made with the profile smollm2:\n  kedro run --env=smollm2 --pipelines=backtest --params=seed=1"
    )
    assert error.params is None  # no second, longer command
    hook(tmp_path, None).after_dataset_saved("ingest_facts")
    hook(tmp_path, None).after_dataset_saved("policy")
    (note,) = fail(hook(tmp_path, "smollm2"), "smollm2", MadeOtherwiseError("differs", None))
    assert note.endswith("made with the profile base:\n  kedro run --pipelines=backtest --params=seed=1")


def test_other_errors_and_the_same_profile_are_told_nothing(tmp_path: Path):
    assert fail(hook(tmp_path, None), None, MadeOtherwiseError("differs", {"seed": 1})) == []
    hook(tmp_path, "smollm2").after_dataset_saved("policy")
    assert fail(hook(tmp_path, "smollm2"), "smollm2", MadeOtherwiseError("differs", {"seed": 1})) == []
    assert fail(hook(tmp_path, None), None, DataError("else")) == []


def test_a_policy_of_another_profile_is_not_replaced_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    hook(tmp_path, "smollm2").after_dataset_saved("policy")
    with caplog.at_level(logging.WARNING):
        hook(tmp_path, "smollm2").before_node_run(TRAINING)
        assert not caplog.records
        hook(tmp_path, None).before_node_run(TRAINING)
    assert "is of the profile smollm2 and will be replaced; --params=data_dir=FOLDER keeps both" in caplog.text
