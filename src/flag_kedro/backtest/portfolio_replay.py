"""Replaying a rule that asks for weights, in one account over all symbols.

Shape legend: S = symbols, T = sessions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.replay import EQUITY, PROMPTS, SESSIONS_AHEAD, ReadAhead
from flag_kedro.env.account import ACTION_NAMES, Floats
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.portfolio import PortfolioVectorEnv
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow
from flag_kedro.names import ALL_SYMBOLS

Weigh = Callable[[States, Floats], Floats | None]
"""A rule: from the prompts of an account's symbols, [S], and weights held at the close, [1, S], to weights [1, S], or
to None where nothing is to be traded."""
WEIGHTS = {
    "strategy": pl.String,
    "symbol": pl.String,
    "session": pl.Date,
    "target": pl.Float64,
    "weight": pl.Float64,
}


@dataclass(frozen=True)
class PortfolioReplay:
    """A replayed strategy as tables."""

    prompts: pl.DataFrame
    """Columns `replay.PROMPTS`, one row per symbol and decision."""
    weights: pl.DataFrame
    """Columns `WEIGHTS`, one row per symbol and session: what was asked for at its close (null where nothing was; the
    last is not filled any more), and what is held there."""
    equity: pl.DataFrame
    """Columns `replay.EQUITY` under the symbol `all`, one row per session; `exposure` is the sum of the weights' sizes
    after the fill, `position` 1 where there is any."""


@dataclass(frozen=True)
class OpenPortfolio:
    """A trained portfolio, ready to decide."""

    weigh: Weigh
    """It reads prompts alone, whatever is held."""
    read_ahead: ReadAhead
    description: Mapping[str, Any]
    """Of its bundle."""
    policy_hash: str
    config: PortfolioConfig


def replay_portfolio(
    strategy: str,
    window: TradingWindow,
    config: EnvConfig,
    portfolio: PortfolioConfig,
    weigh: Weigh,
    on_step: Callable[[], None] | None = None,
    read_ahead: ReadAhead | None = None,
) -> PortfolioReplay:
    """Let `weigh` trade the whole window once, from cash.

    Where only events may trade (`env.decide_on`), what was asked for at another session is asked for again until then.

    Args:
        strategy: name for the tables.
        window: sessions to trade.
        config: costs; `max_episode_steps` is ignored, a replay is one episode.
        portfolio: gross limit and threshold.
        weigh: the rule.
        on_step: called after each session, for a progress bar.
        read_ahead: told which prompts come next, some sessions at a time.

    Raises:
        DataError: when symbols trade on different sessions.
        ValueError: when weights are not allowed.
    """
    env = PortfolioVectorEnv(window, replace(config, max_episode_steps=None), portfolio)
    env.reset()
    days, states, held = window.sessions[0], env.states(), env.weights()
    weights, prompts = list[tuple[object, ...]](), list[tuple[object, ...]]()
    path: list[tuple[object, ...]] = [(strategy, ALL_SYMBOLS, days[0], config.initial_cash, 0, None, 0.0, 0.0)]
    equity, ruined, stopped = config.initial_cash, False, False
    waiting: Floats | None = None
    for t, day in enumerate(days):
        if read_ahead is not None and t % SESSIONS_AHEAD == 0:
            read_ahead([text for texts in window.prefixes for text in texts[t : t + SESSIONS_AHEAD]])
        last = t == len(days) - 1
        targets = None if ruined or stopped else weigh(states, held)
        if window.is_event is not None:  # what was asked for where nothing is traded waits for the next event
            targets = waiting if targets is None else targets
            waiting = None if window.is_event[:, t].any() else targets
        for s, symbol in enumerate(window.symbols):
            if not ruined:
                legal = " ".join(name for name, ok in zip(ACTION_NAMES, states.action_mask[s], strict=True) if ok)
                prompts.append((strategy, symbol, day, states.prefix[s] + states.account[s], legal))
            asked = None if targets is None else float(targets[0, s])
            weights.append((strategy, symbol, day, asked, float(held[0, s])))
        if on_step is not None:
            on_step()
        if last:
            break
        if ruined:
            path.append((strategy, ALL_SYMBOLS, days[t + 1], equity, 0, 0.0, 0.0, 0.0))
            continue
        _, terminated, _, info = env.step(targets)
        states, held, reached = info.get("final_states") or env.states(), info["held"], float(info["equity"][0])
        gross = float(np.abs(info["weights"]).sum())
        row = (reached, int(gross > 0.0), float(np.log(reached / equity)), float(info["traded_value"][0]), gross)
        path.append((strategy, ALL_SYMBOLS, days[t + 1], *row))
        equity, ruined, stopped = reached, bool(terminated[0]), bool(info["stopped"][0])
    return PortfolioReplay(
        prompts=pl.DataFrame(prompts, schema=PROMPTS, orient="row").sort("symbol", "session", maintain_order=True),
        weights=pl.DataFrame(weights, schema=WEIGHTS, orient="row").sort("symbol", "session", maintain_order=True),
        equity=pl.DataFrame(path, schema=EQUITY, orient="row"),
    )
