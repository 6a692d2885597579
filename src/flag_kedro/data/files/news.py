"""Articles that do not come from the source of prices: a user's own tables, or a dataset of Hugging Face."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.config import NewsConfig
from flag_kedro.data.files.articles import (
    ARTICLES,
    FNSPID,
    OPTIONAL_TEXTS,
    TEXTS,
    Articles,
    article_columns,
    take_articles,
    time_articles,
)
from flag_kedro.data.files.delimited import Ragged
from flag_kedro.data.files.huggingface import pinned, stream_articles
from flag_kedro.data.files.prices import symbol_of
from flag_kedro.data.files.problems import ragged_rows
from flag_kedro.data.files.symbols import (
    Tally,
    describe_left_out,
    left_out_facts,
    refuse_most_left_out,
    wanted_rows,
)
from flag_kedro.data.files.tables import Table, find_tables, gather, open_table, pieces
from flag_kedro.data.files.times import check_zone
from flag_kedro.data.schema import NEWS
from flag_kedro.data.validation import REJECTED


@dataclass(frozen=True)
class ReadNews:
    """Articles of `news.source`."""

    table: pl.DataFrame
    """Columns of `NEWS`, in no particular order, texts as they came."""
    rejected: pl.DataFrame
    """What was left out because it cannot be read, in the columns of `validation.REJECTED`."""
    facts: dict[str, Any]
    """For the data report."""
    warnings: list[str] = field(default_factory=list)
    """What else was left out, a line each."""


def read_news(
    news: NewsConfig,
    symbols: Collection[str],
    calendar_of: Callable[[str], str],
    *,
    quarantine: bool,
    max_left_out: float,
) -> ReadNews:
    """Articles about `symbols` from `news.source`.

    Args:
        news: parameters; `news.source` is not `own`.
        symbols: symbols that have prices.
        calendar_of: exchange calendar of a symbol.
        quarantine: leave out articles whose time cannot be read.
        max_left_out: largest share of the rows of files that may be about no symbol of `symbols`. Datasets of the hub
            tell of whole markets and have no limit.

    Raises:
        DataError: listing what cannot be put into our columns; when a file or the dataset cannot be read; when most
            rows are about other symbols.
        ParameterError: when `news.path`, `news.timezone` or `news.revision` does not fit, or an extra is not installed.
    """
    if news.source == "none":
        return ReadNews(pl.DataFrame(schema=NEWS), pl.DataFrame(schema=REJECTED), {"source": "none"})
    assert news.path is not None  # NewsConfig requires it for both
    check_zone(news.timezone, news.KEY)
    wanted, tally = sorted(symbols), Tally()
    facts: dict[str, Any] = {"source": news.source, "path": news.path}
    if news.source == "huggingface":
        dataset, commit = pinned(news)
        parts = [stream_articles(dataset, wanted, tally, quarantine=quarantine)]
        facts |= {"commit": commit} if commit else {}
    else:
        paths = find_tables(news.path, "news.path")
        parts = gather(paths, lambda path: _read_table(path, news, wanted, tally, quarantine=quarantine))
        facts["tables"] = len(paths)
        refuse_most_left_out(tally, wanted, news, max_left_out)
    columns = parts[0].columns
    articles, rejected = pl.concat(part.table for part in parts), pl.concat(part.rejected for part in parts)
    table, counts = time_articles(articles, news.date_only, news.timezone, calendar_of)
    if not news.columns and columns.items() <= FNSPID.items():
        facts["columns"] = f"FNSPID's: {', '.join(f'{ours}={theirs}' for ours, theirs in columns.items())}"
    silent = sorted(set(wanted) - set(table["symbol"].unique()))
    facts |= asdict(counts) | left_out_facts(tally) | {"symbols_without_articles": silent}
    return ReadNews(table, rejected, facts, describe_left_out(tally, wanted, news))


def _is_nested(table: Table, ours: str, theirs: str, news: NewsConfig, tally: Tally) -> bool:
    """Whether nobody named this column of texts that an article may lack, and it holds lists or objects."""
    is_nested = theirs in table.nested and ours in OPTIONAL_TEXTS and ours not in news.columns
    tally.nested.update([theirs] * is_nested)
    return is_nested


def _read_table(path: Path, news: NewsConfig, wanted: list[str], tally: Tally, *, quarantine: bool) -> Articles:
    """The articles in one file that are about `wanted`."""
    table = open_table(path, news)
    columns = columns_of(table, news, tally)
    parts, left_out = [pl.DataFrame(schema=ARTICLES)], [pl.DataFrame(schema=REJECTED)]
    ragged: list[Ragged] = []
    for _, articles, rejected in article_pieces(table, columns, news, wanted, tally, ragged if quarantine else None):
        parts.append(articles)
        left_out.append(rejected)
    return Articles(pl.concat(parts), pl.concat([*left_out, ragged_rows("news", path, ragged)]), columns)


def columns_of(table: Table, news: NewsConfig, tally: Tally) -> dict[str, str]:
    """Which columns of a table are ours, but for texts that hold lists or objects, which `tally` counts.

    Raises:
        DataError: as `article_columns`.
    """
    columns = article_columns(news, table.columns, str(table.path))
    return {ours: theirs for ours, theirs in columns.items() if not _is_nested(table, ours, theirs, news, tally)}


def article_pieces(
    table: Table,
    columns: dict[str, str],
    news: NewsConfig,
    wanted: Sequence[str],
    tally: Tally,
    ragged: list[Ragged] | None,
    skip_rows: int = 0,
) -> Iterator[tuple[int, pl.DataFrame, pl.DataFrame]]:
    """The articles of one file piece by piece: rows read, columns of `ARTICLES`, and of `validation.REJECTED`.

    Args:
        table: the file.
        columns: ours to theirs, by `columns_of`.
        news: parameters.
        wanted: symbols that have prices.
        tally: what is counted so far.
        ragged: where rows with too few or too many fields are put; None refuses rows that cannot be read.
        skip_rows: pieces that end within so many first rows are passed over.

    Raises:
        DataError: listing what cannot be read and may not be left out.
    """
    symbol = columns.get("symbol")
    if symbol is None and table.symbol not in wanted:
        tally.tables.append(table.symbol)
        tally.unwanted.add(table.symbol)
        return
    texts = [columns[name] for name in TEXTS if name in columns]
    num_rows = 0
    for piece in pieces(table, list(columns.values()), breaking=texts, lists=[symbol or ""], ragged=ragged):
        num_rows += piece.height
        if num_rows <= skip_rows:
            if ragged is not None:
                ragged.clear()
            continue
        if symbol is None:
            tally.rows += piece.height
            tally.wanted.add(table.symbol)
            rows, symbols = piece, symbol_of(table, piece, None)
        else:
            rows, symbols = wanted_rows(piece, symbol, wanted, news, news.symbol_separator, tally, str(table.path))
        articles, rejected = take_articles(rows, symbols, columns, news, str(table.path), quarantine=ragged is not None)
        yield piece.height, articles, rejected
