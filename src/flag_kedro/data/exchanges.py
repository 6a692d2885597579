"""Which exchange a symbol trades on."""

from flag_kedro.data.calendar import with_extra_sessions
from flag_kedro.data.config import DataConfig

ALWAYS = "24/7"
NEW_YORK = "XNYS"
CRYPTO = frozenset({"BTC", "ETH"})
"""Symbols of coins alone, which trade round the clock."""
EXCHANGES = {
    "AS": "XAMS", "AX": "XASX", "BK": "XBKK", "BO": "XBOM", "BR": "XBRU", "CO": "XCSE", "DE": "XETR",
    "F": "XFRA", "HE": "XHEL", "HK": "XHKG", "IR": "XDUB", "JK": "XIDX", "JO": "XJSE", "KL": "XKLS", "KS": "XKRX",
    "L": "XLON", "LS": "XLIS", "MC": "XMAD", "MI": "XMIL", "MX": "XMEX", "NS": "XBOM", "NZ": "XNZE", "OL": "XOSL",
    "PA": "XPAR", "SA": "BVMF", "SI": "XSES", "SS": "XSHG", "ST": "XSTO", "SW": "XSWX", "SZ": "XSHG", "T": "XTKS",
    "TO": "XTSE", "TW": "XTAI", "V": "XTSX", "VI": "XWBO", "WA": "XWAR",
}  # fmt: skip
"""exchange_calendars name by Yahoo's suffix; two of them, NS and SZ, keep the sessions of a neighbour. Athens (AT) and
Tel Aviv (TA) are left out: exchange_calendars cannot build theirs."""


def symbol_calendar(symbol: str, data: DataConfig) -> str:
    """Exchange calendar of `symbol`, with the sessions that `data.extra_sessions` adds.

    `data.calendar` where it says so, else the source's own; for `yahoo` and `files` by Yahoo's way of writing symbols.
    """
    given = data.calendar if isinstance(data.calendar, str) else (data.calendar or {}).get(symbol)
    calendar = given or _own_calendar(symbol, data.source)
    return with_extra_sessions(calendar, data.extra_sessions.get(calendar, ()))


def _own_calendar(symbol: str, source: str) -> str:
    match source:
        case "simulated":
            return NEW_YORK
        case "investorbench":
            return benchmark_calendar(symbol)
        case "files" if symbol in CRYPTO:
            return ALWAYS
        case _:
            return listed_on(symbol)


def benchmark_calendar(symbol: str) -> str:
    """Exchange calendar of an InvestorBench symbol."""
    return ALWAYS if symbol in CRYPTO else NEW_YORK


def listed_on(symbol: str) -> str:
    """Exchange calendar by Yahoo's way of writing symbols.

    `BTC-USD` trades always, `EURUSD=X` on weekdays, `7203.T` in Tokyo; all others in New York.
    """
    if symbol.endswith("-USD"):
        return ALWAYS
    if symbol.endswith("=X"):
        return "24/5"
    _, dot, suffix = symbol.rpartition(".")
    return EXCHANGES.get(suffix, NEW_YORK) if dot else NEW_YORK
