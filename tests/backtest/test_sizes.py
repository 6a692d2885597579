"""The benchmark of test sizes runs, goes on where it stopped, and is what documents and notes say."""

import contextlib
import io
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from flag_kedro.backtest.measured_sizes import MEASURED, size_note, sizes_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "sizes.py"
TINY = ["--trials", "2", "--draws", "40", "--sessions", "24"]
KINDS = {"normal", "t4", "ar1", "garch", "garch_t4"}
MEASURED_FILE, BEFORE_FILE = ROOT / "docs" / "statistics.json", ROOT / "docs" / "statistics_before.json"


def _run(*arguments: str | Path) -> str:
    """What the script prints."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr("sys.argv", ["sizes.py", *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return printed.getvalue()


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The file of a tiny run, and what it printed."""
    path = tmp_path_factory.mktemp("sizes") / "sizes.json"
    return path, _run("--json", path, *TINY)


def test_every_kind_of_returns_has_a_share_of_every_test(measured: tuple[Path, str]) -> None:
    path, printed = measured
    content = _read(path)
    assert content["settings"] == {"trials": 2, "draws": 40, "seed": 0}
    assert set(content["cells"]) == {f"{kind}/24" for kind in KINDS}
    names = set(runpy.run_path(str(SCRIPT))["NOMINAL"])
    for shares in content["cells"].values():
        assert set(shares) == names
        assert all(0.0 <= share <= 1.0 for share in shares.values())
    assert all(f"| {name} | " in printed for name in names)


def test_finished_cells_are_kept_and_missing_ones_measured_as_before(
    measured: tuple[Path, str], tmp_path: Path
) -> None:
    whole = _read(measured[0])
    stopped = {"settings": whole["settings"], "cells": dict(whole["cells"])}
    del stopped["cells"]["ar1/24"]
    stopped["cells"]["normal/24"] = {name: 0.125 for name in whole["cells"]["normal/24"]}  # told from a new one
    path = tmp_path / "stopped.json"
    path.write_text(json.dumps(stopped))
    _run("--json", path, *TINY)
    assert _read(path)["cells"] == stopped["cells"] | {"ar1/24": whole["cells"]["ar1/24"]}


def test_file_of_other_settings_is_refused(measured: tuple[Path, str]) -> None:
    with pytest.raises(SystemExit, match="name another file"):
        _run("--json", measured[0], *TINY, "--seed", "1")


def test_simulated_returns_are_what_they_are_called() -> None:
    """Variance 1 of all, correlation 1/2 of strategies, coefficient 0.3 of the autoregression, clusters of GARCH."""
    script = runpy.run_path(str(SCRIPT))
    for kind in sorted(KINDS):
        path = script["noise"](script["stream"](0, kind), kind, 200, 2_000)
        assert path.mean() == pytest.approx(0.0, abs=0.01)
        assert path.var() == pytest.approx(1.0, abs=0.15)
        following = (path[:, 1:] * path[:, :-1]).mean() / path.var()
        assert following == pytest.approx(0.3 if kind == "ar1" else 0.0, abs=0.02)
        assert (_memory_of_squares(path) > 0.05) == kind.startswith("garch")
    pair = script["equal_strategies"](script["stream"](1), "normal", 50_000)[:2]
    assert (pair[0] * pair[1]).mean() == pytest.approx(0.5, abs=0.02)


def _memory_of_squares(path: Any) -> float:
    """Mean correlation of squared returns with those ten sessions before."""
    squares = path**2 - (path**2).mean(axis=1, keepdims=True)
    return float(((squares[:, 10:] * squares[:, :-10]).sum(axis=1) / (squares**2).sum(axis=1)).mean())


# What documents and notes say


def test_page_has_the_table_of_what_was_measured() -> None:
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    tables = _run("--json", MEASURED_FILE, "--before", BEFORE_FILE, "--markdown").strip().split("\n\n")
    assert len(tables) == len(MEASURED)
    for table in tables:
        assert table in page


def test_notes_are_of_the_shares_that_were_measured() -> None:
    cells = _read(MEASURED_FILE)["cells"]
    for sizes in MEASURED:
        shares = [cells[f"{kind}/{sizes.num_returns}"] for kind in KINDS]
        for name, noted in (
            ("difference, Sharpe 0", sizes.difference),
            ("cash", sizes.cash),
            ("PSR", sizes.probabilistic_sharpe_ratio),
        ):
            found = [share[name] for share in shares]
            assert noted == pytest.approx((min(found), max(found)), abs=5e-4), (sizes.num_returns, name)


def test_short_windows_are_told_by_the_next_shorter_ones_measured() -> None:
    assert [sizes and sizes.num_returns for sizes in map(sizes_of, (59, 60, 149, 150, 251))] == [None, 60, 60, 150, 250]
    assert "59 returns are fewer than the 60" in size_note(59)
    low, high = (f"{100 * share:.0f}" for share in MEASURED[0].difference)
    note = size_note(137)
    assert "worth with 137 returns: on 60 simulated ones" in note
    assert f"p against buy and hold is at most 0.05 in {low} to {high} % of cases" in note
