"""Whatever bytes a user's file holds: it becomes our columns and types, or a DataError, and nothing else."""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.files import FilesConfig, read_files
from flag_kedro.data.files.news import read_news
from flag_kedro.data.investorbench import read_folder
from flag_kedro.data.schema import NEWS, PRICES
from flag_kedro.data.validation import REJECTED
from flag_kedro.errors import DataError

SLOW = settings(suppress_health_check=list(HealthCheck))
"""As many examples as the profile says; some are slow to draw."""

GOOD: dict[str, st.SearchStrategy[str]] = {
    "symbol": st.sampled_from(["A", "file", "B"]),
    "session": st.sampled_from(["2020-11-27", "20201130", "2020-12-01 21:00:00Z"]),
    "close": st.floats(0.1, 1e6).map(str),
    "adj_close": st.integers(1, 999).map(str),
    "volume": st.sampled_from(["", "1000", "1e3"]),
    "published_at": st.sampled_from(["2020-11-25", "2020-11-25T09:00", "2020-11-25 00:00:00 UTC", "2020-11-01 01:30"]),
    "headline": st.text(st.characters(exclude_characters='",\r\n', exclude_categories=["Cs"]), max_size=9),
    "body": st.sampled_from(["", "text"]),
}
BAD_TIMES = [
    "1949-12-31",
    "2020-02-30",
    "9999-12-31",
    "2020-11-25T25:00Z",
    "2020-03-08 02:30",
    "2020-11-25 10:00+99:99",
]
BAD_NUMBERS = ["-3", "1e400", "nan", "1,5", "", " 2 ", "٣", "x", '"']
BAD = st.sampled_from(BAD_TIMES) | st.sampled_from(BAD_NUMBERS) | st.text(max_size=8)
ANYTHING = st.none() | st.booleans() | st.floats() | st.integers() | st.integers(10**400, 10**401) | BAD
ANYTHING |= st.lists(st.text(max_size=3), max_size=2)
DAYS = st.sampled_from(["2020-11-25", "2020-11-27", "2020-11-28", "2020-11-30"])
TEXTS = st.lists(st.text(max_size=9), max_size=3) | st.none()
ENTRIES = st.fixed_dictionaries(
    {"prices": st.floats(0.1, 1e6) | st.none()}, optional={"news": TEXTS, "10k": TEXTS, "10q": TEXTS}
)


def rows(odd: st.SearchStrategy[object]) -> st.SearchStrategy[list[dict[str, object]]]:
    """Rows of a sound table, of which up to two fields are odd."""
    sound = st.lists(st.fixed_dictionaries(GOOD), min_size=1, max_size=3)
    changes = st.lists(st.tuples(st.sampled_from(list(GOOD)), st.integers(0, 2), odd), max_size=2)

    def change(table: list[dict[str, object]], given: list[tuple[str, int, object]]) -> list[dict[str, object]]:
        for name, row, value in given:
            table[row % len(table)][name] = value
        return table

    return st.builds(change, sound, changes)


def check(content: bytes, name: str, columns: dict[str, str] | None = None, timezone: str | None = None) -> None:
    """Read `content` as prices and as articles."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        files = FilesConfig(columns=columns or {})
        news = NewsConfig(source="files", path=str(path), columns=columns or {}, timezone=timezone)
        for quarantine in (False, True):
            check_tables(DataConfig(source="files", path=str(path), quarantine=quarantine), files, news)


def check_tables(data: DataConfig, files: FilesConfig, news: NewsConfig) -> None:
    def prices() -> list[tuple[pl.DataFrame, object]]:
        raw = read_files(data, files, lambda symbol: "XNYS")
        return [(raw.prices, PRICES), (raw.rejected, REJECTED)]

    def articles() -> list[tuple[pl.DataFrame, object]]:
        read = read_news(news, {"A", "FILE"}, lambda symbol: "XNYS", quarantine=data.quarantine, max_left_out=1.0)
        return [(read.table, NEWS), (read.rejected, REJECTED)]

    attempt(prices)
    attempt(articles)


def attempt(read: Callable[[], list[tuple[pl.DataFrame, object]]]) -> None:
    try:
        tables = read()
    except DataError:
        return
    for table, schema in tables:
        assert dict(table.schema) == schema


def check_investorbench(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "acme.json").write_bytes(content)
        data = DataConfig(source="investorbench", path=folder)
        attempt(lambda: [(read_folder(data, NewsConfig(), lambda symbol: "24/7").prices, PRICES)])
        attempt(lambda: [(read_folder(data, NewsConfig(), lambda symbol: "XNYS").news, NEWS)])


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def as_csv(table: list[dict[str, object]]) -> bytes:
    lines = [",".join(GOOD), *(",".join(map(str, row.values())) for row in table)]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def as_parquet(table: list[dict[str, object]], odd: dict[str, list[object]]) -> bytes:
    """Texts, but for the columns `odd` of three values of one type."""
    buffer = io.BytesIO()
    columns = {name: [row[name] for row in table] for name in GOOD}
    parsed = pl.DataFrame(columns, strict=False).with_columns(
        pl.col("close", "adj_close").cast(pl.Float64, strict=False)
    )
    parsed.with_columns(
        pl.Series(name, values, strict=False).head(parsed.height).extend_constant(None, max(0, parsed.height - 3))
        for name, values in odd.items()
    ).write_parquet(buffer)
    return buffer.getvalue()


def damage(content: bytes, position: int, value: int) -> bytes:
    position %= len(content)
    return content[:position] + bytes([value]) + content[position + 1 :]


DAMAGE = (st.integers(0, 10_000), st.integers(0, 255))
TYPED = st.one_of(
    st.lists(kind, min_size=3, max_size=3)
    for kind in (st.dates(), st.datetimes(), st.floats(), st.integers(0, 99), st.booleans(), BAD, st.binary())
)
PARQUET = st.builds(as_parquet, rows(st.none()), st.dictionaries(st.sampled_from(list(GOOD)), TYPED, max_size=2))
CASES: dict[str, tuple[st.SearchStrategy[bytes], Callable[[bytes], None]]] = {
    "any bytes as InvestorBench": (st.binary(max_size=200), check_investorbench),
    "any JSON as InvestorBench": (st.recursive(ANYTHING, st.lists).map(as_json), check_investorbench),
    "days as InvestorBench": (st.dictionaries(DAYS, ENTRIES, min_size=1).map(as_json), check_investorbench),
    "odd days as InvestorBench": (
        st.dictionaries(
            DAYS | BAD, ENTRIES | st.dictionaries(st.sampled_from(["prices", "news", "10k"]), ANYTHING)
        ).map(as_json),
        check_investorbench,
    ),
    "any bytes as CSV": (st.binary(max_size=200), lambda content: check(content, "file.csv")),
    "rows as CSV": (
        rows(BAD).map(as_csv),
        lambda content: check(content, "file.csv", timezone="America/New_York"),
    ),
    "damaged CSV": (
        st.builds(damage, rows(BAD).map(as_csv), *DAMAGE),
        lambda content: check(content, "file.csv", timezone="America/New_York"),
    ),
    "any bytes as compressed CSV": (st.binary(max_size=200), lambda content: check(content, "file.csv.gz")),
    "any bytes as JSON Lines": (st.binary(max_size=200), lambda content: check(content, "file.jsonl")),
    "objects as JSON Lines": (
        rows(ANYTHING).map(lambda table: b"\n".join(map(as_json, table))),
        lambda content: check(content, "file.ndjson", timezone="America/New_York"),
    ),
    "damaged JSON Lines": (
        st.builds(damage, rows(BAD).map(lambda table: b"\n".join(map(as_json, table))), *DAMAGE),
        lambda content: check(content, "file.ndjson", timezone="America/New_York"),
    ),
    "any bytes as Parquet": (
        st.binary(max_size=200).map(lambda content: b"PAR1" + content + b"PAR1"),
        lambda content: check(content, "file.parquet"),
    ),
    "tables as Parquet": (PARQUET, lambda content: check(content, "file.parquet", timezone="America/New_York")),
    "damaged Parquet": (
        st.builds(damage, PARQUET, *DAMAGE),
        lambda content: check(content, "file.parquet", timezone="America/New_York"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_any_content_is_read_or_refused(case):
    contents, read = CASES[case]
    SLOW(given(contents)(read))()


NAMES = [*GOOD, "other"]


@given(st.dictionaries(st.sampled_from([*NAMES, "open"]), st.sampled_from(NAMES), max_size=3))
@settings(SLOW)
def test_any_mapping_is_used_or_refused(columns):
    row = {"symbol": "A", "session": "2020-11-25", "close": "1", "adj_close": "1", "volume": "1"}
    row |= {"published_at": "2020-11-25", "headline": "text", "body": "text"}
    check(as_csv([row]), "file.csv", columns)
