"""Learning curves: one panel for each thing to watch."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import BUY_COLOR, COLUMNS, GRID, HOLD_COLOR, SELL_COLOR, SUBTITLE

ROLLOUT_COLOR, LEARNING_COLOR, VALIDATION_COLOR = "#009e73", "#cc79a7", "#e69f00"
PANELS: dict[str, dict[str, tuple[str, str]]] = {
    "log return on validation": {"env/validation_log_return": ("validation", BUY_COLOR)},
    "reward a decision": {"env/reward": ("reward", BUY_COLOR)},
    "entropy, nats": {"ppo/entropy": ("entropy", BUY_COLOR)},
    "approximate KL of an update": {"ppo/approx_kl": ("KL", BUY_COLOR)},
    "share of clipped ratios": {"ppo/clip_fraction": ("clipped", BUY_COLOR)},
    "explained variance of values": {"ppo/explained_variance": ("explained", BUY_COLOR)},
    "norm of the gradient": {"ppo/grad_norm": ("norm", BUY_COLOR)},
    "actions taken": {
        "env/sell_share": ("sell", SELL_COLOR),
        "env/hold_share": ("hold", HOLD_COLOR),
        "env/buy_share": ("buy", BUY_COLOR),
    },
    "seconds of an update": {
        "ppo/rollout_seconds": ("rollout", ROLLOUT_COLOR),
        "ppo/update_seconds": ("learning", LEARNING_COLOR),
        "ppo/validation_seconds": ("validation", VALIDATION_COLOR),
    },
    "tokens a second": {
        "ppo/rollout_tokens_per_second": ("rollout", ROLLOUT_COLOR),
        "ppo/update_tokens_per_second": ("learning", LEARNING_COLOR),
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
