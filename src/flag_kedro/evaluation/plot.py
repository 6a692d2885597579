"""Skill of every reader on every task, side by side."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import COLORS, GRID, OTHER_COLOR, SUBTITLE
from flag_kedro.evaluation.tasks import BACKBONE, CONSTANT
from flag_kedro.names import POLICY, RANDOM_WEIGHTS

COLORS_OF_READERS = {POLICY: COLORS[POLICY], BACKBONE: "#56b4e9", RANDOM_WEIGHTS: "#ababab"}
ROW, TOP, GAP = 24, 110, 60
"""Heights in pixels: a reader, title and margins, space between tasks."""


def plot_skill(tasks: Mapping[str, Mapping[str, Any]], market: str) -> go.Figure:
    """Bars of 1 - loss / loss of the constant, in percent: above 0 is better than knowing nothing of the day.

    Args:
        tasks: `task_evaluation["tasks"]`; without any the figure says so.
        market: printed below the title.
    """
    if not tasks:
        return go.Figure(layout={"title": {"text": f"No task could be asked{SUBTITLE}{market}</sup>"}})
    shown = {name: [reader for reader in task["readers"] if reader != CONSTANT] for name, task in tasks.items()}
    heights = [ROW * len(readers) for readers in shown.values()]
    total = sum(heights) + GAP * (len(tasks) - 1)
    titles = [f"{name.replace('_', ' ')} ({tasks[name]['loss']})" for name in tasks]
    figure = make_subplots(
        rows=len(tasks),
        cols=1,
        subplot_titles=titles,
        row_heights=heights,
        vertical_spacing=GAP / total if len(tasks) > 1 else 0.0,
    )
    for row, (name, readers) in enumerate(shown.items(), start=1):
        losses = {reader: tasks[name]["readers"][reader]["loss"] for reader in [*readers, CONSTANT]}
        skills = [100.0 * (1.0 - losses[reader] / losses[CONSTANT]) for reader in readers]
        colors = [COLORS_OF_READERS.get(reader, OTHER_COLOR) for reader in readers]
        figure.add_bar(
            x=skills,
            y=readers,
            orientation="h",
            marker={"color": colors},
            text=[f"{skill:.1f}" for skill in skills],
            hovertemplate="%{y}: %{x:.2f} %<extra></extra>",
            showlegend=False,
            row=row,
            col=1,
        )
    figure.update_layout(
        title={"text": f"Skill beside a constant, %{SUBTITLE}{market}; test window</sup>"},
        template="plotly_white",
        height=total + TOP + 50,
        margin={"t": TOP, "l": 130, "r": 30, "b": 40},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=True, zerolinecolor=OTHER_COLOR, nticks=6)
    figure.update_yaxes(autorange="reversed")
    return figure
