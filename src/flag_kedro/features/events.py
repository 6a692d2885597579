"""Which sessions are events, by what their states tell and by closes up to them.

Shape legend: n = states of one symbol.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flag_kedro.features.digest import count_articles

Kinds = NDArray[np.int64]
EVENT_KINDS = {"news_burst": 1, "large_move": 2, "filing": 4}
"""Bit of each kind; a session that is several has their sum."""
FILING = r"\b(?:10-K(?:405|SB|T)?|10-Q(?:SB)?|8-K|20-F|6-K)(?:/A)?\b"
"""Forms of the SEC, as headlines and InvestorBench's summaries name them: in capitals, as a "10-k race" is none."""


@dataclass(frozen=True, kw_only=True)
class EventRule:
    """What makes a session an event; any of the kinds that are not None or False."""

    news_burst: float | None = None
    """Fewest articles that became usable since the decision before."""
    news_ratio: float | None = None
    """The same as a multiple of the symbol's mean over `sessions` sessions before; a burst of news, too."""
    large_move: float | None = None
    """Smallest size of the last close-to-close log return, in standard deviations of the `sessions` returns before."""
    sessions: int = 20
    """Sessions before, of which mean and deviation are."""
    filing: bool = False
    """Whether an article shown that names a form of the SEC is an event."""

    @property
    def reads_news(self) -> bool:
        """Whether articles count, so that states must show exactly those since the decision before."""
        return self.news_burst is not None or self.news_ratio is not None or self.filing


def find_events(states: pl.DataFrame, rule: EventRule) -> Kinds:
    """Kinds of events that each session is, sums of `EVENT_KINDS`, 0 for none, [n].

    A session's kinds depend on its own state and on those before, so on nothing that was not known at its decision.
    Without enough sessions before, there is neither mean nor deviation, hence no event by them.

    Args:
        states: `news_text` and `mark_price` of one symbol, ascending in session; `features.digest_sessions` must be 1
            where news count.
        rule: what makes an event.
    """
    found = {
        "news_burst": _is_burst(count_articles(states["news_text"]).to_numpy().astype(np.float64), rule),
        "large_move": _is_large(states["mark_price"].to_numpy().astype(np.float64), rule),
        "filing": states["news_text"].str.contains(FILING).to_numpy() & rule.filing,
    }
    kinds = np.zeros(states.height, dtype=np.int64)
    for name, is_one in found.items():
        kinds[is_one] += EVENT_KINDS[name]
    return kinds


def name_kinds(kinds: int) -> list[str]:
    """Names of the kinds in a sum of `EVENT_KINDS`."""
    return [name for name, bit in EVENT_KINDS.items() if kinds & bit]


def _is_burst(counts: NDArray[np.float64], rule: EventRule) -> NDArray[np.bool_]:
    """Whether so many articles are a burst, [n]."""
    burst = np.zeros(len(counts), dtype=bool)
    if rule.news_burst is not None:
        burst |= counts >= rule.news_burst
    if rule.news_ratio is not None:
        before = _windows_before(counts, rule.sessions).mean(axis=1)
        burst |= (counts > 0.0) & (counts >= rule.news_ratio * before)  # NaN where sessions are missing
    return burst


def _is_large(marks: NDArray[np.float64], rule: EventRule) -> NDArray[np.bool_]:
    """Whether the last return was so large, [n]."""
    if rule.large_move is None:
        return np.zeros(len(marks), dtype=bool)
    returns = np.diff(np.log(marks), prepend=np.nan)
    deviation = _windows_before(returns, rule.sessions).std(axis=1, ddof=1)
    return np.asarray((np.abs(returns) >= rule.large_move * deviation) & (deviation > 0.0))


def _windows_before(values: NDArray[np.float64], sessions: int) -> NDArray[np.float64]:
    """The `sessions` values before each of `values` [n], NaN where there are not so many, [n, sessions]."""
    padded = np.concatenate([np.full(sessions, np.nan), values])[: len(values) + sessions - 1]
    return np.lib.stride_tricks.sliding_window_view(padded, sessions) if len(values) else padded[:0].reshape(0, 1)
