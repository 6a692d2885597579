"""Event studies: how prices moved around decisions and around events, beside the market (MacKinlay 1997).

The abnormal return of a session is a symbol's log return less the mean of all symbols of the window that have one on
that date. A window of one symbol has no market: there it is less the symbol's own mean over the window. Sessions count
from the fill, session 0: that of the decision's fill, at `same_close` that of the decision itself.

Shape legend: S = symbols, T = sessions of the longest, D = dates of the window with a return, E = occurrences, K =
sessions around a fill, B = bootstrap draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.intervals import Difference, Interval, studentised_difference
from flag_kedro.backtest.standard_errors import hac_error
from flag_kedro.backtest.verdict import correct_p_values
from flag_kedro.env.account import Bools, Floats, Ints
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import ParameterError

MARKET_ADJUSTED, MEAN_ADJUSTED = "market-adjusted", "mean-adjusted"
FEWEST_DATES = 10
"""Dates with an occurrence, below which nothing is tested."""
NOTHING = Difference(None, None, None)


@dataclass(frozen=True, kw_only=True)
class StudySpan:
    """Sessions around a fill that are looked at."""

    before: int = 5
    after: int = 10
    horizon: int = 5
    """Last session of what is tested."""

    def __post_init__(self) -> None:
        if not (self.before >= 0 and 1 <= self.horizon <= self.after):
            raise ParameterError(
                f"an event study needs before >= 0 and 1 <= horizon <= after; got {self.before}, {self.horizon}, "
                f"{self.after}"
            )


@dataclass(frozen=True, kw_only=True)
class EventStudy:
    """Mean cumulative abnormal return (CAR) around the occurrences of one kind; saved as JSON in this order."""

    num: int
    """Occurrences whose sessions all lie in the window."""
    num_cut: int
    """Left out, since some do not."""
    num_dates: int
    """On which the former fell."""
    sessions: list[int]
    """From the fill, [K]."""
    car: list[float]
    """From the first of these sessions to each, decimals; empty without an occurrence."""
    car_ci95: list[Interval | None]
    """Pointwise."""
    after: Difference
    """CAR from session 1 to the horizon, and its test against 0."""
    earned: Difference
    """The same and, where decisions fill at the open, the part of session 0 from the fill to its close."""


@dataclass(frozen=True)
class AbnormalReturns:
    """Abnormal log returns of a window's symbols, by their own sessions; NaN where there is none."""

    model: str
    """`MARKET_ADJUSTED` or `MEAN_ADJUSTED`."""
    whole: Floats
    """From close to close, [S, T]; none at t = 0."""
    from_fill: Floats
    """From the session's fill to its close, 0 where decisions fill at a close, [S, T]."""
    dates: Ints
    """Which date of the window each session is, [S, T]; -1 behind a symbol's last."""

    @classmethod
    def of(cls, window: TradingWindow) -> "AbnormalReturns":
        """Those of a window; no price outside it is read."""
        marks = np.log(window.mark_prices)
        whole = np.diff(marks, axis=1, prepend=np.nan)
        from_fill = np.zeros_like(marks)
        if window.fill == "next_open":
            from_fill = marks - np.log(window.fill_prices)
        days = sorted({day for days in window.sessions for day in days})
        place = {day: index for index, day in enumerate(days)}
        dates = np.full(marks.shape, -1, dtype=np.int64)
        for s, own in enumerate(window.sessions):
            dates[s, : len(own)] = [place[day] for day in own]
        from_fill = np.where(np.isnan(whole), np.nan, from_fill)
        if len(window.symbols) == 1:
            return cls(MEAN_ADJUSTED, whole - np.nanmean(whole), from_fill - np.nanmean(from_fill), dates)
        return cls(MARKET_ADJUSTED, _less_mean(whole, dates), _less_mean(from_fill, dates), dates)


def _less_mean(returns: Floats, dates: Ints) -> Floats:
    """Returns [S, T] less the mean of all that there are on their dates."""
    known = ~np.isnan(returns)
    num = np.bincount(dates[known], minlength=dates.max() + 1)
    sums = np.bincount(dates[known], weights=returns[known], minlength=dates.max() + 1)
    mean = np.divide(sums, num, out=np.full(len(sums), np.nan), where=num > 0)
    return np.asarray(returns - mean[dates])


def study_occurrences(
    abnormal: AbnormalReturns,
    occurs: Bools,
    span: StudySpan,
    num_draws: int,
    seed: int,
) -> EventStudy:
    """Mean CAR around the occurrences.

    Its error: each abnormal return is booked on its own date, whatever occurrence it belongs to, and dates are drawn
    anew by the stationary bootstrap, with all occurrences and returns on them; so symbols that move together stay
    together, and overlapping windows do not count one return as several. Tests and intervals are studentised.

    Args:
        abnormal: of the window.
        occurs: whether session t of a symbol is a session 0, [S, T].
        span: sessions around it.
        num_draws: B.
        seed: of the draws.
    """
    lengths = (abnormal.dates >= 0).sum(axis=1)
    rows, times = np.nonzero(occurs)
    whole = (times - span.before >= 1) & (times + span.after < lengths[rows])
    rows, times, num_cut = rows[whole], times[whole], int((~whole).sum())
    sessions = np.arange(-span.before, span.after + 1)
    fills = np.bincount(abnormal.dates[rows, times], minlength=abnormal.dates.max() + 1)[1:]  # none has a return at 0
    num_dates = int(np.count_nonzero(fills))
    if not len(rows):
        return EventStudy(
            num=0, num_cut=num_cut, num_dates=0, sessions=sessions.tolist(), car=[], car_ci95=[], after=NOTHING,
            earned=NOTHING,
        )  # fmt: skip
    by_date = np.stack([_book(abnormal.whole, abnormal.dates, rows, times + k) for k in sessions])
    sums = np.cumsum(by_date, axis=0)
    after = by_date[span.before + 1 : span.before + 1 + span.horizon].sum(axis=0)
    earned = after + _book(abnormal.from_fill, abnormal.dates, rows, times)
    test = _Bootstrap.draw(earned, fills, num_draws, seed) if num_dates >= FEWEST_DATES else None
    return EventStudy(
        num=len(rows),
        num_cut=num_cut,
        num_dates=num_dates,
        sessions=sessions.tolist(),
        car=(sums.sum(axis=1) / len(rows)).tolist(),
        car_ci95=[None if test is None else test.of(row).ci95 for row in sums],
        after=_mean_alone(after, len(rows)) if test is None else test.of(after),
        earned=_mean_alone(earned, len(rows)) if test is None else test.of(earned),
    )


def _book(returns: Floats, dates: Ints, rows: Ints, times: Ints) -> Floats:
    """Sum of the returns of some symbols at some sessions, by date, [D]."""
    return np.asarray(
        np.bincount(dates[rows, times], weights=returns[rows, times], minlength=dates.max() + 1)[1:],
        dtype=np.float64,
    )


def _mean_alone(booked: Floats, num: int) -> Difference:
    return Difference(float(booked.sum() / num), None, None)


@dataclass(frozen=True)
class _Bootstrap:
    """Dates drawn anew, and how many fills fell on them."""

    fills: Ints
    """[D]."""
    indices: Ints
    """[B, D]."""

    @classmethod
    def draw(cls, booked: Floats, fills: Ints, num_draws: int, seed: int) -> "_Bootstrap":
        """Draws whose blocks are as long as the memory of `booked` [D] asks for."""
        influence = _influence(booked, fills)
        indices, _ = draw_sessions(influence[None], num_draws, seed)
        return cls(fills, indices)

    def of(self, booked: Floats) -> Difference:
        """Sum of `booked` [D] over the number of fills, its interval and its p-value of 0."""
        value = float(booked.sum() / self.fills.sum())
        drawn, fills = booked[self.indices], self.fills[self.indices]
        with np.errstate(divide="ignore", invalid="ignore"):  # draws without a fill are left out
            means = drawn.sum(axis=1) / fills.sum(axis=1)
            errors = hac_error(_influence(drawn, fills))
        return studentised_difference(value, means, float(hac_error(_influence(booked, self.fills))), errors)


def _influence(booked: Floats, fills: Ints) -> Floats:
    """How each date moves the ratio of sums, [..., D]: what it adds beyond the mean, over the mean number of fills."""
    mean = booked.sum(axis=-1, keepdims=True) / fills.sum(axis=-1, keepdims=True)
    return np.asarray((booked - mean * fills) / fills.mean(axis=-1, keepdims=True))


def correct_for_number(studies: Mapping[str, EventStudy]) -> dict[str, dict[str, float]]:
    """p-values of all tests of some studies together, corrected by Holm, by study and `after` or `earned`.

    Args:
        studies: of one strategy, or of one set of event sessions; what could not be tested counts, but is left out.
    """
    asked = {
        f"{name}/{what}": difference.p_value
        for name, study in studies.items()
        for what, difference in (("after", study.after), ("earned", study.earned))
    }
    found: dict[str, dict[str, float]] = {}
    for key, correction in correct_p_values(asked).items():
        name, _, what = key.rpartition("/")
        found.setdefault(name, {})[what] = correction.holm
    return found
