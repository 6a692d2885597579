"""Articles from a user's own tables and from a dataset: what is read, and when each counts as known."""

import json
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.duplicates import merge_duplicates
from flag_kedro.data.files.news import read_news
from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.schema import NEWS
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.errors import DataError, ParameterError

WEDNESDAY_OPEN, FRIDAY_OPEN = datetime(2020, 11, 25, 14, 30, tzinfo=UTC), datetime(2020, 11, 27, 14, 30, tzinfo=UTC)
"""Thursday in between is Thanksgiving."""
FNSPID = """Unnamed: 0,Date,Article_title,Stock_symbol,Url,Publisher,Author,Article,Lsa_summary
0.0,2020-11-24 23:00:00 UTC,Acme rises,ACME,http://a,Benzinga,,"Long, with a comma",short
1.0,2020-11-25 00:00:00 UTC,Acme falls,acme,,,,,
2.0,2020-11-25 12:00:00 UTC,Other rises,OTHR,,,,,
"""


def read(path: Path | str, source: str = "files", **given: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    news = NewsConfig(source=source, path=str(path), **given)
    read = read_news(
        news,
        {"ACME", "BTC"},
        lambda symbol: "24/7" if symbol == "BTC" else "XNYS",
        quarantine=False,
        max_left_out=1.0,
    )
    return read.table, read.facts


def write(folder: Path, content: str, name: str = "acme.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def times_of(folder: Path, published: str, **given: Any) -> tuple[datetime, datetime]:
    table, _ = read(write(folder, f"published_at,headline\n{published},Acme rises\n"), **given)
    return table.select("published_at", "available_at").row(0)


@pytest.mark.parametrize(
    "published",
    ["2020-11-24T23:00:00Z", "2020-11-24 23:00:00 UTC", "2020-11-24 18:00-05:00", "2020-11-24T23:00:00.000000+0000"],
)
def test_article_with_time_and_zone_is_known_at_that_time(tmp_path, published):
    assert times_of(tmp_path, published) == (datetime(2020, 11, 24, 23, tzinfo=UTC),) * 2


@pytest.mark.parametrize("published", ["2020-11-25", "20201125", "2020-11-25 00:00:00", "2020-11-25 00:00:00 UTC"])
@pytest.mark.parametrize(("rule", "available_at"), [("next_session", FRIDAY_OPEN), ("same_session", WEDNESDAY_OPEN)])
def test_article_with_a_date_or_at_midnight_is_known_by_the_rule(tmp_path, published, rule, available_at):
    assert times_of(tmp_path, published, date_only=rule) == (datetime(2020, 11, 25, tzinfo=UTC), available_at)


def test_dates_follow_the_calendar_of_each_symbol(tmp_path):
    table, report = read(write(tmp_path, "symbol,published_at,headline\nACME,2020-11-25,a\nBTC,2020-11-25,b\n"))
    available_at = dict(table.select("symbol", "available_at").iter_rows())
    assert available_at == {"ACME": FRIDAY_OPEN, "BTC": datetime(2020, 11, 26, 0, 0, 0, 1, tzinfo=UTC)}
    assert report["articles_with_date_only"] == 2


def test_dates_and_times_may_be_mixed_row_by_row(tmp_path):
    rows = "2020-11-25,a\n2020-11-25 15:00Z,b\n2020-11-25 00:00:00Z,c\n2020-11-25T09:00,d\n"
    table, report = read(write(tmp_path, f"published_at,headline\n{rows}"), timezone="America/New_York")
    assert dict(table.select("headline", "available_at").iter_rows()) == {
        "a": FRIDAY_OPEN,
        "b": datetime(2020, 11, 25, 15, tzinfo=UTC),
        "c": FRIDAY_OPEN,
        "d": datetime(2020, 11, 25, 14, tzinfo=UTC),
    }
    assert (report["articles_with_time"], report["articles_with_date_only"]) == (2, 2)
    assert report["of_these_written_as_midnight"] == 1


def test_of_an_hour_that_comes_twice_the_later_one_counts(tmp_path):
    """On 1 November 2020 New York's 01:30 was 05:30 UTC and, an hour later, 06:30 UTC."""
    available_at = times_of(tmp_path, "2020-11-01 01:30", timezone="America/New_York")
    assert available_at == (datetime(2020, 11, 1, 6, 30, tzinfo=UTC),) * 2


def test_hour_that_clocks_skipped_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"row 2: published_at is '2020-03-08 02:30', a time that America/New_York skipped"
    ):
        times_of(tmp_path, "2020-03-08 02:30", timezone="America/New_York")


def test_time_without_zone_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(
        DataError, match=r"row 2: published_at is '2020-11-25 09:30', .* news\.timezone=America/New_York"
    ):
        times_of(tmp_path, "2020-11-25 09:30")


@pytest.mark.parametrize("zone", ["Mars/Base", "", "EDT5"])
def test_unknown_time_zone_is_refused(tmp_path, zone):
    with pytest.raises(ParameterError, match=rf"news\.timezone: no time zone '{zone}'"):
        times_of(tmp_path, "2020-11-25", timezone=zone)


@pytest.mark.parametrize(
    ("published", "hint"),
    [
        ("03/04/2020", "news.date_format='%m/%d/%Y' or news.date_format='%d/%m/%Y', whichever is right"),
        ("25.11.2020", "news.date_format='%d.%m.%Y'"),
        ("Nov 25 2020", "news.date_format='%b %d %Y'"),
        ("1606262400", "news.epoch=s"),
        ("2020-11-25 9am", "news.date_format how all are written"),
        ("2020", "news.date_format how all are written"),
    ],
)
def test_time_that_does_not_begin_with_the_year_is_refused_with_every_reading(tmp_path, published, hint):
    with pytest.raises(DataError) as error:
        times_of(tmp_path, published)
    assert f"row 2: published_at is '{published}', where a date or time belongs" in str(error.value)
    assert hint in str(error.value)


def test_parquet_with_its_own_types_says_the_same_as_text(tmp_path):
    table = pl.DataFrame({"published_at": [datetime(2020, 11, 24, 18), datetime(2020, 11, 25)], "headline": ["a", "b"]})
    (tmp_path / "text").mkdir()
    write(tmp_path / "text", "published_at,headline\n2020-11-24 18:00-05:00,a\n2020-11-25,b\n")
    table.with_columns(pl.col("published_at").dt.replace_time_zone("America/New_York")).write_parquet(
        tmp_path / "acme.parquet"
    )
    from_types = read(tmp_path / "acme.parquet")[0].drop("published_at")
    assert_frame_equal(from_types, read(tmp_path / "text")[0].drop("published_at"), check_row_order=False)


def test_texts_stay_as_they_came_and_empty_ones_are_null(tmp_path):
    content = 'published_at,headline,body,url\n2020-11-25,"  Acme ""rises"", ｆａｓｔ ","line one\nline two",\n'
    table, _ = read(write(tmp_path, content))
    assert table.select("headline", "body", "source", "url").row(0) == (
        '  Acme "rises", ｆａｓｔ ',
        "line one\nline two",
        None,
        None,
    )


def test_fnspids_columns_need_no_mapping(tmp_path):
    table, report = read(write(tmp_path, FNSPID, "news.csv"))
    assert dict(table.schema) == NEWS
    assert table.sort("published_at").rows() == [
        (
            "ACME",
            *[datetime(2020, 11, 24, 23, tzinfo=UTC)] * 2,
            "Acme rises",
            "Long, with a comma",
            "Benzinga",
            "http://a",
        ),
        ("ACME", datetime(2020, 11, 25, tzinfo=UTC), FRIDAY_OPEN, "Acme falls", None, None, None),
    ]
    assert report["columns"].startswith("FNSPID's: headline=Article_title")
    assert report["symbols_without_articles"] == ["BTC"]


def test_a_mapping_of_ones_own_wins_over_fnspids(tmp_path):
    columns = {"headline": "Article_title", "published_at": "Date", "symbol": "Stock_symbol", "body": "Lsa_summary"}
    table, report = read(write(tmp_path, FNSPID, "news.csv"), columns=columns)
    assert table.sort("published_at")["body"].to_list() == ["short", None]
    assert "columns" not in report


def test_column_that_is_absent_is_refused_with_the_likely_one(tmp_path):
    with pytest.raises(DataError, match=r"has no column headline; .*news\.columns\.headline=Title"):
        read(write(tmp_path, "published_at,Title\n2020-11-25,a\n"))


def test_dataset_in_a_local_folder_says_the_same_as_its_files(tmp_path):
    write(tmp_path, FNSPID, "news.csv")
    streamed, report = read(tmp_path, "huggingface")
    assert_frame_equal(streamed, read(tmp_path)[0])
    assert report["columns"].startswith("FNSPID's")


def test_one_file_of_a_dataset_may_be_named(tmp_path):
    path = write(tmp_path, FNSPID, "news.csv")
    write(tmp_path, "a,b\n1,2\n", "other.csv")
    assert_frame_equal(read(path, "huggingface")[0], read(path)[0])
    with pytest.raises(ParameterError, match=r"news\.revision is v1, .* hf://datasets/OWNER/NAME@v1/FILE"):
        read(path, "huggingface", revision="v1")


def test_dataset_in_parquet_is_streamed(tmp_path):
    days = [date(2020, 11, 25)] * 25_000
    symbols = ["ACME" if number % 1000 == 0 else "OTHR" for number in range(25_000)]
    pl.DataFrame({"published_at": days, "symbol": symbols, "headline": symbols}).write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path, "huggingface")[0].height == 25


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        (FNSPID, {"split": "test"}, r"the dataset .* \(split test, revision newest\) cannot be read: .*Bad split"),
        ("Date,headline\n2020-11-25,a\n", {"columns": {"published_at": "Date"}}, r"no column of symbols"),
        ("Date,Title,symbol\n2020-11-25,a,ACME\n", {}, r"news\.columns\.headline=Title"),
        (
            FNSPID.replace("2020-11-24 23:00:00 UTC", "24/11/2020"),
            {},
            r"row 1: Date is '24/11/2020', .*correct it, or say by news",
        ),
        (FNSPID, {"timezone": "Mars"}, r"news\.timezone"),
    ],
)
def test_dataset_that_does_not_fit_is_refused(tmp_path, content, given, message):
    write(tmp_path, content, "news.csv")
    with pytest.raises((DataError, ParameterError), match=message):
        read(tmp_path, "huggingface", **given)


def test_dataset_that_cannot_be_reached_names_the_way_out():
    with pytest.raises(
        DataError, match=r"the dataset nobody/nothing .* cannot be read: .*download it and give the folder"
    ):
        read(Path("nobody/nothing"), "huggingface")


def test_dataset_without_its_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ParameterError, match=r"pip install 'flag_kedro\[huggingface\]'"):
        read(tmp_path, "huggingface")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("path", "given", "asked", "loaded"),
    [
        ("owner/name", {}, ("owner/name", None), ("owner/name", COMMIT)),
        ("owner/name", {"revision": "v1"}, ("owner/name", "v1"), ("owner/name", COMMIT)),
        (
            "hf://datasets/owner/name@refs%2Fv1/a/b.csv",
            {},
            ("owner/name", "refs/v1"),
            (f"hf://datasets/owner/name@{COMMIT}/a/b.csv", None),
        ),
    ],
)
def test_dataset_of_the_hub_is_read_at_one_commit_which_the_report_names(
    tmp_path, monkeypatch, path, given, asked, loaded
):
    import huggingface_hub

    import datasets

    write(tmp_path, FNSPID, "news.csv")
    load, calls = datasets.load_dataset, []

    def dataset_info(name: str, revision: str | None) -> Any:
        calls.append((name, revision))
        return huggingface_hub.DatasetInfo(id=name, sha=COMMIT)

    def load_dataset(name: str, revision: str | None = None, data_files: str | None = None, **others: Any) -> Any:
        calls.append((data_files or name, revision))
        return load(str(tmp_path), **others)

    monkeypatch.setattr(huggingface_hub, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    table, report = read(path, "huggingface", **given)
    assert calls == [asked, loaded]
    assert report["commit"] == COMMIT
    assert table.height == 2


def test_local_dataset_has_no_commit(tmp_path):
    path = write(tmp_path, FNSPID, "news.csv")
    for dataset in (tmp_path, path):
        assert "commit" not in read(dataset, "huggingface")[1]


@pytest.mark.parametrize("source", ["files", "huggingface"])
def test_unreadable_times_are_quarantined_as_they_came_if_asked_for(tmp_path, source):
    path = write(tmp_path, FNSPID.replace("2020-11-25 00:00:00 UTC", "Jul 3 2026"), "news.csv")
    news = NewsConfig(source=source, path=str(path))
    read = read_news(news, {"ACME"}, lambda symbol: "XNYS", quarantine=True, max_left_out=1.0)
    assert read.table["headline"].to_list() == ["Acme rises"]
    row = read.rejected.row(0, named=True)
    assert (read.rejected.height, row["table"], row["symbol"], row["at"]) == (1, "news", "ACME", "Jul 3 2026")
    assert (row["column"], row["value"]) == ("Date", "Jul 3 2026")
    assert json.loads(row["record"])["Article_title"] == "Acme falls"
    assert read.facts["articles_with_time"] == 1


def test_time_without_zone_is_refused_even_with_quarantine(tmp_path):
    """news.timezone mends all of them; without it every article would be left out."""
    path = write(tmp_path, "published_at,headline\n2020-11-25 09:30,a\n")
    news = NewsConfig(source="files", path=str(path))
    with pytest.raises(DataError, match=r"news\.timezone=America/New_York"):
        read_news(news, {"ACME"}, lambda symbol: "XNYS", quarantine=True, max_left_out=1.0)


@pytest.mark.parametrize(
    ("published", "timezone"),
    [
        ("2020-11-25T05:00:00Z", None),
        ("2020-11-25 00:00-05:00", None),
        ("2020-11-25 06:00+01:00", None),
        ("2020-11-24T15:00:00Z", "Asia/Tokyo"),
        ("2020-11-25 00:00", "Asia/Tokyo"),
        ("2020-11-25 05:00", "UTC"),
    ],
)
def test_midnight_exported_in_another_zone_is_still_a_date(tmp_path, published, timezone):
    """New York's 25 November begins at 05:00 UTC, Tokyo's at 15:00 UTC of the 24th."""
    assert times_of(tmp_path, published, timezone=timezone)[1] == FRIDAY_OPEN


def test_midnights_of_other_zones_are_counted(tmp_path):
    rows = "2020-11-25T05:00:00Z,a\n2020-11-25 00:00:00Z,b\n2020-11-25T05:00:01Z,c\n2020-11-25,d\n"
    _, report = read(write(tmp_path, f"published_at,headline\n{rows}"))
    assert (report["articles_with_time"], report["articles_with_date_only"]) == (1, 3)
    assert (report["of_these_written_as_midnight"], report["of_these_midnight_in_another_zone"]) == (1, 1)


def test_date_without_a_known_session_after_it_is_refused(tmp_path, monkeypatch):
    """Looking one day ahead from the eve of Thanksgiving finds none; midnight of the date would be too early."""
    monkeypatch.setattr("flag_kedro.data.calendar.MARGIN", timedelta(days=1))
    with pytest.raises(DataError, match="XNYS has no session soon after 2020-11-25"):
        times_of(tmp_path, "2020-11-25")


def stray_marks(*stray: int) -> str:
    """Eighteen articles of which two begin with a quotation mark that belongs to nothing."""
    mark = {number: '"' for number in stray}
    rows = (f"2024-01-{day:02d},{mark.get(day, '')}Story {day},MSFT" for day in range(2, 20))
    return "\n".join(["published_at,headline,symbol", *rows]) + "\n"


def test_stray_quotation_marks_do_not_swallow_articles(tmp_path):
    with pytest.raises(DataError, match=r"acme\.csv line 13: text after a closing quotation mark"):
        read(write(tmp_path, stray_marks(6, 13)))
    closed = stray_marks(6).replace("Story 13", 'Story 13"')
    with pytest.raises(DataError, match=r"acme\.csv row 6: headline holds a line break, 'Story 6,MSFT"):
        read(write(tmp_path, closed.replace(",MSFT", ",ACME").replace("Story 6,ACME", "Story 6,MSFT")))


def test_marks_written_twice_and_line_breaks_of_bodies_are_fine(tmp_path):
    body = '"He said ""hold"", then\r\n""sell"""'
    table, _ = read(
        write(tmp_path, f'published_at,headline,body\n2020-11-25,"A 5"" pipe",{body}\n2020-11-25,b 5" c 6",\n')
    )
    assert table.sort("headline").select("headline", "body").rows() == [
        ('A 5" pipe', 'He said "hold", then\r\n"sell"'),
        ('b 5" c 6"', None),
    ]


def market(data: DataConfig, news: NewsConfig, simulated: SimulatedConfig | None = None) -> Any:
    simulated = simulated or SimulatedConfig(
        market="easy", first_session=date(2020, 11, 23), last_session=date(2020, 11, 30)
    )
    return load_market(MarketConfig(data, news, simulated), Path("none"), datetime(2026, 1, 1, tzinfo=UTC))


def test_articles_of_files_join_the_prices_of_any_source(tmp_path):
    write(tmp_path, "symbol,published_at,headline\nALDR,2020-11-25,a\nALDR,2020-11-25,A!\nMSFT,2020-11-25,b\n")
    loaded = market(DataConfig(symbols="ALDR"), NewsConfig(source="files", path=str(tmp_path)))
    assert loaded.news["symbol"].to_list() == ["ALDR"]
    assert loaded.report.source["articles"] == {"ALDR": {"read": 2, "folded": 1, "kept": 1}}
    assert loaded.names == {"ALDR": ("Alder Foods",)}


def test_sound_copy_of_a_quarantined_article_is_kept(tmp_path):
    rows = f"2020-11-25 15:00Z,Big story,{'x' * 1_000_001}\n2020-11-25 16:00Z,Big story,sound\nJul 3 2026,Bad,\n"
    write(tmp_path, f"published_at,headline,body\n{rows}", "ALDR.csv")
    news = NewsConfig(source="files", path=str(tmp_path))
    with pytest.raises(DataError, match=r"would leave out 2 of 3 articles; .* set data\.max_left_out=1"):
        market(DataConfig(symbols="ALDR", quarantine=True), news)
    loaded = market(DataConfig(symbols="ALDR", quarantine=True, max_left_out=1), news)
    assert loaded.news["body"].to_list() == ["sound"]
    assert loaded.rejected["column"].to_list() == ["published_at", "body"]
    assert sum(loaded.report.num_rejected.values()) == 2
    assert loaded.report.source["articles"] == {"ALDR": {"read": 2, "folded": 0, "kept": 1}}


def test_no_news_is_an_empty_table():
    loaded = market(DataConfig(symbols="ALDR"), NewsConfig(source="none"))
    assert dict(loaded.news.schema) == NEWS
    assert loaded.news.is_empty()


def test_prices_of_files_have_no_articles_and_the_report_says_so(tmp_path):
    write(tmp_path, "session,close,adj_close\n2020-11-25,1,1\n")
    loaded = market(DataConfig(source="files", path=str(tmp_path)), NewsConfig())
    assert loaded.news.is_empty()
    assert "news.source" in loaded.report.source["news"]["note"]


def test_simulated_headlines_are_not_folded():
    """In seven years some of them repeat within three sessions, which folding would find."""
    config = SimulatedConfig(market="easy", first_session=date(2016, 1, 4), last_session=date(2022, 12, 30))
    loaded = market(DataConfig(symbols="ALDR"), NewsConfig(), config)
    assert merge_duplicates(loaded.news, lambda symbol: "XNYS", 3)[1]["ALDR"] > 0
    assert loaded.news.height == simulate_market(("ALDR",), config, 0).news.height
