"""When Yahoo tells old sessions otherwise: worked by hand, and from the server to the store."""

from contextlib import suppress
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.yahoo.revisions import find_revision
from flag_kedro.data.yahoo.update import RECENT
from flag_kedro.errors import DataError
from yahoo_server import Company

SPLIT_DAY, DIVIDEND_DAY = date(2024, 4, 4), date(2024, 4, 5)


def table(*rows: tuple[int, float, float, float], dividends: float = 0.0, splits: float = 0.0) -> pl.DataFrame:
    """Rows (day of March, price, adj_close, volume); the events are the last row's."""
    days, prices, adjusted, volumes = zip(*rows, strict=True)
    quiet = [0.0] * (len(rows) - 1)
    prices = pl.Series(prices, dtype=pl.Float64)
    return pl.DataFrame(
        {
            "session": [date(2024, 3, day) for day in days],
            **dict.fromkeys(("open", "high", "low", "close"), prices),
            "adj_close": pl.Series(adjusted, dtype=pl.Float64),
            "volume": pl.Series(volumes, dtype=pl.Float64),
            "dividends": [*quiet, dividends],
            "splits": [*quiet, splits],
        }
    )


def same_as_a_fresh_download(run: Any, folder: Path) -> bool:
    """Whether the store reads as one that is downloaded into `folder` now."""
    grown, run.store = run.read().prices, folder
    run.run()
    fresh = run.read().prices
    numbers = [name for name, dtype in fresh.schema.items() if dtype == pl.Float64]
    assert grown.drop(numbers).equals(fresh.drop(numbers))
    return all(grown[name].to_list() == pytest.approx(fresh[name].to_list(), rel=1e-5) for name in numbers)


OLD = table((4, 100, 90, 1000), (5, 110, 99, 2000), (6, 120, 108, 3000))


def test_same_prices_and_new_sessions_are_no_revision():
    assert find_revision(OLD.tail(2), table((5, 110, 99, 2000), (6, 120, 108, 3000), (7, 999, 999, 1))) is None


def test_noise_of_single_precision_is_no_revision():
    assert find_revision(OLD.tail(1), table((6, 120 * (1 + 1e-6), 108 * (1 - 1e-6), 3000))) is None


@pytest.mark.parametrize("price", [None, 0.0, float("inf")])
def test_stored_session_that_is_told_without_sound_prices_is_lost_like_one_that_is_not_told(price):
    new = table((4, 100, 90, 1000), (5, price, 99, 2000), (6, 120, 108, 3000))
    for answer in (new, new.filter(pl.col("session") != date(2024, 3, 5))):
        revision = find_revision(OLD, answer)
        assert (revision.num_lost, revision.largest_change, revision.explained_by) == (1, {}, None)
        assert revision.old_rows["session"].to_list() == [date(2024, 3, 5)]


def test_volume_of_the_newest_two_stored_sessions_may_still_change_and_no_older_one():
    assert find_revision(OLD, table((4, 100, 90, 1000), (5, 110, 99, 2500), (6, 120, 108, 9000))) is None
    revision = find_revision(OLD, table((4, 100, 90, 1500), (5, 110, 99, 2500), (6, 120, 108, 9000)))
    assert revision.old_rows["session"].to_list() == [date(2024, 3, 4)]


def test_volume_that_yahoo_did_not_know_before_is_a_change():
    old = OLD.with_columns(volume=pl.Series([None, 2000.0, 3000.0]))
    assert find_revision(old, OLD).largest_change == {"volume": 1.0}
    assert find_revision(old, old) is None


def test_volume_that_a_dividend_leaves_alone_is_not_explained_by_it():
    new = table((4, 100, 85.5, 1500), (5, 110, 94.05, 2000), (6, 120, 102.6, 3000), (7, 115, 109.25, 9), dividends=6.0)
    revision = find_revision(OLD, new)
    assert revision.largest_change == {"adj_close": pytest.approx(0.05), "volume": pytest.approx(1 / 3)}
    assert revision.explained_by is None


def test_four_for_one_split_explains_a_quarter_of_each_price():
    new = table((4, 25, 22.5, 4000), (5, 27.5, 24.75, 8000), (6, 30, 27, 12000), (7, 31, 28, 9), splits=4.0)
    revision = find_revision(OLD, new)
    assert revision.explained_by == "split"
    assert revision.old_rows.equals(OLD)
    assert revision.largest_change == dict.fromkeys(("open", "high", "low", "close", "adj_close", "volume"), 0.75)


def test_dividend_of_six_on_a_close_of_120_explains_five_percent_off_each_adjusted_close():
    new = table((4, 100, 85.5, 1000), (5, 110, 94.05, 2000), (6, 120, 102.6, 3000), (7, 115, 109.25, 9), dividends=6.0)
    revision = find_revision(OLD, new)
    assert revision.explained_by == "dividend"
    assert revision.largest_change == {"adj_close": pytest.approx(0.05)}


def test_split_and_dividend_of_one_session_are_told_together():
    # two for one, then 3 on a close of 60: 120 becomes 60, and 108 becomes 54 less five percent
    new = table((5, 55, 47.025, 4000), (6, 60, 51.3, 6000), (7, 57, 57, 9), dividends=3.0, splits=2.0)
    assert find_revision(OLD.tail(2), new).explained_by == "split and dividend"


@pytest.mark.parametrize(
    "new",
    [
        table((6, 121, 108.9, 3000)),
        table((6, 120, 100, 3000), (7, 120, 100, 9), dividends=6.0),  # 7.4 %, where 5 % would be right
        table((6, 60, 54, 6000), (7, 60, 54, 9), splits=3.0),
    ],
)
def test_change_that_no_event_accounts_for_is_unexplained(new):
    revision = find_revision(OLD.tail(1), new)
    assert revision.old_rows["session"].to_list() == [date(2024, 3, 6)]
    assert revision.explained_by is None


def test_incremental_download_asks_for_the_new_sessions_and_26_old_ones(download):
    run = download("MSFT")
    run.run()
    before = pl.read_parquet(run.store / "prices" / "MSFT.parquet")
    run.server.forget()
    run.server.today = date(2024, 4, 12)
    report = run.run()
    assert report["symbols"]["MSFT"] == {"rows_added": 10, "revision": None, "news_added": 0}
    (asked,) = run.server.charts()
    assert asked.first == date(2024, 2, 21)  # a day before 22 February, the 26th stored session from the end
    after = pl.read_parquet(run.store / "prices" / "MSFT.parquet")
    assert after.head(61).equals(before)
    assert after.height == 71
    assert not (run.store / "revisions").exists()


CHANGES = {
    "split": ({"splits": {SPLIT_DAY: 4.0}}, 61, {"open", "high", "low", "close", "adj_close", "volume"}),
    "dividend": ({"dividends": {DIVIDEND_DAY: 2.5}}, 61, {"adj_close"}),
}


@pytest.mark.parametrize("cause", CHANGES)
def test_event_in_the_new_range_fetches_all_anew_and_keeps_the_old_rows(download, cause, caplog):
    events, num_rows, columns = CHANGES[cause]
    run = download(Company("MSFT", **events), "AAPL")
    run.run()
    before = run.content()
    run.server.forget()
    run.server.today = date(2024, 4, 12)
    revision = run.run()["symbols"]["MSFT"]["revision"]
    assert [ask.first for ask in run.server.charts("MSFT")] == [date(2024, 2, 21), date(2024, 1, 1)]
    assert (revision["rows_changed"], revision["explained_by"]) == (num_rows, cause)
    assert set(revision["largest_change"]) == columns
    assert f"explained by a {cause}" in caplog.text
    stored = pl.read_parquet(run.store / "prices" / "MSFT.parquet")
    rows = run.server.companies["MSFT"].rows(date(2024, 4, 12))
    assert stored["adj_close"].to_list() == [row["adjclose"] for row in rows]
    assert (run.store / revision["file"]).name == "MSFT-20240413T000000Z.parquet"
    assert pl.read_parquet(run.store / revision["file"]).equals(pl.read_parquet(before["prices/MSFT.parquet"]))
    assert run.read().report["yahoo"]["MSFT"]["revisions"] == [revision]
    assert run.read().report["yahoo"]["AAPL"]["revisions"] == []


def test_split_that_rescales_the_past_days_after_it_is_told_is_still_noticed(download):
    company = Company("MSFT", splits={SPLIT_DAY: 4.0}, late_events={SPLIT_DAY})
    run = download(company, today=date(2024, 3, 28))
    run.run()
    run.server.today = date(2024, 4, 15)  # eight sessions in new shares, all before in old ones
    assert run.run()["symbols"]["MSFT"]["revision"] is None
    company.late_events.clear()
    run.server.today = date(2024, 4, 16)
    revision = run.run()["symbols"]["MSFT"]["revision"]
    assert revision["rows_changed"] == 64
    rows = run.server.companies["MSFT"].rows(date(2024, 4, 16))
    assert run.read().prices["close"].to_list() == [row["close"] for row in rows]


def test_unexplained_change_of_one_session_is_reported_with_its_size_and_the_old_row_is_kept(download, caplog):
    run = download("MSFT")
    run.run()
    before = pl.read_parquet(run.store / "prices" / "MSFT.parquet")
    run.server.companies["MSFT"].revised[date(2024, 3, 26)] = 1.25
    run.server.today = date(2024, 4, 1)
    revision = run.run()["symbols"]["MSFT"]["revision"]
    assert (revision["rows_changed"], revision["explained_by"]) == (1, None)
    assert revision["largest_change"] == {"close": pytest.approx(0.2), "adj_close": pytest.approx(0.2)}
    assert revision["seen_at"] == "2024-04-02T00:00:00+00:00"
    assert "close 20.00%" in caplog.text
    assert "explained by no split or dividend" in caplog.text
    old_rows = pl.read_parquet(run.store / revision["file"])
    assert old_rows.equals(before.filter(pl.col("session") == date(2024, 3, 26)))


@pytest.mark.parametrize("day", [date(2024, 3, 26), date(2024, 3, 28)])
def test_volume_that_yahoo_mends_later_is_a_revision_unless_the_session_was_just_stored(download, day):
    run = download("MSFT")
    run.run()
    before = run.read().prices
    run.server.companies["MSFT"].volumes[day] = 10_000
    run.server.today = date(2024, 4, 1)
    run.server.forget()
    revision = run.run()["symbols"]["MSFT"]["revision"]
    after = run.read().prices
    assert after.head(61).filter(pl.col("volume") != before["volume"])["session"].to_list() == [day]
    assert after.drop("volume").head(61).equals(before.drop("volume"))
    if day == date(2024, 3, 28):
        assert revision is None
        assert len(run.server.charts()) == 1
    else:
        assert (revision["rows_changed"], list(revision["largest_change"])) == (1, ["volume"])


def test_ten_daily_updates_after_a_dividend_told_eleven_sessions_late_equal_a_fresh_download(download, tmp_path):
    dividend_day = date(2024, 3, 18)  # the eleventh stored session from the end; each day is one
    company = Company(
        "MSFT", calendar="24/7", timezone="UTC", dividends={dividend_day: 2.5}, unknown_dividends={dividend_day}
    )
    run = download(company, data={"calendar": "24/7"})
    run.run()
    company.unknown_dividends.clear()
    days = [day for day in company.days if day > date(2024, 3, 28)][:10]
    revisions = []
    for run.server.today in days:
        revisions.append(run.run()["symbols"]["MSFT"]["revision"])
    assert [revision is not None for revision in revisions] == [True] + [False] * 9
    assert same_as_a_fresh_download(run, tmp_path / "fresh")


def test_all_is_asked_for_again_when_it_was_last_compared_more_than_thirty_days_ago(download, tmp_path):
    """A dividend told of after a quarter lies before what daily updates look at."""
    dividend_day = date(2024, 1, 10)
    company = Company("MSFT", dividends={dividend_day: 2.5}, unknown_dividends={dividend_day})
    run = download(company)
    run.run()
    company.unknown_dividends.clear()
    run.server.today = date(2024, 4, 26)
    run.server.forget()
    assert run.run()["symbols"]["MSFT"]["revision"] is None  # 28 March was 29 days ago
    run.server.today = date(2024, 4, 29)
    revision = run.run()["symbols"]["MSFT"]["revision"]
    assert revision["rows_changed"] == 7  # six sessions before the dividend, and its own
    assert [ask.first for ask in run.server.charts()] == [date(2024, 2, 21), date(2024, 1, 1)]
    run.server.today = date(2024, 4, 30)
    run.run()
    assert run.server.charts()[-1].first > date(2024, 3, 1)
    assert same_as_a_fresh_download(run, tmp_path / "fresh")


def test_answer_without_the_stored_sessions_never_lets_new_prices_of_another_scale_in(download):
    """Each time the recent sessions are nulls: nothing says whether the new one is in the shares of the old."""
    company = Company("MSFT", splits={date(2024, 4, 1): 4.0})
    run = download(company)
    run.run()
    before = run.content()
    company.nothing.update(company.days[:61])
    run.server.today = date(2024, 4, 1)
    with pytest.raises(
        DataError, match=r"61 stored session\(s\) are no longer told, first 2024-01-02.* remove .*MSFT\."
    ):
        run.run()
    assert run.content() == before
    company.nothing.clear()
    assert run.run()["symbols"]["MSFT"]["revision"]["explained_by"] == "split"


def test_one_answer_that_lacks_recent_sessions_is_mended_by_asking_for_all(download):
    run = download("MSFT")
    run.run()
    run.server.today = date(2024, 4, 12)
    run.server.fail("MSFT", "hole")
    run.server.forget()
    assert run.run()["symbols"]["MSFT"] == {"rows_added": 10, "revision": None, "news_added": 0}
    assert len(run.server.charts()) == 2


@pytest.mark.parametrize("first_trade", [date(1990, 1, 2), None])
def test_history_that_begins_later_now_is_refused_until_the_user_begins_later_too(download, first_trade):
    run = download(Company("MSFT", first_trade=first_trade))
    run.run()
    before = pl.read_parquet(run.store / "prices" / "MSFT.parquet")
    company = run.server.companies["MSFT"]
    company.lacking.update(company.days[:6])
    company.revised[date(2024, 3, 26)] = 1.25
    run.server.today = date(2024, 4, 1)
    with pytest.raises(
        DataError, match=r"6 stored session\(s\) are no longer told, first 2024-01-02.* yahoo\.first, or"
    ):
        run.run()
    run.yahoo["first"] = date(2024, 1, 10)
    report = run.run()["symbols"]["MSFT"]
    assert (report["rows_added"], report["revision"]["rows_changed"], report["revision"]["rows_lost"]) == (1, 1, 6)
    assert run.read().prices["session"][0] == date(2024, 1, 10)
    old_rows = pl.read_parquet(run.store / report["revision"]["file"])
    assert old_rows.equals(
        before.filter((pl.col("session") < date(2024, 1, 10)) | (pl.col("session") == date(2024, 3, 26)))
    )


def test_stored_session_that_is_no_longer_told_is_let_go_by_removing_the_file(download):
    run = download("MSFT", data={"max_gap": 1})
    run.run()
    run.server.companies["MSFT"].lacking.add(date(2024, 3, 5))
    run.server.today = date(2024, 4, 1)
    with pytest.raises(DataError, match=r"1 stored session\(s\) are no longer told, first 2024-03-05") as failure:
        run.run()
    path = run.store / "prices" / "MSFT.parquet"
    assert f"remove {path} to download anew" in str(failure.value)
    path.unlink()
    run.run()
    assert run.read().prices.height == 61


def test_prices_that_are_removed_to_be_downloaded_anew_keep_their_revisions(download):
    run = download("MSFT")
    run.run()
    run.server.companies["MSFT"].revised[date(2024, 3, 26)] = 1.25
    run.server.today = date(2024, 4, 1)
    run.run()
    before = run.content()
    (run.store / "prices" / "MSFT.parquet").unlink()
    run.run()
    assert run.content() == before


def test_answer_that_would_take_stored_sessions_away_is_refused(download):
    run = download("MSFT", data={"max_gap": 2})
    run.run()
    before = run.content()
    company = run.server.companies["MSFT"]
    company.lacking.add(date(2024, 2, 5))
    company.revised[date(2024, 3, 26)] = 1.25
    run.server.today = date(2024, 4, 1)
    with pytest.raises(Exception, match=r"1 stored session\(s\) are no longer told, first 2024-02-05"):
        run.run()
    assert run.content() == before


def test_earlier_first_session_fetches_the_whole_and_is_no_revision(download):
    run = download("MSFT", yahoo={"first": date(2024, 2, 1)})
    run.run()
    run.server.forget()
    run.yahoo["first"] = date(2024, 1, 2)
    report = run.run()["symbols"]["MSFT"]
    assert (report["rows_added"], report["revision"]) == (21, None)
    assert [ask.first for ask in run.server.charts()] == [date(2024, 1, 1)]
    run.yahoo["first"] = date(2024, 3, 1)
    run.server.forget()
    run.run()
    assert run.server.asked == []
    assert run.read().prices["session"][0] == date(2024, 3, 1)


def test_revision_reaches_stored_sessions_that_are_not_wanted_now(download):
    run = download(Company("MSFT", splits={SPLIT_DAY: 4.0}))
    run.run()
    run.yahoo["first"] = date(2024, 3, 1)
    run.server.today = date(2024, 4, 12)
    assert run.run()["symbols"]["MSFT"]["revision"]["rows_changed"] == 61
    run.yahoo["first"] = date(2024, 1, 2)
    rows = run.server.companies["MSFT"].rows(date(2024, 4, 12))
    assert run.read().prices["close"].to_list() == [row["close"] for row in rows]


def test_last_session_limits_what_is_asked_stored_and_read(download):
    run = download("MSFT", yahoo={"last": date(2024, 2, 29)})
    run.run()
    assert run.server.charts()[0].last == date(2024, 3, 1)
    assert pl.read_parquet(run.store / "prices" / "MSFT.parquet")["session"][-1] == date(2024, 2, 29)
    run.yahoo["last"] = date(2024, 1, 31)
    run.server.forget()
    run.run()
    assert run.server.asked == []
    assert run.read().prices["session"][-1] == date(2024, 1, 31)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 30))])
def test_any_history_of_runs_and_faults_ends_in_what_one_download_at_the_end_would_give(download, tmp_path, seed):
    rng = Random(seed)
    days = exchange_sessions("XNYS", date(2024, 1, 2), date(2024, 6, 28))["session"].to_list()
    splits = {day: rng.choice([2.0, 4.0, 0.5]) for day in rng.sample(days[5:], rng.randrange(3))}
    dividends = {day: rng.uniform(0.1, 3.0) for day in rng.sample(days[5:], rng.randrange(4))}
    reported_on = {day: days[min(days.index(day) + rng.choice([0, 0, 5, 20]), len(days) - 1)] for day in dividends}
    company = Company("MSFT", splits=splits, dividends=dividends)
    run = download(company, yahoo={"attempts": 2})
    for day in sorted(rng.sample(days[2:], 6)):
        run.server.today = day
        company.unknown_dividends = {paid for paid, reported in reported_on.items() if reported > day}
        fault = rng.choice([None, None, 429, 500, "stale", "hole", "nulls", "html", "unadjusted", "empty"])
        if fault is not None:
            run.server.fail("MSFT", fault, times=rng.choice([1, 2]))
        with suppress(DataError):
            run.run()
        run.server.faults.clear()
        if rng.random() < 0.2:
            company.revised[rng.choice(days[: days.index(day) + 1][-RECENT:])] = rng.uniform(0.9, 1.1)
    run.server.today = days[-1]
    company.unknown_dividends.clear()
    run.run()
    assert same_as_a_fresh_download(run, tmp_path / "fresh")
