from collections.abc import Callable
from datetime import date

import plotly.graph_objects as go
import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold, flat
from flag_kedro.backtest.metrics import describe_convention
from flag_kedro.backtest.plots import plot_equity
from flag_kedro.backtest.replay import replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow

CLOSES = [10, 8, 9, 12, 16, 20]


@pytest.fixture
def draw(cut_prices: Callable[..., TradingWindow], config: EnvConfig) -> Callable[..., go.Figure]:
    """The plot of two strategies on symbols with so many sessions each."""

    def make(**num_sessions: int) -> go.Figure:
        window = cut_prices("next_close", **{name: (CLOSES[:num],) * 2 for name, num in num_sessions.items()})
        played = [replay(name, window, config, rule) for name, rule in (("buy_and_hold", buy_and_hold), ("flat", flat))]
        convention = describe_convention("account", ("2024-01-01", "2024-01-06"), "next_close", 20.0, 5.0, {})
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
