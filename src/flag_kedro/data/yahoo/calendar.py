"""Which exchange a Yahoo symbol trades on."""

from flag_kedro.data.config import DataConfig

EXCHANGES = {
    "AS": "XAMS", "AX": "XASX", "BK": "XBKK", "BO": "XBOM", "BR": "XBRU", "CO": "XCSE", "DE": "XETR",
    "F": "XFRA", "HE": "XHEL", "HK": "XHKG", "IR": "XDUB", "JK": "XIDX", "JO": "XJSE", "KL": "XKLS", "KS": "XKRX",
    "L": "XLON", "LS": "XLIS", "MC": "XMAD", "MI": "XMIL", "MX": "XMEX", "NS": "XBOM", "NZ": "XNZE", "OL": "XOSL",
    "PA": "XPAR", "SA": "BVMF", "SI": "XSES", "SS": "XSHG", "ST": "XSTO", "SW": "XSWX", "SZ": "XSHG", "T": "XTKS",
    "TO": "XTSE", "TW": "XTAI", "V": "XTSX", "VI": "XWBO", "WA": "XWAR",
}  # fmt: skip
"""exchange_calendars name by Yahoo's suffix; two of them, NS and SZ, keep the sessions of a neighbour. Athens (AT) and
Tel Aviv (TA) are left out: exchange_calendars cannot build theirs."""


def yahoo_calendar(symbol: str, data: DataConfig) -> str:
    """Exchange calendar of `symbol`: `data.calendar` where it says so, else by Yahoo's way of writing symbols.

    `BTC-USD` trades always, `EURUSD=X` on weekdays, `7203.T` in Tokyo; all others in New York.
    """
    given = data.calendar if isinstance(data.calendar, str) else (data.calendar or {}).get(symbol)
    return given or _default(symbol)


def _default(symbol: str) -> str:
    if symbol.endswith("-USD"):
        return "24/7"
    if symbol.endswith("=X"):
        return "24/5"
    _, dot, suffix = symbol.rpartition(".")
    return EXCHANGES.get(suffix, "XNYS") if dot else "XNYS"
