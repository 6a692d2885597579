"""Accounts that `env.max_drawdown_stop` closes, in everything that reads a replay.

A cost of 25 %, 1,000 in cash, a stop at 25 %: 100 shares are bought at 8, 900 at the third mark are 25 % below 1,200,
and they are sold at 8 for 600 (tests/env/test_drawdown_stop.py works it).
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.backtest.baselines import buy_and_hold, sticky_random
from flag_kedro.backtest.benchmark import collapse_of
from flag_kedro.backtest.counterfactual import Shifts, replay_targets, shift_in_time, shift_together
from flag_kedro.backtest.plot_style import describe_trading
from flag_kedro.backtest.portfolio_replay import replay_portfolio
from flag_kedro.backtest.replay import DECISIONS, Replay, replay
from flag_kedro.backtest.report import largest_decisions
from flag_kedro.backtest.scores import describe_convention
from flag_kedro.backtest.trades import list_trades
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.evaluation import EvaluationWindow, target_positions
from flag_kedro.env.states import Decisions, States
from flag_kedro.env.window import TradingWindow
from flag_kedro.names import STOPPED

CutPrices = Callable[..., TradingWindow]
OPENS, CLOSES = [10, 8, 12, 11, 8, 20], [10, 10, 12, 9, 20, 40]


@pytest.fixture
def stopping(config: EnvConfig) -> EnvConfig:
    return replace(config, max_drawdown_stop=0.25)


@pytest.fixture
def held(cut_prices: CutPrices, stopping: EnvConfig) -> Replay:
    """Buy and hold, on a symbol that stops it and a shorter one that does not."""
    window = cut_prices("next_open", A=(OPENS, CLOSES), B=([8] * 4, [8, 10, 10, 9]))
    return replay("buy_and_hold", window, stopping, buy_and_hold)


def test_a_stopped_strategy_stays_flat_and_its_decisions_say_so(held: Replay) -> None:
    path = held.equity.filter(symbol="A")
    assert path["equity"].to_list() == [1_000.0, 1_000.0, 1_200.0, 900.0, 600.0, 600.0]
    assert path["position"].to_list() == [0, 1, 1, 1, 1, 0]
    rows = held.decisions.filter(symbol="A")
    assert rows["action"].to_list() == ["buy", *["hold"] * 5]
    assert rows[STOPPED].to_list() == [False] * 3 + [True] * 3
    assert rows["position"].to_list() == [0, 1, 1, 1, 0, 0]
    assert held.prompts.filter(symbol="A")["legal"].to_list()[2:] == ["sell hold", "hold", "hold", "hold"]
    assert not held.decisions.filter(symbol="B")[STOPPED].any()


def test_without_the_rule_tables_are_what_they_were(cut_prices: CutPrices, config: EnvConfig) -> None:
    played = replay("buy_and_hold", cut_prices("next_open", A=(OPENS, CLOSES)), config, buy_and_hold)
    assert played.decisions.schema == pl.Schema(DECISIONS)
    assert "max_drawdown_stop" not in asdict(describe_convention("account", ("a", "b"), config, {"A": "XNYS"}))


def test_a_stopped_account_is_told_to_be_flat(held: Replay) -> None:
    assert target_positions(held.decisions.filter(symbol="A")).tolist() == [1, 1, 1, 0, 0, 0]


def test_holding_until_the_stop_is_still_no_skill(held: Replay) -> None:
    assert collapse_of(held.decisions, long_short=False).collapsed_to == "buy_and_hold"


def test_what_the_stop_closes_is_a_trade_that_nobody_decided(
    held: Replay, make_states: Callable[..., pl.DataFrame]
) -> None:
    states = {"A": make_states(CLOSES, OPENS), "B": make_states([8, 10, 10, 9], [8] * 4)}
    trades = list_trades(held.decisions, held.equity, states, "next_open", "buy_and_hold")
    stopped = trades.filter(action="stop")
    assert stopped.select("symbol", "decided", "filled", "before", "after", "price").rows() == [
        ("A", date(2024, 1, 4), date(2024, 1, 5), 1, 0, 8.0)
    ]
    assert stopped["probability"].to_list() == [None]
    assert largest_decisions(trades)["action"].unique().to_list() == ["buy"]


def test_the_rule_is_named_where_trading_is_described(stopping: EnvConfig) -> None:
    described = asdict(describe_convention("account", ("2024-01-01", "2024-01-06"), stopping, {"A": "XNYS"}))
    assert described["max_drawdown_stop"] == 0.25
    assert describe_trading(described).endswith(", stopped at a drawdown of 25%")


@given(
    seed=st.integers(0, 10_000),
    fill=st.sampled_from(["next_open", "next_close", "same_close"]),
    positions=st.sampled_from(["long_flat", "long_short"]),
    stop=st.sampled_from([0.05, 0.2]),
)
def test_targets_of_a_stopped_strategy_give_its_equity_back(
    seed: int, fill: str, positions: str, stop: float, cut_prices: CutPrices
) -> None:
    rng = np.random.default_rng(seed)
    market = {name: rng.integers(60, 100, (2, 20)).tolist() for name in "AB"}
    window = cut_prices(fill, positions=positions, **{name: tuple(paths) for name, paths in market.items()})
    config = EnvConfig(positions=positions, fill=fill, cost_bps=100.0, max_drawdown_stop=stop, cash_rate=0.05)

    def at_random(states: States) -> Decisions:
        return Decisions(np.argmax(np.where(states.action_mask, rng.random((len(states), 3)), -1.0), axis=1))

    played = replay("random", window, config, at_random)
    evaluation = EvaluationWindow(window, config, ("", ""), {})
    equity = replay_targets(window, config, evaluation.targets(played.decisions)["random"][:, None, :]).equity
    for s, symbol in enumerate(window.symbols):
        assert equity[s, 0].tolist() == played.equity.filter(symbol=symbol)["equity"].to_list()


def test_a_stopped_portfolio_is_asked_no_more(cut_prices: CutPrices, stopping: EnvConfig) -> None:
    window, asked = cut_prices("next_open", A=(OPENS, CLOSES)), []

    def all_in(states: States, weights: np.ndarray) -> np.ndarray:
        asked.append(weights)
        return np.ones((1, 1))

    played = replay_portfolio("all_in", window, stopping, PortfolioConfig(threshold=1e-6), all_in)
    assert played.equity["equity"].to_list() == pytest.approx([1_000.0, 1_000.0, 1_200.0, 900.0, 600.0, 600.0])
    assert played.weights["target"].to_list() == [1.0, 1.0, 1.0, None, None, None]
    assert len(asked) == 3


def test_time_shifts_say_nothing_of_a_stopped_path(cut_prices: CutPrices, stopping: EnvConfig, held: Replay) -> None:
    window = cut_prices("next_open", A=(OPENS, CLOSES), B=([8] * 4, [8, 10, 10, 9]))
    evaluation = EvaluationWindow(window, stopping, ("2024-01-01", "2024-01-06"), {"A": "XNYS", "B": "XNYS"})
    stopped, targets = evaluation.stopped(held.decisions), evaluation.targets(held.decisions)
    assert stopped == {"buy_and_hold": {"A"}}
    targets["buy_and_hold"][1, 0] = 0  # so that B changes, too
    shifts = shift_in_time(window, stopping, targets, stopped)
    one, other = (shifts[symbol]["buy_and_hold"] for symbol in ("A", "B"))
    assert (one.changes, one.percentile, one.p_value) == (True, None, None)
    assert other.p_value is not None
    together = shift_together([one, other], lambda rows: rows.sum(axis=0))
    assert (together.percentile, together.p_value) == (None, None)


def test_without_a_stop_no_account_was_stopped(cut_prices: CutPrices, config: EnvConfig) -> None:
    window = cut_prices("next_open", A=(OPENS, CLOSES))
    played = replay("buy_and_hold", window, config, buy_and_hold)
    assert EvaluationWindow(window, config, ("2024-01-01", "2024-01-06"), {"A": "XNYS"}).stopped(played.decisions) == {}


def test_positions_at_random_lie_anywhere_among_their_shifts_once_stopped_ones_are_left_out_of_leads(
    cut_prices: CutPrices, config: EnvConfig
) -> None:
    """The share of p-values up to 0.1 is at most 0.1; three deviations of 150 paths are 0.07. Those of stopped paths
    would be biased: 58 of them lie at 0.30 of their shifts in the mean."""
    rng, free = np.random.default_rng(3), replace(config, cost_bps=0.0, slippage_bps=0.0, max_drawdown_stop=0.1)
    found = []
    for _ in range(150):
        closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, 60)))
        window = cut_prices("next_close", A=(closes, closes))
        evaluation = EvaluationWindow(window, free, ("2024-01-01", "2024-03-01"), {"A": "XNYS"})
        played = replay("noise", window, free, sticky_random(int(rng.integers(1 << 30)), window.symbols))
        targets, stopped = evaluation.targets(played.decisions), evaluation.stopped(played.decisions)
        found.append(shift_in_time(window, free, targets, stopped)["A"]["noise"])
    assert any(shift.stopped for shift in found)
    assert np.mean([shift.p_value is not None and shift.p_value <= 0.1 for shift in found]) <= 0.17
    biased = [Shifts(shift.log_returns, changes=True).percentile for shift in found if shift.stopped]
    assert np.mean(biased) < 0.45
