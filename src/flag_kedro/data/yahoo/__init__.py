"""Daily prices and recent headlines from Yahoo, kept in a store."""

from flag_kedro.data.yahoo.source import YahooConfig, download_market, read_yahoo

__all__ = ["YahooConfig", "download_market", "read_yahoo"]
