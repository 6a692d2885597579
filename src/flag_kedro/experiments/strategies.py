"""Every strategy that a backtest replays, built from the tables up, so that the audit can build them anew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from flag_kedro import names
from flag_kedro.backtest.audit import states_until
from flag_kedro.backtest.baselines import buy_and_hold, flat, sticky_random
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.backtest.rules import follow, macd_targets, rsi_targets
from flag_kedro.backtest.text_ridge import fit_text_ridge, ridge_targets
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decide
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.cached_policy import CachedPolicy
from flag_kedro.experiments.language_models import AskedModels, describe_models

FRESH_SESSIONS = 10
"""Sessions before an audited time that policies answer anew, whatever they remember."""
RULES = (names.BENCHMARK, names.FLAT, names.STICKY_RANDOM, names.MOMENTUM, names.MEAN_REVERSION, names.TEXT_RIDGE)
IndicatorAgent = Callable[[pl.DataFrame, TradingWindow], Decide]
"""Makes a rule from prices and a window."""


@dataclass(frozen=True)
class Strategies:
    """All that is needed to replay every strategy on given tables. A policy is opened when it is first asked."""

    policies: Mapping[str, Callable[[], CachedPolicy]]
    """Opens each policy that reads prompts; the second call gives what the first gave."""
    indicator_agent: IndicatorAgent | None
    """The Stable-Baselines3 agent; None without one."""
    split: MarketSplit
    seed: int
    asked: AskedModels | None = None
    """Language models that are asked without training; None for none."""

    def __len__(self) -> int:
        return len(self.policies) + len(RULES) + (self.indicator_agent is not None)

    def describe(self, replays: Mapping[str, Replay]) -> dict[str, Any]:
        """What is to be said of the language models that were asked for these replays."""
        if self.asked is None:
            return {"left_out": None, "endpoint": None}
        return describe_models(self.asked, replays, self.split)

    def policy(self, name: str) -> CachedPolicy:
        """The policy `name`, opened."""
        return self.policies[name]()

    def play(
        self,
        prices: pl.DataFrame,
        market_states: Mapping[str, pl.DataFrame],
        *,
        until: datetime | None = None,
        leave_out: tuple[str, ...] = (),
        on_step: Callable[[], None] | None = None,
    ) -> dict[str, Replay]:
        """Replay all strategies over the test window.

        Args:
            prices: the validated table.
            market_states: built from it and from the news.
            until: policies that read prompts need decide no later, and answer prompts of more than ten sessions
                before from memory; the others always see the whole window, so that one which peeks into it has
                something to see.
            leave_out: strategies that are not replayed.
            on_step: called after each session of each strategy.

        Raises:
            LookAheadError, DataError: see `env.window.cut_window`.
        """
        split = self.split.with_states(market_states)
        test = self.split.windows.test
        window = split.cut(test)
        shown = window if until is None else self.split.with_states(states_until(market_states, until)).cut(test)
        fresh = {t for n in shown.num_sessions.tolist() for t in range(max(0, n - FRESH_SESSIONS), n)}
        played = {}
        for name in (name for name in self.policies if name not in leave_out):
            policy = self.policy(name)
            decide = policy.answer if until is None else policy.answer_again(fresh)
            played[name] = replay(name, shown, split.env, decide, on_step, policy.read_ahead)
        for name, rule in self._rules(prices, split, window).items():
            if name not in leave_out:
                played[name] = replay(name, window, split.env, rule, on_step)
        return {name: played[name] for name in names.STRATEGIES if name in played}

    def _rules(self, prices: pl.DataFrame, split: MarketSplit, window: TradingWindow) -> dict[str, Decide]:
        states, shorts = split.states, split.env.positions == "long_short"
        ridge = fit_text_ridge(states, split.cut(self.split.windows.train), split.env.cost)
        rules = {
            names.BENCHMARK: buy_and_hold,
            names.FLAT: flat,
            names.STICKY_RANDOM: sticky_random(self.seed, window.symbols),
            names.MOMENTUM: follow(macd_targets(states, window, shorts)),
            names.MEAN_REVERSION: follow(rsi_targets(states, window, shorts)),
            names.TEXT_RIDGE: follow(ridge_targets(ridge, states, window, shorts)),
        }
        return rules if self.indicator_agent is None else rules | {names.SB3_PPO: self.indicator_agent(prices, window)}


def join_replays(replays: Mapping[str, Replay]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decisions and equity of all strategies, one below the other."""
    decisions = pl.concat([played.decisions for played in replays.values()])
    return decisions, pl.concat([played.equity for played in replays.values()])
