"""Scale-free indicators of past prices, by TA-Lib.

Each value at session d uses prices up to d only. Levels never appear, since back-adjusted levels reveal
later splits and dividends; returns and ratios are the same under any adjustment factor.
"""

import polars as pl
import talib

WARM_UP = 60
"""Sessions before the first complete row; MACD's 34 and the 60-session range need no more."""


def adjusted_prices(prices: pl.DataFrame) -> pl.DataFrame:
    """Add `adj_open`, `adj_high`, `adj_low`, `adj_volume`, null where the source has none.

    Prices are multiplied by adj_close / close, volume is divided by it, so that money traded stays what it was.
    """
    factor = pl.col("adj_close") / pl.col("close")
    return prices.with_columns(
        *((pl.col(name) * factor).alias(f"adj_{name}") for name in ("open", "high", "low")),
        (pl.col("volume") / factor).alias("adj_volume"),
    )


def compute_indicators(prices: pl.DataFrame) -> pl.DataFrame:
    """Indicators of one symbol, one row per session, the first `WARM_UP` rows incomplete (null).

    Args:
        prices: one symbol's rows of the prices table, ascending in session.

    Returns:
        `session`; `return_1`, `return_5`, `return_20` and `volatility_20` as decimals; `rsi_14` in
        [0, 100]; `macd` (12, 26, 9 histogram / price) as a decimal; `range_60`, the close's place between
        the lowest and highest of 60 closes, in [0, 1]; `volume_ratio`, of adjusted volume, to
        its 20-session mean, null without volume.
    """
    close = prices["adj_close"]
    returns = talib.ROCP(close, 1)
    highest, lowest = talib.MAX(close, WARM_UP), talib.MIN(close, WARM_UP)
    volume = prices["volume"] / (close / prices["close"])  # as adjusted_prices has it, so that a split is no surge
    table = pl.DataFrame(
        {
            "session": prices["session"],
            "return_1": returns,
            "return_5": talib.ROCP(close, 5),
            "return_20": talib.ROCP(close, 20),
            "volatility_20": returns.rolling_std(20),
            "rsi_14": talib.RSI(close, 14),
            "macd": talib.MACD(close, 12, 26, 9)[2] / close,
            "range_60": (close - lowest) / (highest - lowest),
            "volume_ratio": volume / volume.rolling_mean(20),
        }
    )
    complete = pl.int_range(pl.len()) >= WARM_UP - 1
    indicators = pl.exclude("session")
    return table.with_columns(pl.when(complete).then(indicators.fill_nan(None)))
