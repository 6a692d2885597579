"""What positions took of the headlines of a simulated market: of all, and of those of each level of difficulty.

Shape legend: S = symbols, T = sessions of the longest symbol.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.simulated.sentence import CONFLICT, PLAIN, REVERSED, RIVAL
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.oracle import LAG, ask_oracle, expect_log_return

MOVING_LEVELS = {PLAIN: "plain", REVERSED: "reversed", CONFLICT: "conflicting"}
"""Levels whose headlines move prices, and their names."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What positions took of a window's headlines; saved as JSON in this order."""

    share: float
    """Log return that they let one expect who knows the rule (noise left out, costs paid) over the optimal policy's."""
    earned_share: float
    """Log return that they had, noise included, over what the optimal policy expects."""
    by_level: dict[str, float | None]
    """By name of the level, effects of its headlines that positions earned over those that the optimal policy earned,
    before costs; None where it earned none."""
    trades_after_rivals: float | None
    """Share of sessions with another company's headline, and none of the symbol's own, at which the position changed;
    None without such a session."""


def measure_reading(
    targets: Ints,
    log_return: float,
    window: TradingWindow,
    config: EnvConfig,
    truth: pl.DataFrame,
    simulated: SimulatedConfig,
) -> Reading:
    """Compare positions with those of the optimal policy on the same headlines.

    Args:
        targets: position that each decision asks for, long or flat, [S, T].
        log_return: that they had, summed over symbols.
        window: sessions that were traded.
        config: its cost.
        truth: `data.simulated.SimulatedMarket.truth`.
        simulated: the rule.

    Raises:
        ParameterError: when the optimal policy is not known, see `ask_oracle`.
        ValueError: when it expects nothing.
    """
    oracle = ask_oracle(window, config, truth, simulated)
    expected = float(oracle.expected_log_return.sum())
    if expected <= 0.0:
        raise ValueError("the optimal policy expects nothing of these headlines, so no share of it is defined")
    usable, level = (_of_sessions(truth, window, column) for column in ("usable", "level"))
    effects = _effects(targets, usable, window, simulated)
    best = _effects(oracle.targets, usable, window, simulated)
    by_level = {
        name: _ratio(effects[level == value].sum(), best[level == value].sum()) for value, name in MOVING_LEVELS.items()
    }
    before = np.concatenate([np.zeros((len(targets), 1), dtype=np.int64), targets[:, :-1]], axis=1)
    rivals = (level == RIVAL) & (usable == 0)
    return Reading(
        share=float(expect_log_return(targets, window, config, truth, simulated).sum()) / expected,
        earned_share=log_return / expected,
        by_level=by_level,
        trades_after_rivals=float((targets != before)[rivals].mean()) if rivals.any() else None,
    )


def _of_sessions(truth: pl.DataFrame, window: TradingWindow, column: str) -> Ints:
    """A column of the truth at each decision, 0 behind a symbol's end, [S, T]."""
    values = np.zeros(window.mark_prices.shape, dtype=np.int64)
    for s, symbol in enumerate(window.symbols):
        rows: Mapping[object, int] = dict(
            truth.filter(pl.col("symbol") == symbol).select("session", column).iter_rows()
        )
        values[s, : len(window.sessions[s])] = [rows[day] for day in window.sessions[s]]
    return values


def _effects(targets: Ints, usable: Ints, window: TradingWindow, simulated: SimulatedConfig) -> Floats:
    """Mean effects of the headlines that become usable at each decision, where positions are long, [S, T]."""
    rule, lag = simulated.rule(), LAG[window.fill]
    held = np.where(np.arange(targets.shape[1]) < window.num_sessions[:, None] - 1, targets, 0)
    padded = np.pad(held, ((0, 0), (0, rule.horizon)))
    weights = [rule.signal * rule.decay ** (age + lag) for age in range(rule.horizon - lag)]
    later = sum(weight * padded[:, age : age + targets.shape[1]] for age, weight in enumerate(weights))
    return np.asarray(usable * later)


def _ratio(value: float, whole: float) -> float | None:
    return float(value / whole) if whole > 0.0 else None
