"""What the environment's tests share: parameters, random markets, and a plain account to compare with."""

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow

SELL, HOLD, BUY = 0, 1, 2
Optional = float | None


@pytest.fixture(scope="session")
def make_config() -> Callable[..., EnvConfig]:
    """Parameters with a cost of a quarter of each trade, so that hand-worked numbers stay short."""

    def make(**fields: object) -> EnvConfig:
        return EnvConfig(**({"cost_bps": 2_000.0, "slippage_bps": 500.0, "initial_cash": 1_000.0} | fields))

    return make


@dataclass(frozen=True)
class Market:
    """Symbols with opens, closes and volumes (some None, some 0), and the days between sessions."""

    symbols: dict[str, tuple[list[float], list[float], list[Optional]]]
    nights: list[int]


@pytest.fixture(scope="session")
def random_market() -> Callable[..., Market]:
    """A market of each seed whose prices jump so much that short positions are often ruined.

    With 1,000 in cash an account holds 5 to 50 shares, so that a cap of half a volume often binds.
    """

    @functools.cache
    def draw(seed: int, num_symbols: int, most_sessions: int = 6) -> Market:
        rng = np.random.default_rng(seed)
        symbols = {}
        for name in "ABCD"[:num_symbols]:
            num = int(rng.integers(2, most_sessions + 1))
            opens, closes = rng.integers(20, 200, num).tolist(), rng.integers(20, 200, num).tolist()
            kinds, sizes = rng.integers(0, 4, num).tolist(), rng.integers(1, 60, num).tolist()
            volumes = [{0: None, 1: 0}.get(kind, size) for kind, size in zip(kinds, sizes, strict=True)]
            symbols[name] = (opens, closes, volumes)
        return Market(symbols, rng.choice([73, 146, 292], most_sessions).tolist())

    return draw


@pytest.fixture(scope="session")
def random_window(
    random_market: Callable[..., Market], make_window: Callable[..., TradingWindow]
) -> Callable[..., TradingWindow]:
    """The window of a random market, or of one of its symbols; each is cut once."""

    @functools.cache
    def cut(seed: int, fill: str, positions: str, num_symbols: int = 2, only: str = "") -> TradingWindow:
        market = random_market(seed, num_symbols)
        symbols = {name: given for name, given in market.symbols.items() if only in (name, "")}
        return make_window(fill, positions=positions, nights=market.nights, **symbols)

    return cut


@dataclass(frozen=True)
class Step:
    """What one decision of one account led to, before any restart."""

    mask: list[bool]
    """Legal actions of the decision."""
    action: int
    traded: float
    cash: float
    shares: float
    equity: float
    held: int
    """Position over the return."""
    position: int
    """Position after the fill."""
    sessions_held: int
    unrealised: float
    reward: float
    terminated: bool
    truncated: bool
    scale: float
    """How much rounding of the money is magnified in the reward, at least 1."""


@pytest.fixture(scope="session")
def plain_account() -> Callable[..., list[Step]]:
    """One account in plain Python, written from the rules, to compare the environment with."""
    return _play


def _play(
    opens: Sequence[float],
    closes: Sequence[float],
    volumes: Sequence[Optional],
    nights: Sequence[int],
    config: EnvConfig,
    draws: Sequence[float],
) -> list[Step]:
    """Decide once for each of `draws`, numbers in [0, 1) that choose among the legal actions."""
    steps: list[Step] = []
    cost = (config.cost_bps + config.slippage_bps) / 10_000
    session, cash, shares, position, entry, marks_held = 0, config.initial_cash, 0.0, 0, 0.0, 0
    asked, working, stopped = 0, False, False
    equities = [config.initial_cash]
    for draw in draws:
        lowest = -1 if config.positions == "long_short" else 0
        mask = [False, True, False] if stopped else [asked != lowest, True, asked != 1]
        legal = [action for action in (SELL, HOLD, BUY) if mask[action]]
        action = legal[int(draw * len(legal))]
        years = nights[session] / 365
        session += 1
        before, old_mark = position, closes[session - 1]

        if config.fill == "next_open":
            price, volume = opens[session], volumes[session]
        elif config.fill == "next_close":
            price, volume = closes[session], volumes[session]
        else:
            price, volume = closes[session - 1], volumes[session - 1]
        if config.fill != "same_close":
            cash = _after_night(cash, shares, old_mark, years, config)

        traded = 0.0
        if action != HOLD:
            asked, working = (1 if action == BUY else lowest), True
        if stopped:
            asked, working = 0, shares != 0
        if working:
            working = False
            if stopped:
                wished = 0.0
            elif asked == 1 and shares > 0:  # the rest of a purchase takes the rest of the cash
                wished = shares + cash / (price * (1 + cost))
            elif asked == -1 and shares < 0:  # more is sold until what is owed is all there is
                value = cash + shares * price
                wished = -(value + cost * -shares * price) / (price * (1 + cost))
                if value <= 1e-12 * abs(shares) * price:
                    wished, asked = 0.0, 0
                elif wished > shares:
                    wished = shares
            else:
                closing = cash + shares * price - cost * abs(shares) * price
                if closing <= 1e-12 * abs(shares) * price:  # nothing but rounding is left
                    closing, asked = min(closing, 0.0), 0
                wished = asked * max(closing, 0.0) / (price * (1 + cost))
            change = wished - shares
            if config.max_participation is not None and volume is not None:
                most = config.max_participation * volume
                if change > most:
                    change, working = most, True
                    wished = shares + most
                elif change < -most:
                    change, working = -most, True
                    wished = shares - most
            traded = abs(change) * price
            cash = cash - change * price - cost * traded
            shares = wished
            position = 1 if shares > 0 else -1 if shares < 0 else 0
        if position != before:
            entry, marks_held = price, 0
        marks_held = marks_held + 1 if position != 0 else 0

        if config.fill == "same_close":
            cash = _after_night(cash, shares, old_mark, years, config)

        equity = cash + shares * closes[session]
        if config.fill == "next_close":
            held = before
        elif config.fill == "same_close":
            held = position
        else:
            held = position if position != 0 else before
        terminated = config.positions == "long_short" and equity <= 1e-12 * config.initial_cash
        if terminated:
            cash, shares, position, marks_held = equities[-1] / 10_000, 0.0, 0, 0
            asked, working = 0, False
            equity = cash
        equities.append(equity)
        if config.max_drawdown_stop is not None and not terminated:
            stopped = stopped or equity <= max(equities) * (1 - config.max_drawdown_stop)
        reward, scale = _reward(equities, config)
        reward -= config.drawdown_penalty * (_drawdown(equities) - _drawdown(equities[:-1]))
        reward -= config.cvar_penalty * _tail_risk(equities, config.cvar_level)
        last = session == len(closes) - 1
        long_enough = config.max_episode_steps is not None and len(equities) - 1 >= config.max_episode_steps
        truncated = not terminated and (last or long_enough)
        unrealised = position * (closes[session] / entry - 1) if position else 0.0
        steps.append(
            Step(
                mask=mask,
                action=action,
                traded=traded,
                cash=cash,
                shares=shares,
                equity=equity,
                held=held,
                position=position,
                sessions_held=marks_held,
                unrealised=unrealised,
                reward=reward,
                terminated=terminated,
                truncated=truncated,
                scale=scale,
            )
        )
        if terminated or truncated:
            session = 0 if last else session
            cash, shares, position, entry, marks_held = config.initial_cash, 0.0, 0, 0.0, 0
            asked, working, stopped = 0, False, False
            equities = [config.initial_cash]
    return steps


def _drawdown(equities: Sequence[float]) -> float:
    """The largest logarithm of an earlier equity over a later one, 0 where all of them grow."""
    pairs = [(early, late) for t, late in enumerate(equities) for early in equities[: t + 1]]
    return max(math.log(early / late) for early, late in pairs)


def _tail_risk(equities: Sequence[float], level: float) -> float:
    """Rockafellar and Uryasev's term of the newest loss, at the value at risk of those before."""
    *earlier, newest = [math.log(before / after) for before, after in pairwise(equities)]
    if len(earlier) * level < 1:
        return 0.0
    at_risk = min(loss for loss in earlier if sum(other > loss for other in earlier) <= level * len(earlier))
    return at_risk + max(newest - at_risk, 0.0) / level


def _after_night(cash: float, shares: float, mark: float, years: float, config: EnvConfig) -> float:
    """Cash after interest on what is free and the fee for what is borrowed."""
    if shares < 0:
        free = max(cash + shares * mark, 0.0)
        fee = -shares * mark * config.borrow_bps_year / 10_000 * years
    else:
        free, fee = cash, 0.0
    return cash + free * ((1 + config.cash_rate) ** years - 1) - fee


def _reward(equities: Sequence[float], config: EnvConfig) -> tuple[float, float]:
    """Reward of the newest equity of an episode, and how much it magnifies rounding."""
    if config.reward == "log_return":
        return math.log(equities[-1] / equities[-2]), 1.0
    if config.reward == "sharpe_increment":
        (before, scale_before), (after, scale_after) = _sharpe(equities[:-1]), _sharpe(equities)
        return after - before, max(scale_before, scale_after)
    return _differential_sharpe(equities, config.differential_sharpe_eta)


def _sharpe(equities: Sequence[float]) -> tuple[float, float]:
    pnls = [(after - before) / equities[0] for before, after in pairwise(equities)]
    if len(pnls) < 2 or statistics.stdev(pnls) < 1e-12:
        return 0.0, 1.0
    ratio = statistics.fmean(pnls) / statistics.stdev(pnls)
    return ratio, (1 + abs(ratio)) / min(1.0, statistics.stdev(pnls))


def _differential_sharpe(equities: Sequence[float], eta: float) -> tuple[float, float]:
    first = second = reward = variance = 0.0
    for before, after in pairwise(equities):
        simple = after / before - 1
        variance = second - first**2
        reward = 0.0
        if variance > 1e-24:
            reward = (second * (simple - first) - first * (simple**2 - second) / 2) / variance**1.5
        first = first + eta * (simple - first)
        second = second + eta * (simple**2 - second)
    return reward, max(1.0, abs(reward)) / min(1.0, math.sqrt(max(variance, 1e-24)))
