"""Learning curves: one panel for each thing to watch."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import BUY_COLOR, COLUMNS, GRID, HOLD_COLOR, SELL_COLOR, SUBTITLE
from flag_kedro.names import VALIDATION_LOG_RETURN
from flag_kedro.ppo.history import (
    APPROX_KL,
    BUY_SHARE,
    CLIP_FRACTION,
    ENTROPY,
    EXPLAINED_VARIANCE,
    GRAD_NORM,
    HOLD_SHARE,
    REWARD,
    ROLLOUT_SECONDS,
    ROLLOUT_SPEED,
    SELL_SHARE,
    UPDATE_SECONDS,
    UPDATE_SPEED,
    VALIDATION_SECONDS,
)

ROLLOUT_COLOR, LEARNING_COLOR, VALIDATION_COLOR = "#009e73", "#cc79a7", "#e69f00"
PANELS: dict[str, dict[str, tuple[str, str]]] = {
    "log return on validation": {VALIDATION_LOG_RETURN: ("validation", BUY_COLOR)},
    "reward a decision": {REWARD: ("reward", BUY_COLOR)},
    "entropy, nats": {ENTROPY: ("entropy", BUY_COLOR)},
    "approximate KL of an update": {APPROX_KL: ("KL", BUY_COLOR)},
    "share of clipped ratios": {CLIP_FRACTION: ("clipped", BUY_COLOR)},
    "explained variance of values": {EXPLAINED_VARIANCE: ("explained", BUY_COLOR)},
    "norm of the gradient": {GRAD_NORM: ("norm", BUY_COLOR)},
    "actions taken": {
        SELL_SHARE: ("sell", SELL_COLOR),
        HOLD_SHARE: ("hold", HOLD_COLOR),
        BUY_SHARE: ("buy", BUY_COLOR),
    },
    "seconds of an update": {
        ROLLOUT_SECONDS: ("rollout", ROLLOUT_COLOR),
        UPDATE_SECONDS: ("learning", LEARNING_COLOR),
        VALIDATION_SECONDS: ("validation", VALIDATION_COLOR),
    },
    "tokens a second": {
        ROLLOUT_SPEED: ("rollout", ROLLOUT_COLOR),
        UPDATE_SPEED: ("learning", LEARNING_COLOR),
    },
}
"""Title of each panel, and the metrics in it with their names and colours."""
PANEL_HEIGHT = 190


def plot_training(history: Sequence[dict[str, float]], wall_times: Sequence[dict[str, float]]) -> go.Figure:
    """Metrics and wall times of all updates over the account-decisions taken."""
    updates, named = [row | times for row, times in zip(history, wall_times, strict=True)], set()
    rows = -(-len(PANELS) // COLUMNS)
    figure = make_subplots(rows, COLUMNS, subplot_titles=list(PANELS), vertical_spacing=0.09, horizontal_spacing=0.1)
    for at, metrics in enumerate(PANELS.values()):
        for metric, (name, color) in metrics.items():
            measured = [row for row in updates if metric in row]
            figure.add_scatter(
                x=[row["step"] for row in measured],
                y=[row[metric] for row in measured],
                name=name,
                mode="lines" if len(measured) > 1 else "markers",
                line={"color": color},
                legendgroup=name,
                showlegend=len(metrics) > 1 and name not in named,
                row=at // COLUMNS + 1,
                col=at % COLUMNS + 1,
            )
            if len(metrics) > 1:
                named.add(name)
    subtitle = f"{len(history)} updates, {int(history[-1]['step']):,} account-decisions"
    figure.update_layout(
        title={"text": f"Training{SUBTITLE}{subtitle}</sup>"},
        template="plotly_white",
        height=rows * PANEL_HEIGHT + 160,
        hovermode="x unified",
        legend={"orientation": "h", "y": -0.08},
        margin={"t": 100, "l": 50, "r": 20, "b": 60},
    )
    figure.update_annotations(font_size=13)
    figure.update_xaxes(gridcolor=GRID, zeroline=False, nticks=6)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, nticks=5)
    return figure
