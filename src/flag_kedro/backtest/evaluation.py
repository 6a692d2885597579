"""A window that is judged, and what scoring it needs.

Shape legend: S = symbols, T = sessions of the longest, n = sessions of one symbol.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from flag_kedro.backtest.scores import target_positions
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow


@dataclass(frozen=True)
class EvaluationWindow:
    """Sessions that are judged, and what scoring them needs."""

    window: TradingWindow
    env: EnvConfig
    """With the fill that the data allow."""
    dates: tuple[str, str]
    """First and last session date."""
    calendars: dict[str, str]
    """Exchange calendar of each symbol."""

    @property
    def long_short(self) -> bool:
        """Whether `sell` asks for a short position."""
        return self.env.positions == "long_short"

    @property
    def marks(self) -> dict[str, Floats]:
        """Closes of each symbol, [n]."""
        return {s: self.window.mark_prices[i, : self.window.num_sessions[i]] for i, s in enumerate(self.window.symbols)}

    @property
    def cash_returns(self) -> dict[str, Floats]:
        """Log return of cash over each return of a symbol, [n - 1]."""
        rate, window = np.log1p(self.env.cash_rate), self.window
        return {s: rate * window.years[i, 1 : window.num_sessions[i]] for i, s in enumerate(window.symbols)}

    def targets(self, decisions: pl.DataFrame) -> dict[str, Ints]:
        """Position that each decision of a strategy asks for, [S, T]; flat once it decides no more."""
        shape = self.window.mark_prices.shape
        found: dict[str, Ints] = {}
        for (strategy, symbol), own in decisions.group_by("strategy", "symbol", maintain_order=True):
            targets = target_positions(own["action"], own["position"], long_short=self.long_short)
            row = self.window.symbols.index(str(symbol))
            found.setdefault(str(strategy), np.zeros(shape, dtype=np.int64))[row, : len(targets)] = targets
        return found
