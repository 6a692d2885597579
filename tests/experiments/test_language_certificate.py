"""The language certificate's verdict, on rows written by hand."""

from dataclasses import asdict, replace

import pytest

from flag_kedro.experiments.language_certificate import LanguageCertificate, certify_language
from flag_kedro.experiments.language_plot import plot_language_certificate
from flag_kedro.experiments.language_run import ENCODER_RIDGE, READERS, LanguageRun
from flag_kedro.experiments.reading import Reading
from flag_kedro.names import POLICY, RANDOM_WEIGHTS, TEXT_LINEAR_PPO, TEXT_RIDGE

SEEDS = (2, 4, 5, 7, 8)
SHARES = {
    POLICY: [0.60, 0.70, 0.65, 0.75, 0.80],
    RANDOM_WEIGHTS: [0.00, 0.05, -0.05, 0.10, 0.00],
    TEXT_LINEAR_PPO: [0.10, 0.00, 0.05, 0.00, -0.10],
    TEXT_RIDGE: [0.00, 0.00, 0.00, 0.00, 0.00],
    ENCODER_RIDGE: [0.50, 0.60, 0.55, 0.65, 0.70],
}


def run(reader: str, seed: int, share: float | None, percentile: float | None = 0.5) -> LanguageRun:
    reading = None
    if share is not None:
        levels = {"plain": share, "reversed": share / 2, "conflicting": None}
        reading = Reading(share=share, earned_share=share + 0.1, by_level=levels, trades_after_rivals=0.2)
    return LanguageRun(
        seed=seed, reader=reader, planted=share is not None, log_return=0.0, reading=reading,
        shift_percentile=percentile, exposure=0.5, seconds=1.0,
    )  # fmt: skip


def runs(**shares: list[float]) -> list[LanguageRun]:
    planted = [
        run(reader, seed, share)
        for reader, values in (SHARES | shares).items()
        for seed, share in zip(SEEDS, values, strict=True)
    ]
    return planted + [run(POLICY, seed, None) for seed in SEEDS]


def test_a_reader_that_is_far_ahead_on_every_seed_passes():
    certificate = certify_language(runs(), [1], "smollm2")
    assert certificate.passed, certificate.reasons
    policy, other = certificate.readers[0], certificate.readers[1]
    assert (policy.reader, policy.median_share, policy.behind) == (POLICY, 0.70, None)
    assert policy.by_level == {"plain": 0.70, "reversed": 0.35, "conflicting": None}
    assert policy.median_earned_share == pytest.approx(0.8)
    assert other.median_share == 0.0
    assert certificate.uninformative_seeds == [1]


def test_the_lead_is_that_of_a_paired_t_test():
    """Against scipy's own interval on the same differences."""
    from scipy.stats import ttest_rel

    certificate = certify_language(runs(), [], "smollm2")
    random_weights = next(each for each in certificate.readers if each.reader == RANDOM_WEIGHTS)
    assert random_weights.behind is not None
    interval = ttest_rel(SHARES[POLICY], SHARES[RANDOM_WEIGHTS]).confidence_interval(0.95)
    assert random_weights.behind[1:] == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ({POLICY: [0.5, 0.5, 0.55, 0.5, 0.5]}, "median share of what the optimal policy expects 0.50"),
        ({TEXT_RIDGE: [0.4, 0.4, 0.4, 0.4, 0.4]}, "text_ridge takes 0.40, at most half"),
        (
            {RANDOM_WEIGHTS: [-1.0, 1.5, -1.5, 0.2, 0.1]},
            "language model's lead over random_weights is not above",
        ),
    ],
)
def test_what_is_not_met_is_said(shares: dict[str, list[float]], reason: str):
    certificate = certify_language(runs(**shares), [], "smollm2")
    assert not certificate.passed
    assert any(reason in each for each in certificate.reasons), certificate.reasons


def test_a_sentence_encoder_may_be_as_good():
    """It has been trained on text, too; what is certified is that having read matters."""
    assert certify_language(runs(encoder_ridge=[0.9] * 5), [], "smollm2").passed
    assert certify_language([each for each in runs() if each.reader != ENCODER_RIDGE], [], "smollm2").passed


def test_twins_that_earn_by_more_than_chance_fail():
    suspicious = [replace(each, shift_percentile=0.99) if not each.planted else each for each in runs()]
    certificate = certify_language(suspicious, [], "smollm2")
    assert certificate.clean_twins == 0.0
    assert any("0% of the twins" in each for each in certificate.reasons)


def test_four_seeds_and_missing_readers_certify_nothing():
    few = [each for each in runs() if each.seed != 8]
    assert any("4 informative seeds" in each for each in certify_language(few, [], "smollm2").reasons)
    without = [each for each in runs() if each.reader != TEXT_RIDGE]
    assert any("0 informative seeds" in each for each in certify_language(without, [], "smollm2").reasons)
    assert not certify_language([], [1, 2], "smollm2").passed


def test_json_reads_back_as_it_was_and_is_drawn():
    certificate = certify_language(runs(), [1], "SmolLM2-135M-Instruct")
    back = LanguageCertificate.from_json(asdict(certificate))
    assert back == certificate
    figure = plot_language_certificate(back)
    bars = figure.data[0]
    assert len(bars.x) == len(READERS)
    assert max(bars.y) == 0.70
    assert "SmolLM2-135M-Instruct" in bars.x[0]
    assert "SIMULATED" in figure.layout.title.text
