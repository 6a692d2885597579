"""What ablated states lack, and that they know no more of the future than others do."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flag_kedro.backtest.corruptions import CORRUPTIONS
from flag_kedro.data.schema import NEWS
from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, simulate_market
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.features.ablation import ABLATIONS, Ablation, ablate_articles
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.digest import read_articles
from flag_kedro.features.market_state import build_market_states
from flag_kedro.features.market_tables import MarketTables

NAMES = {"ALDR": ["Alder Foods"], "BRIX": ["Brixton Steel"]}
SYMBOLS = ["MSFT", "AAPL", "F", "BTC-USD", "T", "M", "YHOO", "JPM", "AMZN", "TGT", "OR"]
SPOKEN = {
    "MSFT": ["Microsoft Corporation"],
    "AAPL": ["Apple Inc.", "Apple"],
    "T": ["AT&amp;T Inc."],
    "M": ["Macy's, Inc."],
    "YHOO": ["Yahoo! Inc."],
    "JPM": ["JPMorgan Chase & Co."],
    "AMZN": ["Amazon.com, Inc."],
    "TGT": ["Target Corporation"],
    "OR": ["L’Oréal S.A."],
}


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    config = SimulatedConfig(market="easy", first_session=date(2023, 7, 3), last_session=date(2023, 8, 15))
    return simulate_market(("ALDR", "BRIX"), config, seed=0)


def _states(prices: pl.DataFrame, news: pl.DataFrame, kind: Ablation) -> pl.DataFrame:
    sizes = {"digest_sessions": 2, "digest_chars": 600, "article_chars": 240}
    states, _ = build_market_states(prices, news, names=NAMES, ablation=kind, ablation_seed=3, **sizes)
    return pl.concat(states.values())


def _news(headlines: list[str], symbol: str = "MSFT") -> pl.DataFrame:
    times = [datetime(2020, 11, 9, 12, tzinfo=UTC) + timedelta(days=day) for day in range(len(headlines))]
    columns = {"symbol": symbol, "published_at": times, "available_at": times, "headline": headlines}
    return pl.DataFrame(columns | {"body": None, "source": "wire", "url": None}, schema=NEWS)


def _masked(headlines: list[str], symbol: str = "MSFT") -> list[str]:
    articles = read_articles(_news(headlines, symbol), SPOKEN)
    return ablate_articles(articles, SYMBOLS, SPOKEN, "mask_names", 0)["text"].to_list()


@pytest.mark.parametrize(
    ("headline", "masked"),
    [
        ("Microsoft Corp. (NASDAQ: MSFT) beats estimates", "the company (the company) beats estimates"),
        ("MICROSOFT's deal with Apple Inc. fails", "the company's deal with another company fails"),
        ("$AAPL and MSFT, not MSFTX or Applesauce", "another company and the company, not MSFTX or Applesauce"),
        (
            "A Ford is no F, but $F is, and BTC rises",
            "A Ford is no F, but another company is, and another company rises",
        ),
        ("Q3 2020 and 3Q20 results, H1 2021, FY21", "that quarter and that quarter results, that quarter, that year"),
        ("On Nov. 9, 2020 and 9th of November", "On that day and that day"),
        ("2020-11-09, 11/09/2020 or 09.11.20", "that day, that day or that day"),
        ("In November 2020, in May, since September", "In that month, in that month, since that month"),
        ("It may march on in March", "It may march on in that month"),
        ("The third quarter of 2020, 2019-2021, $2020", "The that quarter, that year-that year, $2020"),
        ("lowest since december 2021, on aug.29 and 5 jan", "lowest since that month, on that day and that day"),
        ("COVID-19 may lower the 20 may targets", "COVID-19 may lower the 20 may targets"),
        ("Sells 42,000 cars at 199.99", "Sells 42,000 cars at 199.99"),
    ],
)
def test_masked_headline_names_no_company_and_no_date(headline: str, masked: str):
    assert _masked([headline]) == [masked]


@pytest.mark.parametrize(
    "headline",
    [
        *("AT&amp;T rises", "App<b>le</b> rises", "ＡＡＰＬ rises", "Ap\u00adple Inc. rises", "&#65;pple rises"),
        *("Macy’s rises", "Macy's Inc. rises", "L'Ore\u0301al rises", "L’Oréal SA rises", "<AAPL.O> rises"),
        *("Yahoo! rises", "Yahoo rises", "YAHOO! INC. rises", "JPMorgan Chase rises", "JPMorgan Chase & Co. rises"),
        *("Amazon rises", "Amazon.com rises", "AMAZON.COM, INC. rises", "Target rises", "TARGET corp. rises"),
    ],
)
def test_name_is_masked_however_it_is_written(headline: str):
    assert _masked([headline]) == ["another company rises"]


def test_ordinary_word_is_no_company_of_that_name():
    assert _masked(["Analyst lifts price target as apple growers sell"]) == [
        "Analyst lifts price target as apple growers sell"
    ]


def test_names_of_a_large_universe_are_masked():
    names = {f"S{k}": [f"Firm{k} Holdings, Inc."] for k in range(1000)}
    articles = read_articles(_news(["Firm999 buys Firm1 from S77"], "S1"), names)
    masked = ablate_articles(articles, list(names), names, "mask_names", 0)
    assert masked["text"].to_list() == ["another company buys the company from another company"]


def test_masking_changes_no_mention_so_the_same_articles_come_first():
    news, names = _news(["Others rise", "Microsoft rises", "MSFT falls", "The company closes"]), {"MSFT": ["Microsoft"]}
    articles = read_articles(news, names)
    masked = ablate_articles(articles, SYMBOLS, names, "mask_names", 0)
    assert masked["text"].to_list() == ["Others rise", "the company rises", "the company falls", "The company closes"]
    assert articles["mentions"].to_list() == masked["mentions"].to_list() == [False, True, True, False]


def test_masked_states_show_the_articles_that_others_show(market: SimulatedMarket):
    words = pl.Series(["all rise", "ALDR rises", "BRIX rises"]).gather(pl.int_range(market.news.height, eager=True) % 3)
    numbers = pl.int_range(market.news.height, eager=True).cast(pl.String).str.zfill(7)
    news = market.news.with_columns(headline=numbers + " " + words)
    sizes = {"digest_sessions": 5, "digest_chars": 100, "article_chars": 60, "min_article_chars": 10}
    shown = []
    for kind in ("none", "mask_names"):
        states, _ = build_market_states(market.prices, news, names=NAMES, ablation=kind, **sizes)
        shown.append(pl.concat(states.values())["news_text"].str.extract_all(r"\d{7}").to_list())
    assert shown[0] == shown[1]
    assert any(shown[0])


def test_masking_knows_whose_article_it_is():
    assert _masked(["Apple beats Microsoft"], "AAPL") == ["the company beats another company"]


def test_no_masked_state_of_the_simulated_market_tells_its_company(market: SimulatedMarket):
    text = _states(market.prices, market.news, "mask_names")["news_text"]
    assert not text.str.contains("Alder|Brixton|ALDR|BRIX").any()
    assert text.str.contains("the company").any()


def test_shuffled_article_says_what_an_earlier_one_of_its_symbol_said():
    news = pl.concat([_news([f"{symbol} {k}" for k in range(50)], symbol) for symbol in ("MSFT", "AAPL")])
    articles = read_articles(news, {"MSFT": ["17", "33"]})
    shuffled = ablate_articles(articles, SYMBOLS, {}, "shuffle_news", 0)
    shown = shuffled["text"].str.split(" ").list
    assert shown.get(0).to_list() == news["symbol"].to_list()
    of_symbol = [*range(50), *range(50)]
    original = shown.get(1).cast(pl.Int64).to_list()
    assert all(source < row for source, row in zip(original, of_symbol, strict=True) if row)
    assert [source for source, row in zip(original, of_symbol, strict=True) if not row] == [0, 0]
    assert len(set(original[:50])) > 15
    assert original[:50] != original[50:]
    assert_frame_equal(shuffled.select("symbol", "available_at"), news.select("symbol", "available_at"))
    moved = shuffled.select("symbol", "text", "mentions").unique()
    assert moved.join(articles, on=["symbol", "text", "mentions"], how="anti").is_empty()


def test_shuffled_texts_depend_on_the_seed_alone():
    news = _news([str(k) for k in range(50)])
    articles = read_articles(news, {})
    drawn = [ablate_articles(articles, SYMBOLS, {}, "shuffle_news", seed)["text"].to_list() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_ablated_texts_lack_what_they_should_and_fills_stay(market: SimulatedMarket):
    states = {kind: _states(market.prices, market.news, kind) for kind in ABLATIONS}
    whole = states["none"]
    assert states["no_news"]["news_text"].unique().to_list() == ["none"]
    assert states["no_prices"]["market_text"].unique().to_list() == ["not shown"]
    for kind, table in states.items():
        prices = [name for name in table.columns if not name.endswith("_text") and name != "known_at"]
        assert_frame_equal(table.select(prices), whole.select(prices))
        assert (table["market_text"] == whole["market_text"]).all() == (kind != "no_prices")
        assert (table["news_text"] == whole["news_text"]).all() == (kind in ("none", "no_prices"))


@pytest.mark.parametrize("kind", [kind for kind in ABLATIONS if kind != "none"])
def test_ablated_states_do_not_depend_on_what_comes_later(market: SimulatedMarket, kind: Ablation):
    before = _states(market.prices, market.news, kind)
    cut = before["decided_at"].unique().sort()[12]
    available = pl.col("decided_at") <= cut
    tables = MarketTables(market.prices, market.news, {}, pl.DataFrame(schema=UNIVERSE), FeaturesConfig())
    for corrupt in CORRUPTIONS.values():
        changed = corrupt(tables, cut, np.random.default_rng(1))
        after = _states(changed.prices, changed.news, kind)
        assert_frame_equal(before.filter(available), after.filter(available))
    gone = _states(market.prices, market.news.filter(pl.col("available_at") <= cut), kind)
    assert_frame_equal(before.filter(available), gone.filter(available))
