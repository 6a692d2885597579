"""The same strategies at every session and on events alone, and what prices did around their decisions.

Shape legend: S = symbols, T = sessions of the longest, n = returns of the account of all symbols.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from flag_kedro.backtest.draws import Draws, sessions_by_path
from flag_kedro.backtest.event_study import (
    AbnormalReturns,
    EventStudy,
    StudySpan,
    correct_for_number,
    study_occurrences,
)
from flag_kedro.backtest.intervals import Difference, studentised_difference
from flag_kedro.backtest.pooled import ReplayedStrategies
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.backtest.rules import follow
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.backtest.sharpe_tests import sharpe_difference
from flag_kedro.backtest.standard_errors import hac_error
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import Bools, Floats
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.oracle import Oracle
from flag_kedro.experiments.strategies import Strategies, join_replays
from flag_kedro.experiments.yardstick import Yardstick
from flag_kedro.features.events import EVENT_KINDS
from flag_kedro.names import ALL_SYMBOLS, CALIBRATED_LM, ENDPOINT_LM, UNTRAINED_LM, ZERO_SHOT_LM

Mode = Literal["every_session", "events"]
MODES: tuple[Mode, ...] = ("every_session", "events")
ON_EVENTS = "_on_events"
"""Behind the name of a strategy that trades on events, where both stand in one table."""
ORACLE = "optimal"
"""The optimal policy of a simulated market, planned for every session."""
LEFT_OUT = (UNTRAINED_LM, ZERO_SHOT_LM, CALIBRATED_LM, ENDPOINT_LM)
SPAN = StudySpan()
LEAST_GAIN = 0.05
"""Log return, summed over symbols, of which a share is told; beside less than that everything is much."""


@dataclass(frozen=True)
class BothWays:
    """Every strategy at every session and on events; names of the latter end with `ON_EVENTS`."""

    decisions: pl.DataFrame
    """Columns of `replay.DECISIONS`."""
    equity: pl.DataFrame
    """Columns of `replay.EQUITY`."""


def on_sessions(split: MarketSplit, mode: Mode) -> MarketSplit:
    """The same market, traded at every session or on events by `env.event_*`."""
    return replace(split, env=replace(split.env, decide_on=mode))


def replay_both_ways(
    strategies: Strategies, prices: pl.DataFrame, oracle: Oracle | None, on_step: Callable[[], None] | None = None
) -> BothWays:
    """Replay every strategy over the test window in both modes, all else equal.

    Args:
        strategies: opened on a split of either mode; language models that are not trained are left out.
        prices: the validated table.
        oracle: the optimal policy of a simulated market, whose positions are followed as far as they are legal.
        on_step: called after each session of each strategy.

    Raises:
        DataError: when the window has no event.
    """
    replays: dict[str, Replay] = {}
    for mode in MODES:
        split = on_sessions(strategies.split, mode)
        window = split.test
        own = replace(strategies, split=split).play(prices, split.states, leave_out=LEFT_OUT, on_step=on_step)
        if oracle is not None:
            own[ORACLE] = replay(ORACLE, window, split.env, follow(oracle.targets), on_step)
        replays |= {_name(name, mode): _renamed(played, _name(name, mode)) for name, played in own.items()}
    return BothWays(*join_replays(replays))


def _name(strategy: str, mode: Mode) -> str:
    return strategy if mode == "every_session" else strategy + ON_EVENTS


def _renamed(played: Replay, name: str) -> Replay:
    tables = (table.with_columns(strategy=pl.lit(name)) for table in (played.prompts, played.decisions, played.equity))
    return Replay(*tables)


def compare_modes(
    both: BothWays, split: MarketSplit, yardstick: Yardstick | None, num_draws: int, seed: int
) -> dict[str, Any]:
    """Scores in both modes, what events keep of return and turnover, and the event study; fit for JSON.

    Args:
        both: of `replay_both_ways`.
        split: of either mode.
        yardstick: of both modes' equity, of a simulated market.
        num_draws: of every bootstrap.
        seed: of the draws.
    """
    evaluation = on_sessions(split, "every_session").evaluation
    replayed = ReplayedStrategies(
        both.decisions, both.equity, evaluation.calendars, evaluation.cash_returns, evaluation.long_short
    )
    draws = replayed.draw(num_draws, seed)
    scores = replayed.pooled.score({}, "account", draws)[ALL_SYMBOLS]
    sums = pl.col("log_return").sum(), (pl.col("traded_value") > 0.0).sum().alias("num_fills")
    summed = {row.pop("strategy"): row for row in both.equity.group_by("strategy").agg(*sums).to_dicts()}
    shares = {} if yardstick is None else yardstick.shares
    rows = {
        name: {
            **row,
            "summed_log_return": summed[name]["log_return"],
            "num_fills": summed[name]["num_fills"],
            "share": shares.get(name),
        }
        for name, row in scores.items()
    }
    names = [name for name in rows if not name.endswith(ON_EVENTS)]
    by_mode = {mode: {name: rows[_name(name, mode)] for name in names} for mode in MODES}
    window = on_sessions(split, "events").test
    return {
        "market": split.market,
        "window": list(evaluation.dates),
        "symbols": list(window.symbols),
        "event_rule": asdict(on_sessions(split, "events").env.event_rule),  # type: ignore[arg-type]
        "events": count_events(window),
        "scores": by_mode,
        "differences": _differences(replayed.pooled, draws, names),
        "kept": {name: _kept(*(by_mode[mode][name] for mode in MODES)) for name in names},
        "expected_log_return": None if yardstick is None else yardstick.expected_log_return,
        "event_study": study_window(both.decisions, window, names, num_draws, seed),
    }


def count_events(window: TradingWindow) -> dict[str, dict[str, int]]:
    """Sessions and event sessions of each symbol, of any kind and by kind."""
    assert window.event_kinds is not None
    found = {}
    for symbol, kinds, num in zip(window.symbols, window.event_kinds, window.num_sessions.tolist(), strict=True):
        own = kinds[:num]
        by_kind = {name: int(np.count_nonzero(own & bit)) for name, bit in EVENT_KINDS.items()}
        found[symbol] = {"sessions": num, "events": int(np.count_nonzero(own)), **by_kind}
    return found


def _differences(pooled: ReplayedStrategies, draws: Draws, names: list[str]) -> dict[str, dict[str, Any]]:
    """On events less at every session: annual Sharpe ratio and log return of the account of all symbols, paired."""
    paths, indices = sessions_by_path(pooled.equity, pooled.cash_returns)[ALL_SYMBOLS], draws.indices[ALL_SYMBOLS]
    days = days_per_year(pooled.calendars[ALL_SYMBOLS])
    found = {}
    for name in names:
        events, every = paths[name + ON_EVENTS], paths[name]
        if events.ruined or every.ruined:
            continue
        sharpe = sharpe_difference(events.excess, every.excess, days, indices)
        log_return = _sum_difference(events.returns - every.returns, draws)
        found[name] = {"sharpe_ratio": sharpe.as_dict(), "log_return": log_return.as_dict()}
    return found


def _sum_difference(differences: Floats, draws: Draws) -> Difference:
    """Sum of paired differences [n], with its studentised interval and the p-value of 0."""
    drawn = differences[draws.indices[ALL_SYMBOLS]]
    error = float(hac_error(differences))
    if not differences.any():
        return Difference(0.0, (0.0, 0.0), 1.0)
    found = studentised_difference(float(differences.mean()), drawn.mean(axis=1), error, hac_error(drawn))
    return found.scaled(len(differences))


def _kept(every: Mapping[str, Any], events: Mapping[str, Any]) -> dict[str, float | None]:
    """What is left on events of log return (where it was a gain worth a share), turnover and fills, as shares."""
    least = {"summed_log_return": LEAST_GAIN, "turnover": 0.0, "num_fills": 0.0}
    return {
        score.removeprefix("summed_"): events[score] / every[score]
        if (every[score] or 0.0) > bound and events[score] is not None
        else None
        for score, bound in least.items()
    }


def study_window(
    decisions: pl.DataFrame, window: TradingWindow, names: list[str], num_draws: int, seed: int
) -> dict[str, Any]:
    """Mean CAR around buys and sells of every strategy in both modes, and around event sessions by kind.

    Args:
        decisions: of both modes.
        window: cut with events.
        names: strategies, without `ON_EVENTS`.
        num_draws: of the bootstrap.
        seed: of the draws.
    """
    abnormal = AbnormalReturns.of(window)

    def study(occurs: Bools, *key: str) -> EventStudy:
        return study_occurrences(abnormal, occurs, SPAN, num_draws, derived_seed(seed, "event study", *key))

    by_strategy: dict[str, dict[str, Any]] = {mode: {} for mode in MODES}
    for mode in MODES:
        for name in names:
            own = decisions.filter(pl.col("strategy") == _name(name, mode))
            studies = {side: study(fills_of(own, window, side), name, mode, side) for side in ("buy", "sell")}
            by_strategy[mode][name] = _with_corrections(studies)
    assert window.event_kinds is not None
    kinds = {name: _at_fills((window.event_kinds & bit) != 0, window) for name, bit in EVENT_KINDS.items()}
    events = {name: study(occurs, "events", name) for name, occurs in kinds.items() if occurs.any()}
    return {
        "model": abnormal.model,
        "span": asdict(SPAN),
        "decisions": by_strategy,
        "events": _with_corrections(events),
    }


def _with_corrections(studies: Mapping[str, EventStudy]) -> dict[str, Any]:
    """Studies as JSON has them, each with p-values that are corrected for all of these."""
    corrected = correct_for_number(studies)
    return {name: {**asdict(study), "corrected_p_values": corrected.get(name, {})} for name, study in studies.items()}


def fills_of(decisions: pl.DataFrame, window: TradingWindow, action: str) -> Bools:
    """Sessions at which a strategy's buys or sells were filled, [S, T]; the window's last decision has no fill.

    Args:
        decisions: of one strategy.
        window: that was replayed.
        action: `buy` or `sell`; where it is legal, it changes the position.
    """
    asked = np.zeros(window.mark_prices.shape, dtype=bool)
    for s, symbol in enumerate(window.symbols):
        rows = decisions.filter((pl.col("symbol") == symbol) & (pl.col("action") == action))
        place = {day: t for t, day in enumerate(window.sessions[s])}
        asked[s, [place[day] for day in rows["session"]]] = True
    return _at_fills(asked, window)


def _at_fills(decided: Bools, window: TradingWindow) -> Bools:
    """From sessions that decide to those at which they fill, [S, T]."""
    decided = decided & (np.arange(decided.shape[1]) < window.num_sessions[:, None] - 1)
    if window.fill == "same_close":
        return decided
    return np.concatenate([np.zeros((len(decided), 1), dtype=bool), decided[:, :-1]], axis=1)
