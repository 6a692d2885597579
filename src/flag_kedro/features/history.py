"""What a policy was told, in words that later splits and dividends leave alone."""

import math
from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from typing import Any

import polars as pl

from flag_kedro.data.table_hash import hash_table
from flag_kedro.data.windows import Windows
from flag_kedro.errors import DataError

TOLERANCE = 0.005
"""By which growth may differ: closes are rounded to cents, before and after an adjustment."""


def describe_history(states: Mapping[str, pl.DataFrame], windows: Windows) -> dict[str, Any]:
    """Sessions and news up to the end of the test window, and how each price grew from training's start until then.

    Indicators are not compared: a dividend rescales all earlier prices, which moves a rounded figure now and then.

    Args:
        states: tables of `features.market_state`, one per symbol.
        windows: of the training.

    Returns:
        `until`, `sessions_and_news` (sha256) and `growth` by symbol, fit for JSON.
    """
    until = windows.test[1]
    told = {symbol: table.filter(pl.col("session") <= until) for symbol, table in sorted(states.items())}
    digest = sha256()
    for table in told.values():
        digest.update(hash_table(table.select("symbol", "session", "news_text")))
    return {
        "until": until.isoformat(),
        "sessions_and_news": digest.hexdigest(),
        "growth": {symbol: _growth(table, windows.train[0]) for symbol, table in told.items()},
    }


def check_history(noted: Mapping[str, Any], states: Mapping[str, pl.DataFrame], windows: Windows) -> None:
    """Refuse states whose past is another than the one that was noted; newer sessions may have come.

    Raises:
        DataError: saying what differs.
    """
    found = describe_history(states, windows)
    wrong = []
    if found["sessions_and_news"] != noted["sessions_and_news"]:
        wrong.append(f"sessions or news up to {noted['until']} are others")
    for symbol, growth in noted["growth"].items():
        now = found["growth"].get(symbol)
        if (growth is None) != (now is None) or (growth and now and abs(math.log(now / growth)) > TOLERANCE):
            wrong.append(f"{symbol} grew to {now} times its price until then, not to {growth}")
    if wrong:
        raise DataError(
            f"what the policy was trained on is not what is read now: {'; '.join(wrong)}. Read the source that it was "
            "trained on, or train again with kedro run --pipelines=train"
        )


def _growth(table: pl.DataFrame, first: date) -> float | None:
    """Last over first close from `first` on; None without two."""
    marks = table.filter(pl.col("session") >= first)["mark_price"]
    return None if len(marks) < 2 else float(marks[-1] / marks[0])
