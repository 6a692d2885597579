"""Whatever an error suggests to set, set as printed, leads further; the table below has every suggestion there is."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.cli.utils import _split_params

from flag_kedro.data.market import Market, MarketConfig, load_market
from flag_kedro.errors import FlagError
from flag_kedro.hooks.parameters import check_parameters

ROOT = Path(__file__).parents[2]
DAYS = ("2020-11-23", "2020-11-24", "2020-11-25", "2020-11-27", "2020-11-30", "2020-12-01")
WEEK = tuple(f"2020-11-{day}" for day in range(20, 31))
HINT = re.compile(
    r"(?:data|files|news)\.[a-z_]+(?:\.[\w.&^=-]+?)?=.+?(?=,\s|;|\sor\s|\.\s|\.?$|\.?\n|\s\()", re.MULTILINE
)
SUGGESTED = re.compile(r"(?:\{\w+(?:\.KEY)?\}|files|news|data)\.(\w+)(?:\.\{?\w*(?:\(\w*\))?\}?)?(?:=|\",)")
SOURCES = ("data/files", "data/rules.py", "data/validation.py")


def table(head: str, rows: str, days: tuple[str, ...] = DAYS) -> str:
    """A CSV with a row of `rows` for each day."""
    return "\n".join([head, *(rows.format(day=day, n=10 + number % 3) for number, day in enumerate(days))]) + "\n"


def dated(written: str) -> str:
    """A table whose days are written in a format of strftime."""
    days = tuple(datetime.fromisoformat(day).strftime(written) for day in DAYS)
    return table("session,close,adj_close", '"{day}",{n},{n}', days)


PLAIN = table("session,close,adj_close", "{day},{n},{n}")
MICROSECONDS = tuple(str(int(datetime.fromisoformat(f"{day}T00:00Z").timestamp() * 1e6)) for day in WEEK)
MIDNIGHTS = {day: int(datetime.fromisoformat(f"{day}T05:00Z").timestamp()) * 10**9 for day in DAYS}
"""Midnight in New York in nanoseconds, as Polygon's flat files have it."""
OPENS = tuple(str(int(datetime.fromisoformat(f"{day}T14:30Z").timestamp())) for day in DAYS)
STORIES = "\n".join(f"{day}T15:00Z,Story {day},{{}}" for day in DAYS)


def news(symbols: str) -> str:
    return "published_at,headline,symbol\n" + STORIES.format(*[symbols] * len(DAYS)) + "\n"


PRICES = {
    "names of columns": {"ACME.csv": table("Date,Close,Adj Close", "{day},{n},{n}")},
    "names of columns that YAML would read": {"ACME.csv": table("*Date,Close*,Adj Close**", "{day},{n},{n}")},
    "zeros that a number loses": {"000010.csv": PLAIN},
    "a column of symbols": {"2020q4.csv": table("Symbol,session,close,adj_close", "ACME,{day},{n},{n}")},
    "names in blanks": {"ACME.csv": table("Date, Close, Adj Close", "{day}, {n}, {n}")},
    "no adjusted close": {"ACME.csv": table("session,close", "{day},{n}")},
    "semicolons and decimal commas": {"ACME.csv": table("session;close;adj_close", "{day};{n},5;{n},25")},
    "tabs": {"ACME.csv": table("session\tclose\tadj_close", "{day}\t{n}\t{n}")},
    "bars": {"ACME.csv": table("session|close|adj_close", "{day}|{n}|{n}")},
    "thousands": {"ACME.csv": table("session,close,adj_close", '{day},"1,0{n}.5","${n},000.00"')},
    "either reading of a comma": {"ACME.csv": table("session,close,adj_close", '{day},"1,0{n}","1,0{n}"')},
    "thousands by points": {"ACME.csv": table("session,close,adj_close", '{day},"1.0{n},5","1.0{n},5"')},
    "thousands by blanks": {"ACME.csv": table("session,close,adj_close", "{day},1 0{n}.5,1 0{n}.5")},
    "thousands by apostrophes": {"ACME.csv": table("session,close,adj_close", "{day},1'0{n}.5,1'0{n}.5")},
    "a remark before the header": {"ACME.csv": "https://example.com\n" + PLAIN},
    "no header": {"ACME.csv": table("2020-11-20,10,10", "{day},{n},{n}")},
    "a footer": {"ACME.csv": PLAIN + '"Downloaded on 12/02/2020"\n'},
    "American dates": {"ACME.csv": dated("%m/%d/%Y")},
    "German dates": {"ACME.csv": dated("%d.%m.%Y")},
    "dates with names of months": {"ACME.csv": dated("%b %d, %Y")},
    "microseconds since 1970": {"BTC-USD.csv": table("session,close,adj_close", "{day},{n},{n}", MICROSECONDS)},
    "dates as midnight UTC": {"ACME.csv": table("session,close,adj_close", "{day}T00:00:00.000Z,{n},{n}")},
    "closes without a zone": {"ACME.csv": table("session,close,adj_close", "{day} 16:00:00,{n},{n}")},
    "a pair as symbol": {"a.csv": table("symbol,session,close,adj_close", "BTC/USD,{day},{n},{n}", WEEK)},
    "a market that never closes": {
        "COIN.csv": table("session,close,adj_close", "{day},{n},{n}", (*WEEK, "2020-12-01"))
    },
    "midnights of a market that never closes": {
        "COIN.csv": table("session,close,adj_close", "{day}T00:00:00Z,{n},{n}", WEEK)
    },
    "a session that the calendar lacks": {
        "ACME.csv": table("session,close,adj_close", "{day},{n},{n}", (*DAYS[:4], "2020-11-28", *DAYS[4:]))
    },
    "a session that the source lacks": {
        "ACME.csv": table("session,close,adj_close", "{day},{n},{n}", DAYS[:2] + DAYS[3:])
    },
    "Stooq": {
        "acme.us.csv": table(
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
            "ACME.US,D,{day},000000,{n},{n},{n},{n},100,0",
            tuple(day.replace("-", "") for day in DAYS),
        )
    },
    "Nasdaq": {
        "ACME.csv": table(
            "Date,Close/Last,Volume,Open,High,Low",
            "{day},${n}.50,1000,${n}.50,${n}.50,${n}.50",
            tuple(datetime.fromisoformat(day).strftime("%m/%d/%Y") for day in reversed(DAYS)),
        )
    },
    "Investing.com": {
        "ACME Historical Data.csv": "\ufeff"
        + table(
            '"Date","Price","Open","High","Low","Vol.","Change %"',
            '"{day}","1,0{n}.5","1,0{n}.5","1,0{n}.5","1,0{n}.5","1.20M","-0.36%"',
            tuple(datetime.fromisoformat(day).strftime("%m/%d/%Y") for day in reversed(DAYS)),
        )
    },
    "MetaTrader 5": {
        "ACME.csv": table(
            "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>",
            "{day}\t{n}\t{n}\t{n}\t{n}\t100\t0\t2",
            tuple(day.replace("-", ".") for day in DAYS),
        )
    },
    "TradingView": {"ACME.csv": table("time,open,high,low,close,Volume", "{day},{n},{n},{n},{n},100", OPENS)},
    "Polygon": {
        f"{day}.csv": "ticker,volume,open,close,high,low,window_start,transactions\n"
        f"ACME,9,10,10,10,10,{stamp},3\nBRK.B,9,20,20,20,20,{stamp},3\n"
        for day, stamp in MIDNIGHTS.items()
    },
    "Bloomberg": {
        "ACME.csv": "Security,ACME US Equity,,\nStart Date,11/23/2020,,\n,,,\n"
        + table("Dates,PX_LAST,PX_VOLUME,PX_OPEN", "{day},{n},100,{n}")
    },
    "an index of pandas without a name": {"ACME.csv": table(",Open,Close", "{day},{n},{n}")},
    "symbols in a column that nobody named, one behind the other": {
        "all.csv": "date,close,volume,Name\n"
        + "".join(f"{day},{price},100,{name}\n" for name, price in (("ACME", 10), ("BRIX", 20)) for day in DAYS)
    },
    "symbols in a column that nobody named, day by day": {
        "all.csv": "date,close,volume,Name\n"
        + "".join(f"{day},{price},100,{name}\n" for day in DAYS for name, price in (("ACME", 10), ("BRIX", 20)))
    },
    "an array of JSON": {
        "ACME.json": json.dumps(
            [{"date": f"{day}T00:00:00.000Z", "close": 10.5, "adjClose": 5.25, "volume": 9} for day in DAYS], indent=1
        )
    },
    "a fall that happened": {"ACME.csv": PLAIN + "2020-12-02,0.0001,0.0001\n2020-12-03,0.0001,0.0001\n"},
    "a row told again": {"ACME.csv": PLAIN + "2020-12-01,11,11\n"},
    "a row that breaks a rule": {"ACME.csv": PLAIN + "2020-12-02,-1,-1\n"},
    "most rows break a rule": {"ACME.csv": table("session,close,adj_close", "{day},-1,1") + "2020-12-02,1,1\n"},
}
NEWS = {
    "symbols in one cell": {"news.csv": news('"ACME,BRK-B"')},
    "symbols by blanks": {"news.csv": news("ACME BRK-B")},
    "another spelling": {"news.csv": news("BRK.B")},
    "another company": {"news.csv": news("OTHER")},
    "dates of feeds": {"news.csv": 'published_at,headline,symbol\n"Wed, 25 Nov 2020 16:40:08 GMT",a,ACME\n'},
    "seconds since 1970": {"news.csv": "published_at,headline,symbol\n1606312808,a,ACME\n"},
    "times without a zone": {"news.csv": "published_at,headline,symbol\n2020-11-25 16:40,a,ACME\n"},
    "names of columns of news": {"news.csv": "Date,Title,ticker\n2020-11-25,a,ACME\n"},
    "semicolons in news": {"news.csv": "published_at;headline;symbol\n2020-11-25;a;ACME\n"},
    "Finnhub": {
        "news.json": json.dumps([{"datetime": 1606312808, "headline": "a", "related": "ACME", "source": "CNBC"}])
    },
    "GDELT": {"ACME.csv": "URL,MobileURL,Date,Title\nhttp://a,,20201125T164008Z,a\n"},
    "GDELT's events": {"ACME.csv": "DATEADDED,headline\n20201125164008,a\n"},
    "RavenPack": {
        "news.csv": "TIMESTAMP_UTC,RP_ENTITY_ID,ENTITY_NAME,HEADLINE,TICKER\n"
        "2020-11-25 16:40:08.123,4A6F00,Acme,a,ACME\n"
    },
    "EODHD": {
        "news.json": json.dumps(
            [{"date": "2020-11-25T16:40:08+00:00", "title": "a", "symbols": ["ACME.US", "BRK-B.US"], "tags": []}]
        )
    },
    "Reddit": {"ACME.csv": "headline,created_utc\na,1606312808.0\n"},
    "symbols called stock": {"ACME.csv": ",title,date,stock\n0,a,2020-11-25 11:40:08-04:00,ACME\n"},
    "a remark before news": {"news.csv": "by example.com\n" + news("ACME")},
}
SEEN: set[str] = set()


def merged(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested parameters with others laid over them."""
    both = dict(before)
    for name, value in given.items():
        old = both.get(name)
        both[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


@pytest.fixture
def market(tmp_path: Path) -> Callable[[list[str]], Market]:
    """The market that parameters of the command line choose, over those of the project."""
    base = yaml.safe_load((ROOT / "conf" / "base" / "parameters.yml").read_text())

    def load(params: list[str]) -> Market:
        settings = base
        for param in params:
            settings = merged(settings, _split_params(None, None, param))
        typed = check_parameters(settings)
        config = MarketConfig(typed.data, typed.news, typed.simulated, typed.files, typed.yahoo)
        return load_market(config, tmp_path / "store", datetime(2026, 1, 1, tzinfo=UTC))

    return load


def follow(load: Callable[[list[str]], Market], params: list[str]) -> Market:
    """Set what each error suggests until there is none; every alternative changes what is said."""
    said: list[str] = []
    for _ in range(9):
        try:
            return load(params)
        except FlagError as error:
            message = str(error)
        assert message not in said
        said.append(message)
        hints = HINT.findall(message)
        assert hints, message
        SEEN.update(hint.split("=")[0].split(".")[1] for hint in hints)
        for hint in hints:
            assert outcome(load, [*params, hint]) != message, hint
        params = [*params, hints[0]]
    raise AssertionError(f"no end of errors: {said}")


def outcome(load: Callable[[list[str]], Market], params: list[str]) -> str:
    try:
        load(params)
    except FlagError as error:
        return str(error)
    return ""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize("case", PRICES)
def test_what_errors_of_prices_suggest_leads_to_a_market(case, tmp_path, market):
    params = f"data.source=files,data.path={write(tmp_path / 'prices', PRICES[case])}"
    if case == "no header":
        params += ",files.columns.session=column_1,files.columns.close=column_2,files.columns.adj_close=column_3"
    if case == "zeros that a number loses":
        params += ",data.symbols=000010"
    loaded = follow(market, [params])
    assert loaded.prices.height


@pytest.mark.parametrize("case", NEWS)
def test_what_errors_of_news_suggest_leads_to_a_market(case, tmp_path, market):
    prices = write(tmp_path / "prices", {"ACME.csv": PLAIN, "BRK-B.csv": PLAIN})
    articles = write(tmp_path / "news", NEWS[case])
    loaded = follow(market, [f"data.source=files,data.path={prices},news.source=files,news.path={articles}"])
    assert loaded.news.is_empty() == (case == "another company")


def test_every_suggestion_in_the_code_is_tried_here():
    """Runs behind those above; what is suggested by no case of theirs is not known to work."""
    code = ROOT / "src" / "flag_kedro"
    files = [
        file
        for source in SOURCES
        for file in ([code / source] if source.endswith(".py") else (code / source).glob("*.py"))
    ]
    suggested = {name for file in files for name in SUGGESTED.findall(file.read_text())} - {"symbol"} | {"columns"}
    if SEEN:
        assert suggested - SEEN == set()
