"""Seconds of a whole backtest besides the language model: replays, scores, tests, audit, plots and report.

A rule that reads nothing stands in for the policy; everything else is what `kedro run --pipelines=backtest` does,
without Kedro, MLflow and the untrained model. The easy market, windows 60/20/20 of its sessions.

    python benchmarks/backtest.py
    python benchmarks/backtest.py --symbols 2 --first-session 2023-04-03 --draws 200 --audit-times 1 --json
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.benchmark import TrialSharpes, compare_to_benchmark
from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.counterfactual import shift_in_time
from flag_kedro.backtest.pooled import ReplayedStrategies
from flag_kedro.backtest.report import write_report
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.experiments.cached_policy import CachedPolicy
from flag_kedro.experiments.strategies import Strategies, join_replays
from flag_kedro.experiments.yardstick import describe_yardstick
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.names import POLICY
from flag_kedro.pipelines.backtest.audit_nodes import audit_backtest
from flag_kedro.pipelines.backtest.nodes import score_backtest, sensitivity_of_backtest
from flag_kedro.pipelines.backtest.report_nodes import draw_plots, explain_trades
from flag_kedro.tracking.log import active_run

SEED = 0
Timed = Callable[[str, Callable[[], Any]], Any]
"""Names a step and does it."""


@dataclass(frozen=True)
class Backtest:
    """What a backtest begins with."""

    market: MarketConfig
    tables: MarketTables
    split: MarketSplit
    strategies: Strategies
    config: BacktestConfig


def reads_nothing(states: States) -> Decisions:
    """Trade about every tenth session, by the length of the prompt."""
    scores = np.array([[len(prefix) % 10 == 0, 0.5, len(prefix) % 10 == 5] for prefix in states.prefix], dtype=float)
    probabilities = np.where(states.action_mask, scores, 0.0)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Decisions(probabilities.argmax(axis=1), probabilities, np.zeros(len(states)))


def prepare(arguments: argparse.Namespace) -> Backtest:
    """Draw the market and build its states."""
    data = DataConfig(symbols=tuple(COMPANIES)[: arguments.symbols], seed=SEED)
    simulated = SimulatedConfig(market="easy", first_session=arguments.first_session)
    config = MarketConfig(data, NewsConfig(), simulated)
    market = load_market(config, Path(), datetime.now(UTC))
    names = {symbol: list(aliases) for symbol, aliases in market.names.items()}
    tables = MarketTables(market.prices, market.news, names, market.universe, FeaturesConfig())
    split = MarketSplit.of(tables.build_states(), data, EnvConfig(), simulated.market)
    policy = CachedPolicy(reads_nothing)
    strategies = Strategies({POLICY: lambda: policy}, None, split, SEED)
    return Backtest(
        config, tables, split, strategies, BacktestConfig(bootstrap_draws=arguments.draws, audit_times=arguments.times)
    )


def compare(decisions: pl.DataFrame, equity: pl.DataFrame, backtest: Backtest) -> dict[str, Any]:
    """What the node `compare_backtest` does, where the policy is the only trial."""
    evaluation = backtest.split.evaluation
    replayed = ReplayedStrategies(
        decisions, equity, evaluation.calendars, evaluation.cash_returns, evaluation.long_short
    )
    shifts = shift_in_time(evaluation.window, evaluation.env, evaluation.targets(decisions))
    draws = replayed.draw(backtest.config.bootstrap_draws, SEED)
    return asdict(compare_to_benchmark(replayed, draws, trials=TrialSharpes({}), shifts=shifts))


def run(backtest: Backtest, timed: Timed) -> None:
    """Do every step of a backtest once.

    Raises:
        SystemExit: when the audit finds a difference.
    """
    tables, split, strategies, config = backtest.tables, backtest.split, backtest.strategies, backtest.config
    market, states = backtest.market, dict(split.states)
    decisions, equity = timed("replay", lambda: join_replays(strategies.play(tables.prices, states)))
    metrics = timed(
        "scores and intervals",
        lambda: score_backtest(
            decisions, equity, split, strategies.describe({}), market.data, market.news, market.simulated, config, SEED
        ),
    )
    inference = timed("tests and time shifts", lambda: compare(decisions, equity, backtest))
    sensitivity = timed("costs, lag, capacity", lambda: sensitivity_of_backtest(decisions, split))
    audit = timed(
        "causality audit",
        lambda: audit_backtest(decisions, equity, tables, split, strategies, None, config, SEED),
    )
    if not audit["passed"]:
        raise SystemExit("the audit failed; its time means nothing")
    influence = timed("headlines left out", lambda: explain_trades(decisions, equity, split, strategies))
    timed("plots", lambda: draw_plots(decisions, equity, metrics, inference, sensitivity, states))
    timed(
        "report",
        lambda: write_report(
            decisions=decisions,
            equity=equity,
            backtest_metrics=metrics,
            inference=inference,
            sensitivity=sensitivity,
            audit=audit,
            market_states=states,
            influence=influence,
            facts={"market": split.market},
            hashes={},
            strength=describe_yardstick(metrics["yardstick"], POLICY),
        ),
    )


def measure(backtest: Backtest) -> dict[str, float]:
    """Seconds of each step, and of all; a step that is the first to need a library imports it."""
    active_run()  # imports MLflow, whose time is no step's
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = step()
        seconds[name] = time.perf_counter() - started
        return result

    run(backtest, timed)
    return seconds | {"all": sum(seconds.values())}


def parse() -> argparse.Namespace:
    """What to measure."""
    default = BacktestConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=6)
    parser.add_argument(
        "--first-session", type=date.fromisoformat, default=SimulatedConfig().first_session,
        help="of the market; the last fifth of its sessions is the test window",
    )  # fmt: skip
    parser.add_argument("--draws", type=int, default=default.bootstrap_draws, help="bootstrap draws")
    parser.add_argument("--audit-times", type=int, default=default.audit_times, dest="times")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def main() -> None:
    """Run every step once and print its seconds."""
    arguments = parse()
    backtest = prepare(arguments)
    seconds = measure(backtest)
    report = {
        "symbols": len(backtest.split.states),
        "sessions": int(backtest.split.test.num_sessions.max()),
        "strategies": len(backtest.strategies),
        "draws": backtest.config.bootstrap_draws,
        "audit_times": backtest.config.audit_times,
    }
    if arguments.json:
        print(json.dumps({**report, "seconds": seconds}))
        return
    print(", ".join(f"{value} {name.replace('_', ' ')}" for name, value in report.items()))
    for name, value in seconds.items():
        print(f"{name:24s}{value:8.2f} s")


if __name__ == "__main__":
    main()
