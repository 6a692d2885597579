"""A window on which strategies are evaluated, and what scoring needs of it.

Shape legend: S = symbols, T = sessions of the longest, n = sessions of one symbol.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.names import FORCED, STOPPED


def target_positions(decisions: pl.DataFrame, *, long_short: bool = False) -> Ints:
    """Position that each decision asks for, [n]: what `sell` and `buy` target, or what was asked for where it holds.

    That is the position held, but for an order that is filled in parts. A stopped account is told to be flat.

    Args:
        decisions: `session`, `action` and `position` of `backtest.replay.DECISIONS`, and `stopped` where accounts can
            be; a session that is no later than the one before begins another path.
        long_short: whether `sell` goes short (-1) rather than flat (0).
    """
    sold = -1 if long_short else 0
    stopped = pl.col(STOPPED) if STOPPED in decisions.columns else pl.lit(False)
    asked = pl.when(stopped).then(0).when(pl.col("action") == "buy").then(1).when(pl.col("action") == "sell").then(sold)
    path = (pl.col("session") <= pl.col("session").shift()).fill_null(False).cum_sum()
    kept = pl.coalesce(asked.forward_fill().over(path), "position")
    return decisions.select(target=kept.cast(pl.Int64))["target"].to_numpy()


@dataclass(frozen=True)
class EvaluationWindow:
    """Sessions on which strategies are evaluated, and what scoring them needs."""

    window: TradingWindow
    env: EnvConfig
    """With the fill that the data allow."""
    dates: tuple[str, str]
    """First and last session date, ISO."""
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
        """Position that each decision of a strategy asks for, [S, T] by strategy; flat once it decides no more.

        Args:
            decisions: columns of `backtest.replay.DECISIONS`.
        """
        shape = self.window.mark_prices.shape
        by_strategy: dict[str, Ints] = {}
        for (strategy, symbol), rows in decisions.group_by("strategy", "symbol", maintain_order=True):
            targets = target_positions(rows, long_short=self.long_short)
            row = self.window.symbols.index(str(symbol))
            by_strategy.setdefault(str(strategy), np.zeros(shape, dtype=np.int64))[row, : len(targets)] = targets
        return by_strategy

    def stopped(self, decisions: pl.DataFrame) -> dict[str, set[str]]:
        """Symbols in which `env.max_drawdown_stop` closed the account of a strategy, by strategy.

        Args:
            decisions: columns of `backtest.replay.DECISIONS`, and `stopped` where accounts can be.
        """
        by_strategy: dict[str, set[str]] = {}
        if STOPPED in decisions.columns:
            for strategy, symbol in decisions.filter(STOPPED).select("strategy", "symbol").unique().rows():
                by_strategy.setdefault(strategy, set()).add(symbol)
        return by_strategy

    def mark_forced(self, decisions: pl.DataFrame) -> pl.DataFrame:
        """`decisions` with a column `forced` where some sessions are no event, so that nothing but `hold` was legal.

        Args:
            decisions: columns of `backtest.replay.DECISIONS`.
        """
        if self.window.is_event is None:
            return decisions
        by_symbol = zip(self.window.symbols, self.window.sessions, self.window.is_event, strict=True)
        rows = [(symbol, day, not events[t]) for symbol, days, events in by_symbol for t, day in enumerate(days)]
        marks = pl.DataFrame(rows, schema={"symbol": pl.String, "session": pl.Date, FORCED: pl.Boolean}, orient="row")
        return decisions.join(marks, on=["symbol", "session"], how="left", maintain_order="left")
