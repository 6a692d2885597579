"""Event studies: hand-worked and plain numbers, planted effects that are found, and nothing where there is none."""

import math
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.backtest.event_study import (
    MARKET_ADJUSTED,
    MEAN_ADJUSTED,
    AbnormalReturns,
    EventStudy,
    StudySpan,
    correct_for_number,
    study_occurrences,
)
from flag_kedro.env.account import Floats
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import ParameterError

DRAWS = 199
SHORT = StudySpan(before=1, after=2, horizon=2)
Make = Callable[..., TradingWindow]


def window_of(returns: Floats, fill: str = "next_close", opens: Floats | None = None) -> TradingWindow:
    """A window of symbols whose log returns are given, [S, T - 1]."""
    marks = 100.0 * np.exp(np.concatenate([np.zeros((len(returns), 1)), np.cumsum(returns, axis=1)], axis=1))
    num = marks.shape[1]
    days = tuple(date(2024, 1, 1) + timedelta(days=t) for t in range(num))
    names = tuple(f"S{s}" for s in range(len(marks)))
    return TradingWindow(
        fill=fill, positions="long_flat", symbols=names, sessions=(days,) * len(marks),
        prefixes=(("",) * num,) * len(marks), fill_prices=marks if opens is None else opens, mark_prices=marks,
        num_sessions=np.full(len(marks), num), years=np.zeros(marks.shape), fill_volumes=np.full(marks.shape, np.nan),
    )  # type: ignore[arg-type]  # fmt: skip


def test_one_event_by_hand():
    # of two symbols, an abnormal return is half the difference of their log returns
    returns = np.array([[0.00, 0.02, 0.04, 0.10, 0.00], [0.00, 0.00, 0.02, 0.02, 0.04]])
    occurs = np.zeros((2, 6), dtype=bool)
    occurs[0, 3] = True
    study = study_occurrences(AbnormalReturns.of(window_of(returns)), occurs, SHORT, DRAWS, 0)
    assert study.sessions == [-1, 0, 1, 2]
    assert study.car == pytest.approx([0.01, 0.02, 0.06, 0.04])
    assert study.after.value == pytest.approx(0.02)
    assert study.earned.value == pytest.approx(0.02)
    assert (study.num, study.num_cut, study.num_dates) == (1, 0, 1)
    assert study.after.p_value is None  # one date says nothing of chance


def test_what_is_earned_in_the_session_of_the_fill_begins_at_the_open():
    returns = np.array([[0.0, 0.0, 0.03, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    window = window_of(returns, "next_open", 100.0 * np.ones((2, 6)))
    window.fill_prices[0, 3] = 101.0  # a close of 103.05: all of it but the first hundredth came after the open
    occurs = np.zeros((2, 6), dtype=bool)
    occurs[0, 3] = True
    study = study_occurrences(AbnormalReturns.of(window), occurs, SHORT, DRAWS, 0)
    assert study.car == pytest.approx([0.0, 0.015, 0.015, 0.015])
    assert study.after.value == pytest.approx(0.0)
    assert study.earned.value == pytest.approx((0.03 - math.log(1.01)) / 2)


def test_a_window_of_one_symbol_is_held_against_its_own_mean():
    returns = np.array([[0.01, 0.03, -0.01, 0.05, 0.02]])
    abnormal = AbnormalReturns.of(window_of(returns))
    assert abnormal.model == MEAN_ADJUSTED
    assert abnormal.whole[0, 1:] == pytest.approx([-0.01, 0.01, -0.03, 0.03, 0.0])


def test_sessions_outside_the_window_are_not_read_but_counted():
    returns = np.random.default_rng(0).normal(0.0, 0.01, (2, 20))
    occurs = np.ones((2, 21), dtype=bool)
    study = study_occurrences(AbnormalReturns.of(window_of(returns)), occurs, StudySpan(), DRAWS, 0)
    whole = range(1 + 5, 21 - 10)  # the first return is that of session 1
    assert (study.num, study.num_cut) == (2 * len(whole), 2 * (21 - len(whole)))


def test_a_symbol_that_ends_early_has_no_return_after_its_end(make_window: Make):
    window = make_window("next_close", A=[10.0] * 20, B=[10.0, 11.0] * 4, C=[10.0] * 20)
    abnormal = AbnormalReturns.of(window)
    assert abnormal.model == MARKET_ADJUSTED
    assert np.isnan(abnormal.whole[1, 8:]).all()
    assert abnormal.whole[0, 8:] == pytest.approx(np.zeros(12))
    assert abnormal.whole[0, 1] == pytest.approx(-math.log(1.1) / 3)
    occurs = np.ones(window.mark_prices.shape, dtype=bool)
    occurs[[0, 2]] = False
    assert study_occurrences(abnormal, occurs, SHORT, DRAWS, 0).num == 8 - 2 - 2


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.sampled_from(["next_close", "next_open"]))
def test_means_are_those_of_plain_loops(seed: int, num_symbols: int, fill: str):
    rng = np.random.default_rng(seed)
    returns = rng.normal(0.0, 0.02, (num_symbols, 39))
    opens = 100.0 * np.exp(rng.normal(0.0, 0.1, (num_symbols, 40)))
    window, occurs = window_of(returns, fill, opens), rng.random((num_symbols, 40)) < 0.2
    study = study_occurrences(AbnormalReturns.of(window), occurs, StudySpan(before=2, after=4, horizon=3), DRAWS, 0)
    cars: list[list[float]] = []
    after, earned = [], []
    for s in range(num_symbols):
        for t in range(40):
            if not occurs[s, t] or t - 2 < 1 or t + 4 > 39:
                continue
            excess = [returns[s, u - 1] - sum(returns[o, u - 1] for o in range(num_symbols)) / num_symbols
                      for u in range(t - 2, t + 5)]  # fmt: skip
            cars.append([sum(excess[: k + 1]) for k in range(7)])
            after.append(sum(excess[3:6]))
            gains = [math.log(window.mark_prices[o, t] / opens[o, t]) for o in range(num_symbols)]
            first = gains[s] - sum(gains) / num_symbols if fill == "next_open" else 0.0
            earned.append(after[-1] + first)
    assert study.num == len(cars)
    if cars:
        assert study.car == pytest.approx(np.mean(cars, axis=0).tolist(), abs=1e-12)
        assert study.after.value == pytest.approx(float(np.mean(after)), abs=1e-12)
        assert study.earned.value == pytest.approx(float(np.mean(earned)), abs=1e-12)


def drawn_market(seed: int, effect: Floats, share: float = 0.05) -> tuple[EventStudy, Floats]:
    """Twelve symbols with a common factor and fat tails, and events that add `effect` to the sessions after them.

    Also the mean of the planted part itself, less the market's, from session 1 on.
    """
    rng = np.random.default_rng(seed)
    num_symbols, num = 12, 250
    planted = np.zeros((num_symbols, num + 1))
    occurs = rng.random((num_symbols, num + 1)) < share
    for s, t in zip(*np.nonzero(occurs), strict=True):
        for k, size in enumerate(effect, start=1):
            if t + k <= num:
                planted[s, t + k] += size
    returns = rng.normal(0.0, 0.01, num) + rng.standard_t(4, (num_symbols, num)) * 0.01
    study = study_occurrences(AbnormalReturns.of(window_of(returns + planted[:, 1:])), occurs, StudySpan(), DRAWS, seed)
    return study, planted


def test_planted_effects_of_known_size_and_horizon_are_found():
    effect, held, claimed = np.array([0.01, 0.005, 0.0025]), 0, 0
    for seed in range(20):
        study, planted = drawn_market(seed, effect)
        # the market has its part of every event: a twelfth of this one's, and of others' that fall within five sessions
        truth = effect.sum() * (11 / 12)
        low, high = study.after.ci95  # type: ignore[misc]
        held += low <= truth <= high
        claimed += study.after.p_value <= 0.05  # type: ignore[operator]
        at_horizon = study.car[5 + 5] - study.car[5]
        assert at_horizon == pytest.approx(study.after.value)
        assert planted.max() > 0.0
    assert claimed == 20
    assert held >= 17


@pytest.mark.slow
def test_nothing_is_claimed_where_events_move_nothing():
    quiet = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        study, _ = drawn_market(1_000 + seed, np.zeros(1))
        other, _ = drawn_market(1_000 + seed, np.zeros(1), share=float(rng.uniform(0.02, 0.3)))
        corrected = correct_for_number({"buy": study, "sell": other})
        quiet += all(p_value > 0.05 for each in corrected.values() for p_value in each.values())
    assert quiet >= 36


def test_events_of_one_session_count_as_one_piece_of_evidence():
    """Twelve symbols that move alike beside twelve that do not: copies of an event do not make it surer."""
    rng = np.random.default_rng(3)
    half = rng.normal(0.0, 0.01, 250)
    once = np.stack([half, -half])
    often = np.repeat(once, 6, axis=0)
    days = rng.random(251) < 0.15
    widths = []
    for returns in (once, often):
        occurs = np.zeros((len(returns), 251), dtype=bool)
        occurs[: len(returns) // 2, days] = True
        found = study_occurrences(AbnormalReturns.of(window_of(returns)), occurs, StudySpan(), DRAWS, 0).after
        low, high = found.ci95  # type: ignore[misc]
        widths.append(high - low)
    assert widths[0] == pytest.approx(widths[1])


def test_the_same_seed_gives_the_same_intervals():
    assert drawn_market(5, np.zeros(1))[0] == drawn_market(5, np.zeros(1))[0]


def test_without_an_occurrence_there_is_nothing_to_tell():
    abnormal = AbnormalReturns.of(window_of(np.zeros((2, 30))))
    study = study_occurrences(abnormal, np.zeros((2, 31), dtype=bool), StudySpan(), DRAWS, 0)
    assert (study.num, study.car, study.after.value) == (0, [], None)
    assert correct_for_number({"buy": study}) == {}


def test_a_span_whose_test_reaches_beyond_it_is_refused():
    with pytest.raises(ParameterError, match="1 <= horizon <= after"):
        StudySpan(after=3, horizon=4)
