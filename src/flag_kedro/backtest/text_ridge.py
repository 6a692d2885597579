"""Ridge regression on the day's words: does text help without a language model?

Shape legend: S = symbols, T = sessions of the longest, m = holding periods of the training window over all symbols,
V = words.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from flag_kedro.backtest.rules import keep_between, place_in_window
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError
from flag_kedro.features.digest import NO_NEWS
from flag_kedro.features.words import choose_words

if TYPE_CHECKING:  # takes long to import
    from sklearn.feature_extraction.text import CountVectorizer

MIN_TEXTS, MAX_WORDS = 2, 5_000
NGRAMS = (1, 2)
PENALTY = 0.2
"""Of squared weights against the mean squared error of the standardised target; scikit-learn's alpha is this times m.
Chosen on the validation windows of three simulated markets."""
HOLDING_PERIOD = {"next_open": ("open_price", 1), "next_close": ("mark_price", 1), "same_close": ("mark_price", 0)}
"""For each fill the price that the decision of session d fills at, and how many sessions after d."""


@dataclass(frozen=True)
class TextRidge:
    """A linear forecast of the next holding period's log return."""

    words: tuple[str, ...]
    """Words and pairs of words that count, [V]."""
    weights: Floats
    """Log return that each adds, [V]."""
    intercept: Floats
    """Log return that is expected without any of them, []."""
    cost: float
    """Cost of one trade as a share of its value."""

    def predict(self, news_texts: Iterable[str]) -> Floats:
        """Expected log return of the next holding period for each text; unknown words count for nothing."""
        texts = [_without_placeholder(text) for text in news_texts]
        if not self.words:
            return np.full(len(texts), self.intercept)
        return np.asarray(_vectorizer(self.words).transform(texts) @ self.weights + self.intercept)


def fit_text_ridge(tables: Mapping[str, pl.DataFrame], window: TradingWindow, cost: float) -> TextRidge:
    """Regress the log return of the next holding period on the words of the day's news, over all symbols.

    The holding period goes from the fill of a session's decision to the next session's. Only rows of `tables` in
    `window` are read, so the last one or two sessions have no target and are left out.

    Args:
        tables: market states of each symbol.
        window: the training window.
        cost: of one trade as a share of its value; the forecast must exceed it before the rule trades.

    Raises:
        DataError: when the window has no holding period that ends within it.
    """
    samples = holding_samples(tables, window)
    return _fit(tuple(samples["news_text"]), tuple(samples["log_return"]), cost)


def holding_samples(tables: Mapping[str, pl.DataFrame], window: TradingWindow) -> pl.DataFrame:
    """`news_text` and the `log_return` of the next holding period of each session of a window, over all symbols.

    Raises:
        DataError: when the window has no holding period that ends within it.
    """
    price, delay = HOLDING_PERIOD[window.fill]
    samples = pl.concat(
        _rows(tables[symbol], window, symbol).select(
            "news_text", log_return=(pl.col(price).shift(-delay - 1) / pl.col(price).shift(-delay)).log()
        )
        for symbol in window.symbols
    ).drop_nulls("log_return")
    if samples.is_empty():
        raise DataError(
            "data.windows.train is too short for a regression on news: no symbol has two fills in it; lengthen it"
        )
    return samples


@lru_cache(maxsize=2)
def _fit(news_texts: tuple[str, ...], log_returns: tuple[float, ...], cost: float) -> TextRidge:
    """The regression on these samples alone; the audit asks for the same one again and again."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge

    returns = np.array(log_returns)
    mean, deviation = float(returns.mean()), float(returns.std())
    texts = [_without_placeholder(text) for text in news_texts]
    analyze = CountVectorizer(ngram_range=NGRAMS).build_analyzer()
    words = choose_words(texts, analyze, min_texts=MIN_TEXTS, max_words=MAX_WORDS)
    if not words or deviation == 0.0:
        return TextRidge((), np.zeros(0), np.array(mean), cost)
    ridge = Ridge(alpha=PENALTY * len(texts), solver="sparse_cg", tol=1e-10)
    ridge.fit(_vectorizer(words).transform(texts).astype(np.float64), (returns - mean) / deviation)
    return TextRidge(words, ridge.coef_ * deviation, np.array(ridge.intercept_ * deviation + mean), cost)


def ridge_targets(
    model: TextRidge, tables: Mapping[str, pl.DataFrame], window: TradingWindow, long_short: bool = False
) -> Ints:
    """Go long when the forecast exceeds the cost, leave (or go short) below minus the cost, keep between.

    Args:
        model: of `fit_text_ridge`.
        tables: market states of each symbol; only the window's sessions are read.
        window: sessions to decide on.
        long_short: be short rather than flat.

    Returns:
        Positions to ask for at each session's close, [S, T]; 0 (flat) before the first such forecast and behind the
        end of a shorter symbol.
    """
    return forecast_targets(model.predict, tables, window, model.cost, long_short)


def forecast_targets(
    forecast: Callable[[Sequence[str]], Floats],
    tables: Mapping[str, pl.DataFrame],
    window: TradingWindow,
    cost: float,
    long_short: bool = False,
) -> Ints:
    """The positions of `ridge_targets` for any forecast of the next holding period's log return from news texts."""
    rows = {symbol: _rows(tables[symbol], window, symbol) for symbol in window.symbols}
    positions = {}
    for symbol, table in rows.items():
        expected = forecast(table["news_text"].to_list())
        positions[symbol] = keep_between(expected > cost, expected < -cost, -1 if long_short else 0)
    return place_in_window(positions, rows, window)


def _vectorizer(words: tuple[str, ...]) -> "CountVectorizer":
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(binary=True, lowercase=True, ngram_range=NGRAMS, vocabulary=words)


def _rows(table: pl.DataFrame, window: TradingWindow, symbol: str) -> pl.DataFrame:
    """The window's rows of a symbol's table."""
    sessions = window.sessions[window.symbols.index(symbol)]
    return table.filter(pl.col("session").is_between(sessions[0], sessions[-1]))


def _without_placeholder(news_text: str) -> str:
    """The news, or nothing where a state says that there is none."""
    return "" if news_text == NO_NEWS else news_text
