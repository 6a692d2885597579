"""Return against risk of what a sweep tried: two panels, one for each risk."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import COLORS, GRID, OTHER_COLOR, SUBTITLE
from flag_kedro.experiments.frontier import ANNUAL_RETURN, DRAWDOWN, TAIL_RISK, FrontierPoint
from flag_kedro.names import BENCHMARK, POLICY

HEIGHT = 520
TITLES = {DRAWDOWN: "largest drawdown, %", TAIL_RISK: "CVaR at 5 % of session returns, %"}
STYLES = {
    "tried": ("tried", {"symbol": "circle", "size": 9, "color": COLORS[POLICY]}),
    "pruned": ("pruned", {"symbol": "circle-open", "size": 8, "color": OTHER_COLOR}),
    "base": ("the run's own parameters", {"symbol": "star", "size": 14, "color": COLORS[POLICY]}),
    "benchmark": (BENCHMARK, {"symbol": "diamond", "size": 11, "color": COLORS[BENCHMARK]}),
}


def plot_frontier(points: Sequence[FrontierPoint], results: Mapping[str, Any]) -> go.Figure:
    """Annual return of every point against both risks, what no other dominates joined by a line.

    Args:
        points: of `frontier.risk_frontier`.
        results: the sweep's report, of which windows and seeds are told.
    """
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    kinds = [kind for kind in STYLES if kind != "pruned" or any(point.kind == kind for point in points)]
    for column, (risk, title) in enumerate(TITLES.items(), start=1):
        _join(figure, [point for point in points if point.efficient.get(risk)], risk, column)
        for kind in kinds:
            _add(figure, [point for point in points if point.kind == kind], kind, risk, column)
        figure.update_xaxes(title_text=title, row=1, col=column)
    figure.update_yaxes(title_text="annual return, %", row=1, col=1)
    first, last = results["windows"]["validation"]
    known = "" if any(point.kind == "base" for point in points) else "; the run's own parameters are not in the grid"
    subtitle = (
        f"validation, {first} to {last}, all symbols in one account; median of seed(s) "
        f"{' '.join(map(str, results['seeds']))}, bars: 90 % of bootstrap draws{known}"
    )
    figure.update_layout(
        title={"text": f"Return and risk of what was tried{SUBTITLE}{subtitle}</sup>"}, template="plotly_white",
        height=HEIGHT, legend={"orientation": "h", "y": -0.2}, margin={"t": 90, "l": 60, "r": 20, "b": 100},
    )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=True, zerolinecolor=GRID)
    return figure


def _join(figure: go.Figure, points: Sequence[FrontierPoint], risk: str, column: int) -> None:
    ordered = sorted(points, key=lambda point: (point.values[risk], point.values[ANNUAL_RETURN]))
    figure.add_scatter(
        x=[100.0 * point.values[risk] for point in ordered],
        y=[100.0 * point.values[ANNUAL_RETURN] for point in ordered],
        mode="lines", line={"color": COLORS[POLICY], "width": 1.5}, name="not dominated", legendgroup="not dominated",
        showlegend=column == 1, hoverinfo="skip", row=1, col=column,
    )  # fmt: skip


def _add(figure: go.Figure, points: Sequence[FrontierPoint], kind: str, risk: str, column: int) -> None:
    name, marker = STYLES[kind]
    figure.add_scatter(
        x=[100.0 * point.values[risk] for point in points],
        y=[100.0 * point.values[ANNUAL_RETURN] for point in points],
        error_x=_bars(points, risk), error_y=_bars(points, ANNUAL_RETURN),
        text=[_values(point.name) for point in points], customdata=[point.name for point in points],
        mode="markers" if kind == "benchmark" else "markers+text", textposition="top right", textfont={"size": 10},
        marker=marker, name=name, legendgroup=name, showlegend=column == 1 and bool(points),
        hovertemplate="%{customdata}<br>return %{y:.2f} %<br>risk %{x:.2f} %<extra></extra>", row=1, col=column,
    )  # fmt: skip


def _values(name: str) -> str:
    """The values of a combination without their paths, which are long."""
    return " ".join(part.rpartition("=")[2] for part in name.split(","))


def _bars(points: Sequence[FrontierPoint], measure: str) -> dict[str, Any]:
    """Distances of both ends of the interval from the point; it may lie outside of what is drawn from it."""
    rows = [(point.values[measure], *point.intervals[measure]) for point in points]
    return {
        "type": "data",
        "symmetric": False,
        "array": [100.0 * max(high - value, 0.0) for value, _, high in rows],
        "arrayminus": [100.0 * max(value - low, 0.0) for value, low, _ in rows],
        "color": OTHER_COLOR,
        "thickness": 0.8,
        "width": 3,
    }
