"""How much data an effect needs before a learner finds it: share of the optimal policy by effect, sessions and symbols.

Laboratory markets without drift and regimes, so that a share is what reading earns. Shares are of expected returns:
the planted effects that a strategy is long over, less its costs, over those of the optimal policy; noise is left out. A
cell that is in the file already is not measured again.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.progress import track

from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.text_ridge import fit_text_ridge, ridge_targets
from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.config import DataConfig
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated import CALENDAR, SimulatedConfig, simulate_market
from flag_kedro.env.account import Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.evaluation import target_positions
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decide
from flag_kedro.experiments.oracle import ask_oracle
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.text_baseline import start_bag_of_words

LAST = date(2023, 12, 29)
TRAIN_SHARE = 0.6


@dataclass(frozen=True)
class Cell:
    """One market and one learner."""

    learner: str
    signal: float
    sessions: int
    """Of the training window."""
    symbols: int
    seed: int

    @property
    def name(self) -> str:
        """Key of its result."""
        return "/".join(str(value) for value in asdict(self).values())


@dataclass(frozen=True)
class Market:
    """A market and what was planted in it."""

    split: MarketSplit
    truth: pl.DataFrame
    simulated: SimulatedConfig

    def share(self, targets: Ints) -> float:
        """Of what the optimal policy expects, by positions that decisions ask for, [S, T]."""
        window, env = self.split.test, self.split.env
        best = self.expected(ask_oracle(window, env, self.truth, self.simulated).targets)
        return self.expected(targets) / best if best > 0 else float("nan")

    def expected(self, targets: Ints) -> float:
        """Planted log returns that positions are long over, less costs."""
        window, cost = self.split.test, self.split.env.cost
        total = 0.0
        for s, symbol in enumerate(window.symbols):
            planted = dict(self.truth.filter(pl.col("symbol") == symbol).select("session", "next_effect").rows())
            held = np.concatenate([[0], targets[s, : window.num_sessions[s] - 1]])
            effects = np.array([planted[day] for day in window.sessions[s][: window.num_sessions[s] - 1]])
            trades = np.diff(held)
            total += float(held[1:] @ effects) - np.log1p(cost) * (trades > 0).sum()
            total += np.log1p(-cost) * (trades < 0).sum()
        return total


def draw_market(cell: Cell) -> Market:
    """The market of a cell, with windows 60/20/20."""
    days = exchange_sessions(CALENDAR, date(2004, 1, 2), LAST)["session"]
    first = days[-round(cell.sessions / TRAIN_SHARE)]
    simulated = SimulatedConfig(
        market="laboratory", signal=cell.signal, drift=0.0, regime_sessions=0, first_session=first, last_session=LAST
    )
    symbols = tuple(COMPANIES)[: cell.symbols]
    drawn = simulate_market(symbols, simulated, cell.seed)
    names = {symbol: [COMPANIES[symbol]] for symbol in symbols}
    states, _ = build_market_states(drawn.prices, drawn.news, names=names, **asdict(FeaturesConfig()))
    split = MarketSplit.of(states, DataConfig(symbols=symbols, seed=cell.seed), EnvConfig())
    return Market(split, drawn.truth, simulated)


def learn(cell: Cell, split: MarketSplit, timesteps: int) -> Ints:
    """Positions that a trained learner asks for on the test window, [S, T]."""
    if cell.learner == "text_ridge":
        model = fit_text_ridge(split.states, split.train, split.env.cost)
        return ridge_targets(model, split.states, split.test)
    ppo = PPOConfig(total_timesteps=timesteps)
    policy, updates = start_bag_of_words(split.train, split.validation, split.env, ppo, RuntimeConfig(), cell.seed)
    with closing(updates):
        for _ in updates:
            pass
    return asked(policy.decide, split)


def asked(decide: Decide, split: MarketSplit) -> Ints:
    """Positions that a decision rule asks for, [S, T]."""
    decisions = replay("learner", split.test, split.env, decide).decisions
    return np.stack([target_positions(rows) for rows in decisions.partition_by("symbol", maintain_order=True)])


def cells(arguments: argparse.Namespace) -> Iterator[Cell]:
    """All cells, market by market."""
    for signal, sessions, symbols, seed in product(
        arguments.signals, arguments.sessions, arguments.symbols, range(arguments.seeds)
    ):
        for learner in arguments.learners:
            yield Cell(learner, signal, sessions, symbols, seed)


def main() -> None:
    """Measure what is missing in the file and save after each cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=float, nargs="+", default=[0.0025, 0.004, 0.006, 0.01, 0.016])
    parser.add_argument("--sessions", type=int, nargs="+", default=[250, 750, 2000], help="of the training window")
    parser.add_argument("--symbols", type=int, nargs="+", default=[2, 6, 12])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--learners", nargs="+", default=["text_ridge", "text_linear_ppo"])
    parser.add_argument("--timesteps", type=int, default=40_000, help="account-decisions of each training by PPO")
    parser.add_argument("--json", type=Path, required=True, help="file of results, added to")
    arguments = parser.parse_args()
    results: dict[str, Any] = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    missing = [cell for cell in cells(arguments) if cell.name not in results]
    drawn: tuple[Cell, Market] | None = None
    for cell in track(missing, "cells", disable=not missing):
        same = drawn is not None and asdict(drawn[0]) | {"learner": ""} == asdict(cell) | {"learner": ""}
        if drawn is None or not same:
            drawn = cell, draw_market(cell)
        market = drawn[1]
        share = market.share(learn(cell, market.split, arguments.timesteps))
        results[cell.name] = asdict(cell) | {"share": share}
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
