"""Sizes and coverages of the backtest's tests on returns whose truth is known.

Each cell is a kind of returns and a number of sessions. In a trial of it eight strategies without skill, correlated by
one half and with equal Sharpe ratios, go through the functions that a backtest calls: they share bootstrap draws, the
first is tested against the second, the best of them stands for the best of eight trials. Finished cells are kept in
the file of `--json`, so that the same command goes on after a stop.

    python benchmarks/sizes.py --json docs/statistics.json
    python benchmarks/sizes.py --json docs/statistics.json --before docs/statistics_before.json --markdown
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flag_kedro.backtest.counterfactual import shift_in_time
from flag_kedro.backtest.inference import draw_sessions, score_intervals, win_rate_difference
from flag_kedro.backtest.intervals import LEVEL, Difference
from flag_kedro.backtest.sessions import Sessions, account_metrics
from flag_kedro.backtest.sharpe_tests import (
    deflated_sharpe_ratio,
    measure_sharpe,
    probabilistic_sharpe_ratio,
    sharpe_above_zero,
    sharpe_difference,
)
from flag_kedro.data.atomic import atomic_write
from flag_kedro.data.simulated.prices import GARCH_ALPHA, GARCH_BETA
from flag_kedro.data.streams import derived_seed, stream
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow

KINDS = ("normal", "t4", "ar1", "garch", "garch_t4")
"""Independent normal; Student t, 4 degrees; AR(1), coefficient 0.3; GARCH(1, 1) of the simulated market; with t4."""
SESSIONS = (60, 150, 250)
LEVELS = (0.0, 1.0)
"""True annualised Sharpe ratios."""
STRATEGIES = 8
CORRELATION = 0.5
DAYS = 252
DEVIATION = 0.01
"""Of a session's return."""
PHI = 0.3
WARM_UP = 250
LEAVES = 0.1
"""Probability that a policy of random timing changes its position after a session."""
POLICIES = 5
"""Policies of random timing on one market."""
NOMINAL = {
    "difference, Sharpe 0": LEVEL,
    "difference, Sharpe 1": LEVEL,
    "ahead, Sharpe 0": LEVEL / 2,
    "ahead, Sharpe 1": LEVEL / 2,
    "cash": LEVEL,
    "win rate": LEVEL,
    "PSR": LEVEL,
    "PSR, best of 8": LEVEL,
    "DSR, best of 8": LEVEL,
    "time shifts": LEVEL,
    "Sharpe interval, Sharpe 0": 1.0 - LEVEL,
    "Sharpe interval, Sharpe 1": 1.0 - LEVEL,
    "cumulative return interval": 1.0 - LEVEL,
    "volatility interval": 1.0 - LEVEL,
}
"""What each share should be: of rejections, or of intervals that cover the truth."""
Outcome = dict[str, bool]
Shares = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """What a file of shares was measured with."""

    trials: int
    draws: int
    seed: int


def innovations(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> Floats:
    """Independent draws of mean 0 and variance 1."""
    if kind.endswith("t4"):
        return rng.standard_t(4, shape) / math.sqrt(2.0)
    return rng.standard_normal(shape)


def noise(rng: np.random.Generator, kind: str, num_paths: int, num: int) -> Floats:
    """Returns of mean 0 and unconditional variance 1 of one of the `KINDS`, [num_paths, num]."""
    if kind in ("normal", "t4"):
        return innovations(rng, kind, (num_paths, num))
    drawn = innovations(rng, kind, (num_paths, WARM_UP + num))
    path, variance = np.empty_like(drawn), np.ones(num_paths)
    for t in range(WARM_UP + num):
        if kind == "ar1":
            path[:, t] = PHI * path[:, t - 1] + math.sqrt(1.0 - PHI**2) * drawn[:, t] if t else drawn[:, 0]
        else:
            path[:, t] = np.sqrt(variance) * drawn[:, t]
            variance = 1.0 - GARCH_ALPHA - GARCH_BETA + GARCH_ALPHA * path[:, t] ** 2 + GARCH_BETA * variance
    return path[:, WARM_UP:]


def equal_strategies(rng: np.random.Generator, kind: str, num: int) -> Floats:
    """Returns of strategies that differ by luck alone, of mean 0 and unconditional deviation 1, [STRATEGIES, num]."""
    paths = noise(rng, kind, 1 + STRATEGIES, num)
    return np.asarray(math.sqrt(CORRELATION) * paths[0] + math.sqrt(1.0 - CORRELATION) * paths[1:])


def covers(interval: Sequence[float] | None, truth: float) -> bool:
    """Whether there is an interval around the truth."""
    return interval is not None and interval[0] <= truth <= interval[1]


def rejects(difference: Difference) -> bool:
    """Whether the test says no at its nominal level."""
    return difference.p_value is not None and difference.p_value <= LEVEL


def try_difference(returns: Floats, indices: Ints, level: float) -> Outcome:
    """The first strategy against the second, and its interval, where both have the Sharpe ratio `level`."""
    first, second = returns[:2]
    difference = sharpe_difference(first, second, DAYS, indices)
    ratio = sharpe_above_zero(measure_sharpe(first), measure_sharpe(first[indices]), DAYS)
    return {
        f"difference, Sharpe {level:g}": rejects(difference),
        f"ahead, Sharpe {level:g}": rejects(difference) and (difference.value or 0.0) > 0.0,
        f"Sharpe interval, Sharpe {level:g}": covers(ratio.ci95, level),
    }


def sessions_of(returns: Floats) -> Sessions:
    """A path that is always invested and never trades."""
    ones = np.ones(len(returns))
    return Sessions(returns, returns, ones > 0.0, ones, 0.0 * ones, ones, 1.0)


def try_without_skill(returns: Floats, indices: Ints) -> Outcome:
    """Tests of one strategy whose true Sharpe ratio is 0, its intervals, and the best of all strategies."""
    first, second = returns[:2]
    ratios = [float(ratio) for ratio in measure_sharpe(returns).value]
    best = returns[int(np.argmax(ratios))]
    correlation = float(np.asarray(np.corrcoef(returns))[np.triu_indices(len(returns), 1)].mean())
    intervals = score_intervals(sessions_of(first), indices, partial(account_metrics, days=DAYS))
    return {
        "cash": not covers(intervals["sharpe_ratio_ci95"], 0.0),
        "win rate": rejects(win_rate_difference(first, second, indices)),
        "PSR": (probabilistic_sharpe_ratio(first) or 0.0) > 1.0 - LEVEL,
        "PSR, best of 8": (probabilistic_sharpe_ratio(best) or 0.0) > 1.0 - LEVEL,
        "DSR, best of 8": (deflated_sharpe_ratio(best, ratios, (), correlation) or 0.0) > 1.0 - LEVEL,
        "cumulative return interval": covers(intervals["cumulative_return_ci95"], 0.0),
        "volatility interval": covers(intervals["annual_volatility_ci95"], DEVIATION * math.sqrt(DAYS)),
    }


def try_returns(kind: str, num: int, trial: int, settings: Settings) -> Outcome:
    """Every test but that of time shifts, once; both levels share draws, whose block length hardly depends on them."""
    name = (settings.seed, "sizes", kind, num, trial)
    luck = DEVIATION * equal_strategies(stream(*name), kind, num)
    indices, _ = draw_sessions(luck, settings.draws, derived_seed(*name))
    outcome = try_without_skill(luck, indices)
    for level in LEVELS:
        outcome |= try_difference(luck + DEVIATION * level / math.sqrt(DAYS), indices, level)
    return outcome


def window_of(returns: Floats) -> TradingWindow:
    """A market of one symbol that is traded at its closes, [n + 1] of them from returns [n]."""
    marks = 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(returns)]))[None]
    num = marks.shape[1]
    dates = tuple(date(2024, 1, 1) + timedelta(days=t) for t in range(num))
    years, volumes = np.full((1, num), 1.0 / 365.0), np.full((1, num), np.nan)
    return TradingWindow(
        "next_close", "long_flat", ("A",), (dates,), (("",) * num,), marks, marks, np.array([num]), years, volumes
    )


def try_shifts(kind: str, num: int, market: int, settings: Settings) -> list[Outcome]:
    """The test of time shifts on policies of random timing, all on one market."""
    rng = stream(settings.seed, "shifts", kind, num, market)
    window = window_of(DEVIATION * noise(rng, kind, 1, num)[0])
    changes = np.cumsum(rng.random((POLICIES, num + 1)) < LEAVES, axis=1)
    targets = (changes + rng.integers(0, 2, (POLICIES, 1))) % 2
    shifts = shift_in_time(window, EnvConfig(), {str(k): path[None] for k, path in enumerate(targets)})["A"]
    return [{"time shifts": (shift.p_value or 1.0) <= LEVEL} for shift in shifts.values()]


def outcomes(kind: str, num: int, settings: Settings) -> Iterator[Outcome]:
    """Outcomes of all trials of a cell, those of time shifts last."""
    for trial in range(settings.trials):
        yield try_returns(kind, num, trial, settings)
    for market in range(math.ceil(settings.trials / POLICIES)):
        yield from try_shifts(kind, num, market, settings)


def measure(kind: str, num: int, settings: Settings, progress: Progress) -> Shares:
    """Shares of the trials of one cell."""
    counted: dict[str, list[bool]] = {}
    total = settings.trials + POLICIES * math.ceil(settings.trials / POLICIES)
    for outcome in progress.track(outcomes(kind, num, settings), total=total, description=f"{kind}, {num}"):
        for name, value in outcome.items():
            counted.setdefault(name, []).append(value)
    return {name: float(np.mean(counted[name])) for name in NOMINAL}


def read_cells(path: Path, settings: Settings | None) -> dict[str, Shares]:
    """Finished cells of a file, none where there is no file.

    Raises:
        SystemExit: where they were measured with other settings.
    """
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if settings is not None and content["settings"] != asdict(settings):
        raise SystemExit(f"{path} was measured with {content['settings']}; name another file")
    return dict(content["cells"])


def measure_all(path: Path, settings: Settings, sessions: tuple[int, ...]) -> dict[str, Shares]:
    """Measure what is missing in the file and keep every finished cell there."""
    cells, console = read_cells(path, settings), Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    for num in sessions:
        for kind in KINDS:
            if f"{kind}/{num}" in cells:
                continue
            started = time.perf_counter()
            with Progress(*columns, *times, console=console, disable=not console.is_terminal) as progress:
                cells[f"{kind}/{num}"] = measure(kind, num, settings, progress)
            console.print(f"{kind}, {num} sessions: {time.perf_counter() - started:.0f} s")
            with atomic_write(path) as aside:
                aside.write_text(json.dumps({"settings": asdict(settings), "cells": cells}, indent=1) + "\n")
    return cells


def markdown(cells: Mapping[str, Shares], before: Mapping[str, Shares]) -> str:
    """A table of percentages for each number of sessions, each cell `before > after` where there are both."""
    parts = []
    for num in dict.fromkeys(key.partition("/")[2] for key in cells):
        kinds = [kind for kind in KINDS if f"{kind}/{num}" in cells]
        lines = [f"| {num} sessions | nominal | {' | '.join(kinds)} |", f"|---|---:|{'---:|' * len(kinds)}"]
        for name, nominal in NOMINAL.items():
            shown = [show(name, cells[f"{kind}/{num}"], before.get(f"{kind}/{num}", {})) for kind in kinds]
            lines.append(f"| {name} | {100.0 * nominal:g} | {' | '.join(shown)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def show(name: str, shares: Shares, before: Shares) -> str:
    """A percentage, behind the one before where they differ."""
    now, then = f"{100.0 * shares[name]:.1f}", f"{100.0 * before.get(name, shares[name]):.1f}"
    return now if now == then else f"{then} > {now}"


def main() -> None:
    """Measure, or go on, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file of finished cells")
    parser.add_argument("--trials", type=int, default=800, help="of each cell")
    parser.add_argument("--draws", type=int, default=399, help="bootstrap draws of each trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sessions", type=int, nargs="+", default=SESSIONS)
    parser.add_argument("--before", type=Path, help="another file, to be shown in front")
    parser.add_argument("--markdown", action="store_true", help="print what is finished and measure nothing")
    given = parser.parse_args()
    before = read_cells(given.before, None) if given.before else {}
    if given.markdown:
        print(markdown(read_cells(given.json, None), before))
        return
    settings = Settings(given.trials, given.draws, given.seed)
    print(markdown(measure_all(given.json, settings, tuple(given.sessions)), before))


if __name__ == "__main__":
    main()
