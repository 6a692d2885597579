"""Small trainings side by side: on Ray, and by hand in a pool of processes.

By hand is the least that one could do: so many processes, each of which trains and scores one seed after another.
Both write the same rows, which is checked. Ray's start, and what its workers import, are part of its time, and so is
the start of the pool's processes.

    python benchmarks/fan_out.py --trainings 8 --side-by-side 2
    python benchmarks/fan_out.py --trainings 2 --updates 2 --json
"""

import argparse
import json
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from multiprocessing import get_context
from typing import Any

import polars as pl

from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.fan_out import Task, fan_out
from flag_kedro.experiments.folds import Fold, common_sessions, roll_folds
from flag_kedro.experiments.runs import Shared
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.features.market_state import build_market_states
from flag_kedro.pipelines.scored import train_and_score
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

Row = dict[str, Any]
SYMBOLS = "ALDR", "BRIX"
PARAMETERS = {
    "num_envs": 4, "num_steps": 32, "minibatch_size": 64, "learning_rate": 5e-4, "gamma": 0.95, "gae_lambda": 0.98,
    "update_epochs": 1, "clip_vloss": True, "ent_coef": 0.05, "kl_coef": 0.0, "stagger_starts": False,
    "reward_scale": 1.0, "validation_interval": 5, "gradient_accumulation_steps": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What all trainings share; each has a seed of its own."""

    states: dict[str, pl.DataFrame]
    fold: Fold
    settings: RunSettings
    facts: dict[str, Any]

    def task(self, seed: int) -> "partial[Row]":
        """One training, scored on its test window."""
        return partial(train_and_score, self.states, self.fold, seed, self.settings, Shared(), self.facts, _ignore)


def _ignore(update: Mapping[str, float]) -> None:
    """Follow nothing."""


def draw_work(updates: int) -> Work:
    """Two symbols over nine months, and the tiny network for so many updates."""
    simulated = SimulatedConfig(market="easy", first_session=date(2023, 1, 3), last_session=date(2023, 9, 29))
    market = simulate_market(SYMBOLS, simulated, seed=0)
    states, _ = build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=600, article_chars=240)
    (fold,) = roll_folds(common_sessions(states), train=100, validation=30, test=30, folds=1)
    steps = updates * PARAMETERS["num_envs"] * PARAMETERS["num_steps"] * len(SYMBOLS)
    ppo = PPOConfig(total_timesteps=int(steps), **PARAMETERS)  # type: ignore[arg-type]
    runtime = RuntimeConfig(device="cpu", threads=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    split = MarketSplit(states, DataConfig(windows=windows), EnvConfig())
    settings = RunSettings(split.env, PolicyConfig(), ppo, runtime, split.calendars)
    return Work(states, fold, settings, split.state_facts)


def by_hand(work: Work, seeds: range, side_by_side: int) -> list[Row]:
    """Rows by seed, from a pool of processes."""
    with ProcessPoolExecutor(side_by_side, mp_context=get_context("spawn")) as pool:
        return [job.result() for job in [pool.submit(work.task(seed)) for seed in seeds]]


def on_ray(work: Work, seeds: range, cpus: float) -> list[Row]:
    """Rows by seed, from Ray on this machine; each training gets so many of its cores."""
    runtime = replace(work.settings.runtime, engine="ray", task_cpus=cpus)
    rows: dict[int, Row] = {}
    with closing(fan_out([Task(f"seed {seed}", work.task(seed)) for seed in seeds], runtime)) as results:
        rows.update(results)
    return [rows[index] for index in range(len(seeds))]


def main() -> None:
    """Train both ways, compare rows, print seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=8)
    parser.add_argument("--updates", type=int, default=60, help="of each training, 256 decisions each")
    parser.add_argument("--side-by-side", type=int, default=2, help="trainings at once, by hand")
    parser.add_argument("--task-cpus", type=float, default=1.0, help="of each training on Ray")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    work, seeds = draw_work(arguments.updates), range(arguments.trainings)
    seconds: dict[str, float] = {}
    rows: dict[str, list[Row]] = {}
    for name, train in (
        ("by hand", partial(by_hand, work, seeds, arguments.side_by_side)),
        ("ray", partial(on_ray, work, seeds, arguments.task_cpus)),
    ):
        began = time.perf_counter()
        rows[name] = train()
        seconds[name] = time.perf_counter() - began
    if json.dumps(rows["ray"]) != json.dumps(rows["by hand"]):
        raise SystemExit("rows of Ray are not those by hand")
    report = {"trainings": arguments.trainings, "seconds": seconds, "ratio": seconds["ray"] / seconds["by hand"]}
    if arguments.json:
        print(json.dumps(report))
    else:
        print(f"{arguments.trainings} trainings: by hand {seconds['by hand']:.1f} s, on Ray {seconds['ray']:.1f} s, ")
        print(f"ratio {report['ratio']:.2f}; rows are the same")


if __name__ == "__main__":
    main()
