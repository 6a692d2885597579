"""Probes find what is there, claim nothing where nothing is, and learn from the training window alone."""

from datetime import date, timedelta

import numpy as np
import pytest

from flag_kedro.evaluation.probes import log_loss, logistic_probe, mean_by_session, ridge_probe, split_training

NUM, WIDTH = 600, 40
TRAIN = np.arange(NUM) < 300
VALIDATION = (np.arange(NUM) >= 300) & (np.arange(NUM) < 400)
TEST = np.arange(NUM) >= 400


@pytest.fixture
def inputs() -> np.ndarray:
    """Vectors whose entries differ in scale, one of which never varies."""
    drawn = np.random.default_rng(1).standard_normal((NUM, WIDTH)) * np.geomspace(1e-3, 1e3, WIDTH)
    drawn[:, 7] = 5.0
    return drawn


def test_what_a_line_can_say_is_found_whatever_the_scale(inputs: np.ndarray):
    signal = inputs[:, 0] * 1e3 - inputs[:, 39] * 1e-3
    said = ridge_probe(inputs, signal, TRAIN, VALIDATION)
    assert np.corrcoef(said[TEST], signal[TEST])[0, 1] > 0.99
    odds = logistic_probe(inputs, signal > 0.0, TRAIN, VALIDATION)
    assert ((odds > 0.5) == (signal > 0.0))[TEST].mean() > 0.95


def test_without_a_validation_window_the_last_quarter_of_the_sessions_chooses_for_all_symbols():
    days = [date(2024, 1, 1) + timedelta(days=day) for day in range(100)] * 2
    train = np.array([day < date(2024, 3, 21) for day in days])  # the first 80 sessions of both symbols
    learn, choose = split_training(train, np.zeros(200, dtype=bool), days, horizon=5)
    for part, first, num in ((learn, 0, 55), (choose, 60, 20)):
        assert np.flatnonzero(part).tolist() == [*range(first, first + num), *range(100 + first, 100 + first + num)]
    given = split_training(TRAIN, VALIDATION, [date(2024, 1, 1)] * NUM, horizon=5)
    assert given[0] is TRAIN
    assert given[1] is VALIDATION
    few = np.array([True, True, False])
    assert split_training(few, ~few & False, days[:3], horizon=5)[1].tolist() == few.tolist()


def test_where_nothing_is_said_the_share_is_nearly_all_that_is_known(inputs: np.ndarray):
    truth = np.random.default_rng(2).random(NUM) < 0.3
    odds = logistic_probe(inputs, truth, TRAIN, VALIDATION)
    constant = log_loss(truth[TEST].astype(float), np.full(TEST.sum(), truth[TRAIN].mean())).mean()
    assert log_loss(truth[TEST].astype(float), odds[TEST]).mean() < 1.1 * constant


@pytest.mark.parametrize("probe", [ridge_probe, logistic_probe])
def test_what_happens_in_the_test_window_changes_nothing(inputs: np.ndarray, probe):
    truth = np.random.default_rng(3).random(NUM) < 0.5
    other, changed = truth.copy(), inputs.copy()
    other[TEST] = ~other[TEST]
    changed[TEST] *= 3.0
    before = probe(inputs, truth, TRAIN, VALIDATION)
    np.testing.assert_array_equal(before, probe(inputs, other, TRAIN, VALIDATION))
    np.testing.assert_array_equal(before[~TEST], probe(changed, truth, TRAIN, VALIDATION)[~TEST])


def test_who_never_saw_the_other_says_so(inputs: np.ndarray):
    truth = np.ones(NUM, dtype=bool)
    np.testing.assert_array_equal(logistic_probe(inputs, truth, TRAIN, VALIDATION), 1.0)


def test_log_loss_is_hand_worked_and_finite_at_certainty():
    np.testing.assert_allclose(log_loss(np.array([1.0, 0.0]), np.array([0.5, 0.25])), [np.log(2), np.log(4 / 3)])
    assert log_loss(np.array([1.0]), np.array([0.0]))[0] == pytest.approx(np.log(1e6))


def test_symbols_of_a_session_count_once_and_sessions_are_in_order():
    np.testing.assert_allclose(mean_by_session(np.array([4.0, 1.0, 3.0]), ["b", "a", "a"]), [2.0, 4.0])
