"""InvestorBench's JSON files (github.com/felis33/INVESTOR-BENCH): one adjusted close and news texts a day."""

import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.calendar import available_from_date, exchange_sessions
from flag_kedro.data.schema import NEWS, PRICES, DataError, validate_prices

CRYPTO = {"BTC", "ETH"}
HEADLINE_CHARS = 200
SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\b(?:co|dr|jr|mr|ms|no|st|vs)\.)(?<!\b(?:inc|ltd|llc|mrs)\.)(?<!\bcorp\.)\s",
    re.IGNORECASE,
)
"""White space after a full stop that is none of an abbreviation's, as in `U.S.` or `Microsoft Corp. reports`."""
SENTIMENT = re.compile(r"\(\s*sentiment\s*:\s*(\w+)\s*\)\s*$", re.IGNORECASE)


def existing_folder(path: str) -> Path:
    """`data.path` as a folder.

    Raises:
        DataError: when it is none.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(f"data.path: {folder.absolute()} is not a folder; point it to InvestorBench's JSON files")
    return folder


def find_symbols(folder: Path) -> tuple[str, ...]:
    """Symbols that have a file in `folder`, in alphabetical order.

    Raises:
        DataError: when there is none.
    """
    symbols = tuple(sorted(path.stem.upper() for path in folder.glob("*.json")))
    if not symbols:
        raise DataError(
            f"data.path: {folder} holds no InvestorBench file such as msft.json; "
            "copy the data folder of InvestorBench there, or point data.path to it"
        )
    return symbols


def default_calendar(symbol: str) -> str:
    """Exchange calendar of an InvestorBench symbol."""
    return "24/7" if symbol in CRYPTO else "XNYS"


def read_investorbench(folder: Path, symbol: str, calendar: str, date_only: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read one symbol.

    The single price of a day is its adjusted close; open, high, low and volume are null. Articles carry
    no time, so `date_only` decides when they count as known (SEMANTICS section 1). Filing summaries are
    left out, as in the benchmark.

    Returns:
        The symbol's rows of the prices and the news table.

    Raises:
        DataError: when the file is absent or not in InvestorBench's shape.
    """
    days = _read_days(folder, symbol)
    sessions = exchange_sessions(calendar, min(days), max(days))
    closes = pl.DataFrame(
        {
            "session": list(days),
            "price": [_price(folder, symbol, day, content) for day, content in days.items()],
        },
        schema={"session": pl.Date, "price": pl.Float64},
    )
    strangers = closes.join(sessions, on="session", how="anti")["session"]
    if len(strangers):
        raise DataError(
            f"{symbol}: prices on {len(strangers)} day(s) that are no session of {calendar}, first {strangers[0]}; "
            f"set data.calendar to the symbol's own calendar"
        )
    empty = pl.lit(None, dtype=pl.Float64)
    prices = closes.join(sessions, on="session", maintain_order="left").select(
        pl.lit(symbol).alias("symbol"),
        "session",
        empty.alias("open"),
        empty.alias("high"),
        empty.alias("low"),
        pl.col("price").alias("close"),
        empty.alias("volume"),
        pl.col("price").alias("adj_close"),
        pl.col("closes_at").alias("available_at"),
    )
    return prices.cast(PRICES), _news_table(folder, days, symbol, calendar, date_only)  # type: ignore[arg-type]


def read_available(folder: Path, symbols: Sequence[str]) -> tuple[dict[str, pl.DataFrame], tuple[str, ...]]:
    """Checked prices of those `symbols` that have a file in `folder`, and the symbols that have none.

    Returns:
        By symbol the rows of the prices table, ascending, on the symbol's own calendar; and the rest.

    Raises:
        DataError: when none has a file, or a file breaks a rule.
    """
    present = [symbol for symbol in symbols if _file(folder, symbol).is_file()]
    if not present:
        wanted = " ".join(_file(folder, symbol).name for symbol in symbols)
        found = " ".join(find_symbols(folder))
        raise DataError(f"data.path: {folder} has the files of {found}, but none of {wanted}; bring one of them")
    prices = {}
    for symbol in present:
        calendar = default_calendar(symbol)
        table, _ = read_investorbench(folder, symbol, calendar, "next_session")
        first, last = table["session"][0], table["session"][-1]
        prices[symbol] = validate_prices(table, {symbol: exchange_sessions(calendar, first, last)})
    return prices, tuple(symbol for symbol in symbols if symbol not in prices)


def _file(folder: Path, symbol: str) -> Path:
    return folder / f"{symbol.lower()}.json"


def _read_days(folder: Path, symbol: str) -> dict[date, dict[str, Any]]:
    path = _file(folder, symbol)
    if not path.is_file():
        raise DataError(
            f"data.symbols: no data for {symbol}: {path} does not exist; {folder} has {' '.join(find_symbols(folder))}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        days = {date.fromisoformat(day): entry for day, entry in content.items()}
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is not InvestorBench JSON, {{date: {{prices, news}}}}: {error}") from error
    if not days:
        raise DataError(f"{path} holds no day")
    return dict(sorted(days.items()))


def _price(folder: Path, symbol: str, day: date, entry: Any) -> float:
    price = entry.get("prices") if isinstance(entry, dict) else None
    if isinstance(price, bool) or not isinstance(price, int | float):
        raise DataError(f"{folder / symbol.lower()}.json: {day} has the price {price!r} where a number is expected")
    return float(price)


def _texts(folder: Path, symbol: str, day: date, entry: dict[str, Any]) -> list[str]:
    texts = entry.get("news") or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{folder / symbol.lower()}.json: {day} has news that is no list of texts")
    return texts


def _headline(text: str) -> str:
    """The first sentence, cut to `HEADLINE_CHARS`, with the article's sentiment tag kept."""
    tag = SENTIMENT.search(text)
    sentence = SENTENCE_END.split(SENTIMENT.sub("", text).strip(), maxsplit=1)[0][:HEADLINE_CHARS].strip()
    return f"{sentence} (sentiment: {tag.group(1).lower()})" if tag else sentence


def _news_table(
    folder: Path, days: dict[date, dict[str, Any]], symbol: str, calendar: str, date_only: str
) -> pl.DataFrame:
    articles = [(day, text) for day, entry in days.items() for text in _texts(folder, symbol, day, entry)]
    published = pl.Series("day", [day for day, _ in articles], dtype=pl.Date)
    return pl.DataFrame(
        {
            "symbol": pl.repeat(symbol, len(articles), eager=True, dtype=pl.String),
            "published_at": published.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "available_at": available_from_date(published, calendar, date_only),
            "headline": pl.Series([_headline(text) for _, text in articles], dtype=pl.String),
            "body": pl.Series([text for _, text in articles], dtype=pl.String),
            "source": pl.repeat("investorbench", len(articles), eager=True, dtype=pl.String),
            "url": pl.repeat(None, len(articles), eager=True, dtype=pl.String),
        },
        schema=NEWS,
    )
