"""Mean cumulative abnormal returns around decisions and events, with their intervals."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import BUY_COLOR, GRID, OTHER_COLOR, SELL_COLOR, SUBTITLE
from flag_kedro.names import POLICY

COLORS = {"buy": BUY_COLOR, "sell": SELL_COLOR}
SHADES = ("#009e73", "#8d6cc4", "#e69f00")
ROW, TOP = 300, 110


def plot_event_study(results: Mapping[str, Any]) -> go.Figure:
    """Buys and sells of the policy in both modes, and event sessions by kind, a panel each.

    Args:
        results: `event_study.json`.
    """
    study = results["event_study"]
    panels = {
        f"{POLICY}, {mode.replace('_', ' ')}": by_strategy[POLICY] for mode, by_strategy in study["decisions"].items()
    }
    panels["event sessions, whatever was decided"] = study["events"]
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, subplot_titles=list(panels))
    for row, studies in enumerate(panels.values(), start=1):
        for at, (name, each) in enumerate(studies.items()):
            if each["num"]:
                _add(figure, name, each, COLORS.get(name, SHADES[at % len(SHADES)]), row)
        figure.add_vline(x=0, line={"color": OTHER_COLOR, "dash": "dot"}, row=row, col=1)
    figure.update_layout(
        title={
            "text": f"Cumulative abnormal returns around fills, %{SUBTITLE}{results['market']}; test window, "
            f"{study['model']}; bands are pointwise 95 % intervals</sup>"
        },
        template="plotly_white",
        height=ROW * len(panels) + TOP,
        margin={"t": TOP, "l": 70, "r": 30, "b": 50},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_xaxes(title="sessions from the fill", row=len(panels), col=1)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=OTHER_COLOR)
    return figure


def _add(figure: go.Figure, name: str, study: Mapping[str, Any], color: str, row: int) -> None:
    """The mean path of one study, and a band where there are intervals."""
    sessions, bands = study["sessions"], study["car_ci95"]
    if all(band is not None for band in bands):
        ends = [100.0 * band[1] for band in bands] + [100.0 * band[0] for band in reversed(bands)]
        figure.add_scatter(
            x=[*sessions, *reversed(sessions)], y=ends, fill="toself", fillcolor=color, opacity=0.2, line={"width": 0},
            hoverinfo="skip", showlegend=False, row=row, col=1,
        )  # fmt: skip
    figure.add_scatter(
        x=sessions, y=[100.0 * value for value in study["car"]], name=f"{name.replace('_', ' ')} ({study['num']})",
        line={"color": color, "width": 2}, row=row, col=1,
    )  # fmt: skip
