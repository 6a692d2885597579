"""Replaying a decision rule over a window, one account per symbol.

Shape legend: N = accounts = symbols.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from flag_kedro.env.account import ACTION_NAMES, HOLD, refuse_masked
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decide, Decisions
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow

KEYS = ["strategy", "symbol", "session"]
PROMPTS = {
    "strategy": pl.String,
    "symbol": pl.String,
    "session": pl.Date,
    "prompt": pl.String,
    "legal": pl.String,
}
DECISIONS = {
    "strategy": pl.String,
    "symbol": pl.String,
    "session": pl.Date,
    "action": pl.String,
    "prob_sell": pl.Float64,
    "prob_hold": pl.Float64,
    "prob_buy": pl.Float64,
    "value": pl.Float64,
    "position": pl.Int64,
}
EQUITY = {
    "strategy": pl.String,
    "symbol": pl.String,
    "session": pl.Date,
    "equity": pl.Float64,
    "position": pl.Int64,
    "log_return": pl.Float64,
    "traded_value": pl.Float64,
}


@dataclass(frozen=True)
class Replay:
    """A replayed strategy as tables."""

    prompts: pl.DataFrame
    """Columns `PROMPTS`, one row per decision: the text shown, and the legal actions in words."""
    decisions: pl.DataFrame
    """Columns `DECISIONS`, one row per symbol and session; `position` is before the action. A ruined account
    decides no more."""
    equity: pl.DataFrame
    """Columns `EQUITY`, one row per symbol and session; `position` was held over the return ending that
    session, whose first is null. A ruined account stays where it ended."""


def replay(
    strategy: str,
    window: TradingWindow,
    config: EnvConfig,
    decide: Decide,
    on_step: Callable[[], None] | None = None,
) -> Replay:
    """Let `decide` trade the whole window, each symbol once from flat.

    Args:
        strategy: name for the tables.
        window: sessions to trade.
        config: costs and account view; `max_episode_steps` is ignored, a replay is one episode.
        decide: the rule; it is asked for every symbol at once, in the window's order.
        on_step: called after each session, for a progress bar.

    Raises:
        ValueError: when `decide` answers with a masked action.
    """
    env = TradingVectorEnv(window, replace(config, max_episode_steps=None))
    num_symbols, longest = env.num_envs, int(window.num_sessions.max())
    prompt_rows: list[tuple[object, ...]] = []
    decision_rows: list[tuple[object, ...]] = []
    equity_rows: list[tuple[object, ...]] = [
        (strategy, window.symbols[s], window.sessions[s][0], config.initial_cash, 0, None, 0.0)
        for s in range(num_symbols)
    ]
    states, equity = env.states(), env.equity()
    position, ruined = np.zeros(num_symbols, dtype=np.int64), np.zeros(num_symbols, dtype=bool)
    for t in range(longest):
        decisions = decide(states)
        deciding = (t < window.num_sessions) & ~ruined
        for s in np.flatnonzero(deciding).tolist():
            place = (window.symbols[s], window.sessions[s][t])
            refuse_masked(*place, int(decisions.actions[s]), states.action_mask[s], int(position[s]))
            legal = " ".join(name for name, ok in zip(ACTION_NAMES, states.action_mask[s], strict=True) if ok)
            prompt_rows.append((strategy, *place, states.prefix[s] + states.account[s], legal))
            decision_rows.append((strategy, *place, *_said(decisions, s), int(position[s])))
        if on_step is not None:
            on_step()
        if t == longest - 1:
            break
        going = t < window.num_sessions - 1
        observed, _, terminated, truncated, info = env.step(np.where(going & ~ruined, decisions.actions, HOLD))
        states, position = env.states(), observed["position"]
        if (terminated | truncated).any():
            states = info["final_states"]
            for s in np.flatnonzero(info["_final_obs"]).tolist():
                position[s] = info["final_obs"][s]["position"]
        reached = np.where(ruined, equity, info["equity"])
        equity_rows += [
            (
                strategy,
                window.symbols[s],
                window.sessions[s][t + 1],
                float(reached[s]),
                int(info["position"][s]),
                float(np.log(reached[s] / equity[s])),
                float(info["traded_value"][s]),
            )
            for s in np.flatnonzero(going)
        ]
        equity = reached
        ruined |= terminated & going
    order = ["symbol", "session"]
    return Replay(
        prompts=pl.DataFrame(prompt_rows, schema=PROMPTS, orient="row").sort(order, maintain_order=True),
        decisions=pl.DataFrame(decision_rows, schema=DECISIONS, orient="row").sort(order, maintain_order=True),
        equity=pl.DataFrame(equity_rows, schema=EQUITY, orient="row").sort(order, maintain_order=True),
    )


def _said(decisions: Decisions, s: int) -> tuple[object, ...]:
    """Action, probabilities and value of symbol `s`, as `DECISIONS` has them."""
    probabilities = (None, None, None) if decisions.probabilities is None else map(float, decisions.probabilities[s])
    value = None if decisions.values is None else float(decisions.values[s])
    return (ACTION_NAMES[decisions.actions[s]], *probabilities, value)
