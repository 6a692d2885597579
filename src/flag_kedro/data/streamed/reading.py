"""Prices and articles of a user's files, or of a dataset, as pieces for units."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.files.articles import ARTICLES, ArticleCounts, time_articles
from flag_kedro.data.files.delimited import Ragged
from flag_kedro.data.files.huggingface import open_dataset
from flag_kedro.data.files.news import article_pieces, columns_of
from flag_kedro.data.files.prices import read_table
from flag_kedro.data.files.problems import ragged_rows
from flag_kedro.data.files.sessions import CalendarOf
from flag_kedro.data.files.symbols import Tally
from flag_kedro.data.files.tables import open_table
from flag_kedro.data.schema import SYMBOL_PATTERN
from flag_kedro.data.streamed.store import with_buckets
from flag_kedro.data.streamed.units import Piece
from flag_kedro.data.validation import validate_news

NO_FACTS: dict[str, Any] = {"symbols": {}, "unread": {}}


@dataclass
class PriceReader:
    """Reads files of prices, each as one piece: memory must hold the largest."""

    data: DataConfig
    files: FilesConfig
    calendar_of: CalendarOf
    _facts: dict[str, Any] = field(default_factory=lambda: dict(NO_FACTS))

    def read(self, path: Path, skip_rows: int) -> Iterator[Piece]:
        """The prices of wanted symbols in a file, which no unit has yet.

        Raises:
            DataError: listing what cannot be read.
        """
        if skip_rows:  # a file is one piece
            return
        table = read_table(path, self.data, self.files, self.calendar_of)
        rows = with_buckets(table.rows.filter(pl.col("symbol").str.contains(SYMBOL_PATTERN)))
        spans = rows.group_by("symbol").agg(pl.col("session").min()).sort("symbol")
        self._facts = {
            "symbols": {symbol: first.isoformat() for symbol, first in spans.iter_rows()},
            "unread": dict(table.unread),
        }
        part = pl.col("bucket").cast(pl.String).str.zfill(3)
        yield Piece(table.rows.height, rows.select(pl.exclude("bucket"), part=part), table.rejected)

    def take_facts(self) -> Mapping[str, Any]:
        """First session of each symbol in the file that was read last, and columns that were not read."""
        facts, self._facts = self._facts, dict(NO_FACTS)
        return facts


@dataclass
class NewsReader:
    """Reads articles of wanted symbols, validated, each with the time from which it counts as known."""

    news: NewsConfig
    wanted: Sequence[str]
    calendar_of: Callable[[str], str]
    now: datetime
    quarantine: bool
    _tally: Tally = field(default_factory=Tally)
    _counts: Counter[str] = field(default_factory=Counter)
    _columns: dict[str, str] = field(default_factory=dict)

    def read_file(self, path: Path, skip_rows: int) -> Iterator[Piece]:
        """The articles in a file behind so many rows.

        Raises:
            DataError: listing what cannot be read or breaks a rule, and may not be left out.
        """
        table = open_table(path, self.news)
        self._columns = columns_of(table, self.news, self._tally)
        ragged: list[Ragged] = []
        into = ragged if self.quarantine else None
        arguments = (table, self._columns, self.news, self.wanted, self._tally, into, skip_rows)
        for rows, articles, rejected in article_pieces(*arguments):
            yield self._piece(rows, articles, pl.concat([rejected, ragged_rows("news", path, ragged)]))
            ragged.clear()
        if ragged:
            yield self._piece(0, pl.DataFrame(schema=ARTICLES), ragged_rows("news", path, ragged))

    def read_dataset(self, skip_rows: int) -> Iterator[Piece]:
        """The articles of a dataset of Hugging Face behind so many rows.

        Raises:
            ParameterError: as `stream_articles`.
            DataError: as `read_file`.
        """
        self._columns, batches = open_dataset(
            self.news, self.wanted, self._tally, quarantine=self.quarantine, skip_rows=skip_rows
        )
        for rows, articles, rejected in batches:
            yield self._piece(rows, articles, rejected)

    def take_facts(self) -> Mapping[str, Any]:
        """What was counted since the last call."""
        facts = {
            "columns": self._columns,
            "rows": self._tally.rows,
            "without": self._tally.without,
            "others": dict(self._tally.others),
            "tables": list(self._tally.tables),
            "nested": dict(self._tally.nested),
            "times": dict(self._counts),
            "wanted": sorted(self._tally.wanted),
            "unwanted": sorted(self._tally.unwanted),
        }
        self._tally.rows = self._tally.without = 0
        told = self._tally
        for counted in (told.others, told.tables, told.nested, told.wanted, told.unwanted, self._counts):
            counted.clear()
        return facts

    def _piece(self, rows: int, articles: pl.DataFrame, unreadable: pl.DataFrame) -> Piece:
        timed, counts = time_articles(articles, self.news.date_only, self.news.timezone, self.calendar_of)
        self._counts.update(asdict(counts))
        kept, rejected = validate_news(timed, self.now, quarantine=self.quarantine)
        year = pl.col("available_at").dt.year().cast(pl.String)
        part = pl.col("bucket").cast(pl.String).str.zfill(3) + "-" + year
        table = with_buckets(kept).select(pl.exclude("bucket"), part=part)
        return Piece(rows, table, pl.concat([unreadable, rejected]))


def sum_facts(facts: Sequence[Mapping[str, Any]]) -> tuple[Tally, ArticleCounts]:
    """What several units counted, as if they had been read at once."""
    tally, times = Tally(), Counter[str]()
    for one in facts:
        tally.rows += one["rows"]
        tally.without += one["without"]
        tally.others.update(one["others"])
        tally.tables += one["tables"]
        tally.nested.update(one["nested"])
        times.update(one["times"])
    return tally, ArticleCounts(**{name: times[name] for name in ArticleCounts.__dataclass_fields__})
