"""How much a rollout's forward passes cost when equal states are evaluated once.

The reference is what a plain loop does: one row per account, batched, without gradients. Both evaluate the same
states of the embedded market with the same weights, in one run, and must give the same values.

    python benchmarks/distinct_states.py --accounts 4 16 64 --json
"""

import argparse
import json
import resource
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch

from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import States
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import cut_window
from flag_kedro.features.market_state import build_market_states
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.rollout import join_states

SESSIONS = 24


def simulated_states(accounts: int) -> tuple[States, list[str]]:
    """States that random accounts meet over `SESSIONS` sessions of six symbols, and the prompts' prefixes."""
    first, last = date(2023, 7, 3), date(2023, 9, 29)
    market = simulate_market(None, SimulatedConfig(first_session=first, last_session=last), seed=0)
    tables, _ = build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=600, article_chars=240)
    window = cut_window(tables, (first, last), "next_open")
    env = TradingVectorEnv(window, EnvConfig(), accounts)
    env.reset(seed=0)
    visited = []
    for _ in range(SESSIONS):
        visited.append(env.states())
        env.step(env.action_space.sample())
    return join_states(visited), [text for texts in window.prefixes for text in texts]


def plain(model: ActorCritic, states: States) -> torch.Tensor:
    """Values of every state on a row of its own."""
    _, values = model._evaluate_rows(list(zip(states.prefix, states.account, strict=True)))
    return values


def measure(accounts: int, threads: int) -> dict[str, float]:
    """Time both ways once warm."""
    torch.set_num_threads(threads)
    states, prefixes = simulated_states(accounts)
    with tempfile.TemporaryDirectory() as folder:
        write_backbone(PolicyConfig(), prefixes, 0, Path(folder))
        model = build_actor_critic(Path(folder), PolicyConfig(), 0, torch.device("cpu"))
    with torch.no_grad():
        plain(model, states)  # fills the token cache and warms torch up
        started = time.perf_counter()
        one_by_one = plain(model, states)
        between = time.perf_counter()
        distinct = model.evaluate(states).values
        ended = time.perf_counter()
    scale = float(one_by_one.abs().max())
    return {
        "accounts": accounts,
        "states": len(states),
        "distinct": len(set(zip(states.prefix, states.account, strict=True))),
        "plain_seconds": between - started,
        "distinct_seconds": ended - between,
        "speedup": (between - started) / (ended - between),
        "relative_difference": float((one_by_one - distinct).abs().max()) / scale,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "states_per_second": len(states) / (ended - between),
    }


def main() -> None:
    """Print one row per number of accounts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [measure(accounts, arguments.threads) for accounts in arguments.accounts]
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print("  ".join(f"{name} {np.format_float_positional(value, 4, trim='-')}" for name, value in row.items()))


if __name__ == "__main__":
    main()
