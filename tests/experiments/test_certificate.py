"""The certificate's verdict, row by row."""

from dataclasses import asdict

import pytest

from flag_kedro.experiments.certificate import Certificate, CertificateRun, certify
from flag_kedro.experiments.certificate_plot import plot_certificate

CURVE = [{"step": 100.0, "validation_log_return": 0.1}, {"step": 200.0, "validation_log_return": 0.3}]


def run(seed: int, *, planted: bool, informative: bool = True, **earned: float | None) -> CertificateRun:
    curve = CURVE if informative else []
    market = {"oracle_log_return": 1.0, "oracle_t": 6.0, "buy_and_hold_share": 0.1}
    return CertificateRun(seed=seed, planted=planted, informative=informative, curve=curve, **market, **earned)


def signal(seed: int, share: float) -> CertificateRun:
    return run(seed, planted=True, share=share)


def silent(seed: int) -> list[CertificateRun]:
    """A market that says nothing, and its twin."""
    return [run(seed, planted=planted, informative=False) for planted in (True, False)]


def twins(*percentiles: float | None) -> list[CertificateRun]:
    return [run(seed, planted=False, shift_percentile=percentile) for seed, percentile in enumerate(percentiles, 1)]


SHARES = (0.5, 0.95, 0.8, 0.7, 0.9)
SIGNALS = [signal(seed, share) for seed, share in enumerate(SHARES, 1)]
CLEAN = twins(0.5, 0.05, 0.95, None, 0.99)  # one of five is not: a path that never changes is


def test_median_share_and_four_clean_twins_of_five_pass():
    certificate = certify([*CLEAN, *SIGNALS[::-1]])
    assert certificate.passed
    assert certificate.reasons == []
    assert certificate.oracle_share_median == 0.8
    assert certificate.clean_twins == 0.8
    assert [each.seed for each in certificate.signal] == [1, 2, 3, 4, 5]
    assert [twin.clean for twin in certificate.twins] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([*SIGNALS[:2], signal(3, 0.79), *SIGNALS[3:], *CLEAN], "median share of the oracle's log return 0.79"),
        ([*SIGNALS, *twins(0.5, 0.5, 0.5, 0.01, 0.99)], "60% of the twins look like chance"),
        ([*SIGNALS[:4], *CLEAN[:4]], "4 informative seeds, at least 5"),
        ([*SIGNALS[:4], *CLEAN[:4], *silent(5)], "4 informative seeds"),
    ],
)
def test_whatever_is_missing_fails_and_is_named(runs: list[CertificateRun], reason: str):
    certificate = certify(runs)
    assert not certificate.passed
    assert any(reason in each for each in certificate.reasons), certificate.reasons


def test_markets_that_say_nothing_are_left_out_and_named():
    certificate = certify([*SIGNALS, *CLEAN, *silent(6)])
    assert certificate.passed
    assert certificate.uninformative_seeds == [6]
    assert set(certificate.oracle_shares) == {"1", "2", "3", "4", "5"}


def test_plot_has_a_curve_for_every_training_and_says_the_verdict():
    figure = plot_certificate(certify([*SIGNALS, *CLEAN]))
    curves = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "lines"]
    assert len(curves) == 10
    assert list(curves[0].y) == [0.1, 0.3]
    assert "passed" in figure.layout.title.text


def test_saved_certificate_reads_back():
    certificate = certify([*SIGNALS, *CLEAN, *silent(6)])
    saved = asdict(certificate)
    assert Certificate.from_json(saved) == certificate
    assert list(saved["twins"][0])[-1] == "clean"
