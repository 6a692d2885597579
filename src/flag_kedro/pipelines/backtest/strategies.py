"""Every strategy that a backtest judges, built from the tables up, so that the audit can build them anew."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.baselines import buy_and_hold, flat, sticky_random
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.backtest.rules import follow, macd_targets, rsi_targets
from flag_kedro.backtest.text_ridge import fit_text_ridge, ridge_targets
from flag_kedro.data.windows import Windows
from flag_kedro.env.account import Floats
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decide, Decisions, States
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError
from flag_kedro.ppo.runtime import RuntimeConfig

logger = logging.getLogger(__name__)
FRESH_SESSIONS = 10
"""Sessions before an audited time that policies answer anew, whatever they remember."""
RULES = ("buy_and_hold", "flat", "sticky_random", "momentum", "mean_reversion", "text_ridge")
ORDER = (
    "flag_trader",
    "buy_and_hold",
    "flat",
    "sticky_random",
    "momentum",
    "mean_reversion",
    "untrained_lm",
    "text_ridge",
    "text_linear_ppo",
    "sb3_ppo",
)


class Reader:
    """A policy that reads prompts and nothing else, with a memory of its answers.

    A prompt's answer does not depend on its neighbours (canonical shapes), so memory gives the same bits. The
    audit would otherwise spend its time on language models that are asked the same thing a dozen times.
    """

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._answers: dict[tuple[str, str, bytes], tuple[int, Floats, float]] = {}

    def answer(self, states: States) -> Decisions:
        """Ask the policy."""
        said = self._decide(states)
        assert said.probabilities is not None
        assert said.values is not None
        answers = zip(said.actions, said.probabilities, said.values, strict=True)
        self._answers |= dict(zip(_keys(states), answers, strict=True))
        return said

    def answer_again(self, fresh: set[int]) -> Decide:
        """A rule for one replay: known prompts come from memory, but for those of the sessions in `fresh`."""
        asked = -1

        def decide(states: States) -> Decisions:
            nonlocal asked
            asked += 1
            keys = _keys(states)
            if asked in fresh or not all(key in self._answers for key in keys):
                return self.answer(states)
            actions, probabilities, values = zip(*(self._answers[key] for key in keys), strict=True)
            return Decisions(np.array(actions), np.stack(probabilities), np.array(values))

        return decide


def _keys(states: States) -> list[tuple[str, str, bytes]]:
    masks = (mask.tobytes() for mask in states.action_mask)
    return list(zip(states.prefix, states.account, masks, strict=True))


@dataclass(frozen=True)
class Strategies:
    """All that is needed to replay every strategy on given tables."""

    readers: Mapping[str, Reader]
    """Policies that read prompts and nothing else."""
    indicator_agent: Callable[[pl.DataFrame, TradingWindow], Decide] | None
    """Makes the rule of the Stable-Baselines3 agent from prices and a window; None without one."""
    env: EnvConfig
    """With the fill that the data allow."""
    windows: Windows
    seed: int

    def play(
        self,
        prices: pl.DataFrame,
        market_states: Mapping[str, pl.DataFrame],
        until: datetime | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> dict[str, Replay]:
        """Replay all strategies over the test window.

        Args:
            prices: the validated table.
            market_states: built from it and from the news.
            until: policies that read prompts need decide no later, and answer prompts of more than ten sessions
                before from memory; the others always see the whole window, so that one which peeks into it has
                something to see.
            on_step: called after each session of each strategy.
        """
        cut = partial(cut_window, fill=self.env.fill, positions=self.env.positions)
        window = cut(market_states, self.windows.test)
        known = {
            symbol: table if until is None else table.filter(pl.col("decided_at") <= until)
            for symbol, table in market_states.items()
        }
        shown = window if until is None else cut(known, self.windows.test)
        fresh = {t for n in shown.num_sessions.tolist() for t in range(max(0, n - FRESH_SESSIONS), n)}
        played = {}
        for name, reader in self.readers.items():
            decide = reader.answer if until is None else reader.answer_again(fresh)
            played[name] = replay(name, shown, self.env, decide, on_step)
        for name, rule in self._rules(prices, market_states, window).items():
            played[name] = replay(name, window, self.env, rule, on_step)
        return {name: played[name] for name in ORDER if name in played}

    def without(self, *names: str) -> "Strategies":
        """The same strategies but for some that read prompts."""
        return replace(self, readers={name: rule for name, rule in self.readers.items() if name not in names})

    def __len__(self) -> int:
        return len(self.readers) + len(RULES) + (self.indicator_agent is not None)

    def _rules(
        self, prices: pl.DataFrame, tables: Mapping[str, pl.DataFrame], window: TradingWindow
    ) -> dict[str, Decide]:
        train = cut_window(tables, self.windows.train, self.env.fill, positions=self.env.positions)
        shorts = self.env.positions == "long_short"
        ridge = fit_text_ridge(tables, train, self.env.cost)
        rules = {
            "buy_and_hold": buy_and_hold,
            "flat": flat,
            "sticky_random": sticky_random(self.seed, window.symbols),
            "momentum": follow(macd_targets(tables, window, shorts)),
            "mean_reversion": follow(rsi_targets(tables, window, shorts)),
            "text_ridge": follow(ridge_targets(ridge, tables, window, shorts)),
        }
        return rules if self.indicator_agent is None else rules | {"sb3_ppo": self.indicator_agent(prices, window)}


def open_strategies(
    policy: Path,
    backbone: Path,
    text_baseline: Path,
    sb3_baseline: Path | None,
    trunk_cache: Path,
    facts: dict[str, Any],
    env: EnvConfig,
    windows: Windows,
    runtime: RuntimeConfig,
    seed: int,
) -> Strategies:
    """Open the trained policies, each refused unless it was trained on these `facts`.

    Raises:
        DataError: when a policy is damaged or was trained on something else.
    """
    from flag_kedro.policy.actor_critic import build_actor_critic
    from flag_kedro.policy.bag_of_words import FACTS, load_bag_of_words
    from flag_kedro.policy.bundle import check_facts, load_policy, read_description
    from flag_kedro.policy.config import PolicyConfig
    from flag_kedro.policy.trunk import open_trunk_cache
    from flag_kedro.ppo.device import prepare_torch
    from flag_kedro.ppo.encoding import closed_account_texts

    device = prepare_torch(runtime)
    description = read_description(policy)
    check_facts(description, facts)
    check_facts(json.loads((text_baseline / FACTS).read_text()), facts, "06_models/text_baseline")
    agent = None if sb3_baseline is None else _optional_agent(sb3_baseline, facts)
    folder = policy / "backbone" if (policy / "backbone").is_dir() else backbone
    config = PolicyConfig(**description["policy"])
    cache = open_trunk_cache(folder, config, device, trunk_cache)
    model = load_policy(policy, backbone, device, cache)
    untrained = build_actor_critic(folder, config, description["seed"], device, cache)
    if config.trunk_cache == "disk" and not any(trunk_cache.iterdir()):
        logger.warning(
            "no prompt was read ahead into %s: give the training's trunk_cache_dir to save time", trunk_cache
        )
    elif config.trunk_cache == "disk":
        for reader in (model, untrained):
            reader.complete_rows(closed_account_texts(env))
    return Strategies(
        readers={
            "flag_trader": Reader(model.decide),
            "untrained_lm": Reader(untrained.decide),
            "text_linear_ppo": Reader(load_bag_of_words(text_baseline).decide),
        },
        indicator_agent=None if agent is None else agent.decide,
        env=env,
        windows=windows,
        seed=seed,
    )


def _optional_agent(folder: Path, facts: dict[str, Any]) -> Any:
    """The Stable-Baselines3 agent in `folder`; None, with a warning, where it does not fit this run."""
    from flag_kedro.experiments.sb3_agent import load_sb3
    from flag_kedro.policy.bundle import check_facts

    try:
        agent = load_sb3(folder)
        check_facts(agent.facts, facts, "06_models/sb3_baseline", train="sb3_baseline")
    except DataError as error:
        logger.warning("sb3_ppo is left out of this backtest: %s", error)
        return None
    return agent
