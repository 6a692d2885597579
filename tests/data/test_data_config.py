"""`data.*` and `news.*` as YAML and the command line write them."""

from datetime import date

import pytest
from pydantic import ValidationError

from flag_kedro.data.config import DataConfig, NewsConfig, WindowsConfig

JULY_TO_SEPTEMBER = (date(2020, 7, 1), date(2020, 9, 30))


def test_symbols_on_the_command_line_are_separated_by_blanks():
    assert DataConfig(symbols="MSFT JNJ  BTC").symbols == ("MSFT", "JNJ", "BTC")


def test_symbols_in_yaml_are_a_list():
    assert DataConfig(symbols=["MSFT", "JNJ"]).symbols == ("MSFT", "JNJ")


def test_symbol_that_arrived_as_a_number_keeps_its_digits():
    assert DataConfig(symbols=700).symbols == ("700",)


@pytest.mark.parametrize("token", [True, False])
def test_symbol_that_arrived_as_true_or_false_is_refused_with_a_way_out(token):
    """`ON` is a symbol and, in YAML, a truth value."""
    with pytest.raises(ValidationError, match="spelling is lost; set it in YAML as a quoted list"):
        DataConfig(symbols=token)


@pytest.mark.parametrize("symbols", ["", "  ", []])
def test_no_symbol_at_all_is_refused(symbols):
    with pytest.raises(ValidationError, match="symbols"):
        DataConfig(symbols=symbols)


def test_symbol_named_twice_is_refused():
    with pytest.raises(ValidationError, match=r"data\.symbols names a symbol twice: MSFT JNJ MSFT"):
        DataConfig(symbols="MSFT JNJ MSFT")


@pytest.mark.parametrize(
    "window",
    ["2020-07-01 2020-09-30", ["2020-07-01", "2020-09-30"], [date(2020, 7, 1), date(2020, 9, 30)]],
)
def test_window_is_its_first_and_last_session_date(window):
    assert DataConfig(windows={"train": window}).windows == WindowsConfig(train=JULY_TO_SEPTEMBER)


@pytest.mark.parametrize("window", ["2020-07-01", "2020-07-01 2020-08-01 2020-09-30", ["2020-07-01"], 20200701])
def test_window_of_other_than_two_dates_is_refused_with_an_example(window):
    with pytest.raises(ValidationError, match="first and last session date, such as 2020-10-01 2021-05-06"):
        WindowsConfig(train=window)


def test_window_that_is_no_date_is_refused():
    with pytest.raises(ValidationError, match="date"):
        WindowsConfig(train="spring summer")


@pytest.mark.parametrize("window", ["2020-09-30 2020-07-01", "2020-07-01 2020-07-01"])
def test_window_must_end_after_it_begins(window):
    with pytest.raises(ValidationError, match=r"data\.windows\.test must end after it begins"):
        WindowsConfig(test=window)


@pytest.mark.parametrize(
    ("train", "validation", "test", "named"),
    [
        ("2020-07-01 2020-10-01", None, "2020-10-01 2020-12-31", ("train", "test")),  # one shared day
        ("2020-07-01 2020-09-30", "2020-08-01 2020-08-15", "2020-10-01 2020-12-31", ("train", "validation")),
        ("2020-07-01 2020-09-30", "2020-10-01 2020-11-30", "2020-11-01 2020-12-31", ("validation", "test")),
        ("2020-07-01 2020-12-31", None, "2020-06-01 2020-07-15", ("test", "train")),
    ],
)
def test_overlapping_windows_are_refused_by_name(train, validation, test, named):
    with pytest.raises(ValidationError, match=rf"data\.windows\.{named[0]} .*data\.windows\.{named[1]} .*overlap"):
        WindowsConfig(train=train, validation=validation, test=test)


def test_windows_may_touch_without_sharing_a_day():
    windows = WindowsConfig(train="2020-07-01 2020-09-30", test="2020-10-01 2020-12-31")
    assert windows.test == (date(2020, 10, 1), date(2020, 12, 31))


def test_unknown_source_is_refused():
    with pytest.raises(ValidationError, match=r"source"):
        DataConfig(source="bloomberg")


def test_investorbench_needs_a_path():
    with pytest.raises(ValidationError, match=r"data\.path must name the folder"):
        DataConfig(source="investorbench")
    assert DataConfig(source="investorbench", path="somewhere").path == "somewhere"


@pytest.mark.parametrize(("config", "key"), [(DataConfig, "symbol"), (NewsConfig, "date"), (WindowsConfig, "training")])
def test_misspelt_key_is_refused(config, key):
    with pytest.raises(ValidationError, match=key):
        config(**{key: "MSFT"})


def test_seed_below_zero_is_refused():
    with pytest.raises(ValidationError, match="seed"):
        DataConfig(seed=-1)


def test_dated_articles_wait_for_the_next_session_unless_told_otherwise():
    assert NewsConfig().date_only == "next_session"
    with pytest.raises(ValidationError, match="date_only"):
        NewsConfig(date_only="yesterday")


def test_parameters_cannot_be_changed_once_read():
    with pytest.raises(AttributeError):
        DataConfig().seed = 1


def test_names_with_dots_come_from_the_command_line_whole():
    data = DataConfig(calendar={"0700": {"HK": "XHKG"}, "MSFT": "XNYS"}, max_jump={"BRK": {"B": 0.9}})
    assert data.calendar == {"0700.HK": "XHKG", "MSFT": "XNYS"}
    assert (data.largest_jump("BRK.B"), data.largest_jump("MSFT")) == (0.9, 0.5)
    assert DataConfig(max_jump=0.7).largest_jump("MSFT") == 0.7


@pytest.mark.parametrize("days", ["2024-01-20 2024-03-02", [date(2024, 1, 20), "2024-03-02"]])
def test_extra_sessions_are_days_by_calendar(days):
    assert DataConfig(extra_sessions={"XBOM": days}).extra_sessions["XBOM"] == (date(2024, 1, 20), date(2024, 3, 2))
    assert DataConfig(extra_sessions={"XBOM": date(2024, 1, 20)}).extra_sessions["XBOM"] == (date(2024, 1, 20),)


def test_extra_sessions_of_a_market_that_never_closes_are_refused():
    with pytest.raises(ValidationError, match="24/7, which has every day"):
        DataConfig(extra_sessions={"24/7": "2024-01-20"})
