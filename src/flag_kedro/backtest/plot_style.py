"""What all plots of a backtest share: one colour per strategy, one panel per symbol, axes and title."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.names import (
    BENCHMARK,
    CALIBRATED_LM,
    ENDPOINT_LM,
    FLAT,
    MEAN_REVERSION,
    MOMENTUM,
    POLICY,
    SB3_PPO,
    STICKY_RANDOM,
    TEXT_LINEAR_PPO,
    TEXT_RIDGE,
    UNTRAINED_LM,
    ZERO_SHOT_LM,
)

COLORS = {
    POLICY: "#0072b2",
    BENCHMARK: "#d55e00",
    FLAT: "#ababab",
    STICKY_RANDOM: "#767676",
    MOMENTUM: "#009e73",
    MEAN_REVERSION: "#cc79a7",
    UNTRAINED_LM: "#56b4e9",
    ZERO_SHOT_LM: "#7f9c1d",
    CALIBRATED_LM: "#4f6b00",
    ENDPOINT_LM: "#b3123f",
    TEXT_RIDGE: "#e69f00",
    TEXT_LINEAR_PPO: "#8d6cc4",
    SB3_PPO: "#a8762d",
}
"""Okabe and Ito's palette, which colour-blind readers can tell apart, and six more; also the order of legends."""
DASHES = {
    FLAT: "dash",
    STICKY_RANDOM: "dot",
    MEAN_REVERSION: "dash",
    UNTRAINED_LM: "dash",
    ZERO_SHOT_LM: "dot",
    CALIBRATED_LM: "dash",
    ENDPOINT_LM: "dashdot",
    TEXT_LINEAR_PPO: "dashdot",
    SB3_PPO: "dot",
}
OTHER_COLOR = "#8a8a8a"
PRICE_COLOR = "#8a8a8a"
BUY_COLOR, SELL_COLOR, HOLD_COLOR = "#0072b2", "#d55e00", "#b5b5b5"
GRID = "rgba(128, 128, 128, 0.25)"  # seen on white and on kedro-viz's dark page alike
DAY_MS = 86_400_000
DATE_TICKS = [  # month or year only where it changes
    {"dtickrange": [None, 14 * DAY_MS], "value": "%-d\n%b %Y"},
    {"dtickrange": ["M1", "M12"], "value": "%b\n%Y"},
    {"dtickrange": ["M12", None], "value": "%Y"},
]
COLUMNS = 2
TOP, PANEL, BETWEEN, DATES, LEGEND_ROW = 100, 190, 70, 60, 20
"""Heights in pixels: title, panel, space between two panels, dates, and a row of legend entries."""
ENTRIES_PER_ROW = 3
SUBTITLE = "<br><sup>"

Cells = dict[str, dict[str, int]]
"""Row and column of each symbol's panel, counted from 1."""


def in_order(strategies: Sequence[str]) -> list[str]:
    """Strategies as legends and tables list them; unknown ones last, in the order given."""
    return sorted(dict.fromkeys(strategies), key=_rank)


def _rank(strategy: str) -> int:
    return list(COLORS).index(strategy) if strategy in COLORS else len(COLORS)


def strategy_line(name: str) -> dict[str, Any]:
    """Attributes of a trace that shows a strategy: the same colour and dash in every plot."""
    return {
        "name": name,
        "legendgroup": name,
        "legendrank": 1 + _rank(name),
        "zorder": 1 if name == POLICY else 0,
        "line": {
            "color": COLORS.get(name, OTHER_COLOR),
            "dash": DASHES.get(name, "solid"),
            "width": 2.5 if name == POLICY else 1.5,
        },
    }


def symbol_panels(symbols: Sequence[str]) -> tuple[go.Figure, Cells]:
    """An empty figure with one titled panel per symbol, and where each is."""
    columns = min(COLUMNS, len(symbols))
    rows = math.ceil(len(symbols) / columns)
    height = _panels_height(rows)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=list(symbols),
        vertical_spacing=BETWEEN / height,
        horizontal_spacing=0.12 if columns > 1 else 0.0,
    )
    figure.update_layout(height=height)
    return figure, {symbol: {"row": i // columns + 1, "col": i % columns + 1} for i, symbol in enumerate(symbols)}


def _panels_height(rows: int) -> int:
    return rows * PANEL + (rows - 1) * BETWEEN


def name_once(figure: go.Figure) -> None:
    """Leave each legend group one entry, that of its first trace."""
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.legendgroup not in seen
        seen.add(trace.legendgroup)


def finish(figure: go.Figure, title: str, subtitle: str) -> go.Figure:
    """Give a figure whose height is that of its panels a title, a legend below and grids for both themes."""
    entries = sum(trace.showlegend is not False for trace in figure.data)
    bottom = DATES + LEGEND_ROW * max(2, math.ceil(entries / ENTRIES_PER_ROW))
    figure.update_layout(
        title={"text": f"{title}{SUBTITLE}{subtitle}</sup>"},
        template="plotly_white",
        height=TOP + figure.layout.height + bottom,
        hovermode="x unified",
        hoverlabel={"namelength": -1, "font": {"size": 11}},
        legend={
            "orientation": "h",
            "traceorder": "normal",
            "x": 0.0,
            "y": 0.0,
            "yref": "container",
            "yanchor": "bottom",
        },
        margin={"t": TOP, "l": 45, "r": 20, "b": bottom},
    )
    figure.update_annotations(font_size=13)
    figure.update_xaxes(gridcolor=GRID, zeroline=False, tickangle=0)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, nticks=6)
    return figure


def date_axes(figure: go.Figure) -> None:
    """Print dates with the month or year only where it changes."""
    figure.update_xaxes(type="date", tickformatstops=DATE_TICKS, hoverformat="%a %-d %b %Y")


def describe_trading(convention: Mapping[str, Any]) -> str:
    """Window, fill and costs in one line; `convention` is of `scores.describe_convention`."""
    first, last = convention["window"]
    cost = convention["cost_bps"] + convention["slippage_bps"]
    stop = convention.get("max_drawdown_stop")
    stopped = "" if stop is None else f", stopped at a drawdown of {stop:.0%}"
    return f"{first} to {last}; fill {convention['fill']}, {cost:g} bp a trade{stopped}"
