"""May a policy take the place of another? By the validation window alone: the test window judges, and never chooses.

Shape legend: n = returns of the validation window, B = bootstrap draws.
"""

from dataclasses import dataclass

import numpy as np

from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.pooled import pool_accounts
from flag_kedro.backtest.replay import replay
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import Floats
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError
from flag_kedro.policy.interface import Evaluator

CENTRAL = 0.95


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A challenger beside the champion on the validation window; saved as JSON in this order."""

    window: tuple[str, str]
    log_return: float
    """The challenger's, of all symbols in one account."""
    sharpe_ratio: float | None
    """Of its daily log returns, not annualised less cash; None where they never vary."""
    champion_log_return: float | None
    """On the same sessions; None without a champion."""
    difference: float | None
    """Challenger less champion, in log return over the window."""
    interval: tuple[float, float] | None
    """That holds 95 % of the bootstrap's differences."""
    promoted: bool
    reason: str
    """In words."""


def compare(
    challenger: Evaluator, champion: Evaluator | None, split: MarketSplit, num_draws: int, seed: int
) -> Comparison:
    """Trade the validation window with both, and let the challenger win only where its lead is no accident.

    The first policy is promoted if it earned anything. Later ones must have earned more than the champion, with an
    interval of the difference (stationary bootstrap of sessions, both drawn together) above 0.

    Args:
        challenger: a trained policy.
        champion: the one whose place it may take; None where there is none.
        split: whose validation window is traded.
        num_draws: B.
        seed: of the draws.

    Raises:
        DataError: when there is no validation window.
    """
    window = split.validation
    if window is None:
        raise DataError(
            "there is no validation window, and nothing else may choose a policy; set data.windows.validation"
        )
    dates = str(min(days[0] for days in window.sessions)), str(max(days[-1] for days in window.sessions))
    own = _daily(challenger, split)
    deviation = float(own.std(ddof=1))
    ratio = float(own.mean() / deviation) if deviation > 0.0 else None
    total = float(own.sum())
    if champion is None:
        promoted = total > 0.0
        reason = "it is the first, and earned something" if promoted else "it is the first, but earned nothing"
        return Comparison(
            window=dates, log_return=total, sharpe_ratio=ratio, champion_log_return=None, difference=None,
            interval=None, promoted=promoted, reason=reason,
        )  # fmt: skip
    other = _daily(champion, split)
    indices, _ = draw_sessions(np.stack([own, other]), num_draws, derived_seed(seed, "promote"))
    differences = (own - other)[indices].sum(axis=1)
    low, high = np.quantile(differences, [(1.0 - CENTRAL) / 2.0, (1.0 + CENTRAL) / 2.0])
    promoted = bool(low > 0.0)
    reason = "its lead over the champion is above 0" if promoted else "its lead over the champion may be an accident"
    if total <= float(other.sum()):
        reason = "it earned no more than the champion"
    return Comparison(
        window=dates, log_return=total, sharpe_ratio=ratio, champion_log_return=float(other.sum()),
        difference=total - float(other.sum()), interval=(float(low), float(high)), promoted=promoted, reason=reason,
    )  # fmt: skip


def _daily(policy: Evaluator, split: MarketSplit) -> Floats:
    """Log returns of all symbols in one account, [n]."""
    assert split.validation is not None
    played = replay("policy", split.validation, split.env, policy.decide, read_ahead=policy.read_ahead)
    returns: Floats = pool_accounts(played.equity)["log_return"].drop_nulls().to_numpy()
    return returns
