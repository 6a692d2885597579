"""Walk-forward at a glance: the paths-together equity with the folds' borders, and each fold's score by seed."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import COLORS, GRID, HOLD_COLOR, SUBTITLE, strategy_line

ALL, POLICY, BENCHMARK = "all", "flag_trader", "buy_and_hold"
HEIGHT = 460


def plot_walk_forward(results: dict[str, Any]) -> go.Figure:
    """Equity of all symbols together, mean over seeds (left), and log return of each fold by seed (right)."""
    titles = ("equity, folds paths together", "log return of each fold, by seed")
    figure = make_subplots(1, 2, subplot_titles=titles, column_widths=[0.6, 0.4], horizontal_spacing=0.1)
    path, summary = results["paths"][ALL], results["summary"][ALL]
    for name in (POLICY, BENCHMARK):
        returns = np.array([-np.inf if value is None else value for value in path[name]])
        equity = np.exp(np.cumsum(returns))
        figure.add_scatter(x=path["sessions"], y=equity, mode="lines", **strategy_line(name), row=1, col=1)
    borders = [
        day
        for day, fold, before in zip(path["sessions"][1:], path["folds"][1:], path["folds"], strict=False)
        if fold != before
    ]
    for border in borders:
        figure.add_vline(x=border, line={"color": HOLD_COLOR, "dash": "dot"}, row=1, col=1)
    _add_folds(figure, results["rows"], summary["folds"])
    figure.update_yaxes(title_text="growth of 1", row=1, col=1)
    figure.update_xaxes(type="category", title_text="fold", row=1, col=2)
    seeds = sorted({row["seed"] for row in results["rows"]})
    subtitle = f"{len(summary['folds'])} fold(s), seed(s) {' '.join(map(str, seeds))}, {len(path['sessions'])} returns"
    figure.update_layout(
        title={"text": f"Walk-forward{SUBTITLE}{subtitle}</sup>"}, template="plotly_white", height=HEIGHT,
        legend={"orientation": "h", "y": -0.2}, margin={"t": 100, "l": 50, "r": 20, "b": 90},
    )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    return figure


def _add_folds(figure: go.Figure, rows: list[dict[str, Any]], folds: dict[str, Any]) -> None:
    """A mark for each training, the mean over its symbols, and a bar for buy and hold."""
    held = {fold: found[BENCHMARK]["cumulative_return"] for fold, found in folds.items()}
    figure.add_bar(
        x=list(held), y=list(held.values()), name=BENCHMARK, legendgroup=BENCHMARK, showlegend=False,
        marker_color=COLORS[BENCHMARK], opacity=0.35, row=1, col=2,
    )  # fmt: skip
    earned = [[scores[POLICY]["cumulative_return"] for scores in row["scores"].values()] for row in rows]
    figure.add_scatter(
        x=[row["fold"] for row in rows],
        y=[None if None in own else float(np.mean(own)) for own in earned],
        text=[f"seed {row['seed']}" for row in rows],
        mode="markers", name=POLICY, legendgroup=POLICY, showlegend=False,
        marker={"color": COLORS[POLICY], "size": 10}, row=1, col=2,
    )  # fmt: skip
