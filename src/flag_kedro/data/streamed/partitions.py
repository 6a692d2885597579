"""Validated tables of one bucket of symbols, by year, from the units that have rows of it.

Rules of prices, and what makes two articles duplicates, concern one symbol each. So the tables of a bucket are those
rows of the whole tables that are about its symbols.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.atomic import atomic_write
from flag_kedro.data.calendar import regular_calendar
from flag_kedro.data.config import DataConfig
from flag_kedro.data.duplicates import merge_duplicates
from flag_kedro.data.exchanges import symbol_calendar
from flag_kedro.data.files.delimited import ROW
from flag_kedro.data.files.prices import no_rows, with_closes
from flag_kedro.data.files.repeats import FILE, one_row_a_session
from flag_kedro.data.market import expected_sessions, price_rules
from flag_kedro.data.report import describe_data, halts
from flag_kedro.data.rules import price_violations
from flag_kedro.data.schema import NEWS, PRICES, Schema
from flag_kedro.data.streamed.store import Kind, MarketStore, bucket_of, concat, hash_json, write_json
from flag_kedro.data.streamed.units import Unit, earliest, is_past
from flag_kedro.data.table_hash import hash_table
from flag_kedro.data.validation import REJECTED, ValidatedTables, refuse_most_left_out, validate

NEWS_ORDER = ("symbol", "available_at", "published_at", "headline", "source", "url", "body")
SHAPING = ("symbol", "available_at", "headline")
"""Columns of news that market states are made of."""
PRICE_NOTES = ("prices", "repeats", "rejected", "future")
Record = dict[str, Any]


@dataclass(frozen=True)
class BucketRules:
    """What the tables of a bucket depend on besides the rows."""

    data: DataConfig
    universe: pl.DataFrame
    """Columns of `universe.UNIVERSE`."""
    price_files: tuple[Path, ...]
    duplicates: str
    """`files.duplicates`."""
    duplicate_sessions: int
    """`news.duplicate_sessions`."""
    now: datetime
    settings: str
    """Hash of parameters and code."""

    def of(self, symbols: Sequence[str]) -> "BucketRules":
        """The same for these symbols alone: calendars of others are not there to be refused."""
        data = self.data
        if isinstance(data.calendar, dict):
            data = replace(data, calendar={name: value for name, value in data.calendar.items() if name in symbols})
        used = {regular_calendar(symbol_calendar(symbol, self.data)) for symbol in symbols}
        data = replace(data, extra_sessions={name: days for name, days in data.extra_sessions.items() if name in used})
        return replace(self, data=data, universe=self.universe.filter(pl.col("symbol").is_in(symbols)))

    def calendar_of(self, symbol: str) -> str:
        """Exchange calendar of a symbol."""
        return symbol_calendar(symbol, self.data)


def update_bucket(
    store: MarketStore, bucket: int, price_units: Sequence[Unit], news_units: Sequence[Unit], rules: BucketRules
) -> Record:
    """Bring a bucket's tables up to date; what has not changed is neither written nor read again.

    Args:
        store: where units and tables lie.
        bucket: which.
        price_units: all units of prices that have rows of the bucket, in order.
        news_units: all units of news that do.
        rules: what tables depend on besides.

    Returns:
        The bucket's record, saved behind its tables.

    Raises:
        DataError: as `validation.validate` and `validation.refuse_most_left_out`.
    """
    before = store.record(bucket)
    before = before if before.get("clean") else {}
    symbols = sorted(
        {symbol for unit in price_units for symbol in unit.facts["symbols"] if bucket_of(symbol) == bucket}
    )
    rules = rules.of(symbols)
    made_of, prices_made_of = _hash([price_units, news_units], rules), _hash([price_units], rules)
    if before.get("made_of") == made_of and not is_past(before["future"], rules.now):
        return before
    same_prices = before.get("prices_made_of") == prices_made_of and not is_past(before["future"], rules.now)
    recent = None if same_prices else _with_new_sessions(store, bucket, symbols, price_units, rules, before)
    write_json(store.record_path(bucket), before | {"clean": False})  # killed from here on, nothing of it is trusted
    if same_prices:
        record = {name: before[name] for name in PRICE_NOTES}
    elif recent is not None:
        record = _append_prices(store, bucket, recent, before)
    else:
        record = _update_prices(store, bucket, price_units, rules, before)
    record |= {"settings": _settings(rules), "price_units": [_unit_hash(unit) for unit in price_units]}
    news = _update_news(store, bucket, news_units, rules, before)
    record |= {"made_of": made_of, "prices_made_of": prices_made_of, "news": news, "clean": True}
    record |= _describe(_files(store, "prices", bucket, record), _files(store, "news", bucket, record), rules)
    write_json(store.record_path(bucket), record)
    return record


def _update_prices(
    store: MarketStore, bucket: int, units: Sequence[Unit], rules: BucketRules, before: Record
) -> Record:
    """Write the validated prices of a bucket by year; what is noted of them."""
    closed, repeats = _read(store, bucket, units, rules)
    expect = partial(expected_sessions, data=rules.data, universe=rules.universe)
    checks = price_rules(closed, rules.data, expect, rules.now)
    validated = validate(closed, pl.DataFrame(schema=NEWS), checks, quarantine=rules.data.quarantine)
    refuse_most_left_out(validated, rules.data.max_left_out)
    rejected = validated.rejected
    _save_rejected(store, bucket, rejected)
    by_year = validated.prices.with_columns(year=pl.col("session").dt.year())
    years = {
        int(str(year)): table
        for (year,), table in by_year.partition_by("year", as_dict=True, include_key=False).items()
    }
    noted = before.get("prices", {})
    prices = {
        str(year): _write(store, "prices", bucket, year, table, validated.prices.columns, noted)
        for year, table in sorted(years.items())
    }
    _remove_others(store, "prices", bucket, noted, prices)
    counts = rejected.unique(["symbol", "row", "record"]).height
    future = earliest(rejected, "the session has not closed yet")
    by_rule = dict(rejected.group_by("rule", maintain_order=True).len().iter_rows())
    return {
        "prices": prices,
        "repeats": repeats,
        "rejected": {"rows": counts, "rules": by_rule},
        "future": future,
    }


def _read(
    store: MarketStore, bucket: int, units: Sequence[Unit], rules: BucketRules
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Prices of a bucket as some units have them, one row a session, and how many told one again."""
    number = {str(path): place for place, path in enumerate(rules.price_files)}
    placed = [
        pl.read_parquet(store.units("prices") / unit.name / f"{bucket:03d}.parquet", glob=False).with_columns(
            pl.lit(number[unit.source], pl.UInt32).alias(FILE)
        )
        for unit in units
    ]
    raw = concat(placed, {**no_rows().schema, FILE: pl.UInt32()})
    one, repeats = one_row_a_session(raw, rules.price_files, rules.duplicates)
    return with_closes(one.drop(FILE, ROW), rules.calendar_of), repeats


def _with_new_sessions(
    store: MarketStore, bucket: int, symbols: Sequence[str], units: Sequence[Unit], rules: BucketRules, before: Record
) -> pl.DataFrame | None:
    """The last two years with new sessions behind them, where nothing else is new and no rule is broken; else None.

    Earlier rows are valid already. Rules look at a row and its neighbours, so that two years say of new rows what all
    would. Where a row was left out, or there is anything to tell, the whole history is looked at again.
    """
    known = set(before.get("price_units", ()))
    same = before.get("settings") == _settings(rules) and known <= {_unit_hash(unit) for unit in units}
    if not known or not same or before["rejected"]["rows"]:
        return None
    new, repeats = _read(store, bucket, [unit for unit in units if _unit_hash(unit) not in known], rules)
    last = {symbol: date.fromisoformat(facts["last"]) for symbol, facts in before["coverage"].items()}
    later = pl.col("session") > pl.col("symbol").replace_strict(last, default=date.max, return_dtype=pl.Date)
    if new.is_empty() or any(repeats.values()) or not new.select(later.all()).item():
        return None
    first = new["session"].min()
    assert isinstance(first, date)
    old = store.scan("prices", symbols, range(first.year - 1, date.max.year)).collect()
    if not set(new["symbol"]) <= set(old["symbol"]):
        return None
    both = pl.concat([old, new]).sort("symbol", "session")
    rules = rules.of(both["symbol"].unique().to_list())  # others ended before, and their calendars are nobody's here
    checks = price_rules(
        both, rules.data, partial(expected_sessions, data=rules.data, universe=rules.universe), rules.now
    )
    return both if price_violations(both, checks).is_empty() else None


def _append_prices(store: MarketStore, bucket: int, recent: pl.DataFrame, before: Record) -> Record:
    """Write the years of `recent` that have changed; what is noted of all."""
    by_year = recent.with_columns(year=pl.col("session").dt.year()).partition_by(
        "year", as_dict=True, include_key=False
    )
    written = {
        str(year): _write(store, "prices", bucket, int(str(year)), table, recent.columns, before["prices"])
        for (year,), table in sorted(by_year.items())
    }
    return {name: before[name] for name in PRICE_NOTES} | {"prices": before["prices"] | written}


def _update_news(store: MarketStore, bucket: int, units: Sequence[Unit], rules: BucketRules, before: Record) -> Record:
    """Distinct articles of a bucket, written by year, and what is noted of each year.

    Whether an article is merged depends on those kept within `duplicate_sessions` sessions before it, so that a year
    needs what `_since` reaches of earlier ones, also where they are there no more.
    """
    names = {part for unit in units for part in unit.parts if part.startswith(f"{bucket:03d}-")}
    noted: Record = before.get("news", {})
    news: Record = {}
    moved = set(map(int, noted)) - {int(name.partition("-")[2]) for name in names}
    for year in sorted(int(name.partition("-")[2]) for name in names):
        part = f"{bucket:03d}-{year}"
        having = [unit for unit in units if part in unit.parts]
        made_of = _hash([having], rules)
        old = noted.get(str(year))
        reach = range(_since(year, rules.duplicate_sessions).year, year)
        if old is not None and old["made_of"] == made_of and moved.isdisjoint(reach):
            news[str(year)] = old
            continue
        raw = pl.concat(
            pl.read_parquet(store.units("news") / unit.name / f"{part}.parquet", glob=False) for unit in having
        )
        raw = raw.select(list(NEWS)).sort(NEWS_ORDER)
        earlier = _kept_before(store, bucket, year, news, rules.duplicate_sessions)
        merged, folded = merge_duplicates(pl.concat([earlier, raw]), rules.calendar_of, rules.duplicate_sessions)
        kept = merged.filter(pl.col("available_at") >= _begin(year))
        news[str(year)] = _write(store, "news", bucket, year, kept, SHAPING, noted) | {
            "made_of": made_of,
            "read": dict(raw["symbol"].value_counts().sort("symbol").iter_rows()),
            "folded": folded,
        }
        if old is None or old["sha256"] != news[str(year)]["sha256"]:
            moved.add(year)
    _remove_others(store, "news", bucket, noted, news)
    return news


def _kept_before(store: MarketStore, bucket: int, year: int, news: Record, within: int) -> pl.DataFrame:
    """Articles that were kept shortly before a year."""
    since = _since(year, within)
    years = [earlier for earlier in map(int, news) if since.year <= earlier < year and news[str(earlier)]["rows"]]
    parts = [pl.read_parquet(store.partition("news", bucket, earlier), glob=False) for earlier in sorted(years)]
    return concat(parts, NEWS).filter(pl.col("available_at") >= since)


def _since(year: int, within: int) -> datetime:
    """`within` sessions before a year and more, on any exchange."""
    return _begin(year) - timedelta(days=3 * within + 30)


def _write(
    store: MarketStore,
    kind: Kind,
    bucket: int,
    year: int,
    table: pl.DataFrame,
    shaping: Sequence[str],
    noted: Record,
) -> Record:
    """Write a partition that is not as it was noted; its note: rows, hash, and by symbol a hash of what shapes states.

    The hash of a symbol is over the columns `shaping`; that of the table over all.
    """
    digest = sha256(table.hash_rows().to_numpy().tobytes()).hexdigest()
    path = store.partition(kind, bucket, year)
    old = noted.get(str(year), {})
    if old.get("sha256") == digest and path.is_file():
        return {name: old[name] for name in ("rows", "sha256", "symbols")}
    with atomic_write(path) as temporary:
        table.write_parquet(temporary, row_group_size=20_000)
    return {"rows": table.height, "sha256": digest, "symbols": _hashes(table.select(shaping))}


def _hashes(table: pl.DataFrame) -> dict[str, str]:
    """Of each symbol's rows in a table that is sorted by symbol, the same as long as polars is."""
    rows = table.hash_rows().to_numpy()
    spans = table.with_row_index("row").group_by("symbol", maintain_order=True).agg(pl.col("row").first(), pl.len())
    return {
        symbol: sha256(rows[first : first + num].tobytes()).hexdigest()[:32] for symbol, first, num in spans.iter_rows()
    }


def _remove_others(store: MarketStore, kind: Kind, bucket: int, noted: Record, now: Record) -> None:
    for year in set(noted) - set(now):
        store.partition(kind, bucket, int(year)).unlink(missing_ok=True)


def _describe(price_files: Sequence[Path], news_files: Sequence[Path], rules: BucketRules) -> Record:
    """Coverage of the bucket's symbols, and long halts."""
    wanted: Schema = {name: PRICES[name] for name in ("symbol", "session", "close")}
    columns: Schema = {name: NEWS[name] for name in ("symbol", "published_at")}
    prices = concat([pl.read_parquet(file, columns=list(wanted), glob=False) for file in price_files], wanted)
    prices = prices.sort("symbol", maintain_order=True)
    news = concat([pl.read_parquet(file, columns=list(columns), glob=False) for file in news_files], columns)
    due = expected_sessions(prices, rules.data, rules.universe).filter(pl.col("closes_at") <= rules.now)
    report = describe_data(ValidatedTables(prices, news, pl.DataFrame(schema=REJECTED)), due, {})
    return {"coverage": {symbol: asdict(facts) for symbol, facts in report.symbols.items()}, "halts": halts(prices)}


def _files(store: MarketStore, kind: Kind, bucket: int, record: Record) -> list[Path]:
    return [store.partition(kind, bucket, year) for year in sorted(map(int, record[kind]))]


def _save_rejected(store: MarketStore, bucket: int, rejected: pl.DataFrame) -> None:
    path = store.rejected_path(bucket)
    if rejected.is_empty():
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as temporary:
        rejected.write_parquet(temporary)


def _unit_hash(unit: Unit) -> str:
    return hash_json(unit.made_of)


def _settings(rules: BucketRules) -> str:
    """Hash of parameters, code and the universe."""
    return hash_json(rules.settings, hash_table(rules.universe).hex())


def _hash(units: Sequence[Sequence[Unit]], rules: BucketRules) -> str:
    """Of units, parameters, code and the universe."""
    return hash_json([[unit.made_of for unit in some] for some in units], _settings(rules))


def _begin(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)
