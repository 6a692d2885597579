"""A market split into training, validation and test window."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

import polars as pl

from flag_kedro.data.config import DataConfig
from flag_kedro.data.exchanges import symbol_calendar
from flag_kedro.data.windows import Windows, resolve_windows
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.env.window import TradingWindow, cut_window, effective_fill, require_events
from flag_kedro.features.events import find_events, name_kinds
from flag_kedro.features.market_state import data_hash
from flag_kedro.names import SIMULATED


@dataclass(frozen=True)
class MarketSplit:
    """Market states and the windows that are cut from them, each when it is first asked for.

    `walk_forward` never asks for the run's own windows, nor `sweep` for the test window: what is not asked for is not
    cut, and cannot be wrong. Only where fills can happen is decided by the opens of all states.
    """

    states: Mapping[str, pl.DataFrame]
    """Tables of `features.market_state`, one per symbol."""
    data: DataConfig
    env: EnvConfig
    """With the fill that the data allow."""
    preset: str | None = None
    """Of a simulated market, in words, for those who describe it."""
    given: Windows | None = None
    """Windows that were resolved on other states; None resolves them on these."""
    num_warming: int = 0
    """First states of each symbol that warm indicators up, see `data.windows.resolve_windows`."""

    @classmethod
    def of(
        cls,
        states: Mapping[str, pl.DataFrame],
        data: DataConfig,
        env: EnvConfig,
        preset: str | None = None,
        num_warming: int = 0,
    ) -> "MarketSplit":
        """The split of `states`, with `env.fill` replaced by what the data allow.

        Raises:
            DataError: when a symbol has opens on some sessions only, see `env.window.effective_fill`.
        """
        filled = replace(env, fill=effective_fill(env.fill, states))
        return cls(states, data, filled, preset, num_warming=num_warming)

    @property
    def market(self) -> str:
        """The source in words."""
        return f"{SIMULATED}, preset {self.preset}" if self.data.source == "simulated" else self.data.source

    def with_states(self, states: Mapping[str, pl.DataFrame]) -> "MarketSplit":
        """The same windows and environment over other states of the same sessions."""
        return replace(self, states=states)

    @cached_property
    def windows(self) -> Windows:
        """First and last session of each window.

        Raises:
            ParameterError, DataError: see `data.windows.resolve_windows`.
        """
        return self.given or resolve_windows(self.data, self.states, num_warming=self.num_warming)

    @cached_property
    def train(self) -> TradingWindow:
        """Sessions to learn from."""
        return require_events(self.cut(self.windows.train), "training")

    @cached_property
    def validation(self) -> TradingWindow | None:
        """Sessions that choose the weights; None where there are none."""
        if self.windows.validation is None:
            return None
        return require_events(self.cut(self.windows.validation), "validation")

    @cached_property
    def test(self) -> TradingWindow:
        """Sessions that the backtest scores."""
        return require_events(self.cut(self.windows.test), "test")

    def test_on(self, states: Mapping[str, pl.DataFrame]) -> TradingWindow:
        """The test window over other states of the same sessions, with the events of these: the same may trade."""
        window = self.with_states(states).cut(self.windows.test)
        return replace(window, event_kinds=self.test.event_kinds)

    @property
    def evaluation(self) -> EvaluationWindow:
        """The test window as scoring needs it."""
        first, last = self.windows.test
        return EvaluationWindow(self.test, self.env, (first.isoformat(), last.isoformat()), self.calendars)

    @cached_property
    def calendars(self) -> dict[str, str]:
        """Exchange calendar of each symbol."""
        return {symbol: symbol_calendar(symbol, self.data) for symbol in self.states}

    @cached_property
    def data_hash(self) -> str:
        """Hash of all states."""
        return data_hash(self.states)

    @property
    def state_facts(self) -> dict[str, Any]:
        """Facts of the data alone, whatever windows are cut from them, fit for JSON."""
        return {"symbols": list(self.states), "calendars": dict(self.calendars), "data_hash": self.data_hash}

    @property
    def facts(self) -> dict[str, Any]:
        """Facts on which a trained policy and its reader must agree, fit for JSON."""
        return {**self.state_facts, "windows": self.windows.as_text(), "env": self.env.facts()}

    def event_names(self, symbol: str, session: date) -> list[str] | None:
        """Kinds of events that a session of a symbol is; None where every session may trade."""
        if self.env.event_rule is None:
            return None
        states = self.states[symbol]
        kinds = find_events(states, self.env.event_rule)[states["session"].index_of(session)]
        return name_kinds(int(kinds))

    def cut(self, span: tuple[date, date]) -> TradingWindow:
        """The sessions from the first to the last date of `span`, see `env.window.cut_window`.

        Raises:
            LookAheadError, DataError: as there.
        """
        return cut_window(self.states, span, self.env.fill, positions=self.env.positions, events=self.env.event_rule)
