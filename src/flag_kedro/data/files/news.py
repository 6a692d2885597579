"""Articles that do not come from the source of prices: a user's own tables, or a dataset of Hugging Face."""

from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.config import NewsConfig
from flag_kedro.data.files.articles import (
    ARTICLES,
    FNSPID,
    Articles,
    article_columns,
    check_zone,
    take_articles,
    time_articles,
)
from flag_kedro.data.files.huggingface import pinned, stream_articles
from flag_kedro.data.files.prices import holds_other_symbol, symbol_of
from flag_kedro.data.files.tables import find_tables, gather, open_table, pieces
from flag_kedro.data.schema import NEWS
from flag_kedro.data.validation import REJECTED


def read_news(
    news: NewsConfig, symbols: Collection[str], calendar_of: Callable[[str], str], *, quarantine: bool
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Articles about `symbols` from `news.source`, and facts about them for the data report.

    Args:
        news: parameters; `news.source` is not `own`.
        symbols: symbols that have prices.
        calendar_of: exchange calendar of a symbol.
        quarantine: leave out articles whose time cannot be read.

    Returns:
        Columns of `NEWS`, in no particular order, texts as they came; what was left out, in the columns of
        `validation.REJECTED`; and the facts.

    Raises:
        DataError: listing what cannot be put into our columns, or when a file or the dataset cannot be read.
        ParameterError: when `news.path`, `news.timezone` or `news.revision` does not fit, or an extra is not installed.
    """
    if news.source == "none":
        return pl.DataFrame(schema=NEWS), pl.DataFrame(schema=REJECTED), {"news": {"source": "none"}}
    assert news.path is not None  # NewsConfig requires it for both
    check_zone(news.timezone)
    wanted = sorted(symbols)
    facts: dict[str, Any] = {"source": news.source, "path": news.path}
    if news.source == "huggingface":
        dataset, commit = pinned(news)
        parts = [stream_articles(dataset, wanted, quarantine=quarantine)]
        facts |= {"commit": commit} if commit else {}
    else:
        paths = find_tables(news.path, "news.path")
        parts = gather(paths, lambda path: _read_table(path, news, wanted, quarantine=quarantine))
        facts["tables"] = len(paths)
    columns = parts[0].columns
    articles, rejected = pl.concat(part.table for part in parts), pl.concat(part.rejected for part in parts)
    table, counts = time_articles(articles, news.date_only, news.timezone, calendar_of)
    if not news.columns and columns.items() <= FNSPID.items():
        facts["columns"] = f"FNSPID's: {', '.join(f'{ours}={theirs}' for ours, theirs in columns.items())}"
    silent = sorted(set(wanted) - set(table["symbol"].unique()))
    return table, rejected, {"news": facts | asdict(counts) | {"symbols_without_articles": silent}}


def _read_table(path: Path, news: NewsConfig, wanted: list[str], *, quarantine: bool) -> Articles:
    """The articles in one file that are about `wanted`."""
    table = open_table(path)
    columns = article_columns(news, table.columns, str(path))
    parts, left_out = [pl.DataFrame(schema=ARTICLES)], [pl.DataFrame(schema=REJECTED)]
    if holds_other_symbol(table, columns.get("symbol"), wanted):
        return Articles(parts[0], left_out[0], columns)
    for piece in pieces(table, list(columns.values()), breaking=(columns.get("body", ""),)):
        symbols = symbol_of(table, piece, columns.get("symbol"))
        is_wanted = symbols.is_in(wanted).fill_null(False)
        articles, rejected = take_articles(
            piece.filter(is_wanted), symbols.filter(is_wanted), columns, news.timezone, str(path), quarantine=quarantine
        )
        parts.append(articles)
        left_out.append(rejected)
    return Articles(pl.concat(parts), pl.concat(left_out), columns)
