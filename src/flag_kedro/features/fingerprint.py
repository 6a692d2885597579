"""Hashes of market states, and of all that shapes them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from unicodedata import unidata_version

import polars as pl

from flag_kedro.data.table_hash import hash_table

PACKAGE = Path(__file__).resolve().parents[1]


def fingerprint_symbols(
    prices: pl.DataFrame,
    news: pl.DataFrame,
    names: Mapping[str, Sequence[str]],
    settings: Mapping[str, object],
    universe: pl.DataFrame,
) -> dict[str, str]:
    """For each symbol in `prices` a hash of all that shapes its states: tables, names, settings and code.

    Args:
        prices: the validated table.
        news: the validated table.
        names: what articles call each symbol.
        settings: those of `build_market_states`, fit for JSON.
        universe: columns of `data.universe.UNIVERSE`.

    Returns:
        Hex sha256 by symbol, in the order of `prices`.
    """
    articles = _by_symbol(news.select("symbol", "available_at", "headline"))
    no_articles = hash_table(news.select("symbol", "available_at", "headline").clear())
    memberships = _by_symbol(universe)
    fingerprints = {}
    for symbol, prices_hash in _by_symbol(prices).items():
        others = [list(names.get(symbol, ())), dict(settings), universe.is_empty(), code_hash()]
        tables = prices_hash + articles.get(symbol, no_articles) + memberships.get(symbol, b"")
        fingerprints[symbol] = sha256(tables + json.dumps(others, sort_keys=True).encode()).hexdigest()
    return fingerprints


@cache
def code_hash() -> str:
    """Hash of the code that writes market states, of the libraries that compute for it, and of Python's Unicode."""
    others = [PACKAGE / "data" / name for name in ("streams.py", "table_hash.py", "text.py", "universe.py")]
    return _hash_code([*sorted((PACKAGE / "features").glob("*.py")), *others])


def _hash_code(files: Iterable[Path]) -> str:
    libraries = [version(name) for name in ("polars", "TA-Lib", "numpy")]
    code = sha256(" ".join([*libraries, unidata_version]).encode())
    for file in files:
        code.update(file.name.encode() + b"\0" + file.read_bytes())
    return code.hexdigest()


def _by_symbol(table: pl.DataFrame) -> dict[str, bytes]:
    """Hash of each symbol's rows, in the order in which symbols first appear."""
    parts = table.partition_by("symbol", as_dict=True, maintain_order=True)
    return {symbol: hash_table(part) for (symbol,), part in parts.items()}
