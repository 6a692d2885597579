"""The probe of wordings: it learns on the training window alone, and finds what there is to find."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from wordings import CHARACTERS, WORDS, Headline, count_features, score, write_headlines  # noqa: E402

from flag_kedro.data.headlines import COMPANIES  # noqa: E402
from flag_kedro.data.simulated.paraphrases import SECOND, load_pairs  # noqa: E402


@pytest.fixture(scope="module")
def headlines() -> list[Headline]:
    return write_headlines(names=1, seed=0)


def test_both_wordings_of_a_pair_are_told_of_the_same_company(headlines: list[Headline]) -> None:
    assert len(headlines) == 2 * sum(pair.window != SECOND for pair in load_pairs())
    for good, bad in zip(headlines[::2], headlines[1::2], strict=True):
        assert (good.pair, good.window, good.level, good.good, bad.good) == (
            bad.pair,
            bad.window,
            bad.level,
            True,
            False,
        )
        assert [any(each.text.startswith(f"{name} ") for name in COMPANIES.values()) for each in (good, bad)] == [
            True
        ] * 2
        assert good.text.split()[:2] == bad.text.split()[:2]


@pytest.mark.parametrize("scaled", [True, False])
def test_features_that_tell_good_from_bad_are_always_right(headlines: list[Headline], scaled: bool) -> None:
    noise = np.random.default_rng(0).normal(size=(len(headlines), 3))
    features = np.column_stack([[1.0 if each.good else -1.0 for each in headlines], 0.01 * noise])
    scores = score(features, headlines, scaled=scaled)
    assert scores == {(window, level): 1.0 for window in ("validation", "test") for level in (1, 2)}


def test_signs_that_are_turned_in_test_are_always_wrong_there(headlines: list[Headline]) -> None:
    turned = [replace(each, good=each.good != (each.window == "test")) for each in headlines]
    features = np.array([[1.0 if each.good else -1.0] for each in turned])
    scores = score(features, headlines, scaled=False)
    assert {cell: value for cell, value in scores.items() if cell[0] == "test"} == {("test", 1): 0.0, ("test", 2): 0.0}


def test_counts_are_no_better_than_a_coin(headlines: list[Headline]) -> None:
    """Four cells of 48 to 88 headlines that come in pairs."""
    features = count_features(headlines)
    assert set(features) == {WORDS, CHARACTERS}
    assert np.mean(list(score(features[WORDS], headlines, scaled=False).values())) == pytest.approx(0.5, abs=0.08)
