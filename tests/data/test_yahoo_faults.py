"""What a user sees and what the store holds when Yahoo does not answer as it should."""

import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.data.config import NewsConfig
from flag_kedro.data.yahoo.wanted import find_lack
from flag_kedro.errors import DataError
from yahoo_server import Company

PASSING = [429, 500, 503, "truncated", "cut", "html", "deep"]
NO_PRICES = (
    r"MSFT: Yahoo has no prices: YFPricesMissingError: \$MSFT: .*no price data found .*; the answer begins '{\"chart\""
)
LASTING = {
    "empty": NO_PRICES,
    "null": NO_PRICES,
    "blank": NO_PRICES,
    "nulls": r"MSFT: Yahoo's answer has no price of a closed session; its first trade was on 1990-01-02",
    "stale": r"refused and nothing of it stored: stale: prices end on 2024-03-21, but 5 session\(s\) from 2024-03-22 "
    r"to 2024-03-28 have closed\. Run again later",
    "unadjusted": "MSFT: Yahoo has no prices: the answer has no adjusted closes",
    "other": "MSFT: Yahoo has no prices: the answer is about OTHER",
    "hole": r"refused .* 1 session\(s\) without a price, first 2024-02-14; 1 in a row, where data\.max_gap allows 0",
}


@pytest.mark.parametrize("fault", PASSING)
def test_fault_that_passes_is_waited_for_and_leaves_no_trace(download, fault):
    run = download("MSFT")
    run.server.fail("MSFT", fault, times=3)
    run.run()
    assert len(run.server.charts("MSFT")) == 4
    assert pl.read_parquet(run.store / "prices" / "MSFT.parquet").height == 61
    waits = [wait for wait in run.time.waits if wait > 1.0]  # longer than the pace of a request a second
    assert [low <= wait <= 3 * low for low, wait in zip((1, 2, 4), waits, strict=True)] == [True] * 3


def test_wait_that_yahoo_asks_for_is_kept(download):
    run = download("MSFT")
    run.server.fail("MSFT", "later")
    run.run()
    assert max(run.time.waits) == 45.0


def test_answer_that_does_not_come_in_time_is_asked_for_again(download):
    run = download("MSFT", yahoo={"timeout": 0.3})
    run.server.fail("MSFT", "slow")
    run.run()
    assert len(run.server.charts("MSFT")) == 2
    assert run.read().prices.height == 61


@pytest.mark.parametrize(
    ("fault", "message"),
    [(429, "HTTP 429, 'Too Many Requests'"), ("html", "Will be right back"), ("cut", "IncompleteRead")],
)
def test_giving_up_names_symbol_and_answer_and_a_later_run_goes_on_from_there(download, fault, message):
    run = download("AAPL", "MSFT", "NVDA", yahoo={"attempts": 3})
    run.server.fail("MSFT", fault, times=3)
    with pytest.raises(DataError, match="a later run goes on from here") as failure:
        run.run()
    assert "prices of MSFT: no usable answer in 3 tries (yahoo.attempts); the last was" in str(failure.value)
    assert message in str(failure.value)
    assert [ask.symbol for ask in run.server.charts()] == ["AAPL", "MSFT", "MSFT", "MSFT"]
    stored = run.content()
    assert {"prices/AAPL.parquet", "store.json"} == set(stored)
    run.server.forget()
    run.run()
    assert [ask.symbol for ask in run.server.charts()] == ["MSFT", "NVDA"]
    assert run.content()["prices/AAPL.parquet"] == stored["prices/AAPL.parquet"]


@pytest.mark.parametrize("fault", LASTING)
def test_answer_that_is_not_whole_is_refused_and_the_store_stays_as_it_was(download, fault):
    run = download("MSFT")
    run.server.fail("MSFT", fault)
    with pytest.raises(DataError) as failure:
        run.run()
    assert re.search(LASTING[fault], str(failure.value)), failure.value
    assert run.content() == {}
    assert len(run.server.charts()) == 1  # it is not asked again
    run.run()
    before = run.content()
    run.server.today = date(2024, 4, 12)
    run.server.fail("MSFT", fault, times=2)  # what lacks stored sessions is asked for once more, and as a whole
    with pytest.raises(DataError, match="MSFT"):
        run.run()
    assert run.content() == before


def test_symbols_that_yahoo_does_not_know_are_named_together_after_the_others_are_stored(download):
    run = download("AAPL", "MSFT", symbols=("GONE", "AAPL", "ABSENT", "MSFT"))
    with pytest.raises(DataError) as failure:
        run.run()
    lines = str(failure.value).splitlines()
    assert lines[1:] == [
        f"  {symbol}: Yahoo has no prices: Not Found: No data found, symbol may be delisted; see that data.symbols "
        "spells it as Yahoo does, or leave it out"
        for symbol in ("GONE", "ABSENT")
    ]
    assert [ask.symbol for ask in run.server.charts()] == ["GONE", "AAPL", "ABSENT", "MSFT"]
    assert {"prices/AAPL.parquet", "prices/MSFT.parquet"} <= set(run.content())


def test_session_that_closed_an_hour_ago_may_be_absent_but_not_one_of_three_hours_ago(download):
    run = download("MSFT")
    run.server.today = date(2024, 3, 27)
    run.now = datetime(2024, 3, 28, 21, tzinfo=UTC)  # closed at 20:00
    run.run()
    assert run.read().prices["session"][-1] == date(2024, 3, 27)
    run.now += timedelta(hours=2)
    with pytest.raises(DataError, match=r"stale: prices end on 2024-03-27, but 1 session"):
        run.run()
    run.server.today = date(2024, 3, 28)
    run.run()
    assert run.read().prices["session"][-1] == date(2024, 3, 28)


def test_row_of_the_running_session_is_not_taken(download):
    run = download("MSFT", now=datetime(2024, 3, 28, 19, 59, tzinfo=UTC))
    run.run()
    assert run.read().prices["session"][-1] == date(2024, 3, 27)
    run.now = datetime(2024, 3, 28, 20, 0, tzinfo=UTC)
    run.run()
    assert run.read().prices["session"][-1] == date(2024, 3, 28)


def test_row_of_the_running_session_may_be_incomplete(download):
    run = download(Company("MSFT", half={date(2024, 3, 28)}), now=datetime(2024, 3, 28, 19, 59, tzinfo=UTC))
    run.run()
    assert run.read().prices["session"][-1] == date(2024, 3, 27)


@pytest.mark.parametrize("what", ["half", "zero"])
def test_session_with_a_price_that_cannot_be_counts_as_absent_and_data_max_gap_lets_it_be(download, what, caplog):
    run = download(Company("MSFT", **{what: {date(2024, 2, 5)}}))
    shown = {"half": "None", "zero": "0.0"}[what]
    wrong = rf"1 session\(s\) with prices that cannot be, first 2024-02-05 with open {shown}, high .*absent"
    with pytest.raises(DataError, match=rf"1 session\(s\) without a price, first 2024-02-05;.*data\.max_gap.*{wrong}"):
        run.run()
    run.data["max_gap"] = 1
    caplog.clear()
    run.run()
    assert re.search(wrong, caplog.text)
    assert run.read().prices.height == 60
    run.server.forget()
    run.run()
    assert run.server.asked == []


def test_first_session_with_a_price_that_cannot_be_is_let_go_by_data_max_gap_too(download):
    first = date(2024, 2, 12)
    run = download(Company("ABNB", first=first, first_trade=first, zero={first}))
    with pytest.raises(DataError, match=r"prices begin on 2024-02-13, but 1 session\(s\) .* with open 0\.0"):
        run.run()
    run.data["max_gap"] = 1
    run.run()
    assert run.read().prices["session"][0] == date(2024, 2, 13)


def test_sessions_of_nulls_count_as_absent_and_data_max_gap_lets_them_be(download):
    company = Company("MSFT", nothing={date(2024, 2, 5), date(2024, 2, 6)})
    run = download(company, data={"max_gap": 1})
    with pytest.raises(DataError, match=r"2 session\(s\) without a price, first 2024-02-05; 2 in a row"):
        run.run()
    run.data["max_gap"] = 2
    run.run()
    assert run.read().prices.height == 59
    run.server.forget()
    run.run()
    assert run.server.asked == []


def test_prices_on_days_that_are_no_sessions_are_refused_with_the_exchange_as_the_way_out(download):
    run = download(Company("BTC-USD", calendar="24/7", timezone="UTC"), data={"calendar": "XNYS"})
    with pytest.raises(
        DataError, match=r"BTC-USD: prices on 26 day\(s\) that are no session of XNYS, first 2024-01-06"
    ):
        run.run()


def test_refused_cookie_is_renewed_and_asked_with_again(download):
    run = download("MSFT")
    run.server.fail("MSFT", 401, times=3)  # yfinance asks twice in one try, with cookies of either kind
    run.run()
    assert len(run.server.charts("MSFT")) == 4
    assert run.read().prices.height == 61


def test_page_that_asks_for_consent_is_left_to_yfinance_and_then_asked_past(download, monkeypatch):
    from flag_kedro.data.yahoo import session

    monkeypatch.setattr(session, "CONSENT", "127.0.0.1")
    run = download("MSFT")
    run.server.fail("MSFT", "truncated")
    run.run()
    assert len(run.server.charts("MSFT")) == 2


@pytest.mark.parametrize(("status", "message"), [(302, "HTTP 302"), (400, "HTTP 400"), (404, "HTTP 404")])
def test_answer_that_would_be_the_same_again_is_told_at_once(download, status, message):
    run = download("MSFT")
    run.server.fail("MSFT", status)
    with pytest.raises(DataError, match=f"MSFT: Yahoo has no prices: {message}, 'Internal Server Error'"):
        run.run()
    assert len(run.server.charts("MSFT")) == 1


def test_answer_beyond_any_sensible_size_is_not_taken(download, monkeypatch):
    from flag_kedro.data.yahoo import session

    monkeypatch.setattr(session, "MAX_BYTES", 2000)
    run = download("MSFT", yahoo={"attempts": 2})
    with pytest.raises(DataError, match=r"no usable answer in 2 tries .*[Mm]aximum file size exceeded"):
        run.run()


def test_sessions_before_the_calendar_knows_any_are_told_without_a_traceback(download):
    run = download(Company("7203.T", calendar="XTKS", timezone="Asia/Tokyo", first=date(2024, 1, 4)))
    run.yahoo = {"first": date(1990, 1, 4)}
    with pytest.raises(
        DataError, match=r"XTKS does not reach from 1990-01-04 to .*The earliest date from which .* is 1997-01-01"
    ):
        run.run()


def test_store_read_by_another_calendar_than_it_was_downloaded_with_is_refused(download):
    run = download(Company("BTC-USD", calendar="24/7", timezone="UTC"), yahoo={"first": date(2024, 1, 2)})
    run.run()
    run.data["calendar"] = "XNYS"
    with pytest.raises(
        DataError, match=r"has 26 session\(s\) that XNYS does not have, first 2024-01-06; set data\.cal"
    ):
        run.read()


@given(present=st.lists(st.booleans(), min_size=1, max_size=12), hours=st.integers(0, 72), max_gap=st.integers(0, 3))
def test_lack_is_found_exactly_where_the_rule_is_broken(present, hours, max_gap):
    """Spelt out on a string: what may be late is left out, x is absent, o is there."""
    days = [date(2024, 1, 1) + timedelta(days=n) for n in range(len(present))]
    closes = [datetime.combine(day, datetime.min.time(), UTC) + timedelta(days=1) for day in days]
    now = closes[-1] + timedelta(hours=hours)
    stored = pl.Series([day for day, there in zip(days, present, strict=True) if there], dtype=pl.Date)
    wanted = pl.DataFrame({"session": days, "closes_at": closes})
    text = "".join(
        "o" if there else "L" if now - at < timedelta(hours=2) else "x"
        for there, at in zip(present, closes, strict=True)
    )
    text = text.replace("L", "")
    right = text == "" or bool(re.fullmatch(rf"(x{{0,{max_gap}}}o)+", text))
    assert (find_lack(stored, wanted, now, max_gap, timedelta(hours=2)) is None) == right


def test_headlines_that_do_not_come_are_asked_for_again_and_the_prices_are_kept(download):
    run = download("MSFT", news=NewsConfig(), yahoo={"attempts": 2})
    run.server.fail("news", 503, times=2)
    with pytest.raises(DataError, match=r"news of MSFT: no usable answer in 2 tries"):
        run.run()
    assert list(run.content()) == ["prices/MSFT.parquet", "store.json"]
    run.server.fail("news", 429)
    run.server.forget()
    run.run()
    assert [ask.path for ask in run.server.asked[2:]] == ["/xhr/ncp", "/xhr/ncp"]


def test_server_that_is_not_there_is_said_with_what_was_tried(download):
    run = download("MSFT", yahoo={"attempts": 2})
    run.server.__exit__()
    with pytest.raises(DataError, match=r"prices of MSFT: no usable answer in 2 tries .* the last was ConnectionError"):
        run.run()
    assert run.content() == {}


def test_crumb_that_is_refused_stops_nothing(download):
    run = download("MSFT")
    run.server.fail("crumb", 429, times=9)
    run.run()
    assert run.read().prices.height == 61


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_no_more_requests_are_sent_than_allowed_cookies_and_crumbs_included(download, rate):
    run = download("AAPL", "MSFT", yahoo={"requests_per_second": rate})
    run.server.fail("MSFT", 503, times=2)
    run.server.clock = lambda: run.time.now
    assert run.run()["num_requests"] == 6  # cookies, crumb, AAPL, three times MSFT
    sent = [ask.at for ask in run.server.asked]
    assert sent[:4] == pytest.approx([0, 1 / rate, 2 / rate, 3 / rate])
    assert min(after - before for before, after in pairwise(sent)) >= 1 / rate - 1e-9


def test_jitter_comes_from_the_given_source_so_that_waits_repeat(download, tmp_path):
    waits = []
    for name in ("a", "b"):
        run = download("MSFT")
        run.store = tmp_path / name
        run.server.fail("MSFT", 429, times=4)
        run.run()
        waits.append(run.time.waits)
    assert waits[0] == waits[1]


def test_two_symbols_that_fail_differently_are_told_in_one_message(download):
    run = download("AAPL", "MSFT", symbols=("GONE", "AAPL", "MSFT"))
    run.server.fail("AAPL", "stale")
    run.server.fail("MSFT", 429, times=6)
    with pytest.raises(DataError) as failure:
        run.run()
    assert [line.split(":")[0] for line in str(failure.value).splitlines()[1:]] == [
        "  GONE",
        "  AAPL",
        "  prices of MSFT",
    ]
