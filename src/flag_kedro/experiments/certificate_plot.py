"""What a certificate shows at a glance: how each seed learned, and what it took of the oracle's return."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import BUY_COLOR, GRID, HOLD_COLOR, SELL_COLOR, SUBTITLE
from flag_kedro.experiments.certificate import Certificate
from flag_kedro.experiments.config import CENTRAL, MIN_SHARE

HEIGHT = 420


def plot_certificate(certificate: Certificate) -> go.Figure:
    """Validation log return by decisions taken (left), held-out share of each seed (middle), twins (right)."""
    titles = ("learning: log return on validation", "held-out share of the oracle", "twins: percentile among shifts")
    figure = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.08, column_widths=[0.5, 0.25, 0.25])
    for runs, name, color in (
        (certificate.signal, "signal", BUY_COLOR),
        (certificate.twins, "no-signal twin", HOLD_COLOR),
    ):
        for index, run in enumerate(runs):
            figure.add_scatter(
                x=[point["step"] for point in run.curve],
                y=[point["validation_log_return"] for point in run.curve],
                name=name, legendgroup=name, showlegend=index == 0, mode="lines", line={"color": color},
                hovertemplate=f"seed {run.seed}: %{{y:+.2f}}<extra></extra>", row=1, col=1,
            )  # fmt: skip
    seeds = [str(run.seed) for run in certificate.signal]
    shares = [run.share for run in certificate.signal]
    figure.add_bar(x=seeds, y=shares, marker_color=BUY_COLOR, showlegend=False, row=1, col=2)
    figure.add_hline(y=MIN_SHARE, line={"color": SELL_COLOR, "dash": "dash"}, row=1, col=2)
    percentiles = [run.shift_percentile for run in certificate.twins]
    figure.add_scatter(
        x=[str(run.seed) for run in certificate.twins], y=percentiles, mode="markers", showlegend=False,
        marker={"color": [HOLD_COLOR if run.clean else SELL_COLOR for run in certificate.twins], "size": 12},
        row=1, col=3,
    )  # fmt: skip
    figure.add_hrect(y0=CENTRAL[0], y1=CENTRAL[1], fillcolor=HOLD_COLOR, opacity=0.2, line_width=0, row=1, col=3)
    figure.update_yaxes(range=[0, 1], row=1, col=3)
    figure.update_xaxes(type="category", title_text="seed", col=2)
    figure.update_xaxes(type="category", title_text="seed", col=3)
    figure.update_xaxes(title_text="account-decisions", row=1, col=1)
    verdict = "passed" if certificate.passed else "failed: " + "; ".join(certificate.reasons)
    figure.update_layout(
        title={"text": f"Learnability certificate{SUBTITLE}{verdict}</sup>"}, template="plotly_white", height=HEIGHT,
        legend={"orientation": "h", "y": -0.25}, margin={"t": 100, "l": 45, "r": 20, "b": 90},
    )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    return figure
