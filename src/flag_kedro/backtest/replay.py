"""Replaying a decision rule over a window, one account per symbol.

Shape legend: N = accounts = symbols.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.env.account import ACTION_NAMES, HOLD, refuse_masked
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decide, Decisions, States
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.names import STOPPED

SESSIONS_AHEAD = 16
"""Sessions of prompts that `replay` announces at once."""
ReadAhead = Callable[[Sequence[str]], None]
"""Reads prompts without their accounts, so that later answers come sooner; they do not depend on it."""
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
    "exposure": pl.Float64,
}


@dataclass(frozen=True)
class Replay:
    """A replayed strategy as tables."""

    prompts: pl.DataFrame
    """Columns `PROMPTS`, one row per decision: the text shown, and the legal actions in words."""
    decisions: pl.DataFrame
    """Columns `DECISIONS`, one row per symbol and session; `position` is before the action. A ruined account
    decides no more. With `env.max_drawdown_stop` also `stopped`: whether the account is closed, or to be."""
    equity: pl.DataFrame
    """Columns `EQUITY`, one row per symbol and session; `position` was held over the return ending that
    session, whose first is null, with the share `exposure` of equity. A ruined account stays where it ended."""

    @property
    def choices(self) -> pl.DataFrame:
        """The decisions with more than one legal action, columns `DECISIONS`; others could not be different."""
        several = self.prompts.filter(pl.col("legal").str.contains(" ", literal=True))
        return self.decisions.join(several, on=KEYS, how="semi", maintain_order="left")


def replay(
    strategy: str,
    window: TradingWindow,
    config: EnvConfig,
    decide: Decide,
    on_step: Callable[[], None] | None = None,
    read_ahead: ReadAhead | None = None,
) -> Replay:
    """Let `decide` trade the whole window, each symbol once from flat.

    Args:
        strategy: name for the tables.
        window: sessions to trade.
        config: costs and account view; `max_episode_steps` is ignored, a replay is one episode.
        decide: the rule; it is asked for every symbol at once, in the window's order.
        on_step: called after each session, for a progress bar.
        read_ahead: told which prompts come next, some sessions at a time, so that they can be read together.

    Raises:
        ValueError: when `decide` answers with a masked action.
    """
    env = TradingVectorEnv(window, replace(config, max_episode_steps=None))
    num_symbols, longest = env.num_envs, int(window.num_sessions.max())
    rows = _Rows(strategy, window, stops=config.max_drawdown_stop is not None)
    states, equity = env.states(), env.equity()
    position, ruined = np.zeros(num_symbols, dtype=np.int64), np.zeros(num_symbols, dtype=bool)
    stopped = np.zeros(num_symbols, dtype=bool)
    for s in range(num_symbols):
        rows.add_equity(s, 0, config.initial_cash, None)
    for t in range(longest):
        if read_ahead is not None and t % SESSIONS_AHEAD == 0:
            read_ahead([text for texts in window.prefixes for text in texts[t : t + SESSIONS_AHEAD]])
        decisions = decide(states)
        for s in np.flatnonzero((t < window.num_sessions) & ~ruined).tolist():
            rows.add_decision(s, t, states, decisions, int(position[s]), stopped=bool(stopped[s]))
        if on_step is not None:
            on_step()
        if t == longest - 1:
            break
        going = t < window.num_sessions - 1
        observed, _, terminated, truncated, info = env.step(np.where(going & ~ruined, decisions.actions, HOLD))
        states, position, stopped = env.states(), observed["position"], info.get("stopped", stopped)
        if (terminated | truncated).any():
            states = info["final_states"]
            for s in np.flatnonzero(info["_final_obs"]).tolist():
                position[s] = info["final_obs"][s]["position"]
        reached = np.where(ruined, equity, info["equity"])
        for s in np.flatnonzero(going).tolist():
            log_return = float(np.log(reached[s] / equity[s]))
            rows.add_equity(s, t + 1, float(reached[s]), log_return, _Held.of(info, s))
        equity = reached
        ruined |= terminated & going
    return rows.as_tables()


@dataclass(frozen=True)
class _Held:
    """What an account held over the return that ends at a session, and traded there."""

    position: int = 0
    traded_value: float = 0.0
    exposure: float = 0.0

    @classmethod
    def of(cls, info: Mapping[str, Any], s: int) -> "_Held":
        """From what the environment told of its account `s`."""
        return cls(int(info["position"][s]), float(info["traded_value"][s]), float(info["exposure"][s]))


_NOTHING = _Held()


class _Rows:
    """Rows of a replay's three tables, in the order in which they come about."""

    def __init__(self, strategy: str, window: TradingWindow, *, stops: bool) -> None:
        self._strategy, self._window, self._stops = strategy, window, stops
        self._prompts: list[tuple[object, ...]] = []
        self._decisions: list[tuple[object, ...]] = []
        self._equity: list[tuple[object, ...]] = []

    def add_decision(
        self, s: int, t: int, states: States, decisions: Decisions, position: int, *, stopped: bool
    ) -> None:
        """Add what symbol `s` was shown in its session `t` and what was decided.

        Raises:
            ValueError: when the action is masked.
        """
        symbol, session, mask = self._window.symbols[s], self._window.sessions[s][t], states.action_mask[s]
        refuse_masked(symbol, session, int(decisions.actions[s]), mask, position)
        legal = " ".join(name for name, ok in zip(ACTION_NAMES, mask, strict=True) if ok)
        self._prompts.append((self._strategy, symbol, session, states.prefix[s] + states.account[s], legal))
        row = (self._strategy, symbol, session, *_decision_columns(decisions, s), position)
        self._decisions.append((*row, stopped) if self._stops else row)

    def add_equity(self, s: int, t: int, equity: float, log_return: float | None, held: "_Held" = _NOTHING) -> None:
        """Add the account of symbol `s` at its session `t`."""
        symbol, session = self._window.symbols[s], self._window.sessions[s][t]
        row = (equity, held.position, log_return, held.traded_value, held.exposure)
        self._equity.append((self._strategy, symbol, session, *row))

    def as_tables(self) -> Replay:
        """All rows, by symbol and session."""
        order = ["symbol", "session"]
        columns = DECISIONS | {STOPPED: pl.Boolean} if self._stops else DECISIONS
        return Replay(
            prompts=pl.DataFrame(self._prompts, schema=PROMPTS, orient="row").sort(order, maintain_order=True),
            decisions=pl.DataFrame(self._decisions, schema=columns, orient="row").sort(order, maintain_order=True),
            equity=pl.DataFrame(self._equity, schema=EQUITY, orient="row").sort(order, maintain_order=True),
        )


def _decision_columns(decisions: Decisions, s: int) -> tuple[object, ...]:
    """Action, probabilities and value of symbol `s`, as `DECISIONS` has them."""
    probabilities = (None, None, None) if decisions.probabilities is None else map(float, decisions.probabilities[s])
    value = None if decisions.values is None else float(decisions.values[s])
    return (ACTION_NAMES[decisions.actions[s]], *probabilities, value)
