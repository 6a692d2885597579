"""Who belonged to the universe when, and what choosing with hindsight means."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.data.universe import UNIVERSE, membership, read_universe, survivorship_warning, universe_symbols
from flag_kedro.errors import DataError

SOUND = "symbol,first,last,delisted\nacme,2020-01-02,,\nBOLT,,2020-06-30,2020-09-01\nCORE,2019-01-02,2019-12-31,\n"
NOBODY = pl.DataFrame(schema=UNIVERSE)
JUNE = date(2020, 6, 1)


def write(folder: Path, text: str) -> str:
    file = folder / "universe.csv"
    file.write_text(text)
    return str(file)


def refuse(folder: Path, text: str) -> str:
    with pytest.raises(DataError) as caught:
        read_universe(write(folder, text))
    return str(caught.value)


def test_file_becomes_a_table_by_symbol(tmp_path: Path):
    table = read_universe(write(tmp_path, SOUND))
    assert dict(table.schema) == UNIVERSE
    assert table.rows()[1] == ("BOLT", None, date(2020, 6, 30), date(2020, 9, 1))
    assert universe_symbols(table) == ("ACME", "BOLT", "CORE")


def test_no_file_is_no_universe():
    assert read_universe(None).is_empty()


def test_member_from_the_first_day_to_the_last_both_included(tmp_path: Path):
    universe = read_universe(write(tmp_path, SOUND))
    days = [("ACME", date(2020, 1, 1)), ("ACME", date(2020, 1, 2)), ("ACME", date(2030, 1, 2))]
    days += [("BOLT", date(1999, 1, 4)), ("BOLT", date(2020, 6, 30)), ("BOLT", date(2020, 7, 1)), ("DUNE", JUNE)]
    sessions = pl.DataFrame(days, schema={"symbol": pl.String, "session": pl.Date}, orient="row")
    assert membership(sessions, universe).to_list() == [False, True, True, True, True, False, False]


def test_member_twice_is_out_in_between(tmp_path: Path):
    text = "symbol,first,last,delisted\nACME,2019-01-02,2019-06-28,\nACME,2020-01-02,,\n"
    sessions = pl.DataFrame({"symbol": "ACME", "session": [date(2019, 6, 28), date(2019, 7, 1), date(2020, 1, 2)]})
    assert membership(sessions, read_universe(write(tmp_path, text))).to_list() == [True, False, True]


def test_everybody_is_a_member_where_nobody_said_who_is():
    sessions = pl.DataFrame({"symbol": ["ACME", "BOLT"], "session": [JUNE, JUNE]})
    assert membership(sessions, NOBODY).to_list() == [True, True]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ACME,2020-13-01,,", r"line 2, ACME: first is '2020-13-01', expected a day such as 2020-12-31"),
        ("ACME,01/02/2020,,", r"line 2, ACME: first is '01/02/2020'"),
        (",2020-01-02,,", r"line 2: no symbol"),
        ("ACME,2020-06-01,2020-01-02,", r"line 2, ACME: first 2020-06-01 lies after last 2020-01-02"),
        ("ACME,,2020-06-01,2020-01-02", r"line 2, ACME: a member until 2020-06-01, though delisted on 2020-01-02"),
        ("ACME,,,\nACME,2020-01-02,,", r"ACME: two memberships overlap"),
        ("ACME,2019-01-02,2019-06-28,2020-01-02\nACME,2019-07-01,2019-08-01,2020-02-03", r"two days of delisting"),
    ],
)
def test_row_that_makes_no_sense_is_named(tmp_path: Path, row: str, message: str):
    error = refuse(tmp_path, f"symbol,first,last,delisted\n{row}\n")
    assert message in error
    assert str(tmp_path / "universe.csv") in error


def test_all_rows_that_make_no_sense_are_named_at_once(tmp_path: Path):
    error = refuse(tmp_path, "symbol,first,last,delisted\nACME,soon,,\nBOLT,,later,\n")
    assert "2 row(s)" in error
    assert "line 2, ACME" in error
    assert "line 3, BOLT" in error


@pytest.mark.parametrize(
    "text",
    [
        "",
        "symbol,from,to\nACME,,\n",
        "symbol,first,last,delisted\n1,2,3,4,5\n",
        "symbol,first,last,delisted\nGONE,2012-03-01\n",
    ],
)
def test_file_in_another_shape_is_refused(tmp_path: Path, text: str):
    assert "universe.csv" in refuse(tmp_path, text)


def test_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"data\.universe: .*nowhere\.csv cannot be read"):
        read_universe(str(tmp_path / "nowhere.csv"))


def test_symbols_chosen_before_the_window_are_no_survivors():
    assert survivorship_warning(("ACME",), NOBODY, date(2020, 5, 29), JUNE) is None


def test_symbols_chosen_after_the_window_began_are_its_survivors():
    assert "chosen on 2020-06-02, after the window began on 2020-06-01" in str(
        survivorship_warning(("ACME",), NOBODY, date(2020, 6, 2), JUNE)
    )


def test_symbols_chosen_nobody_knows_when_are_warned_of():
    assert "data.chosen_on" in str(survivorship_warning(("ACME",), NOBODY, None, JUNE))


def test_symbols_picked_from_a_universe_by_hand_are_warned_of(tmp_path: Path):
    universe = read_universe(write(tmp_path, SOUND))
    assert survivorship_warning(None, universe, None, JUNE) is None
    assert survivorship_warning(("ACME",), universe, None, JUNE) is not None


def test_universe_that_nobody_ever_left_is_a_list_of_survivors(tmp_path: Path):
    universe = read_universe(write(tmp_path, "symbol,first,last,delisted\nACME,2020-01-02,,\n"))
    assert "nobody ever left" in str(survivorship_warning(None, universe, None, JUNE))
