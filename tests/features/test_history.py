"""What a policy was told stays the same after dividends, splits and new sessions, and only then."""

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pytest

from flag_kedro.data.windows import Windows
from flag_kedro.errors import DataError
from flag_kedro.features.history import check_history, describe_history

WINDOWS = Windows((date(2024, 1, 2), date(2024, 1, 4)), None, (date(2024, 1, 5), date(2024, 1, 8)))
DAYS = [date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9, 10)]


def states(num: int = 7) -> dict[str, pl.DataFrame]:
    table = pl.DataFrame(
        {
            "symbol": "A", "session": DAYS, "market_text": [f"1d +0.{n}%" for n in range(7)],
            "news_text": [f"- news {n}" for n in range(7)], "mark_price": [10.0, 10.5, 10.2, 11.0, 12.0, 11.5, 11.0],
        }
    ).head(num)  # fmt: skip
    return {"A": table}


@pytest.mark.parametrize(
    "later",
    [
        lambda table: table,
        lambda table: table.with_columns(mark_price=(pl.col("mark_price") * 0.9957).round(2)),  # a dividend, in cents
        lambda table: table.with_columns(mark_price=pl.col("mark_price") / 4),
        lambda table: table.with_columns(market_text=pl.lit("1d +0.2%")),  # a figure on a rounding edge
    ],
)
def test_new_sessions_dividends_and_splits_change_nothing(later: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    noted = describe_history(states(5), WINDOWS)
    now = {"A": later(states()["A"])}
    check_history(noted, now, WINDOWS)
    assert describe_history(now, WINDOWS)["sessions_and_news"] == noted["sessions_and_news"]
    assert noted["growth"] == {"A": 1.2}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"news_text": [f"- other {n}" for n in range(7)]}, "sessions or news up to 2024-01-08 are others"),
        (
            {"mark_price": [10.0, 10.5, 10.2, 11.0, 12.5, 11.5, 11.0]},
            "A grew to 1.25 times its price until then, not to 1.2",
        ),
    ],
)
def test_another_past_is_refused_by_what_differs(other: dict[str, Any], said: str) -> None:
    noted = describe_history(states(5), WINDOWS)
    changed = states()["A"].with_columns(**{name: pl.Series(values) for name, values in other.items()})
    with pytest.raises(DataError, match=said):
        check_history(noted, {"A": changed}, WINDOWS)
    with pytest.raises(DataError, match="sessions or news"):
        check_history(noted, {"A": states()["A"].filter(pl.col("session") != DAYS[1])}, WINDOWS)
