"""The oracle, yardstick of the simulated market: the best policy on headlines alone, by who knows the rule.

Dynamic programming over what is known at a decision: the position, the good and bad headlines of the last `horizon`
decisions, and whether today's came before the close. It expects the mean effect of each, for a text does not tell its
size, and the average drift: it does not guess the regime from volatility, which would earn a little more. Two that
disagree and say their sizes are one of the larger's sign to it, for their difference is a mean effect. What was priced
in before publication it cannot earn. Trades cost, so it holds on where the next session alone would not pay for a sale,
and buys for more than one session.

Shape legend: S = symbols, T = sessions of the longest symbol, H = horizon, C = 5^H counts of headlines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from flag_kedro.data.simulated import AFTER_CLOSE, YEAR_SESSIONS, MarketRule, SimulatedConfig
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import ParameterError

MOST = 2
"""Headlines that become usable at one decision: one of the evening before, one of the day."""
NUM_COUNTS = 2 * MOST + 1
MAX_HORIZON = 6
"""With more the table of states grows beyond reason."""
LAG = {"next_open": 0, "same_close": 0, "next_close": 1}
"""Sessions that pass between a decision and the first one whose open-to-close return it earns, less one."""


@dataclass(frozen=True)
class Oracle:
    """What the optimal policy asks for on the headlines of one window, and what they let it expect."""

    targets: Ints
    """Position that each decision asks for, [S, T]."""
    expected_log_return: Floats
    """Of the mean effects and the average drift that it is long over, less its costs; noise, sizes and regimes are left
    out, [S]."""


def ask_oracle(window: TradingWindow, config: EnvConfig, truth: pl.DataFrame, simulated: SimulatedConfig) -> Oracle:
    """The policy of largest expected log return, long or flat, on the headlines of a window.

    Args:
        window: sessions to trade.
        config: its cost.
        truth: `data.simulated.SimulatedMarket.truth`.
        simulated: the rule.

    Raises:
        ParameterError: when a headline moves more sessions than can be planned for.
    """
    rule = simulated.rule()
    if rule.horizon > MAX_HORIZON:
        raise ParameterError(
            f"simulated.horizon is {rule.horizon}; the optimal policy is known for at most {MAX_HORIZON} sessions"
        )
    returns, costs = _expected_returns(rule, LAG[window.fill]), _costs(config)
    plans = _plan(int(window.num_sessions.max()) - 1, returns, costs, rule.event_share)
    targets = np.zeros(window.mark_prices.shape, dtype=np.int64)
    for s, symbol in enumerate(window.symbols):
        before_close, counts = _known(truth.filter(pl.col("symbol") == symbol), window.sessions[s], rule.horizon)
        held, num = 0, int(window.num_sessions[s]) - 1
        for t in range(num):
            targets[s, t] = held = int(plans[len(plans) - num + t, before_close[t], counts[t], held])
        targets[s, num] = held  # the last decision fills no more
    return Oracle(targets, expect_log_return(targets, window, config, truth, simulated))


def expect_log_return(
    targets: Ints, window: TradingWindow, config: EnvConfig, truth: pl.DataFrame, simulated: SimulatedConfig
) -> Floats:
    """What positions let one expect who knows the headlines and the rule, noise, sizes and regimes left out, [S].

    Args:
        targets: position that each decision asks for, long or flat, [S, T]; the last decision fills no more.
        window: sessions that were traded.
        config: its cost.
        truth: `data.simulated.SimulatedMarket.truth`.
        simulated: the rule.
    """
    rule, costs = simulated.rule(), _costs(config)
    returns, expected = _expected_returns(rule, LAG[window.fill]), np.zeros(len(window.symbols))
    for s, symbol in enumerate(window.symbols):
        _, counts = _known(truth.filter(pl.col("symbol") == symbol), window.sessions[s], rule.horizon)
        wanted = targets[s, : int(window.num_sessions[s]) - 1]
        held = np.concatenate([[0], wanted[:-1]])
        expected[s] = (wanted * returns[counts[: len(wanted)]] - costs[held, wanted]).sum()
    return expected


def _costs(config: EnvConfig) -> Floats:
    """Log return that it costs to ask for a position while another is held, [2 (held), 2 (asked for)]."""
    return np.array([[0.0, np.log1p(config.cost)], [-np.log1p(-config.cost), 0.0]])


def _expected_returns(rule: MarketRule, lag: int) -> Floats:
    """Log return that a long position of a decision can expect next, for each count of headlines, [C].

    A headline of age a earns `signal * decay**a`, its size being 1 on average; the drift is the average one.
    """
    weights = np.zeros(rule.horizon)
    weights[: rule.horizon - lag] = rule.signal * rule.decay ** np.arange(lag, rule.horizon)
    digits = np.stack(np.unravel_index(np.arange(NUM_COUNTS**rule.horizon), [NUM_COUNTS] * rule.horizon))
    return np.asarray(weights @ (digits - MOST)) + rule.drift / YEAR_SESSIONS


def _plan(num_decisions: int, returns: Floats, costs: Floats, share: float) -> Ints:
    """Position to ask for at each decision, [decisions, 2 (before the close), C, 2 (position held)]."""
    older = np.arange(len(returns)) // NUM_COUNTS
    newest = len(returns) // NUM_COUNTS
    values = np.zeros((2, len(returns), 2))
    plans = np.zeros((num_decisions, 2, len(returns), 2), dtype=np.int64)
    for t in reversed(range(num_decisions)):
        later = np.zeros_like(values)
        for today in (0, 1):
            for probability, tomorrow, count in _tomorrow(bool(today), share):
                later[today] += probability * values[tomorrow, (count + MOST) * newest + older]
        # asked for `wanted` while `held`: [2, C, held, wanted]
        gains = (np.outer(returns, [0.0, 1.0]) + later)[:, :, None, :] - costs
        plans[t], values = gains.argmax(axis=-1), gains.max(axis=-1)
    return plans


def _tomorrow(before_close_today: bool, share: float) -> Iterator[tuple[float, int, int]]:
    """Probability, whether a headline comes before tomorrow's close, and good less bad ones that become usable."""
    before = share * (1.0 - AFTER_CLOSE)
    evening = 0.0 if before_close_today else share * AFTER_CLOSE / (1.0 - before)
    for evening_probability, evening_sign in _signs(evening):
        for day_probability, day_sign in _signs(before):
            yield evening_probability * day_probability, int(day_sign != 0), evening_sign + day_sign


def _signs(probability: float) -> Sequence[tuple[float, int]]:
    return ((1.0 - probability, 0), (probability / 2.0, 1), (probability / 2.0, -1))


def _known(truth: pl.DataFrame, sessions: Sequence[object], horizon: int) -> tuple[Ints, Ints]:
    """Whether today's headline came before the close, and the count of headlines, at each session's decision."""
    usable = np.concatenate([np.zeros(horizon, dtype=np.int64), truth["usable"].to_numpy()])
    row_of = {day: row for row, day in enumerate(truth["session"])}
    rows = np.array([row_of[day] for day in sessions])
    counts = np.zeros(len(rows), dtype=np.int64)
    for age in range(horizon):
        counts = counts * NUM_COUNTS + usable[rows + horizon - age] + MOST
    return truth["before_close"].to_numpy()[rows].astype(np.int64), counts
