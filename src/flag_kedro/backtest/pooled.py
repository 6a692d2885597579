"""The account of all symbols together: what somebody had who gave each symbol as much money at the start.

Shape legend: S = symbols, D = dates on which any symbol has a session.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from flag_kedro.backtest.config import Convention
from flag_kedro.backtest.draws import Cash, Draws, IntervalScores, add_intervals, draw_windows
from flag_kedro.backtest.replay import EQUITY
from flag_kedro.backtest.scores import score_strategies
from flag_kedro.env.account import RUIN_SHARE, Floats
from flag_kedro.names import ALL_SYMBOLS


@dataclass(frozen=True)
class ReplayedStrategies:
    """What all strategies decided and earned, by symbol or of all symbols together."""

    decisions: pl.DataFrame
    """Columns of `replay.DECISIONS`."""
    equity: pl.DataFrame
    """Columns of `replay.EQUITY`, with `buy_and_hold` among the strategies."""
    calendars: Mapping[str, str]
    """Exchange calendar of each symbol."""
    cash_returns: Cash | None = None
    """Log return of cash over each return of the window, [n] a symbol; None is a rate of 0."""
    long_short: bool = False
    """Whether `sell` asks for a short position."""

    @cached_property
    def pooled(self) -> "ReplayedStrategies":
        """The same of the account of all symbols, under the symbol `all`."""
        cash = None if self.cash_returns is None else {ALL_SYMBOLS: pool_cash(self.equity, self.cash_returns)}
        never_closes = "24/7" in self.calendars.values()
        calendar = "24/7" if never_closes else next(iter(self.calendars.values()))
        decisions = self.decisions.with_columns(symbol=pl.lit(ALL_SYMBOLS))
        return replace(
            self,
            decisions=decisions,
            equity=pool_accounts(self.equity),
            calendars={ALL_SYMBOLS: calendar},
            cash_returns=cash,
        )

    def draw(self, num_draws: int, seed: int) -> Draws:
        """Bootstrap draws of every symbol's sessions, and of those of the account of all symbols.

        Raises:
            DataError: as `draw_windows`.
        """
        pooled = self.pooled
        cash = None if self.cash_returns is None else {**self.cash_returns, **(pooled.cash_returns or {})}
        return draw_windows(pl.concat([self.equity, pooled.equity]), num_draws, seed, cash)

    def score(
        self, marks: Mapping[str, Floats], convention: Convention, draws: Draws
    ) -> dict[str, dict[str, IntervalScores]]:
        """Scores by symbol and strategy, and the interval `[low, high]` of each as `METRIC_ci95`.

        Args:
            marks: closes of each symbol over the window, [n + 1]; the convention `account` needs none.
            convention: see `config.BacktestConfig`.
            draws: of `draw`.
        """
        arguments = self.decisions, self.equity, marks, self.calendars, convention
        results = score_strategies(*arguments, self.cash_returns, long_short=self.long_short)
        return add_intervals(results, *arguments, draws, self.cash_returns, long_short=self.long_short)


def pool_accounts(equity: pl.DataFrame) -> pl.DataFrame:
    """Add the accounts of all symbols up, strategy by strategy; between its sessions a symbol stays as it was.

    Nothing is moved between symbols, so there is no cost that the accounts have not paid. A ruined account is worth
    nothing here: the token share that the environment leaves it keeps rewards finite.

    Args:
        equity: columns of `replay.EQUITY`.

    Returns:
        The same columns with the symbol `all`; `position` is the number of symbols with a position,
        `exposure` the share of all equity that is in them.
    """
    dates = equity.select("session").unique().sort("session")
    grid = equity.select("strategy", "symbol").unique().join(dates, how="cross")
    filled = grid.join(equity, on=["strategy", "symbol", "session"], how="left").sort("strategy", "symbol", "session")
    path = ["strategy", "symbol"]
    before = pl.col("equity").shift().over(path)
    ruined = (pl.col("equity") <= before * RUIN_SHARE * (1.0 + 1e-9)).fill_null(False).cum_max().over(path)
    filled = filled.with_columns(
        pl.col("equity").forward_fill().backward_fill().over(path),
        pl.col("position").forward_fill().over(path).fill_null(0).abs(),
        pl.col("traded_value").fill_null(0.0),
        pl.col("exposure").forward_fill().over(path).fill_null(0.0),
    )
    filled = filled.with_columns(equity=pl.when(ruined).then(0.0).otherwise("equity"))
    filled = filled.with_columns(exposure=pl.col("exposure") * pl.col("equity"))
    order = equity.select("strategy").unique(maintain_order=True)
    sums = pl.col("equity", "position", "traded_value", "exposure").sum()
    pooled = filled.group_by("strategy", "session", maintain_order=True).agg(sums)
    pooled = order.join(pooled.sort("session"), on="strategy", maintain_order="left_right")
    log_return = (pl.col("equity") / pl.col("equity").shift()).log().over("strategy")
    exposure = pl.when(pl.col("equity") > 0.0).then(pl.col("exposure") / pl.col("equity")).otherwise(0.0)
    return pooled.with_columns(symbol=pl.lit(ALL_SYMBOLS), log_return=log_return, exposure=exposure).select(
        pl.col(name).cast(kind) for name, kind in EQUITY.items()
    )


def pool_cash(equity: pl.DataFrame, cash_returns: Mapping[str, Floats]) -> Floats:
    """Log returns of accounts that hold cash only, all symbols added up, [D - 1].

    Args:
        equity: columns of `replay.EQUITY`, for the sessions and for what each symbol starts with.
        cash_returns: log return of cash over each return of a symbol, [n].
    """
    first = equity.filter(pl.col("strategy") == equity["strategy"][0])
    accounts = []
    for (symbol,), path in first.group_by("symbol", maintain_order=True):
        grown = path["equity"][0] * np.exp(np.concatenate([[0.0], np.cumsum(cash_returns[str(symbol)])]))
        accounts.append(path.with_columns(pl.Series("equity", grown)))
    returns: Floats = pool_accounts(pl.concat(accounts))["log_return"].drop_nulls().to_numpy()
    return returns


def pool_log_returns(log_returns: Floats) -> Floats:
    """Log return of equal shares of money, [K], from those of each symbol, [S, K]."""
    return np.asarray(np.log(np.exp(log_returns).mean(axis=0)))
