"""Which sessions are learned from and judged on, by hand on short calendars."""

from datetime import date, timedelta

import polars as pl
import pytest

from flag_kedro.data.config import DataConfig
from flag_kedro.data.schema import DataError
from flag_kedro.data.windows import resolve_windows

FIRST = date(2021, 3, 1)


def days(num: int, first: date = FIRST) -> pl.Series:
    return pl.Series([first + timedelta(days=n) for n in range(num)])


def march(day: int) -> date:
    return date(2021, 3, day)


def investorbench(**windows: str) -> DataConfig:
    return DataConfig(source="investorbench", path="somewhere", windows=windows or None)


STOCK_DAYS = days(310, date(2020, 7, 1))
CRYPTO_DAYS = days(300, date(2023, 2, 1))


def test_simulated_market_is_divided_60_20_20():
    windows = resolve_windows(DataConfig(), {"ALDR": days(20)})
    assert windows.train == (march(1), march(12))
    assert windows.validation == (march(13), march(16))
    assert windows.test == (march(17), march(20))


@pytest.mark.parametrize("num", [8, 9, 11, 13, 14, 27, 101, 753])
def test_own_windows_cover_every_session_once(num):
    sessions = days(num)
    windows = resolve_windows(DataConfig(calendar="24/7"), {"ALDR": sessions})
    parts = [
        sessions.filter(sessions.is_between(*window)) for window in (windows.train, windows.validation, windows.test)
    ]
    assert pl.concat(parts).to_list() == sessions.to_list()
    assert min(len(part) for part in parts) >= 2


@pytest.mark.parametrize("num", [3, 5, 7])
def test_span_too_short_to_divide_is_refused_with_a_way_out(num):
    with pytest.raises(DataError, match=rf"data\.windows: {num} session.* too few .*simulated\.first_session"):
        resolve_windows(DataConfig(), {"ALDR": days(num)})


def test_window_given_alone_leaves_the_others_as_they_are():
    windows = resolve_windows(DataConfig(windows={"train": "2021-03-03 2021-03-10"}), {"ALDR": days(20)})
    assert windows.train == (march(3), march(10))
    assert windows.validation == (march(13), march(16))
    assert windows.test == (march(17), march(20))


def test_window_given_alone_may_not_run_into_the_sources_own():
    with pytest.raises(DataError, match=r"data\.windows\.train .*data\.windows\.validation .*overlap"):
        resolve_windows(DataConfig(windows={"train": "2021-03-03 2021-03-14"}), {"ALDR": days(20)})


def test_stocks_of_the_benchmark_have_the_published_windows_and_no_validation():
    windows = resolve_windows(investorbench(), {"MSFT": STOCK_DAYS, "JNJ": STOCK_DAYS})
    assert windows.train == (date(2020, 7, 1), date(2020, 9, 30))
    assert windows.validation is None
    assert windows.test == (date(2020, 10, 1), date(2021, 5, 6))


def test_crypto_of_the_benchmark_has_the_published_windows():
    windows = resolve_windows(investorbench(), {"BTC": CRYPTO_DAYS})
    assert windows.train == (date(2023, 2, 11), date(2023, 4, 4))
    assert windows.validation is None
    assert windows.test == (date(2023, 4, 5), date(2023, 11, 5))


def test_validation_may_be_cut_from_the_benchmarks_training_span():
    data = investorbench(train="2020-07-01 2020-08-31", validation="2020-09-01 2020-09-30")
    windows = resolve_windows(data, {"MSFT": STOCK_DAYS})
    assert windows.validation == (date(2020, 9, 1), date(2020, 9, 30))
    assert windows.test == (date(2020, 10, 1), date(2021, 5, 6))


@pytest.mark.parametrize("given", [{}, {"train": "2023-03-01 2023-04-30"}, {"test": "2023-05-01 2023-06-30"}])
def test_stocks_and_crypto_together_need_windows_of_both(given):
    sessions = {"MSFT": CRYPTO_DAYS, "BTC": CRYPTO_DAYS}
    with pytest.raises(DataError, match=r"stocks and crypto .*set data\.windows\.train and data\.windows\.test"):
        resolve_windows(investorbench(**given), sessions)


def test_stocks_and_crypto_together_use_the_windows_given():
    data = investorbench(train="2023-03-01 2023-04-30", test="2023-05-01 2023-06-30")
    windows = resolve_windows(data, {"MSFT": CRYPTO_DAYS, "BTC": CRYPTO_DAYS})
    assert windows.train == (date(2023, 3, 1), date(2023, 4, 30))
    assert windows.test == (date(2023, 5, 1), date(2023, 6, 30))


@pytest.mark.parametrize(
    ("name", "window"),
    [("train", "2021-02-01 2021-03-10"), ("test", "2021-03-17 2021-03-31"), ("test", "2022-01-03 2022-02-01")],
)
def test_window_outside_the_data_is_refused_by_symbol_and_key(name, window):
    others = {"train": "2021-03-03 2021-03-10", "validation": "2021-03-11 2021-03-12", "test": "2021-03-15 2021-03-20"}
    data = DataConfig(windows=others | {name: window})
    with pytest.raises(DataError, match=rf"data\.windows\.{name} is .*but BRIX has market states from 2021-03-01 to"):
        resolve_windows(data, {"ALDR": days(400, date(2021, 1, 1)), "BRIX": days(20)})


def test_window_may_begin_and_end_on_closed_days():
    """A window of whole weeks begins on a Saturday and ends on a Sunday without losing a session."""
    given = {"train": "2021-02-27 2021-03-07", "validation": "2021-03-08 2021-03-14", "test": "2021-03-15 2021-03-20"}
    data = DataConfig(windows=given)
    windows = resolve_windows(data, {"ALDR": days(20)})
    assert windows.train == (date(2021, 2, 27), march(7))


def test_window_that_loses_its_last_session_is_refused():
    given = {"train": (march(1), march(5)), "validation": (march(8), march(12)), "test": (march(15), march(22))}
    with pytest.raises(DataError, match=r"data\.windows\.test .*: 1 session\(s\) without one, first 2021-03-22"):
        resolve_windows(DataConfig(windows=given), {"ALDR": days(20)})


def test_window_needs_two_sessions_for_one_reward():
    sessions = pl.Series([march(day) for day in (1, 2, 3, 4, 5, 8, 9, 10, 11, 12)])
    windows = {"train": "2021-03-01 2021-03-04", "validation": "2021-03-05 2021-03-07", "test": "2021-03-08 2021-03-12"}
    with pytest.raises(DataError, match=r"data\.windows\.validation holds 1 session.* of ALDR; at least 2"):
        resolve_windows(DataConfig(windows=windows), {"ALDR": sessions})


def test_windows_as_text_are_iso_dates():
    text = resolve_windows(investorbench(), {"MSFT": STOCK_DAYS}).as_text()
    assert text == {
        "train": ["2020-07-01", "2020-09-30"],
        "validation": None,
        "test": ["2020-10-01", "2021-05-06"],
    }
