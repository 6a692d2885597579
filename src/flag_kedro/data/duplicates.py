"""The same story from several wires counts once."""

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
    """Keep the first article of each story; it stands for the symbol's later ones up to `within` sessions after it.

    Two articles tell the same story when their headlines agree in letters and numbers, once what wires put before and
    after them is gone; a number's sign, parenthesis, point and commas belong to it. Counting is from the article that
    was kept: a headline that returns daily is shown again every `within` + 1 sessions. Whether an article is kept
    depends on earlier ones only, by `available_at`. An article without symbol or `available_at` is kept.

    Args:
        news: columns of `schema.NEWS`, any order.
        calendar_of: exchange calendar of a symbol.
        within: sessions between first decisions that may use the articles; 0 keeps all.

    Returns:
        The kept rows in the order of `news`, and how many were folded by symbol.
    """
    if not within or news.is_empty():
        return news, {}
    numbered = news.with_row_index("row")
    keyed = numbered.with_columns(story_keys(news)).drop_nulls(["story", "available_at"])
    repeated = _with_decisions(keyed.filter(pl.len().over("story") > 1), calendar_of)
    repeated = repeated.sort("story", "available_at", "published_at", "headline", "source", "url", "body", "row")
    folded: list[int] = []
    last_story, kept = None, 0
    for row, story, decision in repeated.select("row", "story", "decision").iter_rows():
        if story == last_story and decision - kept <= within:
            folded.append(row)
        else:
            last_story, kept = story, decision
    gone = numbered["row"].is_in(folded)
    counts = news.filter(gone)["symbol"].value_counts().sort("symbol")
    return news.filter(~gone), dict(counts.iter_rows())


def count_articles(read: pl.DataFrame, kept: pl.DataFrame, folded: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """By symbol how many articles were read, folded into another one, and kept, for the data report.

    What is neither folded nor kept was left out at the door.
    """
    left = dict(kept["symbol"].value_counts().iter_rows())
    counts = read.drop_nulls("symbol").group_by("symbol").len().sort("symbol")
    return {
        symbol: {"read": num, "folded": folded.get(symbol, 0), "kept": left.get(symbol, 0)}
        for symbol, num in counts.iter_rows()
    }


def story_keys(news: pl.DataFrame) -> pl.Series:
    """A hash of symbol and story for each article; null without a symbol, or a headline of letters or digits."""
    dashed = pl.col("headline").str.normalize("NFKC").str.to_lowercase().str.replace_all("[\u2010-\u2015\u2212]", "-")
    bare = dashed.str.replace(PREFIX, "").str.replace(SUFFIX, "").str.replace("^-", " -")
    signed = bare.str.replace_many(SPOKEN, leftmost=True)
    stories = news.lazy().select("symbol", told=signed.str.replace_all(r"[^\p{L}\p{N}]+", ""))
    hashed = stories.select(
        story=pl.when(pl.col("told") != "").then(pl.concat_str("symbol", "told", separator=" ").hash())
    )
    return hashed.collect(engine="streaming").to_series()


def _with_decisions(news: pl.DataFrame, calendar_of: Callable[[str], str]) -> pl.DataFrame:
    """Number, within its calendar, of the first session whose decision may use each article, as `decision`."""
    parts = [news.clear().with_columns(decision=pl.lit(None, dtype=pl.Int64))]
    calendars = {symbol: calendar_of(symbol) for symbol in news["symbol"].unique(maintain_order=True)}
    for calendar in dict.fromkeys(calendars.values()):
        own = news.filter(pl.col("symbol").is_in([symbol for symbol in calendars if calendars[symbol] == calendar]))
        dates = own["available_at"].dt.date()
        closes = exchange_sessions(calendar, dates.min(), dates.max())["closes_at"]  # type: ignore[arg-type]
        parts.append(own.with_columns(decision=closes.search_sorted(own["available_at"], side="left").cast(pl.Int64)))
    return pl.concat(parts)
