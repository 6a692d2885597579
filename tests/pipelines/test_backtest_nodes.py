"""What the nodes of the backtest add to the library: a leak fails the run, seeds are told apart, trials are counted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import LookAheadError
from flag_kedro.pipelines.backtest.audit_nodes import refuse_leaks
from flag_kedro.pipelines.backtest.judged import EvaluationWindow
from flag_kedro.pipelines.backtest.trials import count_trials, sharpes_of, spread_over_seeds, this_trial
from flag_kedro.tracking.trials import ScoredTrial


def _check(*differences: dict[str, str]) -> dict[str, Any]:
    return {"num_differences": len(differences), "differences": list(differences)}


def test_failed_audit_fails_the_run_and_says_where() -> None:
    leak = {"what": "decisions", "strategy": "flag_trader", "symbol": "ALDR", "session": "2023-10-02"}
    audit = {"passed": False, "checks": [_check(), _check(leak, leak)]}
    with pytest.raises(
        LookAheadError, match=r"2 difference\(s\), the first in .*flag_trader, symbol ALDR, session 2023"
    ):
        refuse_leaks(audit, "page")


def test_passed_audit_lets_the_run_end() -> None:
    refuse_leaks({"passed": True, "checks": [_check()]}, "page")


def _policy(folder: Path, **description: object) -> Path:
    folder.mkdir()
    told = {"seed": 0, "policy": {"backbone": "tiny"}, "backbone_hash": "b0", "ppo": {"gamma": 0.5}} | description
    (folder / "policy.json").write_text(json.dumps(told))
    (folder / "MANIFEST.json").write_text(json.dumps(told))
    return folder


@pytest.fixture
def judged(small_window: TradingWindow) -> EvaluationWindow:
    return EvaluationWindow(small_window, EnvConfig(), ("2023-07-03", "2023-07-31"), {"ALDR": "XNYS", "BRIX": "XNYS"})


@pytest.fixture
def equity(small_window: TradingWindow) -> pl.DataFrame:
    """ALDR earns 1 % and 3 % in turn, BRIX nothing."""
    rows = []
    for symbol, sessions in zip(small_window.symbols, small_window.sessions, strict=True):
        returns = [None, *(0.01 + 0.02 * (k % 2) if symbol == "ALDR" else 0.0 for k in range(len(sessions) - 1))]
        rows += [("flag_trader", symbol, value) for value in returns]
    return pl.DataFrame(rows, schema=["strategy", "symbol", "log_return"], orient="row")


def test_trial_holds_the_sharpe_ratio_per_session_and_the_return(
    judged: EvaluationWindow, equity: pl.DataFrame, tmp_path: Path
) -> None:
    trial = this_trial(_policy(tmp_path / "p"), equity, judged)
    returns = equity.filter(symbol="ALDR")["log_return"].drop_nulls()
    assert trial.scores["ALDR"]["session_sharpe"] == pytest.approx(returns.mean() / returns.std())
    assert trial.scores["ALDR"]["cumulative_return"] == pytest.approx(0.01 * len(returns) + 0.02 * (len(returns) // 2))
    assert trial.scores["BRIX"] == {"session_sharpe": 0.0, "cumulative_return": 0.0}


def test_seed_is_not_part_of_the_configuration_but_everything_else_is(
    judged: EvaluationWindow, equity: pl.DataFrame, tmp_path: Path
) -> None:
    def config(name: str, **description: object) -> str:
        return this_trial(_policy(tmp_path / name, **description), equity, judged).config_hash

    first = config("a")
    assert config("b", seed=1, backbone_hash="b1") == first  # the tiny backbone is drawn from the seed
    assert config("c", ppo={"gamma": 0.9}) != first
    assert config("f", ppo={"checkpoint_interval": 3}) == config("g", ppo={"checkpoint_interval": 5})
    hub = {"policy": {"backbone": "org/model"}}
    assert config("d", **hub, backbone_hash="x") != config("e", **hub, backbone_hash="y")


def test_without_a_store_nobody_knows_how_many_trials_there_were(caplog: pytest.LogCaptureFixture) -> None:
    assert count_trials(ScoredTrial("p", "c", 0, {}, {}), "window") is None
    assert "trials are not known" in caplog.text


def test_spread_is_over_the_seeds_of_the_same_configuration() -> None:
    def trial(policy: str, config: str, seed: int, value: float) -> ScoredTrial:
        return ScoredTrial(policy, config, seed, {"ALDR": {"session_sharpe": value, "cumulative_return": value}}, {})

    own = trial("p0", "c", 0, 0.1)
    known = [own, trial("p1", "c", 1, 0.2), trial("p2", "c", 2, 0.6), trial("p3", "other", 3, 9.0)]
    found = spread_over_seeds(own, known, {"ALDR": "XNYS"})["ALDR"]
    assert found["cumulative_return"]["num"] == 3
    assert found["cumulative_return"]["median"] == pytest.approx(0.2)
    assert found["sharpe_ratio"]["max"] == pytest.approx(0.6 * np.sqrt(252))
    assert spread_over_seeds(own, [own, known[3]], {"ALDR": "XNYS"}) == {}


def test_spread_holds_this_policy_and_not_an_older_one_of_its_seed() -> None:
    own, older = (
        ScoredTrial(policy, "c", 0, {"ALDR": {"session_sharpe": value, "cumulative_return": value}}, {})
        for policy, value in (("new", 0.1), ("old", 9.0))
    )
    other = ScoredTrial("other", "c", 1, {"ALDR": {"session_sharpe": 0.3, "cumulative_return": 0.3}}, {})
    found = spread_over_seeds(own, [own, older, other], {"ALDR": "XNYS"})["ALDR"]["cumulative_return"]
    assert (found["num"], found["max"]) == (2, 0.3)


def test_symbol_that_an_earlier_trial_lacks_is_spread_over_the_others() -> None:
    own = ScoredTrial(
        "p0", "c", 0, {s: {"session_sharpe": 0.1, "cumulative_return": 0.1} for s in ("ALDR", "BRIX")}, {}
    )
    fewer = ScoredTrial("p1", "c", 1, {"ALDR": {"session_sharpe": 0.2, "cumulative_return": 0.2}}, {})
    assert list(spread_over_seeds(own, [own, fewer], {"ALDR": "XNYS", "BRIX": "XNYS"})) == ["ALDR"]
    assert sharpes_of([own, fewer]) == {"ALDR": [0.1, 0.2], "BRIX": [0.1]}


def test_trial_is_of_the_windows_prices_alone(judged: EvaluationWindow, equity: pl.DataFrame, tmp_path: Path) -> None:
    first = this_trial(_policy(tmp_path / "p"), equity, judged).price_hashes
    assert set(first) == {"ALDR", "BRIX"}
    moved = judged.window.mark_prices.copy()
    moved[1, 3] *= 1.01
    other = replace(judged, window=replace(judged.window, mark_prices=moved))
    second = this_trial(tmp_path / "p", equity, other).price_hashes
    assert (second["ALDR"] == first["ALDR"], second["BRIX"] == first["BRIX"]) == (True, False)
