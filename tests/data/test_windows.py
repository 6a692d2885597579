"""Which sessions are learned from and judged on, by hand on short calendars."""

from datetime import date, timedelta

import polars as pl
import pytest

from flag_kedro.data.config import DataConfig
from flag_kedro.data.windows import Windows, resolve_windows, takes_part
from flag_kedro.errors import ParameterError

FIRST = date(2021, 3, 1)


def resolve(data: DataConfig, sessions: dict[str, pl.Series]) -> Windows:
    return resolve_windows(data, {symbol: pl.DataFrame({"session": days}) for symbol, days in sessions.items()})


def days(num: int, first: date = FIRST) -> pl.Series:
    return pl.Series([first + timedelta(days=n) for n in range(num)])


def march(day: int) -> date:
    return date(2021, 3, day)


def investorbench(**windows: str) -> DataConfig:
    return DataConfig(source="investorbench", path="somewhere", windows=windows or None)


STOCK_DAYS = days(310, date(2020, 7, 1))
CRYPTO_DAYS = days(300, date(2023, 2, 1))


def test_simulated_market_is_divided_60_20_20():
    windows = resolve(DataConfig(), {"ALDR": days(20)})
    assert windows.train == (march(1), march(12))
    assert windows.validation == (march(13), march(16))
    assert windows.test == (march(17), march(20))


@pytest.mark.parametrize("num", [18, 19, 20, 21, 23, 27, 101, 753])
def test_own_windows_cover_every_session_once(num):
    sessions = days(num)
    windows = resolve(DataConfig(calendar="24/7"), {"ALDR": sessions})
    parts = [
        sessions.filter(sessions.is_between(*window)) for window in (windows.train, windows.validation, windows.test)
    ]
    assert pl.concat(parts).to_list() == sessions.to_list()
    assert min(len(part) for part in parts) >= 2


@pytest.mark.parametrize("num", [3, 5, 7, 13])
def test_span_too_short_to_divide_is_refused_with_a_way_out(num):
    with pytest.raises(ParameterError, match=rf"data\.windows: {num} session.* too few .*simulated\.first_session"):
        resolve(DataConfig(), {"ALDR": days(num)})


def test_window_given_alone_leaves_the_others_as_they_are():
    windows = resolve(DataConfig(windows={"train": "2021-03-03 2021-03-10"}), {"ALDR": days(20)})
    assert windows.train == (march(3), march(10))
    assert windows.validation == (march(13), march(16))
    assert windows.test == (march(17), march(20))


def test_window_given_alone_may_not_run_into_the_sources_own():
    with pytest.raises(ParameterError, match=r"data\.windows\.train .*data\.windows\.validation .*overlap"):
        resolve(DataConfig(windows={"train": "2021-03-03 2021-03-14"}), {"ALDR": days(20)})


def test_stocks_of_the_benchmark_have_the_published_windows_and_no_validation():
    windows = resolve(investorbench(), {"MSFT": STOCK_DAYS, "JNJ": STOCK_DAYS})
    assert windows.train == (date(2020, 7, 1), date(2020, 9, 30))
    assert windows.validation is None
    assert windows.test == (date(2020, 10, 1), date(2021, 5, 6))


def test_crypto_of_the_benchmark_has_the_published_windows():
    windows = resolve(investorbench(), {"BTC": CRYPTO_DAYS})
    assert windows.train == (date(2023, 2, 11), date(2023, 4, 4))
    assert windows.validation is None
    assert windows.test == (date(2023, 4, 5), date(2023, 11, 5))


def test_validation_may_be_cut_from_the_benchmarks_training_span():
    data = investorbench(train="2020-07-01 2020-08-31", validation="2020-09-01 2020-09-30")
    windows = resolve(data, {"MSFT": STOCK_DAYS})
    assert windows.validation == (date(2020, 9, 1), date(2020, 9, 30))
    assert windows.test == (date(2020, 10, 1), date(2021, 5, 6))


@pytest.mark.parametrize("given", [{}, {"train": "2023-03-01 2023-04-30"}, {"test": "2023-05-01 2023-06-30"}])
def test_stocks_and_crypto_together_need_windows_of_both(given):
    sessions = {"MSFT": CRYPTO_DAYS, "BTC": CRYPTO_DAYS}
    with pytest.raises(ParameterError, match=r"stocks and crypto .*set data\.windows\.train and data\.windows\.test"):
        resolve(investorbench(**given), sessions)


def test_stocks_and_crypto_together_use_the_windows_given():
    data = investorbench(train="2023-03-01 2023-04-30", test="2023-05-01 2023-06-30")
    windows = resolve(data, {"MSFT": CRYPTO_DAYS, "BTC": CRYPTO_DAYS})
    assert windows.train == (date(2023, 3, 1), date(2023, 4, 30))
    assert windows.test == (date(2023, 5, 1), date(2023, 6, 30))


@pytest.mark.parametrize(
    ("name", "window"),
    [("train", "2021-02-01 2021-03-10"), ("test", "2021-03-17 2021-03-31"), ("test", "2022-01-03 2022-02-01")],
)
def test_window_outside_the_data_is_refused_by_symbol_and_key(name, window):
    others = {"train": "2021-03-03 2021-03-10", "validation": "2021-03-11 2021-03-12", "test": "2021-03-15 2021-03-20"}
    data = DataConfig(windows=others | {name: window})
    with pytest.raises(
        ParameterError, match=rf"data\.windows\.{name} is .*but BRIX has market states from 2021-03-01 to"
    ):
        resolve(data, {"ALDR": days(400, date(2021, 1, 1)), "BRIX": days(20)})


def test_window_may_begin_and_end_on_closed_days():
    """A window of whole weeks begins on a Saturday and ends on a Sunday without losing a session."""
    given = {"train": "2021-02-27 2021-03-07", "validation": "2021-03-08 2021-03-14", "test": "2021-03-15 2021-03-20"}
    data = DataConfig(windows=given)
    windows = resolve(data, {"ALDR": days(20)})
    assert windows.train == (date(2021, 2, 27), march(7))


def test_window_that_loses_its_last_session_is_refused():
    given = {"train": (march(1), march(5)), "validation": (march(8), march(12)), "test": (march(15), march(22))}
    with pytest.raises(ParameterError, match=r"data\.windows\.test .*: 1 session\(s\) without one, first 2021-03-22"):
        resolve(DataConfig(windows=given), {"ALDR": days(20)})


def test_window_needs_two_sessions_for_one_reward():
    sessions = pl.Series([march(day) for day in (1, 2, 3, 4, 5, 8, 9, 10, 11, 12)])
    windows = {"train": "2021-03-01 2021-03-04", "validation": "2021-03-05 2021-03-07", "test": "2021-03-08 2021-03-12"}
    with pytest.raises(ParameterError, match=r"data\.windows\.validation holds 1 session.* of ALDR; at least 2"):
        resolve(DataConfig(windows=windows), {"ALDR": sessions})


def test_windows_as_text_are_iso_dates():
    text = resolve(investorbench(), {"MSFT": STOCK_DAYS}).as_text()
    assert text == {
        "train": ["2020-07-01", "2020-09-30"],
        "validation": None,
        "test": ["2020-10-01", "2021-05-06"],
    }


def listed(num: int, members: int, first: date = FIRST, delisted: date | None = None) -> pl.DataFrame:
    """States of every day, of which the first `members` in the universe."""
    table = pl.DataFrame({"session": days(num, first)})
    return table.with_columns(member=pl.int_range(pl.len()) < members, delisted=pl.lit(delisted, dtype=pl.Date))


WINDOWS = ((march(1), march(10)), (march(11), march(20)))
MARCH = DataConfig(
    calendar="24/7",
    windows={"train": "2021-03-01 2021-03-08", "validation": "2021-03-09 2021-03-10", "test": "2021-03-11 2021-03-20"},
)


def test_symbol_that_was_delisted_covers_a_window_up_to_its_last_day():
    states = {"ALDR": listed(20, 20), "GONE": listed(14, 14, delisted=march(14))}
    assert resolve_windows(MARCH, states).test == (march(11), march(20))


def test_symbol_that_just_stops_does_not():
    with pytest.raises(
        ParameterError, match=r"data\.windows\.test .* GONE has market states from .* 6 session\(s\) without"
    ):
        resolve_windows(MARCH, {"ALDR": listed(20, 20), "GONE": listed(14, 14)})


def test_symbol_that_left_the_universe_before_a_window_need_not_cover_it():
    states = {"ALDR": listed(20, 20), "LEFT": listed(12, 10)}
    assert resolve_windows(MARCH, states).train == (march(1), march(8))
    assert [takes_part(states["LEFT"].filter(pl.col("session").is_between(*w)), w) for w in WINDOWS] == [True, False]


def test_symbol_that_joins_within_a_window_is_not_known_at_its_beginning():
    late = listed(11, 11, first=march(10)).with_columns(member=pl.col("session") >= march(12))
    assert not takes_part(late.filter(pl.col("session").is_between(*WINDOWS[1])), WINDOWS[1])
    listed_late = listed(2, 2, first=march(19))  # a member from its first price on
    assert not takes_part(listed_late, WINDOWS[1])


@pytest.mark.parametrize("begins", [11, 12, 17, 18, 19])
def test_symbol_whose_states_begin_late_takes_part_or_not_but_never_stops_the_run(begins):
    late = listed(21 - begins, 21, first=march(begins))
    states = {"ALDR": listed(20, 20), "LATE": late}
    assert resolve_windows(MARCH, states).test == WINDOWS[1]
    inside = late.filter(pl.col("session").is_between(*WINDOWS[1]))
    assert takes_part(inside, WINDOWS[1]) == (begins <= 18)


def test_window_without_any_member_is_refused():
    with pytest.raises(ParameterError, match=r"data\.windows\.test .* no symbol of data\.universe was a member"):
        resolve_windows(MARCH, {"LEFT": listed(20, 10)})


@pytest.mark.parametrize(
    ("windows", "name", "needed"),
    [
        ({"train": "2021-03-01 2021-03-02", "test": "2021-03-10 2021-03-19"}, "train", 3),
        ({"train": "2021-03-01 2021-03-09", "test": "2021-03-17 2021-03-19"}, "test", 4),
    ],
)
def test_window_that_a_later_stage_would_refuse_is_refused_at_once(windows, name, needed):
    """After a training the regression on news, or the audit, would find it too short."""
    sessions = pl.Series([march(day) for day in (1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 15, 16, 17, 18, 19)])
    with pytest.raises(ParameterError, match=rf"data\.windows\.{name} holds .*; at least {needed} are needed"):
        resolve(DataConfig(source="investorbench", path="somewhere", windows=windows), {"ALDR": sessions})


def test_gap_inside_what_a_symbol_covers_is_none_of_the_windows_business():
    """Wednesday 10 March is a gap between the windows, and Friday 12, the first day of test, is one too."""
    sessions = pl.Series([march(day) for day in (1, 2, 3, 4, 5, 8, 9, 11, 15, 16, 17, 18, 19)])
    given = {"train": "2021-03-01 2021-03-09", "test": "2021-03-12 2021-03-19"}
    data = DataConfig(source="investorbench", path="somewhere", windows=given)
    windows = resolve(data, {"ALDR": sessions})
    assert (windows.train, windows.test) == ((march(1), march(9)), (march(12), march(19)))


def test_gaps_do_not_count_as_sessions_of_a_window():
    sessions = pl.Series([march(day) for day in (1, 2, 3, 4, 10, 11, 12)])
    given = {"train": "2021-03-01 2021-03-03", "test": "2021-03-04 2021-03-09"}
    with pytest.raises(ParameterError, match=r"data\.windows\.test holds 1 session.* of ALDR; at least 2"):
        resolve(DataConfig(source="investorbench", path="somewhere", windows=given), {"ALDR": sessions})


@pytest.mark.parametrize("source", ["files", "yahoo"])
def test_sources_without_windows_of_their_own_divide_the_sessions_that_all_symbols_have(source):
    """ALDR has 1 to 25 March, BRIX 6 to 30 March: 20 days in common, of which 12, 4 and 4."""
    data = DataConfig(source=source, path="somewhere", symbols="ALDR BRIX", calendar="24/7")
    windows = resolve(data, {"ALDR": days(25), "BRIX": days(25, march(6))})
    assert windows.train == (march(6), march(17))
    assert windows.validation == (march(18), march(21))
    assert windows.test == (march(22), march(25))


def test_symbols_without_a_session_in_common_need_windows_given():
    data = DataConfig(source="files", path="somewhere", calendar="24/7")
    with pytest.raises(ParameterError, match=r"data\.windows: .*no sessions in common"):
        resolve(data, {"ALDR": days(25), "BRIX": days(25, date(2022, 1, 1))})
