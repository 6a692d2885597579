"""Client for Yahoo: daily prices and recent headlines as polars tables."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC as UTC_ZONE
from datetime import date, datetime, time, timedelta
from typing import Any, TypeVar

import polars as pl
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from yfinance import Ticker
from yfinance.exceptions import YFException

from flag_kedro.data.schema import UTC, Schema
from flag_kedro.data.yahoo.session import (
    SHOWN,
    BadAnswer,
    NoAnswer,
    PacedSession,
    Patience,
    forget_answers,
    isolated_yfinance,
)
from flag_kedro.errors import DataError

logger = logging.getLogger(__name__)

PRICE_COLUMNS = {
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Adj Close": "adj_close",
    "Volume": "volume",
    "Dividends": "dividends",
    "Stock Splits": "splits",
}
"""Yahoo's columns, kept unadjusted: `close` knows splits but no dividends, `adj_close` knows both."""
NEWS_STORED: Schema = {
    "id": pl.String,
    "published_at": UTC,
    "headline": pl.String,
    "body": pl.String,
    "source": pl.String,
    "url": pl.String,
}
NUM_NEWS = 50
FIRST_WAIT, LONGEST_WAIT = 2.0, 120.0
"""Seconds before the second try, doubled for each further one."""
UNREADABLE = (YFException, KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError)
"""What yfinance raises over an answer that it cannot read."""
T = TypeVar("T")


class Unreachable(DataError):
    """Yahoo gave no usable answer however often it was asked; asking for other symbols would not help."""


@dataclass(frozen=True)
class TickerFacts:
    """What Yahoo says of a symbol beside its prices; None where unknown."""

    long_name: str | None
    short_name: str | None
    timezone: str | None
    """IANA name of the exchange's time zone."""
    currency: str | None
    first_trade: str | None
    """ISO date."""


@dataclass(frozen=True)
class PriceAnswer:
    """Yahoo's prices of one symbol."""

    rows: pl.DataFrame
    """`session` and the columns of `PRICE_COLUMNS`, ascending; null where Yahoo had no number."""
    facts: TickerFacts


@dataclass(frozen=True)
class YahooClient:
    """Asks Yahoo at a limited rate, tries again where that may help, and names the last answer when it gives up."""

    session: PacedSession
    attempts: int
    patience: Patience

    def prices(self, symbol: str, first: date, last: date) -> PriceAnswer:
        """Daily prices of the sessions from `first` to `last`, and whatever else Yahoo sends along.

        Raises:
            Unreachable: when no try was answered usably.
            DataError: when Yahoo does not know the symbol, or has no prices of it.
        """
        return self._ask(symbol, "prices", lambda: self._prices(symbol, first, last))

    def news(self, symbol: str) -> pl.DataFrame:
        """Recent articles, columns of `NEWS_STORED`.

        Raises:
            Unreachable: when no try was answered usably.
            DataError: when an article is not in a shape that is known.
        """
        return self._ask(symbol, "news", lambda: self._news(symbol))

    def _ask(self, symbol: str, what: str, question: Callable[[], T]) -> T:
        longer = wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, NoAnswer) else 0.0
            return max(longer(state) * self.patience.rng.uniform(0.5, 1.5), min(asked, LONGEST_WAIT))

        def log_retry(state: RetryCallState) -> None:
            reason = state.outcome.exception() if state.outcome else None
            seconds = state.next_action.sleep if state.next_action else 0.0
            logger.warning("yahoo: %s of %s: %s; asking again in %.0f s", what, symbol, reason, seconds)

        retrying = Retrying(
            retry=retry_if_exception_type(NoAnswer),
            stop=stop_after_attempt(self.attempts),
            wait=wait,
            sleep=self.patience.sleep,
            before_sleep=log_retry,
            reraise=True,
        )
        try:
            return retrying(question)
        except NoAnswer as error:
            raise Unreachable(
                f"{what} of {symbol}: no usable answer in {self.attempts} tries (yahoo.attempts); the last was {error}"
                f"{_way_out(what, '')}"
            ) from error
        except BadAnswer as error:
            raise DataError(f"{symbol}: Yahoo has no {what}: {error}{_way_out(what, str(error))}") from error

    def _prices(self, symbol: str, first: date, last: date) -> PriceAnswer:
        forget_answers()
        ticker = Ticker(symbol, session=self.session)
        start, end = (datetime.combine(day, time(0), UTC_ZONE) for day in (first, last + timedelta(days=1)))
        try:
            frame = ticker.history(
                start=start - timedelta(days=1),  # sessions of the far east begin on the day before, in UTC
                end=end,
                interval="1d",
                auto_adjust=False,
                actions=True,
                repair=False,
                keepna=True,
            )
            self._check_adjusted()
            metadata = ticker.get_history_metadata()
            if metadata.get("symbol", symbol).upper() != symbol:
                raise BadAnswer(f"the answer is about {metadata.get('symbol')}")
            first_trade = metadata.get("firstTradeDate")
            facts = TickerFacts(
                long_name=metadata.get("longName"),
                short_name=metadata.get("shortName"),
                timezone=metadata.get("exchangeTimezoneName"),
                currency=metadata.get("currency"),
                first_trade=None if first_trade is None else first_trade.date().isoformat(),
            )
            columns = {ours: frame[theirs].to_numpy() for theirs, ours in PRICE_COLUMNS.items()}
        except UNREADABLE as error:
            raise self._unusable(error) from error
        table = pl.DataFrame({"session": [stamp.date() for stamp in frame.index]} | columns)
        types = {"session": pl.Date} | dict.fromkeys(columns, pl.Float64)
        return PriceAnswer(table.cast(types).fill_nan(None), facts)  # type: ignore[arg-type]

    def _news(self, symbol: str) -> pl.DataFrame:
        try:
            articles = Ticker(symbol, session=self.session).get_news(count=NUM_NEWS)
        except UNREADABLE as error:
            raise self._unusable(error) from error
        if self._status() != 200:
            raise NoAnswer(f"HTTP {self._status()}")
        return pl.DataFrame([_article(article) for article in articles], schema=NEWS_STORED)

    def _check_adjusted(self) -> None:
        """Refuse an answer without adjusted closes, for which yfinance would take the closes."""
        assert self.session.answer is not None
        indicators = json.loads(self.session.answer.content)["chart"]["result"][0]["indicators"]
        if not indicators.get("adjclose"):
            raise BadAnswer("the answer has no adjusted closes")

    def _unusable(self, error: Exception) -> Exception:
        """What yfinance made of an answer: one to ask for again with new cookies, or one that will not change."""
        if self._status() != 200 or isinstance(
            error, (json.JSONDecodeError, RecursionError)
        ):  # a page that asked for consent
            return NoAnswer(f"HTTP {self._status()}")
        text = "" if self.session.answer is None else self.session.answer.text
        return BadAnswer(f"{type(error).__name__}: {error}; the answer begins {text[:SHOWN]!r}")

    def _status(self) -> int:
        return self.session.answer.status_code if self.session.answer is not None else 0


@contextmanager
def ask_yahoo(
    *, requests_per_second: float, attempts: int, timeout: float, base_url: str | None, patience: Patience
) -> Iterator[YahooClient]:
    """A client whose connections and cookies end with the block."""
    session = PacedSession(
        requests_per_second=requests_per_second, timeout=timeout, base_url=base_url, patience=patience
    )
    with isolated_yfinance(), session:
        yield YahooClient(session, attempts, patience)


def _way_out(what: str, message: str) -> str:
    if what == "news":
        return "; set news.source=none to go on without"
    if "No data found" in message or "Not Found" in message:
        return "; see that data.symbols spells it as Yahoo does, or leave it out"
    return ""


def _article(article: Any) -> dict[str, Any]:
    """One article in our columns.

    Raises:
        BadAnswer: when it has no id, no title or no time.
    """
    try:
        content = article["content"]
        link = content.get("canonicalUrl") or content.get("clickThroughUrl") or {}
        published = datetime.fromisoformat(content["pubDate"])
        row = {
            "id": article["id"],
            "published_at": published,
            "headline": content["title"].strip(),
            "body": (content.get("summary") or "").strip() or None,
            "source": (content.get("provider") or {}).get("displayName"),
            "url": link.get("url"),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswer(
            f"an article in a shape that is not known ({type(error).__name__}: {error}): {str(article)[:200]}"
        ) from error
    if not row["id"] or not row["headline"] or published.tzinfo is None:
        raise BadAnswer(f"an article without id, title or time zone: {str(article)[:200]}")
    return row
