"""What can be asked of a prompt afterwards: one row for each symbol and session, with what came of it."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date

import numpy as np
import polars as pl

from flag_kedro.data.config import NewsConfig
from flag_kedro.data.realised import HORIZON, realised_variance
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.account import Floats
from flag_kedro.env.prompt import write_prefix
from flag_kedro.env.split import MarketSplit
from flag_kedro.evaluation.volatility import ewma_variance, har_regressors
from flag_kedro.features.ablation import NOT_SHOWN
from flag_kedro.features.indicators import compute_indicators

INDICATORS = ("return_1", "return_5", "return_20", "volatility_20", "rsi_14", "macd", "range_60", "volume_ratio")
HAR_COLUMNS = ("har_day", "har_week", "har_month")
LARGE = 0.8
"""Quantile of a symbol's absolute returns in the training window from which a move is large."""
SAMPLES = {
    "symbol": pl.String,
    "session": pl.Date,
    "window": pl.String,
    "prefix": pl.String,
    "next_return": pl.Float64,
    "next_variance": pl.Float64,
    "week_variance": pl.Float64,
    "ewma_next": pl.Float64,
    "ewma_week": pl.Float64,
    "oracle_week": pl.Float64,
    **dict.fromkeys(HAR_COLUMNS, pl.Float64),
    **dict.fromkeys(INDICATORS, pl.Float64),
    "large_move": pl.Boolean,
    "news_sign": pl.Int64,
    "level": pl.Int64,
}
"""`next_return`: log return of the close after the session over its own; `next_variance`, `week_variance`: squared
returns of the next one and five, summed. Null where they end behind the session's window. `ewma_*`, `har_*` and
indicators are of closes up to the session. `oracle_week`: what who knows the simulation expects of `week_variance`,
null where no headline announces volatility. `news_sign`: of the planted effect of what became known at the session,
null without a known truth; `level`: how hard that is to read."""


def gather_samples(split: MarketSplit, news: NewsConfig, simulated: SimulatedConfig) -> pl.DataFrame:
    """Rows of all windows, columns `SAMPLES`, by symbol and session.

    Args:
        split: the market; symbols that take no part in a window have rows there all the same.
        news: source of the articles, for the truth of a simulated market.
        simulated: its rule.
    """
    truth = _truth(split, news, simulated)
    tables = [_of_symbol(symbol, states, split) for symbol, states in split.states.items()]
    table = pl.concat(tables)
    if truth is None:
        known = [pl.lit(None, pl.Int64).alias(name) for name in ("news_sign", "level")]
        known.append(pl.lit(None, pl.Float64).alias("oracle_week"))
        return table.with_columns(known).select(list(SAMPLES))
    return table.join(truth, on=["symbol", "session"], how="left").select(list(SAMPLES))


TAG = re.compile(r"\s*\(sentiment: (positive|negative)\)$")
"""At the end of a headline of InvestorBench."""
TAGGED = {name: SAMPLES[name] for name in ("symbol", "session", "window", "prefix", "news_sign", "level")}


def gather_tagged_headlines(split: MarketSplit) -> pl.DataFrame:
    """Headlines that their source calls positive or negative, each in a prompt of its own, the tag taken off.

    Returns:
        Columns `TAGGED`, one row for each symbol, session and text; `news_sign` is the tag, `level` null.
    """
    spans = {name: span for name, span in asdict(split.windows).items() if span is not None}
    rows = dict[tuple[str, date, str], tuple[object, ...]]()
    for symbol, states in split.states.items():
        texts = states.select("session", "news_text").rows()
        for (session, news_text), window in zip(texts, window_of([day for day, _ in texts], spans), strict=True):
            for line in news_text.splitlines() if window is not None else ():
                if (tag := TAG.search(line)) is not None:
                    prefix = write_prefix(NOT_SHOWN, TAG.sub("", line), split.env.positions)
                    sign = 1 if tag.group(1) == "positive" else -1
                    rows[symbol, session, prefix] = (symbol, session, window, prefix, sign, None)
    return pl.DataFrame(list(rows.values()), schema=TAGGED, orient="row")


def _truth(split: MarketSplit, news: NewsConfig, simulated: SimulatedConfig) -> pl.DataFrame | None:
    """Sign of what each session's headlines plant, their level, and the week's variance; None where nobody knows."""
    if split.data.source != "simulated" or news.source != "own":
        return None
    truth = simulate_market(tuple(split.states), simulated, split.data.seed).truth
    sign = pl.col("usable").sign().cast(pl.Int64).alias("news_sign")
    announced = simulated.rule().volatility_news > 0.0
    week = pl.when(announced).then(pl.col("week_variance")).alias("oracle_week")
    return truth.select("symbol", "session", sign, pl.col("level").cast(pl.Int64), week)


def _of_symbol(symbol: str, states: pl.DataFrame, split: MarketSplit) -> pl.DataFrame:
    spans = {name: span for name, span in asdict(split.windows).items() if span is not None}
    returns = np.diff(np.log(states["mark_price"].to_numpy()), prepend=np.nan)
    regressors = har_regressors(returns)
    prices = states.select("session", "volume", close="mark_price", adj_close="mark_price")
    prefixes = [
        write_prefix(market, news, split.env.positions)
        for market, news in states.select("market_text", "news_text").rows()
    ]
    window = window_of(states["session"].to_list(), spans)
    table = states.select("symbol", "session").with_columns(
        window=pl.Series(window, dtype=pl.String),
        prefix=pl.Series(prefixes),
        next_return=_within(np.append(returns[1:], np.nan), window, 1),
        next_variance=_within(realised_variance(returns, 1), window, 1),
        week_variance=_within(realised_variance(returns), window, HORIZON),
        ewma_next=pl.Series(ewma_variance(returns, 1)),
        ewma_week=pl.Series(ewma_variance(returns)),
        **{name: pl.Series(regressors[:, at]) for at, name in enumerate(HAR_COLUMNS)},
    )
    table = table.join(compute_indicators(prices, "partial").select("session", *INDICATORS), on="session", how="left")
    learned = table.filter(window="train")["next_return"].abs().quantile(LARGE)
    return table.with_columns(
        pl.col(pl.Float64).fill_nan(None), large_move=pl.col("next_return").abs() > learned
    ).filter(pl.col("window").is_not_null())


def window_of(sessions: list[date], spans: Mapping[str, tuple[date, date]]) -> list[str | None]:
    """Name of the window that each session is in; None for none."""
    return [next((name for name, (first, last) in spans.items() if first <= day <= last), None) for day in sessions]


def _within(values: Floats, window: list[str | None], horizon: int) -> pl.Series:
    """Null where what comes `horizon` sessions later is in another window than the session."""
    later = [*window[horizon:], *[None] * min(horizon, len(window))]
    kept = [
        value if now == then and now is not None else None
        for value, now, then in zip(values, window, later, strict=True)
    ]
    return pl.Series(kept, dtype=pl.Float64).fill_nan(None)
