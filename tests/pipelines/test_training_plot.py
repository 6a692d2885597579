"""The plot of a training names each line once."""

from flag_kedro.pipelines.training.plot import PANELS, plot_training


def test_a_line_that_two_panels_have_is_named_once():
    row = {"step": 128.0} | {metric: 1.0 for panel in PANELS.values() for metric in panel}
    named = [trace.name for trace in plot_training([row], [{}]).data if trace.showlegend]
    assert sorted(named) == ["buy", "hold", "learning", "rollout", "sell", "validation"]
