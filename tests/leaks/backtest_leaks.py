"""Leaks behind ingest: each replaces one function of the project by one that knows, or grants, too much."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest import replay, text_ridge
from flag_kedro.data import universe as universe_module
from flag_kedro.env import account, split, trading, window
from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments import strategies
from flag_kedro.features import indicators, market_state
from flag_kedro.features.events import EVENT_KINDS

Plant = Callable[[pytest.MonkeyPatch], None]
Change = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
"""From market states and articles (`symbol`, `available_at`, `text`) of some symbols to other states."""


IN_PARTS = EnvConfig(initial_cash=1e8, max_participation=0.4)
"""An order of all the money takes several sessions."""
UNLIMITED = EnvConfig()
ON_MOVES = EnvConfig(decide_on="events", event_news_burst=None, event_large_move=1.0)


@dataclass(frozen=True)
class Leak:
    """A fault that flatters a backtest."""

    name: str
    where: str
    """The part of the project in which it hides."""
    plant: Plant
    caught_as: str
    """What the audit must list: a kind of `audit_results.AuditDifference`, or a name of `full_audit.FITTED`."""
    env: EnvConfig = IN_PARTS


def in_states(change: Change) -> Plant:
    """Change the market states once they are built."""
    build = market_state._build_batch

    def leaky(prices: pl.DataFrame, articles: pl.DataFrame, *settings: Any) -> Any:
        table, reports = build(prices, articles, *settings)
        return change(table, articles), reports

    return lambda patch: patch.setattr(market_state, "_build_batch", leaky)


def shows(value: pl.Expr) -> Change:
    """Show a number in the market text."""
    text = pl.format(" {}", value.round(3))
    return lambda states, articles: states.with_columns(pl.col("market_text") + text.fill_null(""))


def in_indicators(**columns: pl.Expr) -> Plant:
    """Compute indicators from other columns of a symbol's prices."""
    compute = indicators.compute_indicators
    return lambda patch: patch.setattr(
        market_state, "compute_indicators", lambda prices, *how: compute(prices.with_columns(**columns), *how)
    )


def with_volume_ratio(ratio: pl.Expr) -> Plant:
    """Divide volume by something else than its last sessions."""
    compute = indicators.compute_indicators

    def leaky(prices: pl.DataFrame, *how: indicators.WarmUp) -> pl.DataFrame:
        table = compute(prices, *how)
        leaked = pl.when(table["volume_ratio"].is_not_null()).then(prices.select(ratio).to_series())
        return table.with_columns(volume_ratio=leaked)

    return lambda patch: patch.setattr(market_state, "compute_indicators", leaky)


def in_window(change: Callable[[window.TradingWindow], window.TradingWindow]) -> Plant:
    """Change what the environment trades at."""
    return lambda patch: patch.setattr(
        split, "cut_window", lambda *args, **kwargs: change(window.cut_window(*args, **kwargs))
    )


def from_next_session(column: str, when: pl.Expr) -> Change:
    """Show what the next session shows on some sessions."""
    following = pl.col(column).shift(-1).over("symbol").fill_null("none")
    return lambda states, articles: states.with_columns(pl.when(when).then(following).otherwise(pl.col(column)))


def number_of_next_articles(states: pl.DataFrame, articles: pl.DataFrame) -> pl.DataFrame:
    until = pl.col("decided_at").shift(-1).over("symbol")
    spans = states.select("symbol", "decided_at", until=until)
    inside = (pl.col("available_at") > pl.col("decided_at")) & (pl.col("available_at") <= pl.col("until"))
    counts = spans.join(articles, on="symbol").filter(inside).group_by("symbol", "decided_at").len("num")
    with_counts = states.join(counts, on=["symbol", "decided_at"], how="left", maintain_order="left")
    return shows(pl.col("num").fill_null(0).cast(pl.Float64))(with_counts, articles).drop("num")


def time_of_next_article(states: pl.DataFrame, articles: pl.DataFrame) -> pl.DataFrame:
    later = articles.select("symbol", next_at="available_at").sort("next_at")
    timed = states.sort("decided_at").join_asof(
        later, left_on="decided_at", right_on="next_at", by="symbol", strategy="forward", allow_exact_matches=False
    )
    hours = (pl.col("next_at") - pl.col("decided_at")).dt.total_minutes() / 60.0
    return shows(hours)(timed, articles).drop("next_at").sort("symbol", "session")


def length_of_all_headlines(states: pl.DataFrame, articles: pl.DataFrame) -> pl.DataFrame:
    total = float(articles["text"].str.len_chars().sum())
    return shows(pl.lit(total))(states, articles)


def worst_news_last(states: pl.DataFrame, articles: pl.DataFrame) -> pl.DataFrame:
    falls = pl.col("mark_price").shift(-1).over("symbol") < pl.col("mark_price")
    turned = pl.col("news_text").str.split("\n").list.reverse().list.join("\n")
    return states.with_columns(news_text=pl.when(falls).then(turned).otherwise(pl.col("news_text")))


def tells_of_membership(column: str) -> Plant:
    """Show the days until a day of the universe."""

    def leaky(states: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
        days = universe.group_by("symbol").agg(day=pl.col(column).max())
        with_day = states.join(days, on="symbol", how="left", maintain_order="left")
        left = (pl.col("day") - pl.col("session")).dt.total_days().cast(pl.Float64)
        shown = shows(left)(with_day, pl.DataFrame()).drop("day")
        return universe_module.with_membership(shown, universe)

    return lambda patch: patch.setattr(market_state, "with_membership", leaky)


def sells_before_a_fall(patch: pytest.MonkeyPatch) -> None:
    def clairvoyant(states: Any, test: window.TradingWindow, shorts: bool) -> np.ndarray:
        return (np.diff(test.mark_prices, axis=1, append=np.inf) > 0).astype(np.int64)

    patch.setattr(strategies, "macd_targets", clairvoyant)


def regression_on_the_test_window(patch: pytest.MonkeyPatch) -> None:
    def leaky(tables: Mapping[str, pl.DataFrame], train: window.TradingWindow, cost: float) -> text_ridge.TextRidge:
        everything = tuple(tuple(tables[symbol]["session"]) for symbol in train.symbols)
        return text_ridge.fit_text_ridge(tables, replace(train, sessions=everything), 0.0)

    patch.setattr(strategies, "fit_text_ridge", leaky)


def fills_at_the_low(patch: pytest.MonkeyPatch) -> None:
    adjust = indicators.adjusted_prices
    patch.setattr(
        market_state, "adjusted_prices", lambda prices: adjust(prices).with_columns(adj_open=pl.col("adj_low"))
    )


def sales_are_free(patch: pytest.MonkeyPatch) -> None:
    fill = account.Accounts._fill_in_parts

    def leaky(self: Any, asks: Any, target: Any, prices: Any, cost: float, most: Any) -> Any:
        return fill(self, asks, target, prices, 0.0 if (target[asks] <= 0).all() else cost, most)

    patch.setattr(account.Accounts, "_fill_in_parts", leaky)


def fills_that_pay_by_the_close(patch: pytest.MonkeyPatch) -> None:
    """Buys are dropped where the session falls, sales where it rises."""
    trade = trading.TradingVectorEnv._trade

    def leaky(self: Any, actions: Any) -> Any:
        here = self._row + self.session + 1
        rises = self._marks.take(here) > self._fills.take(here)
        return trade(self, np.where(actions == np.where(rises, 0, 2), 1, actions))

    patch.setattr(trading.TradingVectorEnv, "_trade", leaky)


def borrowed_money(patch: pytest.MonkeyPatch) -> None:
    """Every purchase is half as large again as the cash, at no interest."""
    fill = account.Accounts.fill

    def leaky(self: Any, actions: Any, prices: Any, cost: float, max_shares: Any = None) -> Any:
        bought = actions == account.BUY
        money = np.where(bought, 0.5 * self.cash, 0.0)
        self.cash = self.cash + money
        traded = fill(self, actions, prices, cost, max_shares)
        self.cash = self.cash - money
        return traded

    patch.setattr(account.Accounts, "fill", leaky)


def returns_without_losses(patch: pytest.MonkeyPatch) -> None:
    add = replay._Rows.add_equity

    def leaky(self: Any, s: int, t: int, equity: float, log_return: float | None, *held: Any) -> None:
        add(self, s, t, equity, None if log_return is None else abs(log_return), *held)

    patch.setattr(replay._Rows, "add_equity", leaky)


def shows_close(patch: pytest.MonkeyPatch) -> None:
    """Yahoo's closes know of later splits."""
    describe = market_state.describe_market
    patch.setattr(
        market_state,
        "describe_market",
        lambda table, *how: (
            describe(table, *how) + table.select(pl.format(" {}", pl.col("close").round(2))).to_series()
        ),
    )


def shifted(prices: np.ndarray, by: int) -> np.ndarray:
    """Prices of the session before or after, the last ones repeated."""
    moved = np.roll(prices, by, axis=1)
    moved[:, -1 if by < 0 else 0] = prices[:, -1 if by < 0 else 0]
    return moved


RETURN = pl.col("mark_price").shift(-1).over("symbol") / pl.col("mark_price")
LEVEL = pl.col("mark_price")
FRIDAY = pl.col("session").dt.weekday() == 5
MONTH_END = pl.col("session").dt.month() != pl.col("session").shift(-1).over("symbol").dt.month()
EVERY_DAY = pl.lit(True)


def in_events(find: Callable[[Any, pl.DataFrame, Any], Any]) -> Plant:
    """Find events by another function of the honest one, states and rule."""
    honest = window.find_events
    return lambda patch: patch.setattr(window, "find_events", lambda states, rule: find(honest, states, rule))


def moves_beside_all_moves(honest: Any, states: pl.DataFrame, rule: Any) -> Any:
    """Moves are large beside the deviation of the whole table."""
    returns = np.diff(np.log(states["mark_price"].to_numpy()), prepend=np.nan)
    return np.where(np.abs(returns) >= rule.large_move * np.nanstd(returns), EVENT_KINDS["large_move"], 0)


LEAKS = [
    Leak(
        "volume over its full-sample mean",
        "indicators",
        with_volume_ratio(pl.col("volume") / pl.col("volume").mean()),
        "prompts",
    ),
    Leak(
        "rank of volume in the full sample", "indicators", with_volume_ratio(pl.col("volume").rank() / 100.0), "prompts"
    ),
    Leak(
        "missing volume filled from later sessions",
        "indicators",
        in_indicators(volume=pl.col("volume").fill_null(strategy="backward")),
        "prompts",
    ),
    Leak(
        "moving average around the session",
        "indicators",
        in_indicators(adj_close=pl.col("adj_close").rolling_mean(3, center=True).fill_null(pl.col("adj_close"))),
        "prompts",
    ),
    Leak("the next session's return", "market text", in_states(shows(RETURN)), "prompts"),
    Leak(
        "price normalised over the whole table",
        "market text",
        in_states(shows((LEVEL - LEVEL.mean()) / LEVEL.std())),
        "prompts",
    ),
    Leak("adjusted price level", "market text", in_states(shows(LEVEL)), "texts"),
    Leak("level of a source that adjusts for splits", "market text", shows_close, "texts"),
    Leak(
        "days until the next session",
        "market text",
        in_states(
            shows((pl.col("session").shift(-1).over("symbol") - pl.col("session")).dt.total_days().cast(pl.Float64))
        ),
        "prompts",
    ),
    Leak("days until delisting", "market text", tells_of_membership("delisted"), "prompts"),
    Leak("days left as a member of the universe", "market text", tells_of_membership("last"), "prompts"),
    Leak("number of articles in the next session", "market text", in_states(number_of_next_articles), "prompts"),
    Leak("time of the next article", "market text", in_states(time_of_next_article), "prompts"),
    Leak("length of all headlines", "market text", in_states(length_of_all_headlines), "prompts"),
    Leak("the next session's news", "news text", in_states(from_next_session("news_text", EVERY_DAY)), "prompts"),
    Leak(
        "the next session's news on Fridays", "news text", in_states(from_next_session("news_text", FRIDAY)), "prompts"
    ),
    Leak(
        "the next session's news at month ends",
        "news text",
        in_states(from_next_session("news_text", MONTH_END)),
        "prompts",
    ),
    Leak("articles in the order of what followed", "news text", in_states(worst_news_last), "prompts"),
    Leak("a rule that sees the window's later prices", "strategies", sells_before_a_fall, "decisions"),
    Leak("a regression fitted on the test window too", "strategies", regression_on_the_test_window, "decisions"),
    Leak(
        "next_open that fills at the decision's close",
        "fills",
        in_window(lambda cut: replace(cut, fill_prices=shifted(cut.mark_prices, 1))),
        "ledger",
    ),
    Leak("fills at the session's low", "fills", fills_at_the_low, "ledger"),
    Leak(
        "fills a session later",
        "fills",
        in_window(lambda cut: replace(cut, fill_prices=shifted(cut.fill_prices, -1))),
        "fills",
    ),
    Leak(
        "marks a session later",
        "fills",
        in_window(lambda cut: replace(cut, mark_prices=shifted(cut.mark_prices, -1))),
        "fills",
    ),
    Leak("sales without costs", "fills", sales_are_free, "ledger"),
    Leak(
        "orders larger than their share of volume",
        "fills",
        in_window(lambda cut: replace(cut, fill_volumes=3.0 * cut.fill_volumes)),
        "volume",
    ),
    Leak(
        "orders dropped where the session goes against them", "fills", fills_that_pay_by_the_close, "order", UNLIMITED
    ),
    Leak("purchases with borrowed money", "fills", borrowed_money, "leverage", UNLIMITED),
    Leak(
        "sessions that may trade for what the next one brings",
        "events",
        in_events(lambda honest, states, rule: np.roll(honest(states, rule), -1)),
        "prompts",
        ON_MOVES,
    ),
    Leak("moves that are large in the full sample", "events", in_events(moves_beside_all_moves), "prompts", ON_MOVES),
    Leak("losses booked as gains", "equity table", returns_without_losses, "log_return"),
]
