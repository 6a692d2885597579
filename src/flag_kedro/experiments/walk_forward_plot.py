"""Walk-forward at a glance: equity over all folds with their borders, and each fold's score by seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import COLORS, GRID, HOLD_COLOR, SUBTITLE, strategy_line
from flag_kedro.experiments.out_of_sample import ALL, FoldRun, MeanPath
from flag_kedro.names import BENCHMARK, POLICY

HEIGHT = 460


def plot_walk_forward(results: Mapping[str, Any]) -> go.Figure:
    """Equity of all symbols together, mean over seeds (left), and log return of each fold by seed (right).

    Args:
        results: the report of the pipeline, as JSON has it: `paths`, `summary` and `rows` are read.
    """
    path, runs = MeanPath(**results["paths"][ALL]), [FoldRun.from_json(row) for row in results["rows"]]
    benchmark_returns = {
        fold: summary[BENCHMARK]["cumulative_return"] for fold, summary in results["summary"][ALL]["folds"].items()
    }
    titles = ("equity, folds strung together", "log return of each fold, by seed")
    figure = make_subplots(1, 2, subplot_titles=titles, column_widths=[0.6, 0.4], horizontal_spacing=0.1)
    _add_equity(figure, path)
    _add_folds(figure, runs, benchmark_returns)
    figure.update_yaxes(title_text="growth of 1", row=1, col=1)
    figure.update_xaxes(type="category", title_text="fold", row=1, col=2)
    seeds = sorted({run.seed for run in runs})
    subtitle = f"{len(benchmark_returns)} fold(s), seed(s) {' '.join(map(str, seeds))}, {len(path.sessions)} returns"
    figure.update_layout(
        title={"text": f"Walk-forward{SUBTITLE}{subtitle}</sup>"}, template="plotly_white", height=HEIGHT,
        legend={"orientation": "h", "y": -0.2}, margin={"t": 100, "l": 50, "r": 20, "b": 90},
    )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    return figure


def _add_equity(figure: go.Figure, path: MeanPath) -> None:
    """Growth of 1 by strategy, and a line where a fold begins."""
    for name, log_returns in ((POLICY, path.flag_trader), (BENCHMARK, path.buy_and_hold)):
        returns = np.array([-np.inf if value is None else value for value in log_returns])
        equity = np.exp(np.cumsum(returns))
        figure.add_scatter(x=path.sessions, y=equity, mode="lines", **strategy_line(name), row=1, col=1)
    borders = [
        day for day, fold, before in zip(path.sessions[1:], path.folds[1:], path.folds, strict=False) if fold != before
    ]
    for border in borders:
        figure.add_vline(x=border, line={"color": HOLD_COLOR, "dash": "dot"}, row=1, col=1)


def _add_folds(figure: go.Figure, runs: Sequence[FoldRun], benchmark_returns: Mapping[str, float | None]) -> None:
    """A mark for each training, the mean over its symbols, and a bar for buy and hold."""
    figure.add_bar(
        x=list(benchmark_returns), y=list(benchmark_returns.values()), name=BENCHMARK, legendgroup=BENCHMARK,
        showlegend=False, marker_color=COLORS[BENCHMARK], opacity=0.35, row=1, col=2,
    )  # fmt: skip
    figure.add_scatter(
        x=[run.fold for run in runs],
        y=[_mean_log_return(run) for run in runs],
        text=[f"seed {run.seed}" for run in runs],
        mode="markers", name=POLICY, legendgroup=POLICY, showlegend=False,
        marker={"color": COLORS[POLICY], "size": 10}, row=1, col=2,
    )  # fmt: skip


def _mean_log_return(run: FoldRun) -> float | None:
    """Of the policy over symbols; None where one was ruined."""
    log_returns = [scores[POLICY]["cumulative_return"] for scores in run.scores.values()]
    defined = [value for value in log_returns if value is not None]
    return float(np.mean(defined)) if len(defined) == len(log_returns) else None
