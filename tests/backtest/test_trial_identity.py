"""What identifies a trial, and how the seeds of one configuration scatter."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.trials import (
    ReturnPath,
    ScoredTrial,
    is_same_market,
    mean_correlation,
    score_trial,
    scored_sharpes,
    spread_over_seeds,
)
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.env.window import TradingWindow

States = dict[str, pl.DataFrame]


def _description(**changes: object) -> dict[str, Any]:
    facts = {"env": {}, "windows": {}, "symbols": ["ALDR", "BRIX"], "calendars": {}}
    return facts | {"seed": 0, "policy": {"backbone": "tiny"}, "backbone_hash": "b0", "ppo": {"gamma": 0.5}} | changes


def _trial(evaluation: EvaluationWindow, equity: pl.DataFrame, states: States, **changes: object) -> ScoredTrial:
    paths = equity.partition_by("symbol", as_dict=True)
    log_returns = {str(symbol): path["log_return"].drop_nulls().to_numpy() for (symbol,), path in paths.items()}
    return score_trial(_description(**changes), "hash of the bundle", log_returns, evaluation, states)


@pytest.fixture
def evaluation(small_window: TradingWindow) -> EvaluationWindow:
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
    evaluation: EvaluationWindow, equity: pl.DataFrame, small_states: States
) -> None:
    trial = _trial(evaluation, equity, small_states)
    returns = equity.filter(symbol="ALDR")["log_return"].drop_nulls()
    assert trial.scores["ALDR"]["session_sharpe"] == pytest.approx(returns.mean() / returns.std())
    assert trial.scores["ALDR"]["cumulative_return"] == pytest.approx(0.01 * len(returns) + 0.02 * (len(returns) // 2))
    assert trial.scores["BRIX"] == {"session_sharpe": 0.0, "cumulative_return": 0.0}
    together = np.log((np.exp(returns.cum_sum().to_numpy()) + 1.0) / 2.0)
    assert trial.scores["all"]["cumulative_return"] == pytest.approx(together[-1])
    assert trial.paths["ALDR"].policy == pytest.approx(returns.to_list())
    closes = evaluation.marks["ALDR"]
    assert trial.paths["ALDR"].market == pytest.approx(np.diff(np.log(closes)))
    assert trial.paths["ALDR"].sessions == [day.isoformat() for day in evaluation.window.sessions[0][1:]]
    assert list(trial.paths) == ["ALDR", "BRIX", "all"]
    assert ScoredTrial.from_json(json.loads(json.dumps(asdict(trial)))) == trial


def test_seed_is_not_part_of_the_configuration_but_everything_else_is(
    evaluation: EvaluationWindow, equity: pl.DataFrame, small_states: States
) -> None:
    def config(**changes: object) -> str:
        return _trial(evaluation, equity, small_states, **changes).config_hash

    first = config()
    assert config(seed=1, backbone_hash="b1") == first  # the tiny backbone is drawn from the seed
    assert config(ppo={"gamma": 0.9}) != first
    assert config(ppo={"checkpoint_interval": 3}) == config(ppo={"checkpoint_interval": 5})
    hub = {"policy": {"backbone": "org/model"}}
    assert config(**hub, backbone_hash="x") != config(**hub, backbone_hash="y")


def test_spread_is_over_the_seeds_of_the_same_configuration() -> None:
    def trial(policy: str, config: str, seed: int, value: float) -> ScoredTrial:
        return ScoredTrial(policy, config, seed, {"ALDR": {"session_sharpe": value, "cumulative_return": value}}, {})

    own = trial("p0", "c", 0, 0.1)
    known = [own, trial("p1", "c", 1, 0.2), trial("p2", "c", 2, 0.6), trial("p3", "other", 3, 9.0)]
    found = spread_over_seeds(own, known, {"ALDR": "XNYS"})["ALDR"]
    assert found["cumulative_return"].num == 3
    assert found["cumulative_return"].median == pytest.approx(0.2)
    assert found["sharpe_ratio"].max == pytest.approx(0.6 * np.sqrt(252))
    assert spread_over_seeds(own, [own, known[3]], {"ALDR": "XNYS"}) == {}


def test_spread_holds_this_policy_and_not_an_older_one_of_its_seed() -> None:
    own, older = (
        ScoredTrial(policy, "c", 0, {"ALDR": {"session_sharpe": value, "cumulative_return": value}}, {})
        for policy, value in (("new", 0.1), ("old", 9.0))
    )
    other = ScoredTrial("other", "c", 1, {"ALDR": {"session_sharpe": 0.3, "cumulative_return": 0.3}}, {})
    found = spread_over_seeds(own, [own, older, other], {"ALDR": "XNYS"})["ALDR"]["cumulative_return"]
    assert (found.num, found.max) == (2, 0.3)


def test_symbol_that_an_earlier_trial_lacks_is_spread_over_the_others() -> None:
    own = ScoredTrial(
        "p0", "c", 0, {s: {"session_sharpe": 0.1, "cumulative_return": 0.1} for s in ("ALDR", "BRIX")}, {}
    )
    fewer = ScoredTrial("p1", "c", 1, {"ALDR": {"session_sharpe": 0.2, "cumulative_return": 0.2}}, {})
    assert list(spread_over_seeds(own, [own, fewer], {"ALDR": "XNYS", "BRIX": "XNYS"})) == ["ALDR"]
    assert scored_sharpes([own, fewer]) == {"ALDR": [0.1, 0.2], "BRIX": [0.1]}


def path(returns: Sequence[float], first: int = 0, policy: Sequence[float] | None = None) -> ReturnPath:
    days = [(date(2024, 1, 1) + timedelta(days=first + t)).isoformat() for t in range(len(returns))]
    return ReturnPath(days, list(returns), list(returns if policy is None else policy))


NOISE = np.random.default_rng(1).normal(0, 0.01, 100)


def test_market_is_known_by_its_returns_whatever_the_scale_and_the_window() -> None:
    assert is_same_market(path(NOISE), path(NOISE[30:], first=30))
    assert is_same_market(path(NOISE), path(NOISE + 5e-5))
    assert is_same_market(path(NOISE), path(NOISE[90:], first=90))  # all of a short window
    assert not is_same_market(path(NOISE), path(NOISE, first=90))  # other days, though the numbers are the same
    assert not is_same_market(path(NOISE), path(NOISE, first=1))
    assert not is_same_market(path(NOISE), path(np.roll(NOISE, 1)))
    assert not is_same_market(path(NOISE), path(NOISE, first=200))
    assert not is_same_market(path([]), path(NOISE))


def test_correlation_of_trials_is_that_of_their_returns_on_common_sessions() -> None:
    one, other = path(NOISE, policy=NOISE), path(NOISE[50:], first=50, policy=-NOISE[50:])
    flat = path(NOISE, policy=np.zeros(100))
    assert mean_correlation([one]) == 0.0
    assert mean_correlation([one, one, one]) == 1.0
    assert mean_correlation([one, other]) == 0.0  # -1 is no fewer trials than independent ones
    assert mean_correlation([flat, flat]) == 1.0
    assert mean_correlation([flat, one]) == 0.0
    third = path(NOISE, policy=NOISE + np.random.default_rng(2).normal(0, 0.01, 100))
    pair = np.corrcoef(NOISE, third.policy)[0, 1]
    assert mean_correlation([one, third, flat]) == pytest.approx(pair / 3)
