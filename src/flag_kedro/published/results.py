"""The result table of FLAG-TRADER as printed, and the convention of each printed Buy & Hold row.

Source: arXiv:2502.11433v3, the two result tables: fifteen models on six assets. `published.csv` holds them
as printed (CR, AV and MDD in percent); here every ratio is a decimal.
"""

import csv
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from importlib.resources import files

from flag_kedro.backtest.scores import CRYPTO_DAYS, STOCK_DAYS
from flag_kedro.errors import DataError
from flag_kedro.names import ANNUAL_VOLATILITY, CUMULATIVE_RETURN, MAX_DRAWDOWN, SHARPE_RATIO

SOURCE = "arXiv:2502.11433v3, result tables"
HOLD = "Buy & Hold"
FLAG = "FLAG-TRADER (SmolLM2-135M-Instruct)"
METRICS = (CUMULATIVE_RETURN, SHARPE_RATIO, ANNUAL_VOLATILITY, MAX_DRAWDOWN)
DECIMALS = {CUMULATIVE_RETURN: 5, SHARPE_RATIO: 3, ANNUAL_VOLATILITY: 5, MAX_DRAWDOWN: 5}
"""Printed decimals of each metric as a decimal ratio: three of a percentage are five."""
HALF_UNIT = {metric: 0.5 * 10.0**-decimals for metric, decimals in DECIMALS.items()}
"""How far the number behind a printed one may lie from it."""


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """What the table prints for one model on one symbol, as decimals."""

    model: str
    symbol: str
    cumulative_return: float
    sharpe_ratio: float
    annual_volatility: float
    max_drawdown: float

    def scores(self) -> dict[str, float]:
        """The four metrics by name."""
        return {metric: getattr(self, metric) for metric in METRICS}


@dataclass(frozen=True, kw_only=True)
class HoldConvention:
    """How a printed Buy & Hold row was made."""

    benchmark_window: tuple[date, date]
    """First and last session of InvestorBench's test window."""
    window: tuple[date, date]
    """First and last session that the printed row uses."""
    num_prices: int
    """Sessions in `window`."""
    days_mean: int
    """Sessions a year in the mean of the Sharpe ratio."""
    days_volatility: int
    """Sessions a year in the volatility."""
    prices: str
    """Where InvestorBench has the prices from."""
    recomputed: bool = True
    """Whether the row was ever recomputed; false where it is read off the printed numbers."""

    @property
    def last_day_dropped(self) -> bool:
        """Whether the printed row ends before the benchmark's window does."""
        return self.window != self.benchmark_window

    @property
    def benchmark_prices(self) -> int:
        """Sessions in `benchmark_window`."""
        return self.num_prices + self.last_day_dropped

    def describe(self) -> str:
        """The convention in a line."""
        first, last = self.window
        part = ", last day dropped" if self.last_day_dropped else ""
        annual = f"mean x {self.days_mean}, volatility x sqrt({self.days_volatility})"
        return f"{first} to {last}{part}, {self.num_prices} prices, {annual}"

    def as_dict(self) -> dict[str, object]:
        """For JSON: windows as dates in ISO 8601, and what follows from the fields."""
        windows = {"benchmark_window": self.benchmark_window, "window": self.window}
        dates = {name: [day.isoformat() for day in window] for name, window in windows.items()}
        return asdict(self) | dates | {"last_day_dropped": self.last_day_dropped, "text": self.describe()}


_STOCK_WINDOW = (date(2020, 10, 1), date(2021, 5, 6))
_CRYPTO_WINDOW = (date(2023, 4, 5), date(2023, 11, 5))
_STOCK = HoldConvention(
    benchmark_window=_STOCK_WINDOW,
    window=(_STOCK_WINDOW[0], date(2021, 5, 5)),
    num_prices=149,
    days_mean=STOCK_DAYS,
    days_volatility=STOCK_DAYS,
    prices="Yahoo Finance, adjusted closes",
)
_TSLA = HoldConvention(
    benchmark_window=_STOCK_WINDOW,
    window=_STOCK_WINDOW,
    num_prices=150,
    days_mean=STOCK_DAYS,
    days_volatility=CRYPTO_DAYS,
    prices="never released (licensed)",
    recomputed=False,
)
_BTC = HoldConvention(
    benchmark_window=_CRYPTO_WINDOW,
    window=_CRYPTO_WINDOW,
    num_prices=215,
    days_mean=STOCK_DAYS,
    days_volatility=CRYPTO_DAYS,
    prices="CoinMarketCap, closes",
)
CONVENTIONS = {"MSFT": _STOCK, "JNJ": _STOCK, "UVV": _STOCK, "HON": _STOCK, "TSLA": _TSLA, "BTC": _BTC}
"""Convention of each printed Buy & Hold row. TSLA's is an inference: its CR, SR and AV imply 150 days, as rows
over the whole window do, and every other row of that kind has sqrt(365) in its volatility."""


@lru_cache(maxsize=1)
def load_published() -> tuple[PublishedRow, ...]:
    """Every row of the table, by symbol and then in the order printed."""
    text = files("flag_kedro.published").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedRow(
            model=line["model"],
            symbol=line["symbol"],
            **{
                metric: round(float(line[metric]) / (1 if metric == SHARPE_RATIO else 100), DECIMALS[metric])
                for metric in METRICS
            },
        )
        for line in csv.DictReader(text.splitlines())
    )


def published_row(model: str, symbol: str) -> PublishedRow:
    """The row of `model` on `symbol`."""
    return next(row for row in load_published() if (row.model, row.symbol) == (model, symbol))


def volatility_days(model: str, symbol: str) -> int:
    """Sessions a year that the printed volatility is taken to have.

    Buy & Hold: its convention. FLAG-TRADER: 252, which its HON row shows (the CR of GPT-4's row at an AV smaller
    by exactly sqrt(365/252)); taken over for its other rows. All other models: 365, since with 252 most of their
    volatilities are above what the prices allow.
    """
    if model == HOLD:
        return CONVENTIONS[symbol].days_volatility
    return STOCK_DAYS if model == FLAG else CRYPTO_DAYS


def same_as_printed(metric: str, value: float | None, printed: float) -> bool:
    """Whether `value`, rounded as the table is, gives the printed number."""
    return value is not None and abs(round(value, DECIMALS[metric]) - printed) < HALF_UNIT[metric]


def choose_symbols(symbols: tuple[str, ...] | None) -> tuple[str, ...]:
    """The published symbols asked for; all of them for None.

    Raises:
        DataError: for one that the table does not have.
    """
    unpublished = [symbol for symbol in symbols or () if symbol not in CONVENTIONS]
    if unpublished:
        raise DataError(
            f"data.symbols: the published table has no row for {' '.join(unpublished)}; it has {' '.join(CONVENTIONS)}"
        )
    return symbols or tuple(CONVENTIONS)


def why_skipped(symbol: str) -> str:
    """Why a symbol without a file is left out."""
    released = "" if CONVENTIONS[symbol].recomputed else ", which InvestorBench never released"
    return f"no {symbol.lower()}.json{released}; only what its printed numbers say is audited"
