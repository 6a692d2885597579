"""A small Yahoo on this machine: charts, headlines, cookies and crumbs, and whatever goes wrong with them."""

import json
import math
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from flag_kedro.data.calendar import exchange_sessions

CHART = "/v8/finance/chart/"


@dataclass
class Company:
    """Daily bars in today's shares; splits and dividends show in the past once their day has come, as at Yahoo."""

    symbol: str
    calendar: str = "XNYS"
    first: date = date(2024, 1, 2)
    end: date = date(2024, 12, 31)
    long_name: str = "Example Corporation"
    timezone: str = "America/New_York"
    first_trade: date | None = date(1990, 1, 2)
    dividends: dict[date, float] = field(default_factory=dict)
    splits: dict[date, float] = field(default_factory=dict)
    revised: dict[date, float] = field(default_factory=dict)
    """Factors on the close of single sessions: changes that no event explains."""
    volumes: dict[date, int] = field(default_factory=dict)
    late_events: set[date] = field(default_factory=set)
    """Events that are told of while the past is not rescaled yet."""
    unknown_dividends: set[date] = field(default_factory=set)
    """Dividends that Yahoo does not know of yet."""
    lacking: set[date] = field(default_factory=set)
    nothing: set[date] = field(default_factory=set)
    """Sessions that come as rows of nulls."""
    half: set[date] = field(default_factory=set)
    """Sessions whose open is null."""
    zero: set[date] = field(default_factory=set)
    """Sessions whose open is 0.0."""

    def __post_init__(self) -> None:
        sessions = exchange_sessions(self.calendar, self.first, self.end)
        self.days = sessions["session"].to_list()
        self.opens = dict(zip(self.days, sessions["opens_at"].to_list(), strict=True))
        rng, close, self.bars = Random(self.symbol), 100.0, {}
        for day in self.days:
            opened = close * math.exp(rng.gauss(0, 0.01))
            close = opened * math.exp(rng.gauss(0, 0.01))
            high, low = max(opened, close) * 1.01, min(opened, close) * 0.99
            self.bars[day] = (opened, high, low, close, rng.randrange(1000, 9999))

    def rows(self, today: date) -> list[dict[str, Any]]:
        """What Yahoo tells on the evening of `today`."""
        known = [day for day in self.days if day <= today]
        rows, factor = [], 1.0
        for i in reversed(range(len(known))):
            day = known[i]
            opened, high, low, close, volume = self.bars[day]
            to_come = math.prod(
                r for at, r in self.splits.items() if day < at and (at > today or at in self.late_events)
            )
            revised = self.revised.get(day, 1.0)
            values = [round(price * to_come, 6) for price in (opened, high, low, close * revised)]
            row = dict(zip(("open", "high", "low", "close"), values, strict=True))
            row |= {"day": day, "adjclose": round(values[3] * factor, 6)}
            row |= {"volume": self.volumes.get(day, int(volume / to_come))}
            if day in self.nothing:
                row |= dict.fromkeys(("open", "high", "low", "close", "adjclose", "volume"))
            if day in self.half:
                row["open"] = None
            if day in self.zero:
                row["open"] = 0.0
            if day not in self.lacking:
                rows.append(row)
            if day in self.dividends and day not in self.unknown_dividends and i > 0:
                factor *= 1.0 - self.dividends[day] / self.bars[known[i - 1]][3]
        return rows[::-1]


@dataclass(frozen=True)
class Asked:
    """One request."""

    at: float
    method: str
    path: str
    symbol: str | None
    first: date | None
    last: date | None


class YahooServer:
    """Answers like Yahoo on 127.0.0.1; `today` is the last session that it knows."""

    def __init__(self, *companies: Company, today: date) -> None:
        self.companies = {company.symbol: company for company in companies}
        self.today = today
        self.news: dict[str, list[Any]] = defaultdict(list)
        self.asked: list[Asked] = []
        self.clock = time.monotonic
        self.faults: dict[str, deque[Any]] = defaultdict(deque)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # whoever asked was killed
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "YahooServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, about: str, fault: Any, times: int = 1) -> None:
        """Answer the next questions about `about` (a symbol, `news` or `crumb`) with a fault."""
        self.faults[about].extend([fault] * times)

    def charts(self, symbol: str | None = None) -> list[Asked]:
        """The questions for prices so far."""
        return [ask for ask in self.asked if ask.path.startswith(CHART) and symbol in (None, ask.symbol)]

    def forget(self) -> None:
        """Begin a new count of requests."""
        self.asked.clear()

    def chart(self, symbol: str, query: dict[str, list[str]], fault: Any) -> tuple[int, Any]:
        """Status and JSON of a chart."""
        company = self.companies.get(symbol)
        if company is None:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return 404, {"chart": {"result": None, "error": error}}
        start, end = (int(query[name][0]) for name in ("period1", "period2"))
        rows = [row for row in company.rows(self.today) if start <= company.opens[row["day"]].timestamp() < end]
        match fault:
            case "empty":
                return 200, {"chart": {"result": [], "error": None}}
            case "null":
                return 200, {"chart": {"result": None, "error": None}}
            case "blank":
                rows = []
            case "stale":
                rows = rows[:-5]
            case "hole":
                del rows[len(rows) // 2]
            case "nulls":
                for row in rows:
                    row |= {name: None for name in row if name != "day"}
        result = _result(company, rows, self.today)
        if fault == "unadjusted":
            del result["indicators"]["adjclose"]
        if fault == "other":
            result["meta"]["symbol"] = "OTHER"
        return 200, {"chart": {"result": [result], "error": None}}


def _result(company: Company, rows: list[dict[str, Any]], today: date) -> dict[str, Any]:
    def at(day: date) -> int:
        return int(company.opens[day].timestamp())

    first_trade = company.first_trade
    meta = {
        "currency": "USD",
        "symbol": company.symbol,
        "instrumentType": "EQUITY",
        "firstTradeDate": first_trade and int(datetime(*first_trade.timetuple()[:3], 15, tzinfo=UTC).timestamp()),
        "exchangeTimezoneName": company.timezone,
        "longName": company.long_name,
        "shortName": company.long_name,
        "validRanges": ["1d", "5d", "max"],
        "priceHint": 2,
        "dataGranularity": "1d",
    }
    if not rows:
        return {"meta": meta, "indicators": {"quote": [{}], "adjclose": [{}]}}
    shown = {row["day"] for row in rows}
    paid = {day: amount for day, amount in company.dividends.items() if day in shown - company.unknown_dividends}
    events = {
        "dividends": {str(at(day)): {"amount": amount, "date": at(day)} for day, amount in paid.items()},
        "splits": {
            str(at(d)): {"date": at(d), "numerator": r, "denominator": 1.0, "splitRatio": f"{r:g}:1"}
            for d, r in company.splits.items()
            if d in shown
        },
    }
    quote = {name: [row[name] for row in rows] for name in ("open", "high", "low", "close", "volume")}
    return {
        "meta": meta,
        "timestamp": [at(row["day"]) for row in rows],
        "events": {name: told for name, told in events.items() if told},
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": [row["adjclose"] for row in rows]}]},
    }


def article(number: int, published: str, title: str = "A headline") -> dict[str, Any]:
    """An article in Yahoo's shape."""
    content = {
        "id": f"id-{number}",
        "title": title,
        "summary": f"Summary {number}",
        "pubDate": published,
        "provider": {"displayName": "Wire"},
        "canonicalUrl": {"url": f"https://example.com/{number}"},
    }
    return {"id": f"id-{number}", "content": content}


def _handler(yahoo: YahooServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or each answer waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            symbol = unquote(parts.path).removeprefix(CHART) if parts.path.startswith(CHART) else None
            query = parse_qs(parts.query)
            self.note(parts.path, symbol, query)
            if symbol is not None:
                fault = yahoo.faults[symbol].popleft() if yahoo.faults[symbol] else None
                status, content = yahoo.chart(symbol, query, fault)
                self.answer(status, json.dumps(content), fault)
            elif parts.path == "/v1/test/getcrumb":
                fault = yahoo.faults["crumb"].popleft() if yahoo.faults["crumb"] else None
                self.answer(200, "a-crumb", fault)
            else:
                self.answer(404, "cookies", None)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            symbol = asked["serviceConfig"]["s"][0]
            self.note(urlsplit(self.path).path, symbol, {})
            fault = yahoo.faults["news"].popleft() if yahoo.faults["news"] else None
            self.answer(200, json.dumps({"data": {"tickerStream": {"stream": yahoo.news[symbol]}}}), fault)

        def note(self, path: str, symbol: str | None, query: dict[str, list[str]]) -> None:
            days = [
                datetime.fromtimestamp(int(query[name][0]), UTC).date() if name in query else None
                for name in ("period1", "period2")
            ]
            yahoo.asked.append(Asked(yahoo.clock(), self.command, path, symbol, *days))

        def answer(self, status: int, text: str, fault: Any) -> None:
            body = text.encode()
            length = len(body)
            retry_after = None
            if fault == "later":
                fault, retry_after = 429, "45"
            if isinstance(fault, int):
                status, body = fault, b"Too Many Requests" if fault == 429 else b"Internal Server Error"
                length = len(body)
            if fault == "slow":
                time.sleep(1.0)
            if fault == "html":
                body = b"<html><body>Will be right back</body></html>"
                length = len(body)
            if fault == "deep":
                body = b"[" * 200_000
                length = len(body)
            if fault == "truncated":
                body = body[: len(body) // 2]
                length = len(body)
            if fault == "cut":
                body = body[: len(body) // 2]
                self.close_connection = True
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                if retry_after is not None:
                    self.send_header("Retry-After", retry_after)
                self.send_header("Set-Cookie", "A3=cookie; Path=/")
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()
            except OSError:
                self.close_connection = True  # whoever asked has gone

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
