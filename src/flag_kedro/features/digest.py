"""News digests: the most important articles of each state, each with a fair share of a budget of characters."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import polars as pl

from flag_kedro.data.text import clean_texts, cut_text
from flag_kedro.features.names import name_pattern

NO_NEWS = "none"
BULLET = "- "
LINE_CHARS = len(BULLET) + 1
"""What a line costs beside its article, its line break included; the first has none."""
LEFT_OUT = r"(?m)^\(\+(\d+) more\)$"
"""The line that says how many articles were left out."""


@lru_cache(maxsize=4096)
def mention_pattern(symbol: str, names: tuple[str, ...]) -> str | None:
    """Regular expression of texts that mention a company: its ticker in capitals as given, or one of its names.

    Both count as whole words only. A ticker of one letter is a word of many other texts and does not count; None where
    nothing is left to look for.
    """
    words = [re.escape(symbol)] if len(symbol) > 1 else []
    cleaned = clean_texts(pl.Series(names, dtype=pl.String))
    words += [name_pattern(name) for name in cleaned if name]
    return rf"(?:^|\W)(?:{'|'.join(words)})(?:\W|$)" if words else None


def read_articles(news: pl.DataFrame, names: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Clean texts of articles.

    Args:
        news: `symbol`, `available_at` (UTC) and `headline`.
        names: what articles call each symbol.

    Returns:
        `symbol`, `available_at`, clean `text` of each article, and whether it `mentions` its company, in the order of
        `news`.
    """
    symbols = news["symbol"].unique().to_list()
    patterns = {symbol: mention_pattern(symbol, tuple(names.get(symbol, ()))) for symbol in symbols}
    pattern = pl.col("symbol").replace_strict(patterns, return_dtype=pl.String)
    return news.select("symbol", "available_at", clean_texts(news["headline"]).alias("text")).with_columns(
        mentions=pl.col("text").str.contains(pattern).fill_null(False)
    )


def write_digests(
    articles: pl.DataFrame, *, digest_chars: int, article_chars: int, min_article_chars: int
) -> pl.DataFrame:
    """The news texts of many states, each within its budget.

    Every article shown gets the same share of the budget; what short ones leave goes to the others, and no
    article gets more than `article_chars`. Where shares would fall below `min_article_chars`, the last articles are
    left out and a line says how many; the first is shown in any case.

    Args:
        articles: one row for each state and article that it could show: `state`, an integer, ascending, and `text`,
            clean and not empty, the most important first within a state.
        digest_chars: budget of a state's whole text.
        article_chars: most characters of one article.
        min_article_chars: fewest characters to which an article is cut.

    Returns:
        `state`, `news_text`, and how many articles were `left_out` and how many `cut`.
    """
    rows = articles.with_columns(
        num=pl.len().over("state"),
        rank=pl.int_range(1, pl.len() + 1).over("state"),
        wanted=pl.col("text").str.len_chars().cast(pl.Int64).clip(upper_bound=article_chars),
    )
    least = pl.col("wanted").clip(upper_bound=min_article_chars).cum_sum().over("state")
    used = least + _frame_chars(pl.col("rank"), pl.col("num"))
    shown = pl.when(used <= digest_chars).then(pl.col("rank")).max().over("state").fill_null(1)
    rows = rows.with_columns(shown=shown).filter(pl.col("rank") <= pl.col("shown"))
    rows = _share(rows.with_columns(room=digest_chars - _frame_chars(pl.col("shown"), pl.col("num"))))
    left_out = pl.col("num") - pl.col("shown")
    return (
        rows.with_columns(line=BULLET + cut_text(pl.col("text"), pl.col("share")))
        .group_by("state", maintain_order=True)
        .agg(
            news_text=pl.col("line").str.join("\n"),
            left_out=left_out.first(),
            cut=(pl.col("text").str.len_chars() > pl.col("share")).sum().cast(pl.Int64),
        )
        .with_columns(pl.col("news_text") + _note(pl.col("left_out")))
    )


def count_articles(news_texts: pl.Series) -> pl.Series:
    """Articles that each state could show: those in its digest, and those that its last line says were left out."""
    left_out = news_texts.str.extract(LEFT_OUT).cast(pl.Int64).fill_null(0)
    return news_texts.str.count_matches(rf"(?m)^{BULLET}").cast(pl.Int64) + left_out


def _share(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `share`, the characters each article gets: as many as it wants up to a level that spends the room exactly.

    Let the articles of a state be in order of length, and divide at each what the shorter ones leave of the room by how
    many are left. That quotient grows until the first article that is longer than it, and falls from there on, so its
    maximum is the level. Characters that do not divide go one by one to the first articles that are cut.
    """
    enough = pl.col("wanted").sum().over("state") <= pl.col("room")
    short = pl.col("wanted").cum_sum().over("state") - pl.col("wanted")
    sharers = pl.col("shown") - pl.int_range(pl.len()).over("state")
    levels = (
        rows.filter(~enough)
        .sort("state", "wanted")
        .with_columns(level=(pl.col("room") - short) // sharers)
        .group_by("state")
        .agg(pl.col("level").max())
    )
    rows = rows.join(levels, on="state", how="left", maintain_order="left")
    cut = (pl.col("wanted") > pl.col("level")).fill_null(False)
    given = pl.min_horizontal("wanted", "level")
    rest = pl.col("room") - given.sum().over("state")
    extra = cut & (cut.cum_sum().over("state") <= rest)
    return rows.with_columns(share=given + extra)


def _frame_chars(shown: pl.Expr, num: pl.Expr) -> pl.Expr:
    """Characters that a digest of `shown` of `num` articles takes beside the articles themselves."""
    return LINE_CHARS * shown - 1 + _note(num - shown).str.len_bytes().cast(pl.Int64)


def _note(left_out: pl.Expr) -> pl.Expr:
    """The last line, if one is needed."""
    return pl.when(left_out > 0).then(pl.format("\n(+{} more)", left_out)).otherwise(pl.lit(""))
