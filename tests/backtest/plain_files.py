"""The saved files of a backtest as plain lists, for loops that share no code with the scorer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

PRICES = "02_intermediate/prices.parquet"
STATES = "04_feature/market_states"
DECISIONS = "07_model_output/decisions.parquet"
EQUITY = "07_model_output/equity.parquet"
METRICS = "08_reporting/backtest_metrics.json"
INFERENCE = "08_reporting/backtest_inference.json"
SENSITIVITY = "08_reporting/backtest_sensitivity.json"

Key = tuple[str, str]
"""Symbol and strategy."""


@dataclass(frozen=True)
class Day:
    """One session of one symbol, adjusted for splits and dividends."""

    session: date
    open: float | None
    close: float
    volume: float | None
    """Shares, in units of the adjusted prices."""
    closes_at: datetime


@dataclass(frozen=True)
class Terms:
    """How orders were filled and paid, as the account's convention in the metrics file says."""

    fill: str
    long_short: bool
    cost: float
    """Of a trade, as a share of its value."""
    cash_rate: float
    borrow_rate: float
    max_participation: float | None
    window: tuple[date, date]
    days: Mapping[str, int]
    """Sessions in a year, by symbol."""


@dataclass(frozen=True)
class Decision:
    """What was decided at a session's close."""

    session: date
    action: str
    position: int
    """Before the action."""
    probabilities: tuple[float, float, float] | None


@dataclass(frozen=True)
class Mark:
    """One row of an account: what it is worth at a session's close, and what it did in the session."""

    session: date
    equity: float
    position: int
    log_return: float | None
    traded: float
    exposure: float


@dataclass(frozen=True)
class Saved:
    """All that a finished backtest has saved and this room recomputes."""

    terms: Terms
    market: dict[str, list[Day]]
    decisions: dict[Key, list[Decision]]
    equity: dict[Key, list[Mark]]
    metrics: dict[str, Any]
    inference: dict[str, Any]
    sensitivity: dict[str, Any]

    @property
    def strategies(self) -> list[str]:
        return list(dict.fromkeys(strategy for _, strategy in self.equity))

    @property
    def initial_cash(self) -> float:
        return next(iter(self.equity.values()))[0].equity

    def results(self, convention: str) -> dict[str, dict[str, dict[str, Any]]]:
        """The saved scores by symbol and strategy, whichever convention the run had asked for."""
        both = (self.metrics, self.metrics["other_convention"])
        (found,) = (scored["results"] for scored in both if scored["convention"]["name"] == convention)
        return dict(found)


def read_saved(folder: Path) -> Saved:
    """Read a run's data folder."""
    metrics, inference, sensitivity = (
        json.loads((folder / name).read_text()) for name in (METRICS, INFERENCE, SENSITIVITY)
    )
    terms = read_terms(metrics)
    sessions = {symbol: read_sessions(folder / STATES / f"{symbol}.parquet", terms) for symbol in metrics["results"]}
    market = read_market(folder / PRICES, sessions)
    decisions, equity = read_decisions(folder / DECISIONS), read_equity(folder / EQUITY)
    return Saved(terms, market, decisions, equity, metrics, inference, sensitivity)


def read_terms(metrics: Mapping[str, Any]) -> Terms:
    both = (metrics["convention"], metrics["other_convention"]["convention"])
    (account,) = (convention for convention in both if convention["name"] == "account")
    first, last = (date.fromisoformat(day) for day in account["window"])
    return Terms(
        fill=account["fill"],
        long_short=account["positions"] == "long_short",
        cost=(account["cost_bps"] + account["slippage_bps"]) / 10_000,
        cash_rate=account["cash_rate"],
        borrow_rate=account["borrow_bps_year"] / 10_000,
        max_participation=account["max_participation"],
        window=(first, last),
        days=account["days_per_year"],
    )


def read_sessions(path: Path, terms: Terms) -> list[date]:
    """Sessions in the window that have a market state, so that something could be decided."""
    first, last = terms.window
    return [session for session in pl.read_parquet(path)["session"] if first <= session <= last]


def read_market(path: Path, sessions: Mapping[str, list[date]]) -> dict[str, list[Day]]:
    """Prices of those sessions; `adj_close / close` adjusts prices, and volumes the other way round (docs/data.md)."""
    market: dict[str, list[Day]] = {symbol: [] for symbol in sessions}
    for row in pl.read_parquet(path).sort("session").iter_rows(named=True):
        if row["session"] not in sessions.get(row["symbol"], []):
            continue
        factor = row["adj_close"] / row["close"]
        opened = None if row["open"] is None else row["open"] * factor
        volume = None if row["volume"] is None else row["volume"] / factor
        market[row["symbol"]].append(Day(row["session"], opened, row["adj_close"], volume, row["available_at"]))
    return market


def read_decisions(path: Path) -> dict[Key, list[Decision]]:
    decisions: dict[Key, list[Decision]] = {}
    for row in pl.read_parquet(path).iter_rows(named=True):
        chances = row["prob_sell"], row["prob_hold"], row["prob_buy"]
        decision = Decision(row["session"], row["action"], row["position"], None if None in chances else chances)
        decisions.setdefault((row["symbol"], row["strategy"]), []).append(decision)
    return decisions


def read_equity(path: Path) -> dict[Key, list[Mark]]:
    equity: dict[Key, list[Mark]] = {}
    for row in pl.read_parquet(path).iter_rows(named=True):
        fields = ("session", "equity", "position", "log_return", "traded_value", "exposure")
        equity.setdefault((row["symbol"], row["strategy"]), []).append(Mark(*(row[name] for name in fields)))
    return equity
