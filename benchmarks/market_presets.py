"""What the presets of the simulated market hold: the table of docs/data.md.

Means over data seeds of the test window, six symbols in equal parts, shipped costs and prompts.
"""

import argparse
from dataclasses import asdict
from typing import get_args

import numpy as np
from power_curve import Market
from rich.progress import track

from flag_kedro.backtest.counterfactual import replay_targets
from flag_kedro.backtest.metrics import sharpe_ratio
from flag_kedro.backtest.text_ridge import fit_text_ridge, ridge_targets
from flag_kedro.data.config import DataConfig
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated import YEAR_SESSIONS, SimulatedConfig, simulate_market
from flag_kedro.data.simulated.config import PRESETS, Language, Preset
from flag_kedro.env.account import Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.oracle import ask_oracle
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states


def measure(preset: Preset, language: Language | None, seed: int) -> dict[str, float]:
    """The rows of one market."""
    simulated = SimulatedConfig(market=preset, language=language)
    drawn = simulate_market(None, simulated, seed)
    names = {symbol: [COMPANIES[symbol]] for symbol in drawn.prices["symbol"].unique(maintain_order=True)}
    states, _ = build_market_states(drawn.prices, drawn.news, names=names, **asdict(FeaturesConfig()))
    split = MarketSplit.of(states, DataConfig(seed=seed), EnvConfig())
    market = Market(split, drawn.truth, simulated)
    best = ask_oracle(split.test, split.env, drawn.truth, simulated)
    held = np.ones_like(best.targets)
    ridge = ridge_targets(fit_text_ridge(split.states, split.train, split.env.cost), split.states, split.test)
    moved = (drawn.prices["close"] / drawn.prices["open"]).log()
    return {
        "Sharpe ratio of the optimal policy": pooled_sharpe(split, best.targets),
        "log return that it expects, sum over symbols": float(best.expected_log_return.sum()),
        "Sharpe ratio of buy and hold": pooled_sharpe(split, held),
        "part of a session's variance that is planted": float(
            np.var(drawn.truth["effect"].to_numpy()) / np.var(moved.to_numpy())
        ),
        "articles that move their price": float(np.mean(drawn.articles["kind"].is_in(["good", "bad"]).to_numpy())),
        "articles a symbol and session": drawn.news.height / drawn.prices.height,
        "share of text_ridge, noise and drift left out": market.share(ridge),
        "share of buy and hold, noise and drift left out": market.share(held),
    }


def pooled_sharpe(split: MarketSplit, targets: Ints) -> float:
    """Annual Sharpe ratio of positions [S, T] in one account of equal parts."""
    equity = replay_targets(split.test, split.env, targets[:, None]).equity[:, 0].sum(axis=0)
    return float(sharpe_ratio(np.diff(np.log(equity)), YEAR_SESSIONS))


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--language", choices=get_args(Language), help="the preset's where left out")
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    rows = {preset: [measure(preset, arguments.language, seed) for seed in track(seeds, preset)] for preset in PRESETS}
    print("| | " + " | ".join(f"`{preset}`" for preset in PRESETS) + " |")
    for name in rows["easy"][0]:
        means = (np.mean([row[name] for row in rows[preset]]) for preset in PRESETS)
        print(f"| {name} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
