"""What came of the decisions in the ledger: traded by the backtest's own rules, scored by its scorer.

Shape legend: k = returns since the first decision, n = returns of the backtest, B = bootstrap draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.pooled import ReplayedStrategies, pool_accounts
from flag_kedro.backtest.replay import replay
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import Floats
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError
from flag_kedro.names import ALL_SYMBOLS, BENCHMARK, POLICY
from flag_kedro.serving.ledger import Line
from flag_kedro.serving.recorded import Recorded

LONGER = "it is longer than the backtest"
OTHER_ACCOUNT = (
    "decisions were taken from other positions than the account had, so that it is not the policy's own; take "
    "them with decide.position=ledger"
)
CENTRAL = 0.95
"""Of the backtest's stretches, within which a forward result is as promised."""


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A forward result among stretches of the backtest that are as long; saved as JSON in this order."""

    num_sessions: int
    """k."""
    total_return: float
    """Forward, of all symbols in one account, as a decimal."""
    expected: float
    """Mean of the backtest's stretches."""
    interval: tuple[float, float]
    """That holds 95 % of them."""
    percentile: float
    """Share of them that earned less."""
    kept: bool
    """Whether the forward result lies in the interval."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What came of a ledger; saved as JSON in this order."""

    policy: str
    window: tuple[str, str]
    """First session that was decided on, and the last whose close is known."""
    num_decisions: int
    """Of this policy."""
    num_waiting: int
    """Of these, not filled yet."""
    num_other_policies: int
    num_undecided: int
    """Sessions and symbols in between without a decision, on which the position was held."""
    num_illegal: int
    """Decisions that the account could not carry out, being in another position; it held."""
    num_other_positions: int
    """Decisions that were asked for from another position than the account had."""
    scores: dict[str, dict[str, Any]]
    """By strategy, of all symbols in one account."""
    by_symbol: dict[str, dict[str, dict[str, Any]]]
    promise: Promise | None
    """None where it cannot be compared."""
    not_compared: str | None
    """Why, in words."""


def follow(
    lines: Sequence[Line], split: MarketSplit, backtest: pl.DataFrame, policy: str, num_draws: int, seed: int
) -> Followed:
    """Trade and score the decisions of one policy, from its first one on.

    Args:
        lines: of the ledger, checked.
        split: market states as they are read now, and the environment of the training.
        backtest: equity of the backtest, columns of `replay.EQUITY`.
        policy: hash of the bundle whose decisions count.
        num_draws: B.
        seed: of the draws.

    Raises:
        DataError: when the ledger has no decision of the policy, or none has had a session since.
    """
    mine = [line for line in lines if line["policy"] == policy]
    if not mine:
        raise DataError(
            f"the ledger has {len(lines)} decisions, none of the policy {policy[:12]} that is in 06_models/policy; "
            "take some with kedro run --pipelines=decide, before their fills, on a market that goes on (yahoo, files)"
        )
    window = _window(mine, split)
    recorded = Recorded(mine, window)
    played = replay(POLICY, window, split.env, recorded.decide)
    held = replay(BENCHMARK, window, split.env, buy_and_hold)
    last = {symbol: days[-1] for symbol, days in zip(window.symbols, window.sessions, strict=True)}
    dates = min(line["session"] for line in mine), max(last.values()).isoformat()
    evaluation = EvaluationWindow(window, split.env, dates, split.calendars)
    strategies = ReplayedStrategies(
        pl.concat([played.decisions, held.decisions]),
        pl.concat([played.equity, held.equity]),
        split.calendars,
        evaluation.cash_returns,
        evaluation.long_short,
    )
    draws = strategies.draw(num_draws, derived_seed(seed, "follow"))
    others = recorded.count_other_positions(played)
    promise, reason = None, OTHER_ACCOUNT
    if not (recorded.num_illegal or others):
        promise, reason = _promise(played.equity, backtest, num_draws, seed), LONGER
    return Followed(
        policy=policy,
        window=dates,
        num_decisions=len(mine),
        num_waiting=sum(date.fromisoformat(line["session"]) >= last.get(line["symbol"], date.min) for line in mine),
        num_other_policies=len(lines) - len(mine),
        num_undecided=recorded.num_undecided,
        num_illegal=recorded.num_illegal,
        num_other_positions=others,
        scores=strategies.pooled.score({}, "account", draws)[ALL_SYMBOLS],
        by_symbol=strategies.score(evaluation.marks, "account", draws),
        promise=promise,
        not_compared=None if promise else reason,
    )


def _window(lines: Sequence[Line], split: MarketSplit) -> TradingWindow:
    """From the first session that was decided on to the last that is known.

    Raises:
        DataError: when no session has closed since.
    """
    first = date.fromisoformat(min(line["session"] for line in lines))
    last = max(table["session"][-1] for table in split.states.values())
    held = {
        symbol: table
        for symbol, table in split.states.items()
        if table.filter(pl.col("session").is_between(first, last)).height >= 2
    }
    if not held:
        raise DataError(
            f"nothing has happened yet: the first decision was taken on {first}, and states end on {last}. Read newer "
            "data (kedro run --pipelines=ingest,features) once the next session has closed"
        )
    return split.with_states(held).cut((first, last))


def _promise(forward: pl.DataFrame, backtest: pl.DataFrame, num_draws: int, seed: int) -> Promise | None:
    """The forward return among as many sessions of the backtest, drawn in blocks (stationary bootstrap)."""
    earned, promised = _growth(forward), _growth(backtest.filter(pl.col("strategy") == POLICY))
    num = len(earned)
    if num > len(promised):
        return None
    indices, _ = draw_sessions(promised[None], num_draws, derived_seed(seed, "promise"))
    stretches = promised[indices[:, :num]].prod(axis=1) - 1.0
    low, high = np.quantile(stretches, [(1.0 - CENTRAL) / 2.0, (1.0 + CENTRAL) / 2.0])
    total = float(earned.prod() - 1.0)
    return Promise(
        num_sessions=num,
        total_return=total,
        expected=float(stretches.mean()),
        interval=(float(low), float(high)),
        percentile=float((stretches < total).mean()),
        kept=bool(low <= total <= high),
    )


def _growth(equity: pl.DataFrame) -> Floats:
    """Equity over that of the session before, of all symbols in one account, [n]; 0 on the day of ruin, 1 after it."""
    path = pool_accounts(equity)["equity"].to_numpy()
    growth: Floats = np.divide(path[1:], path[:-1], out=np.ones(len(path) - 1), where=path[:-1] > 0.0)
    return growth
