"""Articles of a dataset on the Hugging Face hub, or in a local folder, streamed."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import polars as pl

from flag_kedro.data.config import NewsConfig
from flag_kedro.data.files.articles import ARTICLES, KEY, Articles, article_columns, take_articles
from flag_kedro.data.files.delimited import ROW
from flag_kedro.data.files.symbols import Tally, wanted_rows
from flag_kedro.data.validation import REJECTED
from flag_kedro.errors import DataError, FlagError, ParameterError

logger = logging.getLogger(__name__)

BATCH_ROWS = 10_000
BUILDERS = {".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet", ".jsonl": "json", ".ndjson": "json"}
"""Who reads a single file of a dataset, such as hf://datasets/OWNER/NAME/FILE.csv, by its ending."""
HUB_FILE = re.compile(r"hf://datasets/(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<file>.+)")
LOG_ROWS = 200_000
"""Rows between two lines of progress."""


def pinned(news: NewsConfig) -> tuple[NewsConfig, str | None]:
    """`news` at the commit that its dataset on the hub has now, and that commit; a local one has none.

    Raises:
        ParameterError: when the extra is not installed.
        DataError: when the hub cannot be asked.
    """
    path = str(news.path)
    file = HUB_FILE.fullmatch(path)
    if file is None and ("://" in path or Path(path).exists()):
        return news, None
    name, revision = (file["name"], file["revision"]) if file else (path, news.revision)
    with _installed():
        import huggingface_hub
    with _named_errors(news):
        commit = huggingface_hub.dataset_info(name, revision=unquote(revision) if revision else None).sha
    if commit is None:
        raise DataError(f"news.path: the hub names no commit of the dataset {name}; download it and name its folder")
    if file:
        return replace(news, path=f"hf://datasets/{name}@{commit}/{file['file']}"), commit
    return replace(news, revision=commit), commit


def stream_articles(news: NewsConfig, wanted: Sequence[str], tally: Tally, *, quarantine: bool) -> Articles:
    """Articles about `wanted` in the dataset that `news.path` names.

    The dataset is read once, in batches of which only wanted rows stay; nothing of it is written to disk, and no
    code of it is run. Rows about no wanted symbol go to `tally`.

    Raises:
        ParameterError: when the extra is not installed, or `news.revision` is given for a single file.
        DataError: when the dataset cannot be reached or read, or lacks a column.
    """
    table_name = f"{news.path} ({news.split})"
    columns, batches = open_dataset(news, wanted, tally, quarantine=quarantine)
    parts, left_out, num_rows, num_kept = [pl.DataFrame(schema=ARTICLES)], [pl.DataFrame(schema=REJECTED)], 0, 0
    for height, part, rejected in batches:
        parts.append(part)
        left_out.append(rejected)
        num_kept += part.height
        if num_rows // LOG_ROWS != (num_rows + height) // LOG_ROWS:
            logger.info("%s: %d rows read, %d articles kept", table_name, num_rows + height, num_kept)
        num_rows += height
    if not num_rows:
        raise DataError(f"{table_name} holds no row")
    logger.info("%s: all %d rows read, %d articles kept", table_name, num_rows, num_kept)
    return Articles(pl.concat(parts), pl.concat(left_out), columns)


def open_dataset(
    news: NewsConfig, wanted: Sequence[str], tally: Tally, *, quarantine: bool, skip_rows: int = 0
) -> tuple[dict[str, str], Iterator[tuple[int, pl.DataFrame, pl.DataFrame]]]:
    """The dataset's columns, ours to theirs, and its batches: rows read, columns of `ARTICLES`, and of `REJECTED`.

    Args:
        news: parameters.
        wanted: symbols that have prices.
        tally: what is counted so far.
        quarantine: leave out rows that cannot be read instead of refusing all.
        skip_rows: rows at the beginning that are passed over.

    Raises:
        ParameterError: as `stream_articles`.
        DataError: as `stream_articles`.
    """
    table_name = f"{news.path} ({news.split})"
    with _named_errors(news):
        dataset = _open(news)
        column_names = dataset.column_names or list(next(iter(dataset), {}))
        dataset = dataset.skip(skip_rows) if skip_rows else dataset
    columns = _columns(news, column_names, table_name)

    def batches() -> Iterator[tuple[int, pl.DataFrame, pl.DataFrame]]:
        num_rows = skip_rows
        for batch in _batches(dataset, list(dict.fromkeys(columns.values())), news):
            piece = batch.with_row_index(ROW, num_rows + 1)
            rows, symbols = wanted_rows(
                piece, columns["symbol"], wanted, news, news.symbol_separator, tally, table_name
            )
            part, rejected = take_articles(rows, symbols, columns, news, table_name, quarantine=quarantine)
            num_rows += batch.height
            yield batch.height, part, rejected

    return columns, batches()


def _columns(news: NewsConfig, column_names: Sequence[str], table_name: str) -> dict[str, str]:
    """Which column is which of ours, the symbol's among them."""
    if not column_names:
        raise DataError(f"{table_name} holds no row")
    columns = article_columns(news, column_names, table_name)
    if "symbol" not in columns:
        raise DataError(
            f"{table_name} has no column of symbols; it has {', '.join(column_names)}. "
            f"Say which it is: {KEY}.symbol=THEIRS"
        )
    return columns


def _open(news: NewsConfig) -> Any:
    with _installed():
        from datasets import load_dataset
    path = str(news.path)
    builder = next((name for ending, name in BUILDERS.items() if path.endswith(ending)), None)
    if builder is None:
        return load_dataset(path, split=news.split, revision=news.revision, streaming=True)
    if news.revision is not None:
        raise ParameterError(
            f"news.revision is {news.revision}, but news.path names a file; write it into the path, as in "
            f"hf://datasets/OWNER/NAME@{news.revision}/FILE"
        )
    return load_dataset(builder, data_files=path, split=news.split, streaming=True)


def _batches(dataset: Any, columns: list[str], news: NewsConfig) -> Iterator[pl.DataFrame]:
    with _named_errors(news):
        for batch in dataset.select_columns(columns).with_format("arrow").iter(batch_size=BATCH_ROWS):
            yield cast("pl.DataFrame", pl.from_arrow(batch))


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ParameterError(
            "news.source is huggingface: install its library, pip install 'flag_kedro[huggingface]'"
        ) from error


@contextmanager
def _named_errors(news: NewsConfig) -> Iterator[None]:
    """Name the dataset in whatever the library says, and the way out."""
    try:
        yield
    except FlagError:
        raise
    except Exception as error:  # the library passes on those of every format and every transport
        message = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        raise DataError(
            f"news.path: the dataset {news.path} (split {news.split}, revision {news.revision or 'newest'}) cannot be "
            f"read: {message}. Check its name, news.split, news.revision and the connection; or download it and give "
            "the folder of its files (csv, parquet or jsonl) as news.path, or set news.source to files"
        ) from error
