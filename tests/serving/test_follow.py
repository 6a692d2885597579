"""The forward test: the ledger of a backtest's own decisions gives the backtest's scores."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.pooled import ReplayedStrategies
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.scores import account_scores
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.errors import DataError
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.names import ALL_SYMBOLS, BENCHMARK, POLICY
from flag_kedro.serving.follow import Followed, follow

Lines = list[dict[str, Any]]


def drawn(seed: int) -> Callable[[States], Decisions]:
    """A rule that draws legal actions."""
    generator = np.random.default_rng(seed)

    def decide(states: States) -> Decisions:
        return Decisions(np.argmax(generator.random((len(states), 3)) * states.action_mask, axis=1))

    return decide


@pytest.fixture
def split(small_states: dict[str, pl.DataFrame]) -> MarketSplit:
    (fold,) = roll_folds(common_sessions(small_states), train=20, validation=10, test=20, folds=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    known = {name: table.filter(pl.col("session") <= fold.test[1]) for name, table in small_states.items()}
    return MarketSplit.of(known, DataConfig(windows=windows), EnvConfig(cash_rate=0.03))


@pytest.fixture
def equity(split: MarketSplit) -> pl.DataFrame:
    """Of a backtest: the test window's."""
    played = replay(POLICY, split.test, split.env, drawn(0))
    return pl.concat([played.equity, replay(BENCHMARK, split.test, split.env, buy_and_hold).equity])


def ledger(split: MarketSplit, policy: str = "mine") -> Lines:
    """Lines of the decisions that a replay of the test window takes."""
    decisions = replay(POLICY, split.test, split.env, drawn(0)).decisions
    return [{**row, "policy": policy, "session": row["session"].isoformat()} for row in decisions.iter_rows(named=True)]


def followed(lines: Lines, split: MarketSplit, equity: pl.DataFrame, policy: str = "mine") -> Followed:
    return follow(lines, split, equity, policy, 200, 0)


def test_the_decisions_of_a_backtest_have_its_scores(split: MarketSplit, equity: pl.DataFrame):
    found = followed(ledger(split), split, equity)
    played = replay(POLICY, split.test, split.env, drawn(0))
    both = pl.concat([played.decisions, replay(BENCHMARK, split.test, split.env, buy_and_hold).decisions])
    evaluation = split.evaluation
    replayed = ReplayedStrategies(both, equity, evaluation.calendars, evaluation.cash_returns)
    draws = replayed.draw(200, 0)
    plain = replayed.pooled.score({}, "account", draws)[ALL_SYMBOLS]
    for strategy in (POLICY, BENCHMARK):
        for name, value in plain[strategy].items():
            if not name.endswith("_ci95"):
                assert found.scores[strategy][name] == value, name
    path = equity.filter(strategy=POLICY, symbol="ALDR")
    own = account_scores(
        path["equity"].to_numpy(), path["position"].to_numpy(), path["traded_value"].to_numpy(), 252,
        evaluation.cash_returns["ALDR"], path["exposure"].to_numpy(),
    )  # fmt: skip
    assert found.by_symbol["ALDR"][POLICY]["cumulative_return"] == own["cumulative_return"]
    assert (found.num_undecided, found.num_illegal, found.num_other_positions, found.num_waiting) == (0, 0, 0, 2)
    assert found.window == (str(split.test.sessions[0][0]), str(split.test.sessions[0][-1]))
    assert found.promise is not None
    assert found.promise.kept
    assert 0.2 < found.promise.percentile < 0.8  # its own stretch, whole, among draws of itself


def test_what_is_missing_is_held_and_counted(split: MarketSplit, equity: pl.DataFrame):
    lines = ledger(split)
    bought = next(index for index, line in enumerate(lines) if line["action"] == "buy")
    found = followed(lines[:bought] + lines[bought + 1 :], split, equity)
    assert found.num_undecided == 1
    assert found.num_illegal + found.num_other_positions > 0  # what came after it was decided from the other position
    assert found.promise is None
    assert "decide.position=ledger" in (found.not_compared or "")


def test_sessions_of_a_stopped_account_are_not_undecided(split: MarketSplit, equity: pl.DataFrame):
    stopping = replace(split, env=replace(split.env, max_drawdown_stop=0.01))
    decisions = replay(POLICY, stopping.test, stopping.env, drawn(0)).decisions
    assert decisions["stopped"].any()
    lines = [
        {**row, "policy": "mine", "session": row["session"].isoformat()}
        for row in decisions.filter(~pl.col("stopped")).iter_rows(named=True)
    ]
    found = followed(lines, stopping, equity)
    assert (found.num_undecided, found.num_illegal, found.num_other_positions) == (0, 0, 0)


def test_a_ruined_account_has_lost_all_of_it(split: MarketSplit, equity: pl.DataFrame):
    gone = (pl.col("session") >= split.test.sessions[0][10]) & (pl.col("strategy") == POLICY)
    ruined = equity.with_columns(equity=pl.when(gone).then(pl.col("equity") * 1e-9).otherwise("equity"))
    promise = followed(ledger(split), split, ruined).promise
    assert promise is not None
    assert promise.interval[0] == -1.0
    assert np.isfinite([promise.expected, promise.percentile, promise.total_return]).all()


def test_decisions_of_other_policies_are_counted_and_not_traded(split: MarketSplit, equity: pl.DataFrame):
    lines = ledger(split)
    others = [{**line, "action": "hold"} for line in ledger(split, "another")]
    assert followed(lines + others, split, equity).scores == followed(lines, split, equity).scores
    assert followed(lines + others, split, equity).num_other_policies == len(others)
    with pytest.raises(DataError, match="none of the policy third"):
        followed(lines, split, equity, "third")


def test_a_result_beside_what_was_promised_is_told(split: MarketSplit, equity: pl.DataFrame):
    found = followed(ledger(split), split, equity)
    assert found.promise is not None
    lift = pl.when(pl.col("log_return").is_null()).then(0.0).otherwise(0.05).cum_sum().over("strategy", "symbol").exp()
    better = equity.with_columns(equity=pl.col("equity") * lift)
    broken = followed(ledger(split), split, better).promise
    assert broken is not None
    assert not broken.kept
    assert broken.percentile == 0.0
    assert broken.total_return == found.promise.total_return
    assert np.log1p(broken.expected) == pytest.approx(np.log1p(found.promise.expected) + 19 * 0.05, abs=0.03)


def test_a_forward_test_longer_than_the_backtest_has_no_promise(split: MarketSplit, equity: pl.DataFrame):
    short = equity.filter(pl.col("session") <= split.test.sessions[0][9])
    found = followed(ledger(split), split, short)
    assert (found.promise, found.not_compared) == (None, "it is longer than the backtest")


def test_on_the_day_of_the_first_decision_nothing_has_happened_yet(split: MarketSplit, equity: pl.DataFrame):
    last = split.states["ALDR"]["session"][-1]
    line = {"policy": "mine", "symbol": "ALDR", "session": last.isoformat(), "action": "buy", "position": 0}
    with pytest.raises(DataError, match=f"the first decision was taken on {last}, and states end on {last}"):
        followed([line], split, equity)


def test_one_decision_is_traded_at_the_next_open_and_kept(split: MarketSplit, equity: pl.DataFrame):
    days: list[date] = list(split.test.sessions[0])
    line = {"policy": "mine", "symbol": "ALDR", "session": days[-4].isoformat(), "action": "buy", "position": 0}
    found = followed([line], split, equity)
    states = split.states["ALDR"]
    bought, closed = float(states["open_price"][-3]), float(states["mark_price"][-1])
    interest = float(split.test.years[0, -3]) * np.log(1.03)  # of the night before the fill
    bought_for = np.log(closed / (bought * (1.0 + split.env.cost))) + interest
    assert found.by_symbol["ALDR"][POLICY]["cumulative_return"] == pytest.approx(bought_for, abs=1e-12)
    assert found.by_symbol["BRIX"][POLICY]["num_trades"] == 0
    assert found.num_undecided == 2 + 3  # ALDR's two later sessions, all three of BRIX
