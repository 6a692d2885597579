"""The flow of articles of one symbol.

Shape legend: T = sessions, warm-up included.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated.articles import SIGN, Article
from flag_kedro.data.simulated.config import MarketRule
from flag_kedro.data.simulated.division import window_of_sessions
from flag_kedro.data.simulated.paraphrases import LARGE_SIZE, SECOND, SMALL_SIZE, TEST, contradict, restate
from flag_kedro.data.simulated.sentence import CONFLICT, Kind, Sentence, opposite
from flag_kedro.data.simulated.volatility import SETTLED, TURBULENT, announce
from flag_kedro.data.simulated.wording import Write, draw_kind, speak, tell_again, write_ambiguous, write_rival
from flag_kedro.data.streams import stream

AFTER_CLOSE = 0.5
"""Share of headlines that come after the close."""
STALE_SESSIONS = range(4, 11)
"""How many sessions later a headline may be told again."""


def draw_articles(symbol: str, sessions: pl.DataFrame, rule: MarketRule, seed: int) -> list[Article]:
    """Articles of a symbol, session by session; good, bad and neutral ones first within each.

    Args:
        symbol: key of `COMPANIES`.
        sessions: `opens_at` and `closes_at`, [T].
        rule: of the market.
        seed: of the market. Each other kind has random streams of its own, so none changes the rest.
    """
    feed = _Feed(symbol, list(sessions.select("opens_at", "closes_at").iter_rows()), rule, seed)
    conflicts = feed.draw_conflicts()
    replaced = {article.day for article in conflicts}
    own = [article for article in feed.draw_events() if article.kind not in SIGN or article.day not in replaced]
    own += conflicts
    others = [
        *feed.draw_reports(own),
        *feed.draw_others("rival", rule.rival_share, write_rival),
        *feed.draw_others("ambiguous", rule.ambiguous_share, write_ambiguous),
        *feed.draw_stale(own),
        *feed.draw_announcements(),
    ]
    return sorted([*own, *others], key=lambda article: article.day)


class _Feed:
    """The sessions of one symbol, on which its articles are drawn."""

    def __init__(self, symbol: str, hours: Sequence[tuple[datetime, datetime]], rule: MarketRule, seed: int) -> None:
        self.symbol, self.hours, self.rule, self.seed = symbol, hours, rule, seed
        self.windows = window_of_sessions(len(hours))
        if rule.test_wordings == "second":
            self.windows[self.windows == TEST] = SECOND
        self.write = speak(rule)
        draws = stream(seed, symbol, "sizes").standard_normal(len(hours))
        self.sizes = np.exp(rule.size_spread * draws - rule.size_spread**2 / 2)

    def draw_events(self) -> list[Article]:
        """Good, bad and neutral articles; templates are filled from the stream that draws the events."""
        rng = stream(self.seed, self.symbol, "news")
        words = rng if self.rule.language == "templates" else stream(self.seed, self.symbol, "words")
        articles = []
        for day in range(len(self.hours)):
            kinds = ["neutral"] * int(rng.integers(self.rule.fewest_neutral, self.rule.neutral_articles + 1))
            moves = rng.random() < self.rule.share
            kind_of_event = "good" if rng.random() < 0.5 else "bad"
            if moves:
                kinds.insert(int(rng.integers(len(kinds) + 1)), kind_of_event)
            for kind in kinds:
                after_close, published = self._draw_time(day, rng)
                text, level = self.write(kind, COMPANIES[self.symbol], self._window(day + after_close), words)
                size = float(self.sizes[day]) if kind in SIGN else 0.0
                articles.append(Article(day, after_close, published, kind, text, size, level))
        return articles

    def draw_conflicts(self) -> list[Article]:
        """Pairs of headlines that disagree, both before or both after the close, on a share of the sessions.

        Together they move prices as much as any other headline does on average.
        """
        rng, words = self._streams("conflict")
        articles = []
        for day in np.flatnonzero(rng.random(len(self.hours)) < self.rule.conflict_share).tolist():
            after_close = rng.random() < AFTER_CLOSE
            times = [self._draw_minute(day, after_close, rng) for _ in range(2)]
            larger = draw_kind(words)
            texts = contradict(COMPANIES[self.symbol], self._window(day + after_close), larger, words)
            parts = zip(times, (larger, opposite(larger)), texts, (LARGE_SIZE, SMALL_SIZE), strict=True)
            for time, kind, text, size in parts:
                size_today = size * float(self.sizes[day])
                articles.append(Article(day, after_close, time, kind, text, size_today, CONFLICT, size))
        return articles

    def draw_reports(self, own: Sequence[Article]) -> list[Article]:
        """What further outlets write of good and bad articles, but not of the smaller one of two that disagree."""
        rng, words = self._streams("report")
        articles = []
        for article in own if self.rule.reports > 1 else ():
            if article.kind not in SIGN or article.mean_size < 1.0:
                continue
            kind: Kind = "good" if article.kind == "good" else "bad"
            company, window = COMPANIES[self.symbol], self._window(article.known)
            for text in restate(company, window, kind, article.level, self.rule.reports - 1, words):
                time = self._draw_minute(article.day, article.after_close, rng)
                articles.append(Article(article.day, article.after_close, time, "report", text, 0.0, article.level))
        return articles

    def draw_others(
        self, kind: str, share: float, write: Callable[[Write, str, int, np.random.Generator], Sentence]
    ) -> list[Article]:
        """Articles of a kind that moves nothing, on a share of the sessions."""
        rng, words = self._streams(kind)
        articles = []
        for day in np.flatnonzero(rng.random(len(self.hours)) < share).tolist():
            after_close, published = self._draw_time(day, rng)
            text, level = write(self.write, self.symbol, self._window(day + after_close), words)
            articles.append(Article(day, after_close, published, kind, text, 0.0, level))
        return articles

    def draw_stale(self, own: Sequence[Article]) -> list[Article]:
        """Good and bad headlines told again, within the same window, lest a sentence reach another one."""
        rng, words = self._streams("stale")
        events: dict[int, list[Article]] = {}
        for article in own:
            if article.kind in SIGN:
                events.setdefault(article.known, []).append(article)
        articles = []
        for day in np.flatnonzero(rng.random(len(self.hours)) < self.rule.stale_share).tolist():
            after_close, published = self._draw_time(day, rng)
            known = day + after_close
            earlier = [article for age in STALE_SESSIONS for article in events.get(known - age, [])]
            earlier = [article for article in earlier if self._window(article.known) == self._window(known)]
            if earlier:
                text = tell_again(earlier[words.integers(len(earlier))].headline, words)
                articles.append(Article(day, after_close, published, "stale", text, 0.0))
        return articles

    def draw_announcements(self) -> list[Article]:
        """Headlines of turbulence, or of its end, at most one that is new to each decision."""
        rng, words = self._streams("volatility")
        articles = []
        for known in np.flatnonzero(rng.random(len(self.hours)) < self.rule.volatility_news).tolist():
            after_close = rng.random() < AFTER_CLOSE and known > 0
            day = known - int(after_close)
            kind = TURBULENT if words.random() < 0.5 else SETTLED
            text = announce(kind, COMPANIES[self.symbol], self._window(known), words)
            articles.append(Article(day, after_close, self._draw_minute(day, after_close, rng), kind, text, 0.0))
        return articles

    def _streams(self, kind: str) -> tuple[np.random.Generator, np.random.Generator]:
        """Of days and times, and of words."""
        return stream(self.seed, self.symbol, kind), stream(self.seed, self.symbol, kind, "words")

    def _draw_time(self, day: int, rng: np.random.Generator) -> tuple[bool, datetime]:
        """Whether an article of a day comes after the close, and when."""
        after_close = rng.random() < AFTER_CLOSE
        return after_close, self._draw_minute(day, after_close, rng)

    def _draw_minute(self, day: int, after_close: bool, rng: np.random.Generator) -> datetime:
        """A time within three hours of a day's close, or of its open."""
        opens_at, closes_at = self.hours[day]
        return (closes_at if after_close else opens_at) + timedelta(minutes=int(rng.integers(1, 180)))

    def _window(self, known: int) -> int:
        """Window of the first decision that may use an article; the last session's evening belongs to its own."""
        return int(self.windows[min(known, len(self.windows) - 1)])
