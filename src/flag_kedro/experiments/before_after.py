"""A model before and after the cutoff of its training text: what memory alone would make differ.

Each measure is a mean over sessions, or a functional of them with an influence for each, that is at chance on both
sides for a model that recalls nothing, whatever prices did there. Sides are drawn anew apart, each by a stationary
bootstrap of its own sessions, and their difference is studentised. No correction is made for several measures.

Shape legend: n = sessions of a side, B = bootstrap draws.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import polars as pl

from flag_kedro.backtest.baselines import buy_and_hold, flat
from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.intervals import Difference, Interval, studentised_difference
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.backtest.standard_errors import MIN_DEPENDENT_SESSIONS, hac_error
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import Bools, Floats, Ints
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.cutoffs import Cutoff
from flag_kedro.experiments.memorisation import Answers
from flag_kedro.experiments.strategies import Strategies
from flag_kedro.names import BENCHMARK, CALIBRATED_LM, FLAT, POLICY, ZERO_SHOT_LM

MIN_SESSIONS = MIN_DEPENDENT_SESSIONS
"""Of each side; fewer cannot be compared."""
CHANCE = 0.5
"""Of percentiles and of the area under the ROC curve."""
CLOSES, DIRECTION = "closes", "direction"


@dataclass(frozen=True)
class Side:
    """One measure on one side of the cutoff; saved as JSON in this order."""

    num_sessions: int
    value: float
    ci95: Interval | None
    """None where over 5 % of the draws leave it undefined."""


@dataclass(frozen=True)
class Comparison:
    """One measure before and after the cutoff; saved as JSON in this order. What cannot be compared says why."""

    before: Side | None = None
    """Up to the cutoff, its day included."""
    after: Side | None = None
    difference: Difference | None = None
    """Before less after."""
    reason: str | None = None
    """Why there is no comparison; None where there is one."""


@dataclass(frozen=True)
class _Estimate:
    """A statistic of a sample of sessions and of its draws, with standard errors."""

    value: float
    drawn: Floats
    """[B]."""
    error: float
    drawn_error: Floats
    """[B]."""

    @property
    def ci95(self) -> Interval | None:
        if self.error == 0.0:
            return self.value, self.value
        return studentised_difference(self.value, self.drawn, self.error, self.drawn_error).ci95

    def less(self, other: "_Estimate") -> Difference:
        """This less another one of other sessions."""
        value, error = self.value - other.value, float(np.hypot(self.error, other.error))
        if error == 0.0 and value == 0.0:
            return Difference(0.0, (0.0, 0.0), 1.0)
        drawn_error = np.hypot(self.drawn_error, other.drawn_error)
        return studentised_difference(value, self.drawn - other.drawn, error, drawn_error)


def why_not(cutoff: Cutoff) -> str | None:
    """Why no sessions can be told apart by a cutoff; None where they can."""
    if cutoff.unread:
        return f"not comparable: there is no cutoff ({cutoff.reason})"
    return f"not comparable: the cutoff is {cutoff.reason}" if cutoff.day is None else None


def compare_recall(answers: Sequence[Answers], cutoff: date, num_draws: int, seed: int) -> dict[str, Comparison]:
    """Percentiles of true closes, and the area under the ROC curve of directions, before and after a cutoff.

    Args:
        answers: to the statements about all windows, drawn on each side of the cutoff apart (`sides_of`).
        cutoff: last day that counts as before.
        num_draws: B.
        seed: of the draws.
    """
    percentiles = pl.concat([asked.percentiles for asked in answers])
    by_session = percentiles.group_by("session").agg(pl.col("percentile").mean()).sort("session")
    odds = pl.concat([asked.odds for asked in answers]).unique("session", keep="first").sort("session")
    sides = [
        (by_session.filter(is_side), odds.filter(is_side))
        for is_side in (pl.col("session") <= cutoff, pl.col("session") > cutoff)
    ]
    closes = compare_means([side["percentile"].to_numpy() for side, _ in sides], cutoff, num_draws, seed, CLOSES)
    return {CLOSES: closes, DIRECTION: _compare_directions([side for _, side in sides], cutoff, num_draws, seed)}


def sides_of(span: tuple[date, date], cutoff: date) -> list[tuple[date, date]]:
    """The part of a window up to a cutoff and the one after it; the window where it lies on one side.

    A true close's rank is uniform over statements that are drawn from a whole window, not over those about a part of
    it: early sessions are true more often among closes that follow them.
    """
    if not span[0] <= cutoff < span[1]:
        return [span]
    return [(span[0], cutoff), (cutoff + timedelta(days=1), span[1])]


def spans_to_replay(strategies: Strategies, cutoff: date) -> dict[str, tuple[date, date] | str]:
    """First and last session that each policy trades across the cutoff, or why it need not.

    The trained policy trades the test window alone: it learned the returns of the training window, and those of the
    validation window chose its weights. Models that were not trained trade all sessions from the training window on.
    """
    windows = strategies.split.windows
    everything = (windows.train[0], windows.test[1])
    spans = {POLICY: windows.test}
    spans |= {name: everything for name in (ZERO_SHOT_LM, CALIBRATED_LM) if name in strategies.policies}
    days = pl.concat(table["session"] for table in strategies.split.states.values()).unique().sort()
    planned: dict[str, tuple[date, date] | str] = {}
    for name, span in spans.items():
        scored = days.filter(days.is_between(*span)).slice(1)  # the first has no return
        before = int((scored <= cutoff).sum())
        planned[name] = _too_few([before, len(scored) - before], cutoff) or span
    return planned


def num_sessions(split: MarketSplit, span: tuple[date, date]) -> int:
    """Sessions that a replay of `span` takes, for a progress bar."""
    return int(split.cut(span).num_sessions.max())


def compare_policies(
    strategies: Strategies,
    spans: Mapping[str, tuple[date, date] | str],
    cutoff: date,
    num_draws: int,
    seed: int,
    on_step: Callable[[], None] | None = None,
) -> dict[str, Comparison]:
    """Timing of each policy before and after a cutoff, see `compare_timing`.

    Args:
        strategies: open the policies.
        spans: of `spans_to_replay`.
        cutoff: last day that counts as before.
        num_draws: B.
        seed: of the draws.
        on_step: called after each session that a policy replays.
    """
    split, compared = strategies.split, {}
    # returns to measure timing by: neither is stopped, nor does it wait for an event
    plain = replace(split, env=replace(split.env, max_drawdown_stop=None, decide_on="every_session"))
    for name, span in spans.items():
        if isinstance(span, str):
            compared[name] = Comparison(reason=span)
            continue
        window, policy = split.cut(span), strategies.policy(name)
        played = replay(name, window, split.env, policy.answer, on_step, policy.read_ahead)
        free = plain.cut(span)
        held, idle = replay(BENCHMARK, free, plain.env, buy_and_hold), replay(FLAT, free, plain.env, flat)
        compared[name] = compare_timing(played, held, idle, cutoff, num_draws, seed)
    return compared


def compare_timing(played: Replay, held: Replay, idle: Replay, cutoff: date, num_draws: int, seed: int) -> Comparison:
    """A policy's timing before and after a cutoff, log return a session, mean over symbols.

    Timing is the policy's log return less that of a constant position of the same mean size in the same symbol on the
    same side, so that neither a rising market nor a liking for being long counts as knowledge; costs stay in. That
    position earns interest where the policy does, in sessions in which it is not long. Shorts are held against the log
    return of the stock with its sign turned, so fees for borrowed shares stay in, and what log(1 - r) lies below
    -log(1 + r) on a simple return r of the stock, about its square.

    Args:
        played: of the policy.
        held: buy and hold over the same sessions, never stopped.
        idle: an account that never trades over them.
        cutoff: last day that counts as before.
        num_draws: B.
        seed: of the draws.
    """
    keys = ["symbol", "session"]
    paths = played.equity.drop_nulls("log_return")
    for name, other in (("hold", held), ("cash", idle)):
        returns = other.equity.select(*keys, pl.col("log_return").alias(name))
        paths = paths.join(returns, on=keys, how="inner", validate="1:1")
    if not paths.select(pl.col("log_return", "hold").is_finite().all()).select(pl.all_horizontal("*")).item():
        return Comparison(reason="not comparable: an account was ruined")
    sides = []
    for is_side in (pl.col("session") <= cutoff, pl.col("session") > cutoff):
        constant = pl.col("position").mean().over("symbol") * pl.col("hold")
        constant += (pl.col("position") <= 0).mean().over("symbol") * pl.col("cash")
        timing = paths.filter(is_side).with_columns(timing=pl.col("log_return") - constant)
        sides.append(timing.group_by("session").agg(pl.col("timing").mean()).sort("session")["timing"].to_numpy())
    return compare_means(sides, cutoff, num_draws, seed, "timing")


def compare_means(sides: Sequence[Floats], cutoff: date, num_draws: int, seed: int, name: str) -> Comparison:
    """Means of two series of sessions, [n] each, before and after a cutoff."""
    if reason := _too_few([len(side) for side in sides], cutoff):
        return Comparison(reason=reason)
    estimates = []
    for which, side in zip(("before", "after"), sides, strict=True):
        indices, _ = draw_sessions(side[None], num_draws, derived_seed(seed, "cutoff", name, which))
        drawn = side[indices]
        error = 0.0 if np.ptp(side) == 0.0 else float(hac_error(side))
        estimates.append(_Estimate(float(side.mean()), drawn.mean(-1), error, hac_error(drawn)))
    return _comparison(estimates, [len(side) for side in sides])


def _compare_directions(sides: Sequence[pl.DataFrame], cutoff: date, num_draws: int, seed: int) -> Comparison:
    if reason := _too_few([side.height for side in sides], cutoff):
        return Comparison(reason=reason)
    for which, side in zip(("up to", "after"), sides, strict=True):
        if side["rose"].n_unique() < 2:
            return Comparison(reason=f"not comparable: all sessions {which} the cutoff {cutoff} moved the same way")
    estimates = []
    for which, side in zip(("before", "after"), sides, strict=True):
        odds, rose = side["odds"].to_numpy(), side["rose"].to_numpy()
        influence = _auc_influence(odds, rose)  # the area is a mean of it, so its memory says how long blocks must be
        indices, _ = draw_sessions(influence, num_draws, derived_seed(seed, "cutoff", DIRECTION, which))
        estimates.append(_estimate_auc(odds, rose, indices))
    return _comparison(estimates, [side.height for side in sides])


def _estimate_auc(odds: Floats, rose: Bools, indices: Ints) -> _Estimate:
    """Area under the ROC curve with its influences, of the sample [n] and of draws [B, n] (DeLong et al. 1988)."""
    wins, whole = _wins(odds), np.arange(len(odds))[None]
    (value,), (error,) = _auc_and_error(wins, rose, whole)
    drawn, drawn_error = _auc_and_error(wins, rose, indices)
    return _Estimate(float(value), drawn, float(error), drawn_error)


def _auc_influence(odds: Floats, rose: Bools) -> Floats:
    """What each session adds to the area under the ROC curve of all, [1, n], mean 0."""
    return _area_and_influence(_wins(odds), rose, np.arange(len(odds))[None])[1]


def _wins(odds: Floats) -> Floats:
    """Whether the first session's odds lie above the second's, [n, n]; half where they are equal."""
    wins: Floats = (odds[:, None] > odds[None]) + 0.5 * (odds[:, None] == odds[None])
    return wins


def _auc_and_error(wins: Floats, rose: Bools, indices: Ints) -> tuple[Floats, Floats]:
    """Area and its standard error of draws [B, n]; NaN where all sessions of one moved the same way."""
    area, influence = _area_and_influence(wins, rose, indices)
    error = hac_error(np.take_along_axis(influence, indices, axis=1))
    return area, np.nan_to_num(error, nan=0.0)  # an error of 0 leaves a draw out


def _area_and_influence(wins: Floats, rose: Bools, indices: Ints) -> tuple[Floats, Floats]:
    """Area of draws, [B], and in each what every session adds to it, [B, n]."""
    num = len(rose)
    counts = np.stack([np.bincount(row, minlength=num) for row in indices]).astype(np.float64)
    up, down = counts * rose, counts * ~rose
    with np.errstate(invalid="ignore", divide="ignore"):
        over_down = down @ wins.T / down.sum(1, keepdims=True)  # share of falls that a session's odds lie above
        below_up = up @ wins / up.sum(1, keepdims=True)  # share of rises that lie above a session's odds
        area = (up * over_down).sum(1) / up.sum(1)
        share = up.sum(1, keepdims=True) / num
        influence = np.where(rose, (over_down - area[:, None]) / share, (below_up - area[:, None]) / (1.0 - share))
    return area, influence


def _comparison(estimates: Sequence[_Estimate], lengths: Sequence[int]) -> Comparison:
    before, after = (Side(num, each.value, each.ci95) for num, each in zip(lengths, estimates, strict=True))
    return Comparison(before, after, estimates[0].less(estimates[1]))


def _too_few(lengths: Sequence[int], cutoff: date) -> str | None:
    before, after = lengths
    if min(lengths) >= MIN_SESSIONS:
        return None
    return (
        f"not comparable: {before} sessions up to the cutoff {cutoff} and {after} after it; "
        f"{MIN_SESSIONS} are needed on each side"
    )
