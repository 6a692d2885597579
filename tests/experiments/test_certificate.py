"""The certificate's verdict, row by row."""

from typing import Any

import pytest

from flag_kedro.experiments.certificate import certify
from flag_kedro.experiments.certificate_plot import plot_certificate

CURVE = [{"step": 100.0, "validation_log_return": 0.1}, {"step": 200.0, "validation_log_return": 0.3}]


def signal(seed: int, share: float) -> dict[str, Any]:
    return {"seed": seed, "planted": True, "informative": True, "share": share, "curve": CURVE}


def silent(seed: int) -> list[dict[str, Any]]:
    """A market that says nothing, and its twin."""
    return [{"seed": seed, "planted": planted, "informative": False} for planted in (True, False)]


def twin(seed: int, percentile: float | None) -> dict[str, Any]:
    return {"seed": seed, "planted": False, "informative": True, "shift_percentile": percentile, "curve": CURVE}


def twins(*percentiles: float | None) -> list[dict[str, Any]]:
    return [twin(seed, percentile) for seed, percentile in enumerate(percentiles, 1)]


SHARES = (0.5, 0.95, 0.8, 0.7, 0.9)
SIGNALS = [signal(seed, share) for seed, share in enumerate(SHARES, 1)]
CLEAN = twins(0.5, 0.05, 0.95, None, 0.99)  # one of five is not: a path that never changes is


def test_median_share_and_four_clean_twins_of_five_pass():
    certificate = certify([*CLEAN, *SIGNALS[::-1]])
    assert certificate["passed"]
    assert certificate["reasons"] == []
    assert certificate["oracle_share_median"] == 0.8
    assert certificate["clean_twins"] == 0.8
    assert [row["seed"] for row in certificate["signal"]] == [1, 2, 3, 4, 5]
    assert [row["clean"] for row in certificate["twins"]] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([*SIGNALS[:2], signal(3, 0.79), *SIGNALS[3:], *CLEAN], "median share of the oracle's log return 0.79"),
        ([*SIGNALS, *twins(0.5, 0.5, 0.5, 0.01, 0.99)], "60% of the twins look like chance"),
        ([*SIGNALS[:4], *CLEAN[:4]], "4 informative seeds, at least 5"),
        ([*SIGNALS[:4], *CLEAN[:4], *silent(5)], "4 informative seeds"),
    ],
)
def test_whatever_is_missing_fails_and_is_named(rows: list[dict[str, Any]], reason: str):
    certificate = certify(rows)
    assert not certificate["passed"]
    assert any(reason in said for said in certificate["reasons"]), certificate["reasons"]


def test_markets_that_say_nothing_are_left_out_and_named():
    rows = [*SIGNALS, *CLEAN, *silent(6)]
    certificate = certify(rows)
    assert certificate["passed"]
    assert certificate["uninformative_seeds"] == [6]
    assert set(certificate["oracle_shares"]) == {"1", "2", "3", "4", "5"}


def test_plot_has_a_curve_for_every_training_and_says_the_verdict():
    figure = plot_certificate(certify([*SIGNALS, *CLEAN]))
    curves = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "lines"]
    assert len(curves) == 10
    assert list(curves[0].y) == [0.1, 0.3]
    assert "passed" in figure.layout.title.text
