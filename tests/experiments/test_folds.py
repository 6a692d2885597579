"""Folds that roll over the sessions."""

import itertools
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.errors import ParameterError
from flag_kedro.experiments.folds import common_sessions, roll_folds

DAYS = [date(2024, 1, 1) + timedelta(days=t) for t in range(400)]


def test_borders_worked_by_hand():
    """Ten sessions, 4 + 2 + 2: two folds, two sessions apart; nothing is left over."""
    first, second = roll_folds(DAYS[:10], train=4, validation=2, test=2)
    day = {number: DAYS[number - 1] for number in range(1, 11)}
    assert (first.name, first.train, first.validation, first.test) == (
        "1", (day[1], day[4]), (day[5], day[6]), (day[7], day[8]),
    )  # fmt: skip
    assert (second.name, second.train, second.validation, second.test) == (
        "2", (day[3], day[6]), (day[7], day[8]), (day[9], day[10]),
    )  # fmt: skip


def test_folds_keep_their_borders_when_a_session_is_added_or_fewer_are_asked_for():
    whole = roll_folds(DAYS[:10], train=4, validation=2, test=2)
    assert roll_folds(DAYS[:11], train=4, validation=2, test=2) == whole
    assert roll_folds(DAYS[:10], train=4, validation=2, test=2, folds=1) == whole[:1]


@given(num=st.integers(6, 400), train=st.integers(2, 60), validation=st.integers(2, 30), test=st.integers(2, 30))
def test_windows_of_a_fold_never_share_a_session_and_test_windows_touch(
    num: int, train: int, validation: int, test: int
):
    if num < train + validation + test:
        with pytest.raises(ParameterError, match="need"):
            roll_folds(DAYS[:num], train=train, validation=validation, test=test)
        return
    folds = roll_folds(DAYS[:num], train=train, validation=validation, test=test)
    place = {day: at for at, day in enumerate(DAYS)}
    for fold in folds:
        assert fold.validation is not None
        edges = [place[day] for span in (fold.train, fold.validation, fold.test) for day in span]
        assert edges == sorted(set(edges))
        assert [edges[1] - edges[0], edges[3] - edges[2], edges[5] - edges[4]] == [train - 1, validation - 1, test - 1]
        assert (edges[2], edges[4]) == (edges[1] + 1, edges[3] + 1)
    for before, after in itertools.pairwise(folds):
        assert place[after.test[0]] == place[before.test[1]] + 1
    assert num - (place[folds[-1].test[1]] + 1) < test  # one more would not fit


def test_too_few_sessions_say_how_many_there_are_and_are_needed():
    with pytest.raises(ParameterError, match=r"3 fold\(s\) of 4 \+ 2 \+ 2 .* need 12 sessions, .* have 11; lower"):
        roll_folds(DAYS[:11], train=4, validation=2, test=2, folds=3)
    with pytest.raises(ParameterError, match=r"1 fold\(s\) of 4 \+ 2 \+ 2 sessions need 8 sessions, .* have 7"):
        roll_folds(DAYS[:7], train=4, validation=2, test=2)


def test_sessions_are_those_that_every_symbol_has():
    tables = {"A": pl.DataFrame({"session": DAYS[:5]}), "B": pl.DataFrame({"session": [*DAYS[1:4], DAYS[9]]})}
    assert common_sessions(tables) == DAYS[1:4]
