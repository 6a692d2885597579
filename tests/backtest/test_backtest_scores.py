import json
import math
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import empyrical
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flag_kedro.backtest.baselines import buy_and_hold, flat
from flag_kedro.backtest.metrics import max_drawdown
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.scores import (
    AccountDescription,
    account_scores,
    days_per_year,
    describe_convention,
    investorbench_scores,
    score_strategies,
    target_positions,
)
from flag_kedro.data.exchanges import benchmark_calendar
from flag_kedro.data.investorbench import read_investorbench
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decide, Decisions, States
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError

STOCKS = (date(2020, 10, 1), date(2021, 5, 5))
CRYPTO = (date(2023, 4, 5), date(2023, 11, 5))
# Returns of -50 % to + 100 %, at least three of them, and not all alike
PATHS = st.lists(st.floats(0.5, 2.0), min_size=3, max_size=60).filter(lambda steps: np.std(np.log(steps)) > 1e-3)

CutPrices = Callable[..., TradingWindow]


def _path(steps: list[float]) -> np.ndarray:
    return np.concatenate([[1_000.0], 1_000.0 * np.cumprod(steps)])


def _score_path(equity: np.ndarray, days: int = 252) -> dict[str, float | int | None]:
    num = len(equity)
    return account_scores(equity, np.ones(num, dtype=np.int64), np.zeros(num), days)


def _closes(folder: Path, symbol: str, window: tuple[date, date]) -> np.ndarray:
    prices, _ = read_investorbench(folder, symbol, benchmark_calendar(symbol), "next_session")
    return prices.filter(pl.col("session").is_between(*window))["adj_close"].to_numpy()


# Convention `account`


@settings(deadline=None)
@given(steps=PATHS, days=st.sampled_from([252, 365]))
def test_account_scores_agree_with_empyrical(steps: list[float], days: int) -> None:
    equity = _path(steps)
    scores = _score_path(equity, days)
    simple, log = pd.Series(equity).pct_change().dropna(), pd.Series(np.diff(np.log(equity)))
    near = {"rel": 1e-12, "abs": 1e-12}
    assert scores["annual_volatility"] == pytest.approx(empyrical.annual_volatility(log, annualization=days), **near)
    assert scores["sharpe_ratio"] == pytest.approx(empyrical.sharpe_ratio(log, annualization=days), **near)
    assert scores["max_drawdown"] == pytest.approx(-empyrical.max_drawdown(simple), **near)
    assert scores["total_return"] == pytest.approx(empyrical.cum_returns_final(simple), **near)


def test_account_scores_of_a_short_path_are_as_worked_by_hand() -> None:
    # equity 100, 200, 100, 200 with log returns ln 2 x (1, -1, 1): mean ln 2 / 3,
    # variance ln2^2 (4/9 + 16/9 + 4/9) / 2 = ln2^2 x 4/3; mean / std = (1/3) / (2 / sqrt 3) = sqrt 3 / 6
    equity = np.array([100.0, 200.0, 100.0, 200.0])
    scores = account_scores(equity, np.array([0, 1, 1, 0]), np.array([0.0, 100.0, 0.0, 50.0]), 252)
    assert scores == {
        "cumulative_return": pytest.approx(math.log(2)),
        "total_return": pytest.approx(1.0),
        "sharpe_ratio": pytest.approx(math.sqrt(3) / 6 * math.sqrt(252)),
        "annual_volatility": pytest.approx(math.log(2) * 2 / math.sqrt(3) * math.sqrt(252)),
        "max_drawdown": pytest.approx(0.5),
        "win_rate": pytest.approx(0.5),  # one of the two exposed returns rose; the third was flat
        "turnover": pytest.approx(84.0),  # 150 / mean equity 150 = 1 in 3 of 252 sessions
        # mean ln 2 / 3 over the root of a mean square of ln2^2 / 3
        "sortino_ratio": pytest.approx(math.sqrt(3) / 3 * math.sqrt(252)),
        "calmar_ratio": pytest.approx((2.0**84 - 1) / 0.5),  # doubled in 3 of 252 sessions
        "exposure": pytest.approx(2 / 3),
        "num_trades": 2,
        "num_prices": 4,
        "num_days": 3,
    }


def test_win_rate_counts_exposed_sessions_only_and_a_return_of_zero_is_no_win() -> None:
    # exposed: -, up, zero, down, up; flat: up
    equity = np.array([100.0, 110.0, 110.0, 105.0, 106.0, 107.0])
    scores = account_scores(equity, np.array([0, 1, 1, 1, 1, 0]), np.zeros(6), 252)
    assert scores["win_rate"] == 0.5


def test_win_rate_does_not_read_the_position_of_the_first_session() -> None:
    equity = np.array([100.0, 110.0, 100.0])
    rates = {account_scores(equity, np.array([first, 1, 0]), np.zeros(3), 252)["win_rate"] for first in (0, 1)}
    assert rates == {1.0}


def test_win_rate_of_a_path_without_exposure_is_undefined() -> None:
    equity = np.array([100.0, 110.0, 100.0])
    assert account_scores(equity, np.zeros(3, dtype=np.int64), np.zeros(3), 252)["win_rate"] is None


def test_turnover_is_traded_value_over_mean_equity_a_year() -> None:
    # 300 traded over a mean equity of 100 in 2 of 252 sessions: 3 x 126
    scores = account_scores(np.full(3, 100.0), np.ones(3, dtype=np.int64), np.array([0.0, 100.0, 200.0]), 252)
    assert scores["turnover"] == pytest.approx(378.0)


def test_loss_on_the_first_day_is_inside_the_drawdown() -> None:
    assert _score_path(np.array([100.0, 80.0, 90.0, 95.0]))["max_drawdown"] == pytest.approx(0.2)


def test_drawdown_is_measured_from_the_running_peak_and_positive() -> None:
    # 120 to 90 is 25 %; 100 to 90 would be 10 %, 130 to 117 is 10 %
    assert max_drawdown(np.array([100.0, 120.0, 90.0, 130.0, 117.0])) == pytest.approx(0.25)
    assert max_drawdown(np.array([1.0, 2.0, 3.0])) == 0.0


@pytest.mark.filterwarnings("error")
def test_path_that_never_moves_has_no_sharpe_ratio() -> None:
    scores = _score_path(np.full(10, 1_000.0))
    assert scores["sharpe_ratio"] is None
    assert scores["annual_volatility"] == 0.0
    assert scores["cumulative_return"] == 0.0
    assert scores["max_drawdown"] == 0.0


@pytest.mark.filterwarnings("error")
def test_path_of_one_same_return_is_not_divided_by_rounding_errors() -> None:
    assert _score_path(1_000.0 * 1.01 ** np.arange(50))["sharpe_ratio"] is None


@pytest.mark.filterwarnings("error")
def test_single_return_has_neither_volatility_nor_sharpe_ratio() -> None:
    scores = _score_path(np.array([100.0, 110.0]))
    assert scores["annual_volatility"] is None
    assert scores["sharpe_ratio"] is None
    assert scores["total_return"] == pytest.approx(0.1)


@settings(deadline=None)
@given(steps=PATHS, scale=st.floats(0.01, 1e4))
def test_account_scores_do_not_depend_on_the_money_at_stake(steps: list[float], scale: float) -> None:
    equity = _path([round(step, 3) for step in steps])  # a loss is none or not a rounding error
    traded = np.arange(len(steps) + 1, dtype=np.float64)
    positions = np.ones(len(equity), dtype=np.int64)
    plain = account_scores(equity, positions, traded, 252)
    scaled = account_scores(equity * scale, positions, traded * scale, 252)
    # A win is a matter of the sign of a return, which rounding may decide where the path stands still
    assert {name for name in plain if plain[name] is None} == {name for name in scaled if scaled[name] is None}
    defined = {name: value for name, value in plain.items() if value is not None and name != "win_rate"}
    assert {name: scaled[name] for name in defined} == pytest.approx(defined, rel=1e-9, abs=1e-9)


def test_market_that_never_closes_counts_365_days_a_year() -> None:
    assert days_per_year("24/7") == 365
    assert days_per_year("XNYS") == 252


# Convention `investorbench`


@pytest.mark.parametrize(
    ("symbol", "window", "num_prices", "cumulative_return", "sharpe_ratio", "annual_volatility", "drawdown"),
    [
        ("MSFT", STOCKS, 149, 15.340, 1.039, 24.980, 9.428),
        ("JNJ", STOCKS, 149, 13.895, 1.343, 17.500, 9.847),
        ("BTC", CRYPTO, 215, 21.822, 0.683, 37.426, 20.796),
    ],
)
def test_published_buy_and_hold_rows_come_out_to_the_printed_decimals(
    symbol: str,
    window: tuple[date, date],
    num_prices: int,
    cumulative_return: float,
    sharpe_ratio: float,
    annual_volatility: float,
    drawdown: float,
    investorbench: Path,
) -> None:
    prices = _closes(investorbench, symbol, window)
    days = 365 if symbol == "BTC" else 252
    scores = investorbench_scores(np.ones(num_prices, np.int64), prices, days_mean=252, days_volatility=days)
    assert scores["num_prices"] == num_prices
    percent = {name: round(100.0 * value, 3) for name, value in scores.items() if isinstance(value, float)}
    assert percent["cumulative_return"] == cumulative_return
    assert percent["annual_volatility"] == annual_volatility
    assert percent["max_drawdown"] == drawdown
    assert round(scores["sharpe_ratio"] or 0.0, 3) == sharpe_ratio


def test_full_window_with_its_last_day_gives_another_row(investorbench: Path) -> None:
    prices = _closes(investorbench, "MSFT", (STOCKS[0], date(2021, 5, 6)))
    scores = investorbench_scores(np.ones(150, np.int64), prices, days_mean=252, days_volatility=252)
    assert round(100.0 * (scores["cumulative_return"] or 0.0), 3) == 16.654


def test_drawdown_of_compounded_log_returns_is_not_that_of_the_prices(investorbench: Path) -> None:
    prices = _closes(investorbench, "MSFT", STOCKS)
    assert round(100.0 * max_drawdown(prices), 3) == 9.212


@pytest.mark.parametrize("fill", ["next_open", "next_close"])
def test_published_row_comes_out_of_a_replayed_buy_and_hold_whatever_its_fills(fill: str, investorbench: Path) -> None:
    closes = _closes(investorbench, "MSFT", STOCKS)
    days = [date(2020, 1, 1) + timedelta(days=t) for t in range(len(closes))]
    decided = [datetime.combine(day, time(21), UTC) for day in days]
    states = pl.DataFrame(
        {"session": days, "decided_at": decided, "known_at": decided, "open_price": closes, "mark_price": closes}
    ).with_columns(market_text=pl.lit("quiet"), news_text=pl.lit("none"), volume=pl.lit(None, dtype=pl.Float64))
    window = cut_window({"MSFT": states}, (days[0], days[-1]), fill)
    played = replay("buy_and_hold", window, EnvConfig(), buy_and_hold)
    results = score_strategies(
        played.decisions, played.equity, {"MSFT": window.mark_prices[0]}, {"MSFT": "XNYS"}, "investorbench"
    )
    scores = results["MSFT"]["buy_and_hold"]
    assert round(100.0 * (scores["cumulative_return"] or 0.0), 3) == 15.340
    assert round(scores["sharpe_ratio"] or 0.0, 3) == 1.039


@settings(deadline=None)
@given(steps=PATHS, seed=st.integers(0, 2**32 - 1))
def test_investorbench_volatility_and_drawdown_agree_with_empyrical(steps: list[float], seed: int) -> None:
    positions = np.random.default_rng(seed).integers(-1, 2, len(steps) + 1)
    positions[:2] = 1  # so that something moves
    returns = pd.Series([held * math.log(step) for held, step in zip(positions, steps, strict=False)])
    scores = investorbench_scores(positions, _path(steps), days_mean=252, days_volatility=365)
    assert scores["annual_volatility"] == pytest.approx(
        empyrical.annual_volatility(returns, annualization=365), rel=1e-9, abs=1e-12
    )
    assert scores["max_drawdown"] == pytest.approx(-empyrical.max_drawdown(returns), rel=1e-9, abs=1e-12)


def test_investorbench_scores_of_a_short_path_are_as_worked_by_hand() -> None:
    # prices 1, e, 1, e with positions 1, -1, 0: returns 1, 1, 0, sum 2, variance (1/9 + 1/9 + 4/9) / 2 = 1/3
    prices = np.array([1.0, math.e, 1.0, math.e])
    scores = investorbench_scores(np.array([1, -1, 0, 1]), prices, days_mean=252, days_volatility=300)
    assert scores == {
        "cumulative_return": pytest.approx(2.0),
        "total_return": pytest.approx(math.e**2 - 1),
        "sharpe_ratio": pytest.approx(2 / (4 / 252) / math.sqrt(300 / 3)),  # four prices, not three returns
        "annual_volatility": pytest.approx(math.sqrt(300 / 3)),
        "max_drawdown": pytest.approx(0.0),
        "win_rate": pytest.approx(1.0),
        "turnover": pytest.approx(400.0),  # 1 to long, 2 to short, 1 to flat; 3 of 300 days
        "sortino_ratio": None,  # no loss
        "calmar_ratio": None,  # no drawdown
        "exposure": pytest.approx(2 / 3),
        "num_trades": 3,
        "num_prices": 4,
        "num_days": 3,
    }


def test_investorbench_drawdown_includes_a_loss_on_the_first_day() -> None:
    # ln 0.8 = -0.2231 compounded as if simple: 1 - (1 - 0.2231) = 0.2231
    scores = investorbench_scores(np.ones(3, np.int64), np.array([10.0, 8.0, 9.0]), days_mean=252, days_volatility=252)
    assert scores["max_drawdown"] == pytest.approx(-math.log(0.8))


@settings(deadline=None)
@given(last=st.integers(-1, 1))
def test_investorbench_does_not_use_the_last_position(last: int) -> None:
    prices = np.array([10.0, 11.0, 9.0, 12.0])
    held = investorbench_scores(np.array([1, 0, -1, 0]), prices, days_mean=252, days_volatility=252)
    assert investorbench_scores(np.array([1, 0, -1, last]), prices, days_mean=252, days_volatility=252) == held


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("positions", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_investorbench_sharpe_ratio_is_undefined_where_nothing_varies(positions: list[int]) -> None:
    # flat, or long over prices that double every day
    prices = np.array([1.0, 2.0, 4.0, 8.0])
    scores = investorbench_scores(np.array(positions), prices, days_mean=252, days_volatility=252)
    assert scores["sharpe_ratio"] is None
    assert scores["annual_volatility"] == 0.0


# From decisions to scores


def test_hold_keeps_the_position_that_buy_and_sell_would_change() -> None:
    decided = decisions(["hold", "buy", "hold", "sell", "hold"], [0, 0, 1, 1, 0])
    assert target_positions(decided).tolist() == [0, 1, 1, 0, 0]


def decisions(actions: list[str], positions: list[int]) -> pl.DataFrame:
    sessions = [date(2024, 1, 1) + timedelta(days=t) for t in range(len(actions))]
    return pl.DataFrame({"session": sessions, "action": actions, "position": positions})


def test_hold_goes_on_with_an_order_that_is_filled_in_parts() -> None:
    """Nothing of the purchase is had for two sessions, and the sale takes three; the next path begins anew."""
    decided = decisions(["buy", "hold", "hold", "sell", "hold", "hold"], [0, 0, 1, 1, 1, 1])
    again = decisions(["hold", "hold"], [0, 0])
    assert target_positions(decided).tolist() == [1, 1, 1, 0, 0, 0]
    assert target_positions(pl.concat([again, decided, again])).tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]


def test_sell_asks_for_a_short_position_where_there_are_shorts() -> None:
    decided = decisions(["sell", "hold", "buy", "sell"], [0, -1, -1, 1])
    assert target_positions(decided, long_short=True).tolist() == [-1, -1, 1, -1]


def test_cash_earned_is_taken_off_the_sharpe_and_sortino_ratios_alone() -> None:
    # log returns .03, .01, .03, .01 with cash of .02: excess .01, -.01, .01, -.01 has mean 0
    equity = np.exp(np.cumsum([0.0, 0.03, 0.01, 0.03, 0.01]))
    inputs = equity, np.ones(5, np.int64), np.zeros(5), 252
    plain, less_cash = account_scores(*inputs), account_scores(*inputs, cash_returns=np.full(4, 0.02))
    assert less_cash["sharpe_ratio"] == pytest.approx(0.0, abs=1e-12)
    assert less_cash["sortino_ratio"] == pytest.approx(0.0, abs=1e-12)
    assert (plain["sharpe_ratio"] or 0.0) > 1.0
    assert plain["win_rate"] == 1.0
    ratios = {"sharpe_ratio", "sortino_ratio"}
    assert {k: v for k, v in less_cash.items() if k not in ratios} == {
        k: v for k, v in plain.items() if k not in ratios
    }


@pytest.mark.filterwarnings("error")
def test_ruined_account_lost_everything_and_has_no_log_returns_to_average() -> None:
    scores = account_scores(np.array([100.0, 120.0, -5.0]), np.array([0, -1, -1]), np.zeros(3), 252)
    assert (scores["total_return"], scores["max_drawdown"]) == (-1.0, 1.0)
    assert scores["win_rate"] == 0.5
    undefined = ("cumulative_return", "sharpe_ratio", "sortino_ratio", "annual_volatility")
    assert [scores[name] for name in undefined] == [None] * 4


@pytest.mark.parametrize(
    ("equity", "cash", "message"),
    [
        ([100.0, math.nan, 90.0], None, "equity must be finite"),
        ([100.0, 0.0, 90.0], None, "equity is 0 at session 1"),
        ([100.0, 95.0, 90.0], [0.0], "1 cash returns for 2 returns"),
    ],
)
def test_path_that_cannot_be_scored_is_refused(equity: list[float], cash: list[float] | None, message: str) -> None:
    cash_returns = None if cash is None else np.array(cash)
    with pytest.raises(DataError, match=message):
        account_scores(np.array(equity), np.ones(3, np.int64), np.zeros(3), 252, cash_returns)


def test_decisions_of_a_ruined_account_count_as_flat_after_its_end(cut_prices: CutPrices, config: EnvConfig) -> None:
    closes = [10.0, 11.0, 12.0, 6.0]
    window = cut_prices("next_close", XOM=(closes, closes))
    played = replay("rule", window, config, _scripted(2, 1, 1, 1))
    first_two = played.decisions.head(2), played.equity.head(3)
    tables = {"XOM": np.array(closes)}, {"XOM": "XNYS"}, "investorbench"
    cut, whole = score_strategies(*first_two, *tables), score_strategies(played.decisions, played.equity, *tables)
    assert cut["XOM"]["rule"]["cumulative_return"] == pytest.approx(math.log(1.2))
    assert whole["XOM"]["rule"]["cumulative_return"] == pytest.approx(math.log(0.6))
    assert cut["XOM"]["rule"]["num_days"] == 3


def _scripted(*actions: int) -> Decide:
    asked = iter(actions)

    def decide(states: States) -> Decisions:
        return Decisions(np.full(len(states), next(asked)))

    return decide


def test_strategies_are_scored_by_symbol_on_their_own_rows_and_calendar(
    cut_prices: CutPrices, config: EnvConfig
) -> None:
    closes = [10, 8, 9, 12, 16, 20]
    window = cut_prices("next_close", BTC=(closes, closes), MSFT=(closes[:4], closes[:4]))
    rules = {"rule": _scripted(2, 1, 0, 1, 1, 1), "flat": flat}
    played = [replay(name, window, config, rule) for name, rule in rules.items()]
    decisions = pl.concat([part.decisions for part in played])
    equity = pl.concat([part.equity for part in played])
    marks = {"BTC": np.array(closes, float), "MSFT": np.array(closes[:4], float)}
    calendars = {"BTC": "24/7", "MSFT": "XNYS"}

    account = score_strategies(decisions, equity, marks, calendars, "account")
    assert {symbol: list(strategies) for symbol, strategies in account.items()} == {
        symbol: ["rule", "flat"] for symbol in marks
    }
    # 1,000, bought for 800, 900, sold for 900, flat; MSFT's four marks are 1,000, 800, 900, 900
    assert account["BTC"]["rule"]["cumulative_return"] == pytest.approx(math.log(0.9))
    assert account["MSFT"]["rule"]["cumulative_return"] == pytest.approx(math.log(0.9))
    assert account["BTC"]["rule"]["win_rate"] == 0.5  # exposed over 8 to 9 (up) and 9 to 12 (the cost took all)
    assert account["BTC"]["rule"]["turnover"] == pytest.approx(2_000 / (5_400 / 6) * 365 / 5)
    assert account["MSFT"]["rule"]["turnover"] == pytest.approx(2_000 / (3_600 / 4) * 252 / 3)
    assert account["MSFT"]["flat"]["sharpe_ratio"] is None

    published = score_strategies(decisions, equity, marks, calendars, "investorbench")
    # decided long at 10 and at 8, flat from 9 on: ln(8/10) + ln(9/8), without costs
    assert published["BTC"]["rule"]["cumulative_return"] == pytest.approx(math.log(0.9))
    assert published["BTC"]["rule"]["num_prices"] == 6
    assert published["MSFT"]["rule"]["num_prices"] == 4
    # MSFT returns ln .8, ln 1.125, 0 with 252 days in mean and volatility, BTC with 252 and 365
    std = np.std([math.log(0.8), math.log(1.125), 0.0], ddof=1)
    assert published["MSFT"]["rule"]["sharpe_ratio"] == pytest.approx(math.log(0.9) * 252 / 4 / (std * math.sqrt(252)))
    std = np.std([math.log(0.8), math.log(1.125), 0.0, 0.0, 0.0], ddof=1)
    assert published["BTC"]["rule"]["sharpe_ratio"] == pytest.approx(math.log(0.9) * 252 / 6 / (std * math.sqrt(365)))


def test_account_convention_says_how_trades_fill_and_cost() -> None:
    env = EnvConfig(fill="next_open", cost_bps=5.0, slippage_bps=2.0)
    content = asdict(describe_convention("account", ("2024-01-02", "2024-06-28"), env, {"XOM": "XNYS"}))
    assert json.dumps(content) == (
        '{"name": "account", "window": ["2024-01-02", "2024-06-28"], "returns": "log", "positions": "long_flat", '
        '"fill": "next_open", "cost_bps": 5.0, "slippage_bps": 2.0, "cash_rate": 0.0, "borrow_bps_year": 0.0, '
        '"max_participation": null, "sharpe_ratio": "mean / std (ddof 1) of daily log returns less cash x sqrt(D)", '
        '"max_drawdown": "of equity, first day included", "days_per_year": {"XOM": 252}}'
    )


def test_convention_names_the_cash_rate_and_whether_there_are_shorts() -> None:
    env = EnvConfig(cash_rate=0.03, positions="long_short", borrow_bps_year=40.0)
    description = describe_convention("account", ("a", "b"), env, {})
    assert isinstance(description, AccountDescription)
    assert (description.cash_rate, description.positions) == (0.03, "long_short")
    assert description.borrow_bps_year == 40.0


def test_investorbench_convention_says_that_nothing_costs_and_fills_are_at_the_same_close() -> None:
    calendars = {"BTC": "24/7", "MSFT": "XNYS"}
    env = EnvConfig(fill="next_open", cost_bps=5.0, slippage_bps=2.0)
    content = asdict(describe_convention("investorbench", ("2024-01-02", "2024-06-28"), env, calendars))
    assert json.dumps(content) == (
        '{"name": "investorbench", "window": ["2024-01-02", "2024-06-28"], "returns": "log", "positions": "long_flat", '
        '"fill": "same_close", "cost_bps": 0.0, "slippage_bps": 0.0, "cash_rate": 0.0, '
        '"sharpe_ratio": "cumulative return / (prices / days_mean) / annual volatility", '
        '"max_drawdown": "of cumprod(1 + log return)", "days_mean": 252, "days_volatility": {"BTC": 365, "MSFT": 252}}'
    )
