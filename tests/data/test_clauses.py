"""Recombined sentences: enough of them, each in one window, each part in all."""

from itertools import combinations

import numpy as np
import pytest

from flag_kedro.data.simulated.clauses import OBJECTS, TAILS, VERBS, recombine
from flag_kedro.data.simulated.division import window_of_sessions


@pytest.fixture(scope="module", params=["good", "bad", "neutral"])
def windows(request: pytest.FixtureRequest) -> tuple[str, list[set[str]]]:
    rng = np.random.default_rng(0)
    return request.param, [{recombine(request.param, "X", window, rng) for _ in range(12_000)} for window in range(3)]


def test_every_combination_belongs_to_exactly_one_window(windows: tuple[str, list[set[str]]]):
    kind, said = windows
    everything = {f"X {verb} {noun} {tail}" for verb in VERBS[kind] for noun in OBJECTS for tail in TAILS}
    assert len(everything) == 12 * 12 * 18 >= 2000
    assert set.union(*said) == everything
    assert [len(window) for window in said] == [864, 864, 864]


def test_every_verb_object_and_tail_occurs_in_every_window(windows: tuple[str, list[set[str]]]):
    kind, said = windows
    for window in said:
        assert all(any(sentence.startswith(f"X {verb} ") for sentence in window) for verb in VERBS[kind])
        assert all(any(f" {noun} " in sentence for sentence in window) for noun in OBJECTS)
        assert all(any(sentence.endswith(f" {tail}") for sentence in window) for tail in TAILS)


def test_kinds_share_no_verb_phrase_and_good_and_bad_have_as_many():
    assert len(VERBS["good"]) == len(VERBS["bad"]) >= 10
    for one, other in combinations(VERBS.values(), 2):
        assert not any(verb.startswith(rest) for verb in one for rest in other)
        assert not any(verb.startswith(rest) for verb in other for rest in one)


def test_windows_are_those_of_the_default_division_behind_the_warm_up():
    """Ten sessions are divided 6, 2, 2."""
    assert window_of_sessions(59 + 10).tolist() == [0] * (59 + 6) + [1, 1] + [2, 2]
