"""`features.warm_up`: states of the sessions in which indicators have too little history."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.corruptions import delete_later
from flag_kedro.data.config import DataConfig
from flag_kedro.data.schema import NEWS
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.window import cut_window
from flag_kedro.errors import DataError
from flag_kedro.experiments.indicator_env import indicator_table
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.incremental import Record, StatesUpdate, update_market_states
from flag_kedro.features.indicators import WarmUp
from flag_kedro.features.market_state import build_market_states
from flag_kedro.features.market_tables import MarketTables

SPAN = (date(2021, 1, 4), date(2021, 4, 30))
MARKET = simulate_market(
    ("ALDR", "FJRD"), SimulatedConfig(market="easy", first_session=SPAN[0], last_session=SPAN[1]), 0
)
SIZES = {"digest_sessions": 3, "digest_chars": 600, "article_chars": 240}
CLOSES = ["close", "adj_close"]


def build(
    prices: pl.DataFrame = MARKET.prices, news: pl.DataFrame = MARKET.news, **settings: Any
) -> dict[str, pl.DataFrame]:
    return build_market_states(prices, news, **{**SIZES, "warm_up": "partial", **settings})[0]


def market_texts(**settings: Any) -> list[str]:
    return build(**settings)["ALDR"]["market_text"].to_list()


PARTIAL = build()


@pytest.mark.parametrize("digest_sessions", [1, 3, 60])
def test_states_from_session_60_on_are_byte_for_byte_those_of_full(digest_sessions: int) -> None:
    full, partial = (build(warm_up=kind, digest_sessions=digest_sessions) for kind in ("full", "partial"))
    for symbol, table in full.items():
        assert partial[symbol].slice(59).equals(table)


def test_states_begin_with_the_first_session_that_has_prices() -> None:
    for symbol, table in PARTIAL.items():
        assert table["session"].equals(MARKET.prices.filter(pl.col("symbol") == symbol)["session"])


def test_prompt_says_which_indicators_are_unknown() -> None:
    texts = market_texts()
    assert texts[0] == (
        "1d unknown, 5d unknown, 20d unknown, volatility unknown, RSI unknown, MACD unknown, range unknown, "
        "volume unknown"
    )
    first_known = {"1d": 1, "5d": 5, "20d": 20, "volatility": 20, "RSI": 14, "MACD": 33, "range": 59, "volume": 19}
    for name, session in first_known.items():
        known = [f"{name} unknown" not in text for text in texts]
        assert known == [row >= session for row in range(len(texts))], name


def test_first_return_is_of_the_two_closes_there_are() -> None:
    """Closes 50, 51 and 48: up 2 %, then down 5.9 %."""
    head = MARKET.prices.filter(pl.col("symbol") == "ALDR").head(3)
    prices = head.with_columns(pl.Series(name, [50.0, 51.0, 48.0]) for name in CLOSES)
    texts = build(prices)["ALDR"]["market_text"].to_list()
    assert [text.split(",")[0] for text in texts] == ["1d unknown", "1d +2.0%", "1d -5.9%"]


@pytest.mark.parametrize("known", [1, 2, 6, 15, 21, 34, 59, 60, 70])
@pytest.mark.parametrize("change", ["absent", "tenfold", "backwards"])
def test_states_do_not_know_what_comes_later(known: int, change: str) -> None:
    cutoff = PARTIAL["ALDR"]["decided_at"][known]
    later = pl.col("available_at") > cutoff
    numbers = pl.col("open", "high", "low", "close", "adj_close", "volume")
    future = {
        "absent": MARKET.prices.clear(),
        "tenfold": MARKET.prices.filter(later).with_columns(numbers * 10),
        "backwards": MARKET.prices.filter(later).with_columns(numbers.reverse().over("symbol")),
    }[change]
    prices = pl.concat([MARKET.prices.filter(~later), future]).sort("symbol", "session")
    changed = build(prices, MARKET.news.filter(~later))
    for symbol, table in PARTIAL.items():
        past = table.filter(pl.col("decided_at") <= cutoff)
        assert changed[symbol].filter(pl.col("decided_at") <= cutoff).write_csv() == past.write_csv()
    assert past.height == known + 1


def test_volume_is_unknown_only_where_the_session_has_one() -> None:
    prices = MARKET.prices.with_columns(volume=pl.lit(None, dtype=pl.Float64))
    assert not any("volume" in text for text in market_texts(prices=prices))


def test_rsi_of_a_price_that_has_not_moved_is_unknown() -> None:
    """Neither a gain nor a loss in 17 sessions: 0 / 0."""
    row = pl.int_range(pl.len()).over("symbol")
    prices = MARKET.prices.with_columns(
        pl.when(row < 17).then(50.0).otherwise(pl.col(name)).alias(name) for name in CLOSES
    )
    texts = market_texts(prices=prices)
    assert ["RSI unknown" in text for text in texts[:18]] == [True] * 17 + [False]


def test_constant_prices_have_neutral_indicators_once_there_are_sixty() -> None:
    flat = MARKET.prices.with_columns(pl.lit(50.0).alias(name) for name in CLOSES)
    texts = build(flat)["ALDR"]["market_text"].to_list()
    assert ["RSI unknown" in text for text in texts[:60]] == [True] * 59 + [False]
    assert "RSI 50" in texts[59]
    assert "range 50%" in texts[59]


def test_first_session_shows_the_news_of_one_day() -> None:
    first = PARTIAL["ALDR"]["decided_at"][0]
    times = {"Old": timedelta(days=1), "Of the day": timedelta(hours=23), "Now": timedelta(0)}
    rows = [
        {"symbol": "ALDR", "published_at": first - ago, "available_at": first - ago, "headline": text}
        for text, ago in times.items()
    ]
    news = pl.DataFrame([row | {"body": None, "source": None, "url": None} for row in rows], schema=NEWS)
    assert build(news=news)["ALDR"]["news_text"].to_list()[:4] == ["- Now\n- Of the day"] * 3 + ["none"]


def test_two_sessions_are_enough_and_one_is_refused_by_name() -> None:
    two, one = (MARKET.prices.group_by("symbol", maintain_order=True).head(num) for num in (2, 1))
    assert build(two)["FJRD"].height == 2
    with pytest.raises(DataError, match="ALDR has 1 sessions of prices; a symbol needs two states to trade"):
        build(one)
    with pytest.raises(DataError, match=r"features\.warm_up=partial does without"):
        build(two, warm_up="full")


def test_changing_it_builds_every_symbol_anew() -> None:
    def update(kind: WarmUp, earlier: dict[str, Record]) -> StatesUpdate:
        nobody = pl.DataFrame(schema=UNIVERSE)
        return update_market_states(
            MARKET.prices, MARKET.news, names={}, universe=nobody, earlier=earlier, warm_up=kind, **SIZES
        )

    records = update("full", {}).records
    assert list(update("full", records).tables) == []
    assert list(update("partial", records).tables) == ["ALDR", "FJRD"]


def test_symbol_of_a_few_sessions_can_be_traded_and_divided_into_windows() -> None:
    prices = MARKET.prices.group_by("symbol", maintain_order=True).head(20)
    data = DataConfig(source="files", path="prices.csv", calendar="XNYS")
    split = MarketSplit.of(build(prices), data, EnvConfig(), num_warming=59)
    assert [split.train.num_sessions.tolist(), split.test.num_sessions.tolist()] == [[12, 12], [4, 4]]
    assert "RSI unknown" in split.train.prefixes[0][0]
    assert "RSI unknown" not in split.test.prefixes[0][0]


def test_windows_of_a_simulated_market_stay_where_they_are_and_training_begins_earlier() -> None:
    features = FeaturesConfig(warm_up="partial")
    data = DataConfig(source="simulated")
    full = MarketSplit.of(build(warm_up="full"), data, EnvConfig(), num_warming=FeaturesConfig().num_warming).windows
    partial = MarketSplit.of(PARTIAL, data, EnvConfig(), num_warming=features.num_warming).windows
    assert (partial.validation, partial.test) == (full.validation, full.test)
    assert partial.train == (PARTIAL["ALDR"]["session"][0], full.train[1])


def test_numeric_agent_refuses_a_window_in_the_warm_up_and_says_what_to_do() -> None:
    sessions = PARTIAL["ALDR"]["session"]
    late = cut_window(PARTIAL, (sessions[59], sessions[70]), "next_open")
    assert indicator_table(MARKET.prices, late).shape == (2, 12, 7)
    early = cut_window(PARTIAL, (sessions[58], sessions[70]), "next_open")
    with pytest.raises(DataError, match=r"no indicators in 1 session.*features\.warm_up=partial begin data\.windows"):
        indicator_table(MARKET.prices, early)


def test_tables_of_an_early_close_keep_symbols_that_have_two_sessions() -> None:
    early = PARTIAL["ALDR"]["decided_at"][4]
    kept = {}
    for kind in ("full", "partial"):
        features = FeaturesConfig(warm_up=kind)
        tables = MarketTables(MARKET.prices, MARKET.news, {}, pl.DataFrame(schema=UNIVERSE), features)
        kept[kind] = delete_later(tables, early, np.random.default_rng(0)).prices.height
    assert kept == {"full": 0, "partial": 10}
