"""Ablations of market states: without names and dates, the order of the news, all news, or prices.

A policy that decides as well on ablated states did not use what they lack. Fills, marks and times stay.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flag_kedro.data.streams import stream
from flag_kedro.data.text import clean_texts
from flag_kedro.features.names import name_pattern

Ablation = Literal["none", "mask_names", "shuffle_news", "no_news", "no_prices"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)
NOT_SHOWN = "not shown"
TEXTS = ("text", "mentions")
"""What moves together when news are shuffled."""
THIS_COMPANY, ANOTHER_COMPANY = "the company", "another company"
NO_MATCH = r"[^\s\S]"
LEGAL_FORM = (
    r"(?i:,?\s+(?:(?:&|and)\s+Co|(?:&|and)\s+Company|Inc|Incorporated|Corp|Corporation|Co|Company|Companies|Ltd|Limited"
    r"|PLC|LLC|SE|AG|S\.?A|N\.?V|Holdings?|Group)\b\.?)"
)
EXCHANGE = r"(?:\b(?:NASDAQ|NasdaqGS|Nasdaq|NYSE|NYSEARCA|AMEX|LSE|TSX|OTC)\s*:\s*)"
OF_EXCHANGE = r"(?:\.[A-Z]{1,2}\b)?"
"""What Reuters writes behind a ticker: AAPL.O."""
MONTH = (
    r"(?:May|MAY|Mar(?:ch|\.)?|MARCH|(?i:jan(?:uary|\.)?|feb(?:ruary|\.)?|apr(?:il|\.)?|june?\.?|july?\.?|aug(?:ust|\.)?"
    r"|sept?(?:ember|\.)?|oct(?:ober|\.)?|nov(?:ember|\.)?|dec(?:ember|\.)?))"
)
"""May and March in capitals only: "COVID-19 may" is no date."""
BARE_MONTH = (
    r"(?i)\b(?:January|February|April|June|July|August|Sept(?:ember|\.)?|October|November|December"
    r"|Jan\.|Feb\.|Apr\.|Aug\.|Sep\.|Oct\.|Nov\.|Dec\.)"
)
BEFORE_MONTH = r"\b(?i:in|since|by|until|till|during|from|to|of|late|early|mid|this|last|next|every)[\s-]+"
DAY, YEAR = r"(?:0?[1-9]|[12]\d|3[01])(?:st|[nr]d|th)?", r"(?:19|20)\d{2}"
DATES = (
    (rf"\b{YEAR}[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])(?:T[\d:.]+Z?)?\b", "that day"),
    (rf"\b\d{{1,2}}[-/.]\d{{1,2}}[-/.](?:{YEAR}|\d{{2}})\b", "that day"),
    (rf"\b{MONTH}\s*{DAY}\b(?:,?\s+{YEAR}\b)?", "that day"),
    (rf"\b{DAY}\s+(?:of\s+)?{MONTH}(?:,?\s+{YEAR})?\b", "that day"),
    (rf"\b{MONTH}(?:\s+of)?,?\s+'?{YEAR}\b", "that month"),
    (rf"({BEFORE_MONTH})(?:May|March)\b", "${1}that month"),
    (BARE_MONTH, "that month"),
    (rf"\b(?:[QH][1-4]|[1-4][QH])(?:\s+(?:of\s+)?(?:FY\s?)?|[\s-]?(?:FY)?)'?(?:{YEAR}|\d{{2}})\b", "that quarter"),
    (r"\b(?:[QH][1-4]|[1-4][QH])\b", "that quarter"),
    (
        rf"(?i)\b(?:first|second|third|fourth|1st|2nd|3rd|4th)[\s-](?:fiscal\s+)?(?:quarter|half)"
        rf"(?:\s+of)?(?:\s+fiscal)?(?:\s+year)?,?\s+{YEAR}\b",
        "that quarter",
    ),
    (rf"\bFY\s?'?(?:{YEAR}|\d{{2}})\b", "that year"),
    (rf"(^|[^\w$€£.,]){YEAR}s?\b", "${1}that year"),
)
"""Regular expressions and what takes their place, in this order; May and March only where a date is meant."""


def ablate_articles(
    articles: pl.DataFrame, symbols: Sequence[str], names: Mapping[str, Sequence[str]], kind: Ablation, seed: int
) -> pl.DataFrame:
    """The articles as states of this kind read them; masking changes words, never which articles come first.

    Masking is no proof that a language model does not know what it reads about: models tell companies and times
    from what remains, and recall values all the same (arXiv:2504.14765).

    Args:
        articles: `symbol`, `available_at`, clean `text` and `mentions`, as `digest.read_articles` gives them.
        symbols: those whose names are masked.
        names: what articles call the company of a symbol; missing ones have their ticker only.
        kind: `mask_names` writes neutral words for names, tickers and dates; `shuffle_news` gives each article the
            text of an earlier one of its symbol, drawn at random, so that not even an ablated state knows the future
            (a symbol's first article keeps its own); `no_news` leaves no article; the others change nothing here.
        seed: of the draws.

    Returns:
        Rows of `articles` in their order, none under `no_news`.
    """
    match kind:
        case "mask_names":
            return _mask(articles, symbols, names)
        case "shuffle_news":
            rows = _earlier_rows(articles, seed)
            return articles.with_columns(articles[column].gather(rows) for column in TEXTS)
        case "no_news":
            return articles.clear()
        case "none" | "no_prices":
            return articles


def unnamed(symbols: Sequence[str], names: Mapping[str, Sequence[str]]) -> list[str]:
    """Symbols without a company name in `names`, of which `mask_names` masks tickers only."""
    return [symbol for symbol in symbols if not names.get(symbol)]


def ablate_states(states: pl.DataFrame, kind: Ablation) -> pl.DataFrame:
    """Market states whose `market_text` is `NOT_SHOWN` under `no_prices`, else as they are."""
    return states.with_columns(pl.lit(NOT_SHOWN).alias("market_text")) if kind == "no_prices" else states


def _mask(articles: pl.DataFrame, symbols: Sequence[str], names: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    text = pl.col("text")
    parts = [
        rows.with_columns(text.str.replace_all(_names_pattern([str(symbol)], names), THIS_COMPANY))
        if symbol in symbols
        else rows
        for (symbol,), rows in articles.group_by("symbol", maintain_order=True)
    ]
    masked = text.str.replace_all(_names_pattern(symbols, names), ANOTHER_COMPANY)
    for pattern, words in DATES:
        masked = masked.str.replace_all(pattern, words)
    return pl.concat([articles.clear(), *parts]).with_columns(masked)


def _names_pattern(symbols: Sequence[str], names: Mapping[str, Sequence[str]]) -> str:
    """Regular expression of companies in clean text: their names, with or without legal form, and their tickers.

    A ticker of one letter counts only behind a dollar sign or its exchange, lest every "A" be a company.
    """
    full = clean_texts(pl.Series([name for symbol in symbols for name in names.get(symbol, ())], dtype=pl.String))
    spellings = {spelling for name in full for spelling in _spellings(name)}
    tickers = {ticker for symbol in symbols for ticker in (symbol, symbol.partition("-")[0])}
    letters = {ticker for ticker in tickers if len(ticker) == 1}
    marked = rf"(?:{EXCHANGE}|\$)"
    return (
        f"{_any({name: name_pattern(name) for name in spellings})}{LEGAL_FORM}*"
        f"|(?:{marked}?{_any({ticker: re.escape(ticker) for ticker in tickers - letters})}"
        f"|{marked}{_any({letter: re.escape(letter) for letter in letters})}){OF_EXCHANGE}"
    )


def _spellings(full: str) -> set[str]:
    """A name, without its legal form, and without what is written rather than said: Yahoo! and Amazon.com."""
    short = re.sub(rf"{LEGAL_FORM}+$", "", full)
    plain = re.sub(r"(?i:\.com)?\W*$", "", short)
    return {name for name in (full, short, plain) if len(name) > 1}


def _any(words: Mapping[str, str]) -> str:
    """A pattern of any of these words, the longest first, from the pattern of each; each bounded as words are."""
    alternatives = []
    for word, pattern in sorted(words.items(), key=lambda pair: (-len(pair[0]), pair)):
        begins, ends = (r"\b" if re.match(r"\w", char) else "" for char in (word[0], word[-1]))
        alternatives.append(f"{begins}{pattern}{ends}")
    return f"(?:{'|'.join(alternatives) or NO_MATCH})"


def _earlier_rows(articles: pl.DataFrame, seed: int) -> NDArray[np.int64]:
    """For each row that of an earlier article of its symbol, [n]; articles yet to come change no draw."""
    order = articles.with_row_index("row").sort("symbol", "available_at", maintain_order=True)
    earlier = np.arange(articles.height)
    for (symbol,), of_symbol in order.group_by("symbol", maintain_order=True):
        rows = of_symbol["row"].to_numpy().astype(np.int64)
        draws = stream(seed, "shuffled news", str(symbol)).random(len(rows))
        earlier[rows] = rows[(draws * np.arange(len(rows))).astype(np.int64)]
    return earlier
