"""Learning curves: one panel for each thing to watch."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import BUY_COLOR, COLUMNS, GRID, HOLD_COLOR, SELL_COLOR, SUBTITLE

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
}
"""Title of each panel, and the metrics in it with their names and colours."""
PANEL_HEIGHT = 190


def plot_training(history: Sequence[dict[str, float]]) -> go.Figure:
    """Metrics of all updates over the account-decisions taken."""
    rows = -(-len(PANELS) // COLUMNS)
    figure = make_subplots(rows, COLUMNS, subplot_titles=list(PANELS), vertical_spacing=0.09, horizontal_spacing=0.1)
    for at, metrics in enumerate(PANELS.values()):
        for metric, (name, color) in metrics.items():
            known = [row for row in history if metric in row]
            figure.add_scatter(
                x=[row["step"] for row in known],
                y=[row[metric] for row in known],
                name=name,
                mode="lines",
                line={"color": color},
                showlegend=len(metrics) > 1,
                row=at // COLUMNS + 1,
                col=at % COLUMNS + 1,
            )
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
