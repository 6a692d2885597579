"""Fills against the prices table: a ledger that knows the traded values and nothing else of the environment.

Shares bought are the traded value over the price at which the session's fill must have happened. With any other price
the equity that follows from them is not the equity of the backtest. Orders must be filled when they were asked for, no
account may hold more than its equity pays for, and a drawdown that stops it closes what it holds.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import polars as pl

from flag_kedro.backtest.audit_results import MAX_LISTED, AuditDifference, FillCheck
from flag_kedro.env.account import ACTION_NAMES, DUST, HOLD, RUIN_SHARE
from flag_kedro.env.config import EnvConfig
from flag_kedro.features.indicators import adjusted_prices

TOLERANCE = 1e-9
"""Of a session's equity, relative."""
DAYS, DAY_SECONDS = 365, 86_400


@dataclass(frozen=True)
class _Session:
    """One session of one account: what the backtest says of it, and the prices table."""

    day: date
    asked: int
    """1 after a purchase was asked for at the close before, -1 after a sale, 0 otherwise."""
    side: int
    """The same of the last purchase or sale that was asked for, 0 before both."""
    traded_value: float
    equity: float
    log_return: float | None
    position: int
    """Held over the return that ends here."""
    fill_price: float
    previous_close: float
    close: float
    volume: float | None
    """Shares of the session of the fill, adjusted; None where the source has none."""
    years: float
    """Since the close before."""


def check_fills(prices: pl.DataFrame, decisions: pl.DataFrame, equity: pl.DataFrame, env: EnvConfig) -> FillCheck:
    """Rebuild every account's equity from its traded values and the prices table.

    Args:
        prices: the validated table, not the market states, whose prices the environment trades at.
        decisions: columns of `replay.DECISIONS`.
        equity: columns of `replay.EQUITY`.
        env: the fill rule that the data allow, costs and rates.
    """
    accounts = _sessions(prices, decisions, equity, env.fill).partition_by("strategy", "symbol", maintain_order=True)
    differences = []
    for account in accounts:
        strategy, symbol = account["strategy"][0], account["symbol"][0]
        differences += [
            AuditDifference(what=what, strategy=strategy, symbol=symbol, session=day.isoformat())
            for what, day in _unexplained(account, env)
        ]
    return FillCheck(
        compared=equity.height,
        num_fills=equity.filter(pl.col("traded_value") > 0).height,
        num_differences=len(differences),
        differences=differences[:MAX_LISTED],
    )


def _sessions(prices: pl.DataFrame, decisions: pl.DataFrame, equity: pl.DataFrame, fill: str) -> pl.DataFrame:
    """One row for each row of `equity`, with what `_Session` says, in order within each account."""
    table = adjusted_prices(prices).sort("symbol", "session")
    before = {name: pl.col(name).shift(1).over("symbol") for name in ("adj_close", "adj_volume", "available_at")}
    fills = {
        "next_open": (pl.col("adj_open"), pl.col("adj_volume")),
        "next_close": (pl.col("adj_close"), pl.col("adj_volume")),
        "same_close": (before["adj_close"], before["adj_volume"]),
    }
    fill_price, volume = fills[fill]
    priced = table.select(
        "symbol",
        "session",
        fill_price=fill_price,
        previous_close=before["adj_close"],
        close="adj_close",
        volume=volume,
        years=(pl.col("available_at") - before["available_at"]).dt.total_seconds() / (DAYS * DAY_SECONDS),
    )
    order, side = ["strategy", "symbol", "session"], {name: code - HOLD for code, name in enumerate(ACTION_NAMES)}
    asked = pl.col("action").replace_strict(side, return_dtype=pl.Int64)
    account = ("strategy", "symbol")
    last_asked = pl.when(asked != 0).then(asked).forward_fill().shift(1).over(account)
    sides = decisions.sort(order).select(*order, asked=asked.shift(1).over(account), side=last_asked)
    return (
        equity.sort(order)
        .join(sides, on=order, how="left", maintain_order="left")
        .with_columns(pl.col("side").forward_fill().over(account).fill_null(0), pl.col("asked").fill_null(0))
        .join(priced, on=["symbol", "session"], how="left", maintain_order="left")
        .select("strategy", "symbol", pl.col("session").alias("day"), *list(_Session.__annotations__)[1:])
    )


@dataclass
class _Ledger:
    """Cash and shares of one account, as they follow from its traded values and the prices table."""

    env: EnvConfig
    cash: float
    shares: float = 0.0
    stretched: bool = False
    """Whether the last fill took more than the equity pays for: cash below 0, or a short worth more than the equity."""
    peak: float = 0.0
    """Largest equity at a mark so far."""
    stopped: bool = False
    """Whether a drawdown has stopped the account."""
    closed_by_stop: bool = False
    """Whether the last fill had something to close for that reason."""

    def mark(self, equity: float) -> None:
        """Look at the drawdown of a session's equity."""
        self.peak, most = max(self.peak, equity), self.env.max_drawdown_stop
        self.stopped |= most is not None and equity <= self.peak * (1.0 - most)

    def enter(self, session: _Session) -> None:
        """Pass the night and book the session's fill."""
        if self.env.fill != "same_close":
            self.cash += _night(self.cash, self.shares, session, self.env)
        self.closed_by_stop = self.stopped and self.shares != 0.0
        self.shares += (bought := self._bought(session))
        if self.closed_by_stop and abs(self.shares) <= TOLERANCE * abs(bought):
            self.shares = 0.0
        self.cash -= bought * session.fill_price + session.traded_value * self.env.cost
        held = self.shares * session.fill_price
        least = -TOLERANCE * max(self.cash + held, 0.0)
        self.stretched = bought != 0.0 and (self.cash < least if held > 0.0 else self.cash + 2.0 * held < least)
        if self.env.fill == "same_close":
            self.cash += _night(self.cash, self.shares, session, self.env)

    def _bought(self, session: _Session) -> float:
        amount = session.traded_value / session.fill_price
        if self.stopped:
            return -math.copysign(amount, self.shares)
        closes = self.shares < 0.0 and math.isclose(amount, -self.shares, rel_tol=TOLERANCE)
        return amount if closes else session.side * amount  # a short under water is closed, whatever was asked for

    def position(self, close: float, equity: float) -> int:
        """Side that is held."""
        value = self.shares * close
        return 0 if abs(value) <= TOLERANCE * equity else (1 if value > 0 else -1)


def _unexplained(account: pl.DataFrame, env: EnvConfig) -> Iterator[tuple[str, date]]:
    """Kind and day of what is wrong with one account, until its ledger no longer holds."""
    before, *later = (_Session(**row) for row in account.drop("strategy", "symbol").iter_rows(named=True))
    ledger = _Ledger(env, before.equity, peak=before.equity)
    if not math.isclose(before.equity, env.initial_cash, rel_tol=TOLERANCE):
        yield "ledger", before.day
    for session in later:
        held_before = ledger.position(session.previous_close, before.equity)
        ledger.enter(session)
        expected = ledger.cash + ledger.shares * session.close
        ruined = expected <= DUST * env.initial_cash
        expected = RUIN_SHARE * before.equity if ruined else expected
        if not math.isclose(session.equity, expected, rel_tol=TOLERANCE):
            yield "ledger", session.day
            return  # what follows is a consequence
        held = ledger.position(session.close, session.equity)
        yield from ((what, session.day) for what in _faults(session, before, ledger, held_before, held) if not ruined)
        if ruined:  # what is left is set, nothing is traded and nothing accrues any more
            yield from (
                ("ledger", each.day) for each in later[later.index(session) + 1 :] if each.equity != session.equity
            )
            return
        ledger.mark(session.equity)
        before = session


def _faults(session: _Session, before: _Session, ledger: _Ledger, held_before: int, held: int) -> Iterator[str]:
    """What is wrong with a session whose equity is right."""
    env, limited = ledger.env, ledger.env.max_participation is not None
    fills = ledger.closed_by_stop if ledger.stopped else session.asked != 0
    if not limited and fills != (session.traded_value > 0.0):
        yield "order"
    if ledger.stopped and not limited and held != 0:
        yield "stop"
    if ledger.stretched:
        yield "leverage"
    gain = math.log(session.equity / before.equity)
    if session.log_return is None or not math.isclose(session.log_return, gain, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        yield "log_return"
    over = {"next_close": held_before, "same_close": held, "next_open": held or held_before}[env.fill]
    if session.position != over:
        yield "position"
    if _exceeds_volume(session, env.max_participation):
        yield "volume"


def _night(cash: float, shares: float, session: _Session, env: EnvConfig) -> float:
    """Interest on free cash less the fee for borrowed shares (`env.account.Accounts.accrue`)."""
    held = shares * session.previous_close
    free = max(min(cash, cash + held), 0.0)
    interest: float = (1.0 + env.cash_rate) ** session.years - 1.0
    return free * interest + min(held, 0.0) * env.borrow_rate * session.years


def _exceeds_volume(session: _Session, max_participation: float | None) -> bool:
    if max_participation is None or session.volume is None or session.traded_value == 0.0:
        return False
    most = max_participation * session.volume
    return session.traded_value / session.fill_price > most * (1.0 + TOLERANCE)
