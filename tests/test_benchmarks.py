"""The scripts of benchmarks/ keep up with the library: each one starts, and the one of the backtest measures all steps.

Those that are tested further: actor_critic.py (tests/policy), power_curve.py (tests/experiments), sizes.py
(tests/backtest). mypy checks their calls.
"""

import contextlib
import io
import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
TINY_BACKTEST = "--symbols 2 --first-session 2023-04-03 --draws 200 --audit-times 1 --json"
"""189 sessions, of which 60/20/20 leaves int(0.8 x 189) = 151 before the test window."""
STEPS = [
    "replay",
    "scores and intervals",
    "tests and time shifts",
    "costs, lag, capacity",
    "causality audit",
    "headlines left out",
    "plots",
    "report",
]


def run(script: Path, *arguments: str) -> str:
    """What a script prints, run in this process as from the command line."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.syspath_prepend(script.parent)
        patch.setattr("sys.argv", [script.name, *arguments])
        runpy.run_path(str(script), run_name="__main__")
    return printed.getvalue()


@pytest.mark.parametrize("script", [pytest.param(path, id=path.stem) for path in SCRIPTS])
def test_every_script_imports_what_is_there_and_reads_its_arguments(script: Path) -> None:
    if "__main__" not in script.read_text(encoding="utf-8"):  # a module of other scripts
        assert run(script) == ""
        return
    with pytest.raises(SystemExit) as left:
        run(script, "--help")
    assert left.value.code == 0


def test_every_script_that_is_named_is_there() -> None:
    texts = [ROOT / "Makefile", *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"benchmarks/(\w+\.py)", text.read_text(encoding="utf-8"))}
    assert {"backtest.py", "sizes.py"} <= named <= {script.name for script in SCRIPTS}


def test_backtest_prints_the_seconds_of_every_step() -> None:
    report = json.loads(run(ROOT / "benchmarks" / "backtest.py", *TINY_BACKTEST.split()))
    seconds = report.pop("seconds")
    assert report == {"symbols": 2, "sessions": 189 - 151, "strategies": 7, "draws": 200, "audit_times": 1}
    assert list(seconds) == [*STEPS, "all"]
    assert min(seconds.values()) > 0.0
    assert seconds["all"] == pytest.approx(sum(seconds[step] for step in STEPS))
