"""How many account-steps a second the trading environment takes on one core, without a model.

`TradingVectorEnv.step` over whole episodes of 252 sessions, their ends included, with legal actions prepared
beforehand, beside two other ways in the same run: a plain loop over accounts and sessions in Python, and bare
numpy, which is nothing but the arithmetic of a `long_flat` step (fill, mark, log), as the ceiling. All must give
the same equities and rewards; where they differ, nothing is timed. The best of several repeats counts.

    python benchmarks/environment.py --accounts 2048 8192 --json
"""

import argparse
import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import numpy as np

from flag_kedro.env.account import BUY, HOLD, SELL, Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow

SYMBOLS = ("A", "B", "C", "D", "E", "F")
SESSIONS = 253
PLAIN_ACCOUNTS = 4
"""Accounts of each symbol that the plain loop plays; it takes equally long for every one."""
CASES = [
    ("long_flat", "log_return"),
    ("long_flat", "sharpe_increment"),
    ("long_short", "log_return"),
    ("long_short", "sharpe_increment"),
]

Played = Iterator[tuple[Floats, Floats] | tuple[list[float], list[float]]]
"""Equities and rewards, step by step [N] or, from the plain loop, account by account [T]."""


def random_window(positions: str, seed: int) -> TradingWindow:
    """Six symbols whose daily returns have a deviation of 2 %, sessions a day apart."""
    rng = np.random.default_rng(seed)
    closes = 100.0 * np.exp(0.02 * rng.standard_normal((len(SYMBOLS), SESSIONS)).cumsum(axis=1))
    opens = closes * np.exp(0.005 * rng.standard_normal(closes.shape))
    days = tuple(date(2024, 1, 1) + timedelta(days=t) for t in range(SESSIONS))
    years = np.full(closes.shape, 1 / 365)
    years[:, 0] = 0.0
    return TradingWindow(
        fill="next_open",
        positions=positions,  # type: ignore[arg-type]
        symbols=SYMBOLS,
        sessions=(days,) * len(SYMBOLS),
        prefixes=tuple(tuple(f"{name} {day}\n" for day in days) for name in SYMBOLS),
        fill_prices=opens,
        mark_prices=closes,
        num_sessions=np.full(len(SYMBOLS), SESSIONS),
        years=years,
        fill_volumes=np.full(closes.shape, np.nan),
    )


def legal_actions(positions: str, num_accounts: int, seed: int) -> Ints:
    """Random actions of one episode, hold where the one drawn is masked, [T, N]."""
    rng, lowest = np.random.default_rng(seed), 0 if positions == "long_flat" else -1
    actions = rng.integers(0, 3, (SESSIONS - 1, num_accounts))
    position = np.zeros(num_accounts, dtype=np.int64)
    for drawn in actions:
        drawn[((drawn == SELL) & (position == lowest)) | ((drawn == BUY) & (position == 1))] = HOLD
        position = np.where(drawn == BUY, 1, np.where(drawn == SELL, lowest, position))
    return actions


def step_environment(env: TradingVectorEnv, actions: Ints) -> Played:
    """One episode through the public interface."""
    env.reset()
    for own in actions:
        _, reward, _, _, info = env.step(own)
        yield info["equity"], reward


def loop_in_python(window: TradingWindow, config: EnvConfig, symbols: Ints, actions: Ints) -> Played:
    """The same episode, one account and session after the other."""
    for s, own in zip(symbols, actions.T.tolist(), strict=True):
        yield play_account(window.fill_prices[s].tolist(), window.mark_prices[s].tolist(), own, config)


def play_account(
    opens: list[float], closes: list[float], actions: list[int], config: EnvConfig
) -> tuple[list[float], list[float]]:
    """Equities and rewards of one account at next-open fills, sessions a day apart and no cap."""
    cost, fee = config.cost, config.borrow_rate / 365
    cash, shares, before = config.initial_cash, 0.0, config.initial_cash
    count, mean, squares, ratio = 0, 0.0, 0.0, 0.0
    equities, rewards = [], []
    for t, action in enumerate(actions, start=1):
        if shares < 0.0:
            cash += shares * closes[t - 1] * fee
        if action != HOLD:
            price = opens[t]
            cash += shares * price - abs(shares) * price * cost
            side = 1 if action == BUY else 0 if config.positions == "long_flat" else -1
            shares = side * cash / (price * (1.0 + cost))
            cash = 0.0 if side == 1 else cash - shares * price - abs(shares) * price * cost
        equity = cash + shares * closes[t]
        if config.reward == "log_return":
            rewards.append(math.log(equity / before))
        else:
            pnl = (equity - before) / config.initial_cash
            count += 1
            delta = pnl - mean
            mean += delta / count
            squares += delta * (pnl - mean)
            std = math.sqrt(squares / (count - 1)) if count > 1 else 0.0
            new = mean / std if std >= 1e-12 else 0.0
            rewards.append(new - ratio)
            ratio = new
        equities.append(equity)
        before = equity
    return equities, rewards


def bare_numpy(window: TradingWindow, config: EnvConfig, symbols: Ints, actions: Ints) -> Played:
    """The arithmetic of a `long_flat` step with log returns and nothing else: no checks, no state, no episodes."""
    cost = config.cost
    cash, shares = np.full(len(symbols), config.initial_cash), np.zeros(len(symbols))
    before = cash
    prices, marks = (np.ascontiguousarray(values.T[1:]) for values in (window.fill_prices, window.mark_prices))
    for opens, closes, own in zip(prices, marks, actions, strict=True):
        price, mark = opens.take(symbols), closes.take(symbols)
        bought, sold = own == BUY, own == SELL
        held = np.where(bought, cash / (price * (1.0 + cost)), np.where(sold, 0.0, shares))
        cash = np.where(bought, 0.0, np.where(sold, cash + shares * price * (1.0 - cost), cash))
        shares = held
        equity = cash + shares * mark
        yield equity, np.log(equity / before)
        before = equity


def best_seconds(play: Callable[[], Played], repeats: int) -> float:
    """The shortest of so many runs."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        deque(play(), maxlen=0)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def collect(played: Played) -> tuple[Floats, Floats]:
    """Equities and rewards as arrays, [T, N], or [N, T] from the plain loop."""
    equities, rewards = zip(*played, strict=True)
    return np.array(equities), np.array(rewards)


def refuse_difference(name: str, expected: tuple[Floats, Floats], given: tuple[Floats, Floats]) -> None:
    """Leave unless both give the same equities and rewards."""
    for what, one, other, tolerance in zip(("equities", "rewards"), expected, given, (1e-12, 1e-9), strict=True):
        if not np.allclose(one, other, rtol=tolerance, atol=tolerance):
            worst = float(np.max(np.abs(one - other)))
            sys.exit(f"{name} and the environment give different {what} (by up to {worst:g}); nothing was timed")


def measure(positions: str, reward: str, accounts: int, repeats: int) -> dict[str, object]:
    """Check and time one configuration."""
    config = EnvConfig(positions=positions, reward=reward)  # type: ignore[arg-type]
    window = random_window(positions, seed=0)
    env = TradingVectorEnv(window, config, accounts)
    actions = legal_actions(positions, env.num_envs, seed=1)
    few = np.flatnonzero(np.arange(env.num_envs) % accounts < PLAIN_ACCOUNTS)
    played = collect(step_environment(env, actions))

    def plain() -> Played:
        return loop_in_python(window, config, env.symbol[few], actions[:, few])

    def bare() -> Played:
        return bare_numpy(window, config, env.symbol, actions)

    refuse_difference("the plain loop", (played[0][:, few].T, played[1][:, few].T), collect(plain()))
    ceiling = None
    if (positions, reward) == ("long_flat", "log_return"):
        refuse_difference("bare numpy", played, collect(bare()))
        ceiling = actions.size / best_seconds(bare, repeats)
    speed = actions.size / best_seconds(lambda: step_environment(env, actions), repeats)
    plain_speed = actions[:, few].size / best_seconds(plain, min(repeats, 3))
    return {
        "positions": positions,
        "reward": reward,
        "accounts": env.num_envs,
        "environment_steps_per_second": speed,
        "plain_steps_per_second": plain_speed,
        "bare_numpy_steps_per_second": ceiling,
        "speedup_over_plain": speed / plain_speed,
    }


def main() -> None:
    """Print one row per configuration and number of accounts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, nargs="+", default=[2048], help="accounts of each of six symbols")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    rows = [
        measure(positions, reward, accounts, arguments.repeats)
        for accounts in arguments.accounts
        for positions, reward in CASES
    ]
    load = {"cores": os.cpu_count(), "load_before": load_before, "load_after": os.getloadavg()[0]}
    if arguments.json:
        print(json.dumps({"unit": "account-steps per second, one core", **load, "rows": rows}))
        return
    print("million account-steps a second on one core")
    print("positions   reward             accounts  environment  bare numpy  plain Python")
    for row in rows:
        ceiling = row["bare_numpy_steps_per_second"]
        print(
            f"{row['positions']:<11} {row['reward']:<18} {row['accounts']:>8} "
            f"{row['environment_steps_per_second'] / 1e6:>12.1f} "  # type: ignore[operator]
            f"{f'{ceiling / 1e6:.1f}' if ceiling else '-':>11} "  # type: ignore[operator]
            f"{row['plain_steps_per_second'] / 1e6:>13.2f}"  # type: ignore[operator]
        )
    print(f"{load['cores']} cores, load {load['load_before']:.2f} before and {load['load_after']:.2f} after")


if __name__ == "__main__":
    main()
