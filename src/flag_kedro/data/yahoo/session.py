"""The session that sends every request of yfinance to Yahoo: paced, and its answers checked.

yfinance hides what goes wrong and remembers cookies, time zones and answers in its process and in the user's home.
Here it raises, and forgets.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

from curl_cffi import CurlOpt
from curl_cffi.requests import Response, Session
from curl_cffi.requests.exceptions import RequestException
from yfinance import cache
from yfinance.config import YfConfig
from yfinance.data import SingletonMeta, YfData

CHART, NEWS = "/v8/finance/chart/", "/xhr/ncp"
COOKIES, CONSENT = "fc.yahoo.com", "consent.yahoo.com"
MAX_BYTES = 64 * 2**20
SHOWN = 120
"""Characters of an unusable answer that a message shows."""


class NoAnswer(Exception):
    """Yahoo gave no usable answer this time; it may the next."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BadAnswer(Exception):
    """Yahoo answered, and would answer the same again."""


@dataclass(frozen=True)
class Patience:
    """How time passes and what waiting times are drawn from."""

    clock: Callable[[], float] = monotonic
    """Seconds since whenever."""
    sleep: Callable[[float], None] = sleep
    """Wait so many seconds."""
    rng: Random = field(default_factory=Random)
    """Where jitter comes from."""


class PacedSession(Session[Response]):
    """Sends no more requests than allowed, to `base_url` where one is given, and raises for unusable answers.

    Cookies and crumbs count as requests, but only answers that hold prices or news are checked: yfinance goes on
    without a cookie, and Yahoo's cookie page is an HTTP 404.
    """

    def __init__(self, *, requests_per_second: float, timeout: float, base_url: str | None, patience: Patience) -> None:
        super().__init__(impersonate="chrome", curl_options={CurlOpt.MAXFILESIZE_LARGE: MAX_BYTES})
        self._interval = 1.0 / requests_per_second
        self._limit = timeout
        self._base_url = base_url.rstrip("/") if base_url else None
        self._patience = patience
        self._next_at = 0.0
        self._cookie_page: Response | None = None
        self.num_requests = 0
        self.answer: Response | None = None
        """The last that should have held prices or news."""

    def request(self, method: Any, url: str, **options: Any) -> Response:  # type: ignore[override]
        """Send a request once its turn has come.

        Raises:
            NoAnswer: when prices or news were asked for and asking again may help.
            BadAnswer: when it would not.
        """
        parts = urlsplit(url)
        if parts.netloc == COOKIES and self._cookie_page is not None and len(self.cookies):
            return self._cookie_page  # yfinance asks before every question unless its cache on disk has the cookies
        if self._base_url is not None:
            options["allow_redirects"] = False
            url = self._base_url + parts.path + (f"?{parts.query}" if parts.query else "")
        self._wait_for_turn()
        wanted = parts.path.startswith((CHART, NEWS))
        try:
            answer: Response = super().request(method, url, **(options | {"timeout": self._limit}))
        except RequestException as error:
            if not wanted:
                raise
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        if parts.netloc == COOKIES:
            self._cookie_page = answer
        if wanted:
            self.answer = answer
            if urlsplit(answer.url).hostname != CONSENT:  # a form that yfinance fills in
                _check_answer(answer)
        return answer

    def _wait_for_turn(self) -> None:
        now = self._patience.clock()
        if now < self._next_at:
            self._patience.sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + self._interval
        self.num_requests += 1


def _check_answer(answer: Response) -> None:
    """Raise unless `answer` is JSON, or an HTTP 4xx that yfinance answers itself with a new cookie."""
    summary = f"HTTP {answer.status_code}, {answer.text[:SHOWN]!r}"
    if answer.status_code == 429 or answer.status_code >= 500:
        after = answer.headers.get("Retry-After") or ""
        raise NoAnswer(summary, float(after) if after.isdecimal() else 0.0)
    if answer.status_code in (400, 404, 422) or 300 <= answer.status_code < 400:
        raise BadAnswer(_error_text(answer) or summary)
    if answer.status_code == 200:
        try:
            json.loads(answer.content)
        except (ValueError, RecursionError) as error:  # the latter when it is nested without end
            raise NoAnswer(f"{summary} where JSON was expected ({len(answer.content)} bytes: {error})") from error


def _error_text(answer: Response) -> str | None:
    """Yahoo's own words for why there are no prices."""
    try:
        error = json.loads(answer.content)["chart"]["error"]
        return f"{error['code']}: {error['description']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class _AlwaysUTC:
    """Stands for yfinance's cache of time zones: questions carry UTC times, answers bring their own zone."""

    def lookup(self, key: str) -> str:
        return "UTC"

    def store(self, key: str, value: object) -> None:
        """Nothing to keep."""


def forget_answers() -> None:
    """Let the next question be asked of Yahoo: yfinance keeps answers about the past, refusals too."""
    YfData.cache_get.cache_clear()


@contextmanager
def isolated_yfinance() -> Iterator[None]:
    """Let yfinance raise, keep nothing on disk and share nothing with what ran before or runs after.

    Its switches for this are not public: `YfData` is a singleton with a cache of answers, and the caches of cookies
    (pickled) and time zones are files in the user's home that stay open once used.
    """
    debug, retries = YfConfig.debug.hide_exceptions, YfConfig.network.retries
    slots = [(cache._TzCacheManager, "_tz_cache"), (cache._CookieCacheManager, "_Cookie_cache")]
    before = [getattr(owner, name) for owner, name in slots]
    singleton = SingletonMeta._instances.pop(YfData, None)
    YfConfig.debug.hide_exceptions, YfConfig.network.retries = False, 0
    cache._TzCacheManager._tz_cache, cache._CookieCacheManager._Cookie_cache = _AlwaysUTC(), cache._CookieCacheDummy()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="yfinance")  # of what pandas will change for it
            yield
    finally:
        YfConfig.debug.hide_exceptions, YfConfig.network.retries = debug, retries
        for (owner, name), old in zip(slots, before, strict=True):
            setattr(owner, name, old)
        SingletonMeta._instances.pop(YfData, None)
        forget_answers()
        if singleton is not None:
            SingletonMeta._instances[YfData] = singleton
