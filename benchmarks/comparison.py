"""Time of scoring a large backtest and comparing it with buy and hold.

Six symbols x ten strategies x 252 sessions x 2,000 draws.

`python benchmarks/comparison.py`
"""

import argparse
import time
from datetime import date, timedelta

import numpy as np
import polars as pl

from flag_kedro.backtest.benchmark import TrialSharpes, add_intervals, compare_to_benchmark, draw_windows
from flag_kedro.backtest.replay import DECISIONS, EQUITY
from flag_kedro.backtest.scores import score_strategies
from flag_kedro.data.streams import stream
from flag_kedro.names import BENCHMARK


def random_tables(
    symbol: str, strategy: str, num_sessions: int, marks: np.ndarray
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decisions and equity of a rule that flips a coin (buy and hold: that buys), without costs."""
    flips = stream(0, symbol, strategy).integers(0, 2, num_sessions)
    targets = np.ones_like(flips) if strategy == BENCHMARK else flips
    held = np.concatenate([[0], targets[:-1]])
    returns = held[1:] * np.diff(np.log(marks))
    equity = 1_000.0 * np.exp(np.concatenate([[0.0], np.cumsum(returns)]))
    sessions = [date(2024, 1, 1) + timedelta(days=t) for t in range(num_sessions)]
    common = {"strategy": [strategy] * num_sessions, "symbol": [symbol] * num_sessions, "session": sessions}
    actions = np.where(targets > held, "buy", np.where(targets < held, "sell", "hold")).tolist()
    decisions = pl.DataFrame(
        common
        | {"action": actions, "position": held}
        | dict.fromkeys(["prob_sell", "prob_hold", "prob_buy", "value"], [None] * num_sessions),
        schema=DECISIONS,
    )
    traded = equity * np.abs(np.diff(held, prepend=0))
    path = {"equity": equity, "position": held, "log_return": [None, *returns], "traded_value": traded}
    return decisions, pl.DataFrame(common | path, schema=EQUITY)


def main() -> None:
    """Time every step; set OMP_NUM_THREADS=1 for one core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=6)
    parser.add_argument("--strategies", type=int, default=10)
    parser.add_argument("--sessions", type=int, default=252)
    parser.add_argument("--draws", type=int, default=2_000)
    given = parser.parse_args()
    names = [BENCHMARK, *(f"coin_{i}" for i in range(given.strategies - 1))]
    steps = {f"S{s}": stream(0, "prices", s).normal(0.0, 0.01, given.sessions) for s in range(given.symbols)}
    marks = {symbol: 100.0 * np.exp(np.cumsum(returns)) for symbol, returns in steps.items()}
    tables = [random_tables(symbol, name, given.sessions, path) for symbol, path in marks.items() for name in names]
    decisions, equity = (pl.concat(part) for part in zip(*tables, strict=True))
    calendars = dict.fromkeys(marks, "XNYS")

    started = last = time.process_time()
    draws = draw_windows(equity, given.draws, 0)
    for step in ("draw", "account", "investorbench", "compare"):
        if step == "compare":
            compare_to_benchmark(decisions, equity, calendars, draws, trials=TrialSharpes({}), shift_percentiles={})
        elif step != "draw":
            results = score_strategies(decisions, equity, marks, calendars, step)
            add_intervals(results, decisions, equity, marks, calendars, step, draws)
        now = time.process_time()
        print(f"{step}: {now - last:.2f} s of processor time")
        last = now
    print(f"all: {last - started:.2f} s of processor time")


if __name__ == "__main__":
    main()
