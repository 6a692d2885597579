"""Downloads from a Yahoo on this machine: what is asked, what is stored, what is read."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.exchanges import EXCHANGES, symbol_calendar
from flag_kedro.data.yahoo import YahooConfig
from flag_kedro.data.yahoo.names import company_names
from flag_kedro.errors import DataError
from yahoo_server import Company, article


def test_first_download_stores_every_closed_session_as_yahoo_gave_it(download, let_in):
    company = Company("MSFT", long_name="Microsoft Corporation")
    run = download(company)
    report = run.run()
    stored = pl.read_parquet(run.store / "prices" / "MSFT.parquet")
    rows = company.rows(run.server.today)
    assert (
        stored["session"].to_list()
        == exchange_sessions("XNYS", date(2024, 1, 2), date(2024, 3, 28))["session"].to_list()
    )
    for ours, theirs in (("open", "open"), ("close", "close"), ("adj_close", "adjclose"), ("volume", "volume")):
        assert stored[ours].to_list() == [row[theirs] for row in rows]
    assert report["symbols"]["MSFT"] == {"rows_added": 61, "revision": None, "news_added": 0}
    raw = run.read()
    assert let_in(raw.prices).prices.height == 61
    assert raw.names == {"MSFT": ("Microsoft",)}


def test_nothing_is_asked_when_nothing_is_missing(download):
    run = download("MSFT", "AAPL")
    run.run()
    before = run.content()
    run.server.forget()
    assert run.run()["num_requests"] == 0
    assert run.server.asked == []
    assert run.content() == before


def test_every_request_goes_to_the_given_server_and_what_yahoo_needs_is_asked_once(download):
    run = download("MSFT", "AAPL", news=NewsConfig())
    assert run.run()["num_requests"] == len(run.server.asked) == 6
    assert [ask.path for ask in run.server.asked] == [
        "/",
        "/v1/test/getcrumb",
        "/v8/finance/chart/MSFT",
        "/xhr/ncp",
        "/v8/finance/chart/AAPL",
        "/xhr/ncp",
    ]


def test_yfinance_is_left_as_it_was_found(download):
    from yfinance import cache
    from yfinance.config import YfConfig
    from yfinance.data import SingletonMeta, YfData

    run = download("MSFT")
    assert YfData not in SingletonMeta._instances
    before = (dict(SingletonMeta._instances), cache._TzCacheManager._tz_cache, cache._CookieCacheManager._Cookie_cache)
    run.run()
    after = (dict(SingletonMeta._instances), cache._TzCacheManager._tz_cache, cache._CookieCacheManager._Cookie_cache)
    assert after == before
    assert YfConfig.debug.hide_exceptions is True
    assert cache._TzDBManager._db is cache._CookieDBManager._db is cache._ISINDBManager._db is None


def test_second_download_in_one_process_does_not_get_the_answers_of_the_first(download, tmp_path):
    run = download("MSFT")
    run.run()
    first = run.read().prices
    run.server.companies["MSFT"].revised[date(2024, 2, 1)] = 1.01
    run.store = tmp_path / "other"
    run.run()
    changed = run.read().prices.filter(pl.col("close") != first["close"])
    assert changed["session"].to_list() == [date(2024, 2, 1)]


def test_headlines_are_added_to_the_stored_ones_and_never_lost_or_changed(download, let_in):
    run = download("MSFT", news=NewsConfig())
    run.server.news["MSFT"] = [article(2, "2024-03-28T14:30:00Z"), article(1, "2024-03-27T09:00:00Z", "An older one")]
    assert run.run()["symbols"]["MSFT"]["news_added"] == 2
    run.server.today = date(2024, 4, 1)
    copied = article(4, "2024-04-01T12:00:00Z")
    copied["content"]["canonicalUrl"]["url"] = "https://example.com/3"
    advert = {"id": "ad", "ad": ["buy"], "content": {}}
    run.server.news["MSFT"] = [
        article(2, "2024-03-28T14:30:00Z", "Edited later"), article(3, "2024-04-01T08:00:00+02:00"), copied, advert,
    ]  # fmt: skip
    assert run.run()["symbols"]["MSFT"]["news_added"] == 1
    raw = run.read()
    news = let_in(raw.prices, raw.news).news
    assert news.rows() == [
        ("MSFT", at, at, headline, f"Summary {n}", "Wire", f"https://example.com/{n}")
        for n, at, headline in (
            (1, datetime(2024, 3, 27, 9, tzinfo=UTC), "An older one"),
            (2, datetime(2024, 3, 28, 14, 30, tzinfo=UTC), "A headline"),
            (3, datetime(2024, 4, 1, 6, tzinfo=UTC), "A headline"),
        )
    ]


def test_headlines_are_asked_for_once_after_each_close(download):
    run = download("MSFT", news=NewsConfig())
    run.run()
    run.server.news["MSFT"] = [article(1, "2024-03-29T12:00:00Z")]
    run.server.forget()
    run.now = datetime(2024, 4, 1, 12, tzinfo=UTC)  # before Monday's close
    assert run.run()["num_requests"] == 0
    run.now, run.server.today = datetime(2024, 4, 1, 22, tzinfo=UTC), date(2024, 4, 1)
    run.run()
    assert run.read().news.height == 1


def test_symbol_without_headlines_is_fine_and_no_news_is_asked_for_when_it_comes_from_elsewhere(download):
    run = download("MSFT", news=NewsConfig())
    run.run()
    assert run.read().news.is_empty()
    for source in (NewsConfig(source="none"), NewsConfig(source="files", path="news.csv")):
        run.store = run.store.with_name(source.source)
        run.news = source
        run.server.forget()
        run.run()
        assert [ask.path for ask in run.server.asked if "ncp" in ask.path] == []
        assert run.read().news.is_empty()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"uuid": "1", "title": "Of before 2025"}, "KeyError: 'content'"),
        (article(1, "yesterday"), "Invalid isoformat string: 'yesterday'"),
        (article(1, "2024-03-28T14:30:00"), "without id, title or time zone"),
        (article(1, "2024-03-28T14:30:00Z", "  "), "without id, title or time zone"),
    ],
)
def test_headline_in_an_unknown_shape_is_refused_and_the_prices_are_kept(download, broken, message):
    run = download("MSFT", news=NewsConfig())
    run.server.news["MSFT"] = [broken]
    with pytest.raises(
        DataError, match=r"MSFT: Yahoo has no news: .*set news\.source=none to go on without"
    ) as failure:
        run.run()
    assert message in str(failure.value)
    assert list(run.content()) == ["prices/MSFT.parquet", "store.json"]


def test_members_of_a_universe_are_downloaded_up_to_their_delisting(download, tmp_path):
    """GONE stopped trading on 15 February: it is complete, not stale."""
    (tmp_path / "universe.csv").write_text("symbol,first,last,delisted\nMSFT,,,\nGONE,,,2024-02-15\n")
    gone = Company("GONE", end=date(2024, 2, 15))
    run = download("MSFT", gone, symbols=None, data={"universe": str(tmp_path / "universe.csv")})
    run.run()
    prices = run.read().prices
    last = prices.group_by("symbol", maintain_order=True).agg(pl.col("session").max()).rows()
    assert sorted(last) == [("GONE", date(2024, 2, 15)), ("MSFT", date(2024, 3, 28))]
    assert run.run()["num_requests"] == 0


def test_history_begins_with_the_first_trade(download):
    company = Company("ABNB", first=date(2024, 2, 12), first_trade=date(2024, 2, 12))
    run = download(company)
    run.run()
    assert run.read().prices["session"][0] == date(2024, 2, 12)
    run.server.forget()
    run.run()
    assert run.server.asked == []
    company.first_trade = date(2024, 2, 9)
    run.store = run.store.with_name("other")
    with pytest.raises(
        DataError, match=r"prices begin on 2024-02-12, but 1 session\(s\) from 2024-02-09 to 2024-02-09"
    ):
        run.run()


def test_history_may_begin_late_where_yahoo_does_not_say_when_it_first_traded(download, caplog):
    run = download(Company("ABNB", first=date(2024, 2, 12), first_trade=None))
    run.run()
    assert "the 28 session(s) from 2024-01-02 on count as before its first trade" in caplog.text
    assert run.read().prices["session"][0] == date(2024, 2, 12)
    run.server.forget()
    run.run()
    assert run.server.asked == []
    run.server.today = date(2024, 4, 1)
    run.run()
    assert [ask.first for ask in run.server.charts()] == [date(2024, 2, 21)]
    run.yahoo["first"] = date(2023, 12, 1)  # of which nothing is known
    run.run()
    assert run.server.charts()[-1].first == date(2023, 11, 30)


def test_rows_without_prices_before_the_first_price_are_no_time_before_the_first_trade(download):
    company = Company("ABNB", first_trade=None)
    company.nothing.update(company.days[:28])
    with pytest.raises(DataError, match=r"prices begin on 2024-02-12, but 28 session\(s\) from 2024-01-02"):
        download(company).run()


@pytest.mark.parametrize(
    ("symbol", "calendar"),
    [
        ("MSFT", "XNYS"), ("BRK-B", "XNYS"), ("^GSPC", "XNYS"), ("BTC-USD", "24/7"), ("EURUSD=X", "24/5"),
        ("7203.T", "XTKS"), ("SAP.DE", "XETR"), ("AIR.PA", "XPAR"), ("HSBA.L", "XLON"), ("0700.HK", "XHKG"),
        ("SHOP.TO", "XTSE"), ("X.UNKNOWN", "XNYS"),
    ],
)  # fmt: skip
def test_calendar_follows_the_way_yahoo_writes_symbols(symbol, calendar):
    assert symbol_calendar(symbol, DataConfig(source="yahoo", symbols=[symbol])) == calendar
    given = DataConfig(source="yahoo", symbols=[symbol], calendar={symbol: "XBUD"})
    assert symbol_calendar(symbol, given) == "XBUD"
    assert symbol_calendar(symbol, DataConfig(source="yahoo", symbols=[symbol], calendar="XSES")) == "XSES"


@pytest.mark.parametrize(
    "calendar",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "XKRX" else name  # which takes as long as all others
        for name in sorted(set(EXCHANGES.values()))
    ],
)
def test_every_exchange_that_a_suffix_stands_for_has_a_calendar_that_can_be_built(calendar):
    assert 19 <= exchange_sessions(calendar, date(2024, 1, 2), date(2024, 1, 31)).height <= 22


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (("Apple Inc.", "Apple Inc."), ["Apple"]),
        (("Microsoft Corporation", None), ["Microsoft"]),
        (("The Coca-Cola Company", "Coca-Cola Company (The)"), ["Coca-Cola"]),
        (("JPMorgan Chase & Co.", "JP Morgan Chase & Co."), ["JPMorgan Chase", "JP Morgan Chase"]),
        (("HSBC Holdings plc", None), ["HSBC Holdings"]),
        (("Amazon.com, Inc.", None), ["Amazon.com"]),
        (("Banco Santander, S.A.", None), ["Banco Santander"]),
        (("Bitcoin USD", "Bitcoin USD"), ["Bitcoin"]),
        (("Inc.", None), []),
        ((None, None), []),
    ],
)
def test_company_is_called_by_its_name_without_legal_form(given, names):
    assert company_names(*given) == names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "ftp://mirror"}, r"yahoo\.base_url must be like https://mirror\.example; got 'ftp://mirror'"),
        ({"base_url": "file:///etc/passwd"}, r"yahoo\.base_url must be like"),
        ({"last": "2014-12-31"}, r"yahoo\.last is 2014-12-31, before yahoo\.first, 2015-01-01"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        YahooConfig(**settings)
