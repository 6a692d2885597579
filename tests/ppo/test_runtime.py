"""Code on which bits depend is known by a hash."""

import shutil
from pathlib import Path

import pytest

from flag_kedro.ppo import runtime


def test_a_change_of_any_code_that_learns_or_scores_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own = runtime.versions()["flag_kedro"]
    copy = tmp_path / "flag_kedro"
    shutil.copytree(runtime.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(runtime, "PACKAGE", copy)
    assert runtime._code_hash.__wrapped__() == own
    for file, counts in (("env/prompt.py", True), ("experiments/scoring.py", True), ("hooks/print_summary.py", False)):
        before = (copy / file).read_text()
        (copy / file).write_text(before + "\n")
        assert (runtime._code_hash.__wrapped__() != own) is counts, file
        (copy / file).write_text(before)
