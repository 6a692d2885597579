"""Windows of symbols that join and leave a universe."""

from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from flag_kedro.env.window import cut_window
from flag_kedro.errors import DataError

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 6)


@pytest.fixture
def states(make_states: Callable[..., pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Six days each: one that stays, one that leaves on the third day, one delisted after the fourth."""
    table = make_states([10.0, 11.0, 12.0, 13.0, 14.0, 15.0])
    members = table.with_columns(delisted=pl.lit(None, dtype=pl.Date))
    return {
        "STAY": members.with_columns(member=pl.lit(True)),
        "LEFT": members.with_columns(member=pl.col("session") <= date(2024, 1, 3)),
        "GONE": members.with_columns(member=pl.lit(True), delisted=date(2024, 1, 4)).head(4),
    }


def test_members_at_the_beginning_trade_to_the_end_even_if_they_leave(states: dict[str, pl.DataFrame]):
    """Leaving an index takes nobody's shares away."""
    window = cut_window(states, (FIRST, LAST), "next_close")
    assert window.symbols == ("STAY", "LEFT", "GONE")
    assert window.num_sessions.tolist() == [6, 6, 4]


def test_who_had_left_before_the_window_takes_no_part(states: dict[str, pl.DataFrame]):
    assert cut_window(states, (date(2024, 1, 4), LAST), "next_close").symbols == ("STAY",)  # GONE has one session left


def test_window_that_nobody_could_have_chosen_is_refused(states: dict[str, pl.DataFrame]):
    with pytest.raises(DataError, match="no symbol of the universe was a member on 2024-01-04"):
        cut_window({"LEFT": states["LEFT"]}, (date(2024, 1, 4), LAST), "next_close")


def test_without_a_universe_a_symbol_with_too_few_sessions_is_an_error(make_states: Callable[..., pl.DataFrame]):
    with pytest.raises(DataError, match=r"ACME has 1 session\(s\)"):
        cut_window({"ACME": make_states([10.0])}, (FIRST, LAST), "next_close")
