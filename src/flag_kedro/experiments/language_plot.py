"""One picture of the language certificate: who reads headlines that are worded anew."""

import plotly.graph_objects as go

from flag_kedro.backtest.plot_style import BUY_COLOR, GRID, HOLD_COLOR, SUBTITLE
from flag_kedro.experiments.language_certificate import MIN_SHARE, LanguageCertificate
from flag_kedro.experiments.language_run import ENCODER_RIDGE
from flag_kedro.names import POLICY, RANDOM_WEIGHTS, TEXT_LINEAR_PPO, TEXT_RIDGE

HEIGHT = 460
LABELS = {
    POLICY: "{backbone}<br>trained by PPO",
    ENCODER_RIDGE: "sentence encoder<br>+ ridge",
    RANDOM_WEIGHTS: "same network,<br>random weights",
    TEXT_RIDGE: "words<br>+ ridge",
    TEXT_LINEAR_PPO: "words, linear,<br>trained by PPO",
}


def plot_language_certificate(certificate: LanguageCertificate) -> go.Figure:
    """A bar of the median share for each reader, a point for each seed, and the share that is asked for."""
    by_name = {each.reader: each for each in certificate.readers}
    readers = [by_name[name] for name in LABELS if name in by_name]
    labels = [LABELS[each.reader].format(backbone=certificate.backbone) for each in readers]
    colors = [BUY_COLOR if each.reader == POLICY else HOLD_COLOR for each in readers]
    figure = go.Figure()
    figure.add_bar(
        x=labels, y=[each.median_share for each in readers], marker_color=colors, opacity=0.75,
        hovertemplate="%{y:.0%}<extra>median over seeds</extra>",
    )  # fmt: skip
    for label, each in zip(labels, readers, strict=True):
        figure.add_annotation(
            x=label, y=max(0.0, each.median_share), text=f"{round(100 * each.median_share)} %", font={"size": 20},
            showarrow=False, xshift=46, yshift=14,
        )  # fmt: skip  # beside the points
        figure.add_scatter(
            x=[label] * len(each.shares), y=list(each.shares.values()), mode="markers",
            marker={"color": "#333", "size": 7, "opacity": 0.6},
            text=[f"seed {seed}" for seed in each.shares], hovertemplate="%{y:.0%}<extra>%{text}</extra>",
        )  # fmt: skip
    figure.add_hline(y=0.0, line={"color": "#333", "width": 1})
    figure.add_hline(
        y=MIN_SHARE, line={"color": GRID, "dash": "dash", "width": 2}, annotation_text="asked of the language model"
    )
    num_seeds = max((len(each.shares) for each in readers), default=0)
    figure.update_layout(
        title={
            "text": "Headlines worded as never before: who earns what they say?"
            f"{SUBTITLE}share of the optimal policy's expected return, held-out window of a SIMULATED market; bar: "
            f"median, points: {num_seeds} seeds</sup>"
        },
        template="plotly_white", height=HEIGHT, showlegend=False, margin={"t": 90, "l": 60, "r": 20, "b": 70},
    )  # fmt: skip
    figure.update_yaxes(tickformat=".0%", gridcolor=GRID, zeroline=False)
    return figure
