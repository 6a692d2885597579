"""Near-duplicates: the same story from several wires counts once."""

from collections.abc import Callable, Mapping
from itertools import product
from string import digits

import polars as pl

from flag_kedro.data.calendar import exchange_sessions

WIRES = (
    r"reuters|bloomberg|marketwatch|cnbc|wsj|(?:the )?wall street journal|barron'?s|seeking alpha|benzinga|"
    r"(?:the )?motley fool|zacks|yahoo(?: finance)?|investing\.com|business wire|pr ?newswire|globe ?newswire|"
    r"associated press|ap(?: news)?|afp|dow jones|forbes|fortune|financial times|ft|nasdaq|coindesk|cointelegraph|"
    r"thestreet"
)
PREFIX = (
    r"^(?:\*+|(?:rpt|refile|update|corrected|correction|wrapup|brief|exclusive|breaking(?: news)?|urgent|press release)"
    r"\s*\d*\s*[-:]+|dj\s|[^()]{0,40}\((?:" + WIRES + r")\)\s*[-:]+|\s+)+"
)
SUFFIX = r"(?:\s*(?:[|]|\s-+|\()\s*(?:" + WIRES + r")(?:\.com)?\s*\)?|\s*\(sentiment\s*:\s*\w+\s*\)|\s+)+$"
MONEY = ("", *"$€£¥")
SPOKEN = {
    f"{before}{sign}{money}{digit}": f" {word}{digit}"
    for word, starts, sign, moneys in (
        ("point", ("",), ".", ("",)),
        ("comma", ("",), ",", ("",)),
        ("plus", ("",), "+", MONEY),
        ("bracket", ("",), "(", MONEY),
        ("minus", (*" \t\n(", *"$€£¥"), "-", MONEY),
    )
    for before, money, digit in product(starts, moneys, digits)
}
"""Characters that make another number of the digits after them, as words that outlive the loss of punctuation. A minus
counts where no letter or digit touches it, so that a hyphen is none."""


def merge_duplicates(
    news: pl.DataFrame, calendar_of: Callable[[str], str], within: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Keep the first article of each story, which replaces the symbol's later ones up to `within` sessions after it.

    Two articles tell the same story when their headlines agree in letters and numbers, once what wires put before and
    after them is gone; a number's sign, parenthesis, point and commas belong to it. Counting is from the article that
    was kept: a headline that returns daily is shown again every `within` + 1 sessions. Whether an article is kept
    depends on earlier ones only, by `available_at`. An article without symbol or `available_at` is kept.

    Args:
        news: columns of `schema.NEWS`, any order.
        calendar_of: exchange calendar of a symbol.
        within: sessions between first decisions that may use the articles; 0 keeps all.

    Returns:
        The distinct rows in the order of `news`, and how many were merged into them, by symbol.

    Raises:
        ParameterError: when exchange_calendars does not know a calendar.
        DataError: when a calendar does not reach as far as the articles.
    """
    if not within or news.is_empty():
        return news, {}
    with_row = news.with_row_index("row")
    with_story = with_row.with_columns(story_keys(news)).drop_nulls(["story", "available_at"])
    repeated = _with_decisions(with_story.filter(pl.len().over("story") > 1), calendar_of)
    repeated = repeated.sort("story", "available_at", "published_at", "headline", "source", "url", "body", "row")
    merged: list[int] = []
    last_story, last_distinct = None, 0
    for row, story, decision in repeated.select("row", "story", "decision").iter_rows():
        if story == last_story and decision - last_distinct <= within:
            merged.append(row)
        else:
            last_story, last_distinct = story, decision
    is_merged = with_row["row"].is_in(merged)
    counts = news.filter(is_merged)["symbol"].value_counts().sort("symbol")
    return news.filter(~is_merged), dict(counts.iter_rows())


def count_articles(raw: pl.DataFrame, distinct: pl.DataFrame, merged: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """By symbol how many articles were read, merged into another one (`folded`) and `kept`, for the data report.

    What is neither folded nor kept failed validation.

    Args:
        raw: articles as read, with `symbol`.
        distinct: articles that passed validation, near-duplicates merged.
        merged: by symbol, how many were merged.
    """
    num_distinct = dict(distinct["symbol"].value_counts().iter_rows())
    counts = raw.drop_nulls("symbol").group_by("symbol").len().sort("symbol")
    return {
        symbol: {"read": num, "folded": merged.get(symbol, 0), "kept": num_distinct.get(symbol, 0)}
        for symbol, num in counts.iter_rows()
    }


def story_keys(news: pl.DataFrame) -> pl.Series:
    """`story`: hash of an article's symbol and of its headline's letters and digits; null without either."""
    dashed = pl.col("headline").str.normalize("NFKC").str.to_lowercase().str.replace_all("[\u2010-\u2015\u2212]", "-")
    bare = dashed.str.replace(PREFIX, "").str.replace(SUFFIX, "").str.replace("^-", " -")
    signed = bare.str.replace_many(SPOKEN, leftmost=True)
    stories = news.lazy().select("symbol", letters=signed.str.replace_all(r"[^\p{L}\p{N}]+", ""))
    hashed = stories.select(
        story=pl.when(pl.col("letters") != "").then(pl.concat_str("symbol", "letters", separator=" ").hash())
    )
    return hashed.collect(engine="streaming").to_series()


def _with_decisions(news: pl.DataFrame, calendar_of: Callable[[str], str]) -> pl.DataFrame:
    """Number, within its calendar, of the first session whose decision may use each article, as `decision`."""
    parts = [news.clear().with_columns(decision=pl.lit(None, dtype=pl.Int64))]
    calendars = {symbol: calendar_of(symbol) for symbol in news["symbol"].unique(maintain_order=True)}
    for calendar in dict.fromkeys(calendars.values()):
        on_calendar = news.filter(
            pl.col("symbol").is_in([symbol for symbol in calendars if calendars[symbol] == calendar])
        )
        dates = on_calendar["available_at"].dt.date()
        closes = exchange_sessions(calendar, dates.min(), dates.max())["closes_at"]  # type: ignore[arg-type]
        parts.append(
            on_calendar.with_columns(
                decision=closes.search_sorted(on_calendar["available_at"], side="left").cast(pl.Int64)
            )
        )
    return pl.concat(parts)
