"""The one check at the door: tables come in whole, or with the rows a user let go of, or not at all."""

from dataclasses import dataclass

import polars as pl

from flag_kedro.data.rules import PRICE_KEYS, VIOLATION, PriceRules, news_violations, price_violations
from flag_kedro.data.schema import SHOWN, Schema
from flag_kedro.errors import DataError

REJECTED: Schema = VIOLATION | {"record": pl.String}
"""A violation, and the row that was left out for it as JSON."""


@dataclass(frozen=True)
class ValidatedTables:
    """What was let in."""

    prices: pl.DataFrame
    """Columns of `PRICES`, ordered by symbol and session."""
    news: pl.DataFrame
    """Columns of `NEWS`, ordered by symbol, `available_at` and `published_at`."""
    rejected: pl.DataFrame
    """Columns of `REJECTED`: what was left out, and why."""


def validate(prices: pl.DataFrame, news: pl.DataFrame, rules: PriceRules, *, quarantine: bool) -> ValidatedTables:
    """Let both tables in if they break no rule.

    Args:
        prices: columns of `PRICES`, any order.
        news: columns of `NEWS`, any order.
        rules: what prices are held against.
        quarantine: leave rows that break a rule out. A rule that no single row breaks (a gap, a lasting jump) still
            refuses all.

    Raises:
        DataError: listing every violation at once with symbol, session or time, value and rule.
    """
    given = prices
    found = _violations(prices, news, rules)
    rejected = pl.DataFrame(schema=REJECTED)
    while quarantine and found["row"].count():  # a row may come to light once another is gone
        parts = [_with_records(found, "prices", prices), _with_records(found, "news", news)]
        rejected = pl.concat([rejected, *parts])
        prices, news = _without(prices, "prices", found), _without(news, "news", found)
        found = _violations(prices, news, rules)
    refuse(found, can_quarantine=not quarantine)
    _refuse_lost_symbols(given, prices)
    order = ["symbol", "available_at", "published_at", "headline"]
    return ValidatedTables(prices.sort(PRICE_KEYS), news.sort(order), rejected)


def refuse(violations: pl.DataFrame, *, can_quarantine: bool) -> None:
    """Raise if there is any violation.

    Raises:
        DataError: listing the first `SHOWN` and counting the rest.
    """
    if violations.is_empty():
        return
    lines = [_describe(row) for row in violations.head(SHOWN).iter_rows(named=True)]
    more = [f"... and {violations.height - SHOWN} more"] if violations.height > SHOWN else []
    single = can_quarantine and violations["row"].count()
    hint = " Rows that break a rule can be left out with data.quarantine=true." if single else ""
    tables = " and ".join(violations["table"].unique(maintain_order=True))
    listed = "\n  ".join([*lines, *more])
    raise DataError(
        f"{tables}: {violations.height} violation(s); nothing was written. "
        f"Correct the source and run again.{hint}\n  {listed}"
    )


def _refuse_lost_symbols(given: pl.DataFrame, left: pl.DataFrame) -> None:
    """Raise if a symbol that had prices has none left."""
    lost = given.join(left, on="symbol", how="anti")["symbol"].unique(maintain_order=True)
    if len(lost):
        raise DataError(
            f"data.quarantine left no price of {' '.join(lost.drop_nulls())}; leave such symbols out with "
            "data.symbols, or correct the source"
        )


def _describe(violation: dict[str, object]) -> str:
    """One line: `MSFT 2020-11-25: close is -1.0, rule greater_than(0)`."""
    place = " ".join(str(part) for part in (violation["symbol"], violation["at"]) if part is not None)
    rule, value = str(violation["rule"]), violation["value"]
    if rule.startswith("rule "):
        return f"{place or 'table'}: {violation['column']} is {value}, {rule}"
    return f"{place or 'table'}: {rule}" + ("" if value is None or value == violation["at"] else f"; found {value}")


def _violations(prices: pl.DataFrame, news: pl.DataFrame, rules: PriceRules) -> pl.DataFrame:
    return pl.concat([price_violations(prices, rules), news_violations(news, rules.now)])


def _with_records(found: pl.DataFrame, name: str, table: pl.DataFrame) -> pl.DataFrame:
    """The violations of a table that have a row, each with its row."""
    own = found.filter((pl.col("table") == name) & pl.col("row").is_not_null())
    records = table.with_row_index("row").join(own.select("row").unique(), on="row", how="semi")
    text = records.select(pl.struct(pl.exclude("row")).struct.json_encode()).to_series()
    return own.join(records.select("row", record=text), on="row", how="left", maintain_order="left").cast(REJECTED)  # type: ignore[arg-type]


def _without(table: pl.DataFrame, name: str, found: pl.DataFrame) -> pl.DataFrame:
    rows = found.filter(pl.col("table") == name).select("row").drop_nulls().unique()
    return table.with_row_index("row").join(rows, on="row", how="anti", maintain_order="left").drop("row")
