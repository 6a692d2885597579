"""Validation of prices and news: broken rows refuse both tables, or are quarantined if the user asked."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from flag_kedro.data.rules import PRICE_KEYS, VIOLATION, PriceRules, news_violations, price_violations
from flag_kedro.data.schema import SHOWN, Schema
from flag_kedro.errors import DataError

FEW_DAYS = 2
"""Further days that a line names."""
REJECTED: Schema = VIOLATION | {"record": pl.String}
"""A violation, and the row that was left out for it as JSON."""


@dataclass(frozen=True)
class ValidatedTables:
    """Tables that passed validation, and the rows that did not."""

    prices: pl.DataFrame
    """Columns of `PRICES`, ordered by symbol and session."""
    news: pl.DataFrame
    """Columns of `NEWS`, ordered by symbol, `available_at` and `published_at`."""
    rejected: pl.DataFrame
    """Columns of `REJECTED`: what was left out, and why."""


def validate(prices: pl.DataFrame, news: pl.DataFrame, rules: PriceRules, *, quarantine: bool) -> ValidatedTables:
    """Check both tables against every rule; the one check that prices and news pass.

    Args:
        prices: columns of `PRICES`, any order.
        news: columns of `NEWS`, any order.
        rules: what prices are held against.
        quarantine: leave rows that break a rule out. A rule that no single row breaks (a gap, a lasting jump) still
            refuses all.

    Returns:
        The tables in order, and the rows that were left out.

    Raises:
        DataError: listing every violation at once with symbol, session or time, value and rule.
        ParameterError: as `rules.expect`.
    """
    all_prices = prices
    violations = _violations(prices, news, rules)
    rejected = pl.DataFrame(schema=REJECTED)
    while quarantine and violations["row"].count():  # a row may come to light once another is gone
        parts = [_with_records(violations, "prices", prices), _with_records(violations, "news", news)]
        rejected = pl.concat([rejected, *parts])
        prices, news = _without(prices, "prices", violations), _without(news, "news", violations)
        violations = _violations(prices, news, rules)
    refuse(violations, can_quarantine=not quarantine)
    _refuse_lost_symbols(all_prices, prices)
    order = ["symbol", "available_at", "published_at", "headline"]
    return ValidatedTables(prices.sort(PRICE_KEYS), news.sort(order), rejected)


def validate_news(news: pl.DataFrame, now: datetime, *, quarantine: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Check articles alone, whose rules concern one row each: parts of a table give what the whole gives.

    Args:
        news: columns of `NEWS`, any order.
        now: time of the run (UTC).
        quarantine: leave rows that break a rule out.

    Returns:
        The rows that stay, in their order, and those that were left out in the columns of `REJECTED`.

    Raises:
        DataError: listing every violation.
    """
    violations = news_violations(news, now)
    refuse(violations if not quarantine else violations.filter(pl.col("row").is_null()), can_quarantine=not quarantine)
    return _without(news, "news", violations), _with_records(violations, "news", news)


def refuse(violations: pl.DataFrame, *, can_quarantine: bool) -> None:
    """Raise if there is any violation.

    Args:
        violations: columns of `rules.VIOLATION`.
        can_quarantine: whether `data.quarantine` may still be suggested.

    Raises:
        DataError: a line for each symbol and rule, the first `SHOWN` of them, and a count of the rest.
    """
    if violations.is_empty():
        return
    grouped = _grouped(violations)
    lines = [_describe(row) for row in grouped.head(SHOWN).iter_rows(named=True)]
    rest = violations.height - int(grouped["num"].head(SHOWN).sum())
    more = [f"... and {rest} more"] if rest else []
    single = can_quarantine and violations["row"].count()
    hint = " Rows that break a rule can be left out with data.quarantine=true." if single else ""
    tables = " and ".join(violations["table"].unique(maintain_order=True))
    listed = "\n  ".join([*lines, *more])
    raise DataError(
        f"{tables}: {violations.height} violation(s); nothing was written. "
        f"Correct the source and run again.{hint}\n  {listed}"
    )


def _refuse_lost_symbols(before: pl.DataFrame, after: pl.DataFrame) -> None:
    """Raise if a symbol that had prices has none left."""
    lost = before.join(after, on="symbol", how="anti")["symbol"].unique(maintain_order=True)
    if len(lost):
        raise DataError(
            f"data.quarantine left no price of {' '.join(lost.drop_nulls())}; leave such symbols out with "
            "data.symbols, or correct the source"
        )


def refuse_most_left_out(kept: ValidatedTables, limit: float) -> None:
    """Refuse to go on without most of a symbol's prices, or most articles.

    Args:
        kept: what passed, and all that was left out since the source was opened.
        limit: largest share that may be left out.

    Raises:
        DataError: saying of what, and how much.
    """
    rejected = kept.rejected.unique(["table", "symbol", "row", "record"])
    prices, news = (rejected.filter(pl.col("table") == name)["symbol"] for name in ("prices", "news"))
    taken, left = Counter(prices.drop_nulls()), Counter(kept.prices["symbol"])
    shares = {
        "rows of prices": (len(prices), kept.prices.height),
        "articles": (len(news), kept.news.height),
        **{f"prices of {symbol}": (num, left[symbol]) for symbol, num in sorted(taken.items())},
    }
    refuse_shares(shares, limit)


def refuse_shares(shares: Mapping[str, tuple[int, int]], limit: float) -> None:
    """Refuse to go on without most of something.

    Args:
        shares: by what it is, how many are left out and how many stay.
        limit: largest share that may be left out.

    Raises:
        DataError: saying of what, and how much.
    """
    counts = [f"{out} of {out + stay} {what}" for what, (out, stay) in shares.items() if out > limit * (out + stay)]
    if counts:
        raise DataError(
            f"data.quarantine would leave out {', '.join(counts)}; the source is most likely misread: run without "
            "data.quarantine to see how. If they may be left out, set data.max_left_out=1"
        )


def _grouped(violations: pl.DataFrame) -> pl.DataFrame:
    """One row for each symbol, column and rule, with the first `at` and `value`, other `ats`, and `num` of them."""
    return violations.group_by("table", "symbol", "column", "rule", maintain_order=True).agg(
        pl.col("at").first(), pl.col("value").first(), pl.col("at").slice(1, FEW_DAYS).alias("others"), num=pl.len()
    )


def _describe(violation: dict[str, Any]) -> str:
    """One line: `MSFT 2020-11-25 (and 2020-11-27): close is -1.0, rule greater_than(0)`."""
    row_name = " ".join(str(part) for part in (violation["symbol"], violation["at"]) if part is not None)
    others = [str(at) for at in violation["others"]]
    if more := violation["num"] - 1 - len(others):
        others.append(f"{more} more")
    row_name += f" (and {', '.join(others)})" if others else ""
    rule, value = str(violation["rule"]), violation["value"]
    if rule.startswith("rule "):
        return f"{row_name or 'table'}: {violation['column']} is {value}, {rule}"
    return f"{row_name or 'table'}: {rule}" + ("" if value is None or value == violation["at"] else f"; found {value}")


def _violations(prices: pl.DataFrame, news: pl.DataFrame, rules: PriceRules) -> pl.DataFrame:
    return pl.concat([price_violations(prices, rules), news_violations(news, rules.now)])


def _with_records(violations: pl.DataFrame, name: str, table: pl.DataFrame) -> pl.DataFrame:
    """The violations of a table that have a row, each with its row."""
    of_rows = violations.filter((pl.col("table") == name) & pl.col("row").is_not_null())
    records = table.with_row_index("row").join(of_rows.select("row").unique(), on="row", how="semi")
    text = records.select(pl.struct(pl.exclude("row")).struct.json_encode()).to_series()
    return of_rows.join(records.select("row", record=text), on="row", how="left", maintain_order="left").cast(REJECTED)  # type: ignore[arg-type]


def _without(table: pl.DataFrame, name: str, violations: pl.DataFrame) -> pl.DataFrame:
    rows = violations.filter(pl.col("table") == name).select("row").drop_nulls().unique()
    return table.with_row_index("row").join(rows, on="row", how="anti", maintain_order="left").drop("row")
