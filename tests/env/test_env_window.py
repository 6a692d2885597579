from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from flag_kedro.env.window import TradingWindow, cut_window, effective_fill
from flag_kedro.errors import DataError, LookAheadError

FIRST = date(2024, 1, 1)
MakeStates = Callable[..., pl.DataFrame]


def _known(states: pl.DataFrame, session: int, after: timedelta) -> pl.DataFrame:
    """`states` in which `session` knows something that long after its decision."""
    known_at = [
        decided + (after if t == session else timedelta()) for t, decided in enumerate(states["decided_at"].to_list())
    ]
    return states.with_columns(known_at=pl.Series(known_at, dtype=states.schema["known_at"]))


def _days(first: int, last: int) -> tuple[date, date]:
    return FIRST + timedelta(days=first), FIRST + timedelta(days=last)


def test_window_includes_its_first_and_last_session(make_states: MakeStates) -> None:
    window = cut_window({"A": make_states([10, 11, 12, 13, 14])}, _days(1, 3), "next_close")
    assert window.sessions == ((date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)),)
    assert window.mark_prices.tolist() == [[11.0, 12.0, 13.0]]
    assert window.num_sessions.tolist() == [3]


@pytest.mark.parametrize(("fill", "prices"), [("next_open", [9.5, 10.5, 11.5]), ("next_close", [10.0, 11.0, 12.0])])
def test_fill_prices_are_opens_or_closes_and_marks_are_closes(
    make_states: MakeStates, fill: str, prices: list[float]
) -> None:
    window = cut_window({"A": make_states([10, 11, 12], [9.5, 10.5, 11.5])}, _days(0, 2), fill)
    assert window.fill == fill
    assert window.fill_prices.tolist() == [prices]
    assert window.mark_prices.tolist() == [[10.0, 11.0, 12.0]]


def test_shorter_symbols_are_padded_with_nan_at_the_end(make_window: Callable[..., TradingWindow]) -> None:
    window = make_window("next_close", A=[1, 2, 3, 4], B=[5, 6])
    assert window.symbols == ("A", "B")
    assert window.num_sessions.tolist() == [4, 2]
    np.testing.assert_array_equal(window.mark_prices, [[1, 2, 3, 4], [5, 6, np.nan, np.nan]])
    assert [len(prefixes) for prefixes in window.prefixes] == [4, 2]


def test_prefixes_tell_market_and_news_of_their_own_session(make_window: Callable[..., TradingWindow]) -> None:
    window = make_window("next_close", A=[1, 2])
    assert window.prefixes[0][0].endswith("Market: market 0\nNews: \n- news 0\nAccount:")
    assert window.prefixes[0][1].endswith("Market: market 1\nNews: none\nAccount:")


def test_state_that_knows_more_than_its_decision_may_is_refused(make_states: MakeStates) -> None:
    leaking = _known(make_states([10, 11, 12]), 1, timedelta(microseconds=1))
    message = r"MSFT 2024-01-02: .* available at 2024-01-02 21:00:00.000001.*after its decision at 2024-01-02 21:00:00"
    with pytest.raises(LookAheadError, match=message):
        cut_window({"MSFT": leaking}, _days(0, 2), "next_close")


def test_state_may_know_what_becomes_known_at_the_very_decision(make_states: MakeStates) -> None:
    window = cut_window({"A": _known(make_states([10, 11]), 1, timedelta(0))}, _days(0, 1), "next_close")
    assert window.num_sessions.tolist() == [2]


def test_no_price_outside_the_window_gets_into_it(make_states: MakeStates) -> None:
    nan = float("nan")
    states = make_states([nan, nan, 12, 13, nan], [nan, nan, 11, 12, nan])
    for fill in ("next_open", "next_close"):
        window = cut_window({"A": states}, _days(2, 3), fill)
        assert np.isfinite(window.fill_prices).all()
        assert np.isfinite(window.mark_prices).all()


@pytest.mark.parametrize("num_inside", [0, 1])
def test_window_with_fewer_than_two_sessions_is_refused(make_states: MakeStates, num_inside: int) -> None:
    window = _days(3 - num_inside, 9)
    with pytest.raises(DataError, match=rf"A has {num_inside} session\(s\) from {window[0]} to {window[1]}"):
        cut_window({"A": make_states([10, 11, 12])}, window, "next_close")


def test_missing_price_is_refused_with_its_symbol_and_column(make_states: MakeStates) -> None:
    states = make_states([10, 11, 12], [None, 10, None])
    with pytest.raises(DataError, match=r"A: open_price is missing in 2 session\(s\)"):
        cut_window({"A": states}, _days(0, 2), "next_open")


@pytest.mark.parametrize("fill", ["next_open", "next_close"])
def test_fill_stays_as_asked_where_every_session_has_an_open(
    make_states: MakeStates, fill: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert effective_fill(fill, {"A": make_states([10, 11])}) == fill
    assert not caplog.records


def test_fill_falls_to_next_close_where_a_symbol_has_no_opens_at_all(make_states: MakeStates) -> None:
    states = {"A": make_states([10, 11]), "B": make_states([10, 11], [None, None])}
    assert effective_fill("next_open", states) == "next_close"


def test_opens_on_some_sessions_only_are_refused(make_states: MakeStates) -> None:
    with pytest.raises(
        DataError, match=r"B: 1 of 3 sessions have no open to fill at \(2024-01-02\); .* env\.fill=next_close"
    ):
        effective_fill("next_open", {"B": make_states([10, 11, 12], [10, None, 12])})


def test_missing_opens_do_not_matter_when_closes_were_asked_for(make_states: MakeStates) -> None:
    assert effective_fill("next_close", {"B": make_states([10, 11, 12], [10, None, 12])}) == "next_close"
