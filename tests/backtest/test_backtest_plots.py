import math
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold, flat
from flag_kedro.backtest.plots import plot_drawdown, plot_equity, plot_rolling_sharpe, rolling_sharpe
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.scores import describe_convention
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow

CLOSES = [10, 8, 9, 12, 16, 20]


@pytest.fixture
def draw(cut_prices: Callable[..., TradingWindow], config: EnvConfig) -> Callable[..., go.Figure]:
    """The plot of two strategies on symbols with so many sessions each."""

    def make(**num_sessions: int) -> go.Figure:
        window = cut_prices("next_close", **{name: (CLOSES[:num],) * 2 for name, num in num_sessions.items()})
        played = [replay(name, window, config, rule) for name, rule in (("buy_and_hold", buy_and_hold), ("flat", flat))]
        env = EnvConfig(fill="next_close", cost_bps=20.0, slippage_bps=5.0)
        convention = asdict(describe_convention("account", ("2024-01-01", "2024-01-06"), env, {}))
        return plot_equity(pl.concat([part.equity for part in played]), convention)

    return make


@pytest.mark.parametrize("symbols", [["A"], ["A", "B"], ["A", "B", "C"], ["A", "B", "C", "D", "E"]])
def test_every_symbol_has_a_panel_of_its_own(symbols: list[str], draw: Callable[..., go.Figure]) -> None:
    figure = draw(**dict.fromkeys(symbols, 6))
    assert [title.text for title in figure.layout.annotations] == symbols
    assert len({(line.xaxis, line.yaxis) for line in figure.data}) == len(symbols)
    assert len(figure.data) == 2 * len(symbols)


def test_every_strategy_has_one_legend_entry(draw: Callable[..., go.Figure]) -> None:
    figure = draw(A=6, B=6, C=6)
    assert [line.name for line in figure.data if line.showlegend] == ["buy_and_hold", "flat"]
    assert {line.legendgroup for line in figure.data} == {"buy_and_hold", "flat"}


def test_every_path_starts_at_one_and_ends_with_its_symbol(draw: Callable[..., go.Figure]) -> None:
    figure = draw(A=6, B=3)
    # 1,000 buys 100 shares at 8 and pays 200: 800, 900, 1,200, 1,600, 2,000
    paths = [list(line.y) for line in figure.data]
    assert paths == [
        pytest.approx([1.0, 0.8, 0.9, 1.2, 1.6, 2.0]),
        pytest.approx([1.0] * 6),
        pytest.approx([1.0, 0.8, 0.9]),
        pytest.approx([1.0] * 3),
    ]
    assert list(figure.data[2].x) == [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)]


def test_title_tells_window_fills_and_costs(draw: Callable[..., go.Figure]) -> None:
    assert draw(A=6).layout.title.text.endswith("2024-01-01 to 2024-01-06; fill next_close, 25 bp a trade</sup>")


def test_drawdown_is_below_the_highest_equity_so_far(
    six_sessions: tuple[pl.DataFrame, pl.DataFrame, object], account_convention: dict[str, Any]
) -> None:
    figure = plot_drawdown(six_sessions[1], account_convention)
    # 100, 120, 90, 99, 60, 66: the peak is 120 from the second session on
    assert list(figure.data[0].y) == pytest.approx([0.0, 0.0, -0.25, -0.175, -0.5, -0.45])
    assert list(figure.data[1].y) == pytest.approx([0.0, -0.2, -0.1, 0.0, 0.0, 0.0])


def test_rolling_sharpe_by_hand_and_none_where_nothing_moves() -> None:
    # mean 0.02 over std 0.01 x sqrt(2) is sqrt(2); then 0.03, 0.03 does not move
    ratios = rolling_sharpe(np.array([0.01, 0.03, 0.03]), span=2, days=252)
    assert ratios == [None, pytest.approx(math.sqrt(504.0)), None]
    assert rolling_sharpe(np.array([0.01]), span=2, days=252) == [None]


def test_rolling_span_is_a_quarter_year_or_half_of_a_short_window(account_convention: dict[str, Any]) -> None:
    def title(sessions: int) -> str:
        return str(plot_rolling_sharpe(wandering(sessions), account_convention).layout.title.text)

    assert title(127).startswith("Rolling Sharpe ratio over 63 sessions")
    assert title(41).startswith("Rolling Sharpe ratio over 20 sessions")
    assert title(3).startswith("Rolling Sharpe ratio over 2 sessions")


def test_a_ruined_account_does_not_shorten_the_others_span(account_convention: dict[str, Any]) -> None:
    both = pl.concat([wandering(41), wandering(41).with_columns(strategy=pl.lit("sb3_ppo")).head(5)])
    figure = plot_rolling_sharpe(both, account_convention)
    assert "over 20 sessions" in figure.layout.title.text
    full, ruined = figure.data
    assert [value is None for value in full.y] == [True] * 20 + [False] * 21
    assert list(ruined.y) == [None] * 5


def wandering(sessions: int) -> pl.DataFrame:
    """Equity of one strategy that gains and loses 1 % in turn."""
    moves = [None, *([0.01, -0.01] * sessions)[: sessions - 1]]
    days = [date(2024, 1, 1) + timedelta(days=t) for t in range(sessions)]
    return pl.DataFrame({"symbol": "A", "strategy": "flag_trader", "session": days, "log_return": moves})
