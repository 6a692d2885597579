"""The published Buy & Hold rows come out of the benchmark's own prices."""

import json
import math
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flag_kedro.data.investorbench import read_available
from flag_kedro.errors import DataError
from flag_kedro.published.rows import RebuiltRow, benchmark_closes, hold_variants, reproduce_rows


@pytest.fixture(scope="session")
def rebuilt(investorbench: Path) -> dict[str, RebuiltRow]:
    return reproduce_rows(read_available(investorbench, ("MSFT", "JNJ", "BTC"))[0])


def as_printed(scores: Mapping[str, float | None]) -> tuple[str, ...]:
    percent = {name: 100 * value for name, value in scores.items() if name != "sharpe_ratio"}
    names = ("cumulative_return", "sharpe_ratio", "annual_volatility", "max_drawdown")
    return tuple(f"{(percent | {'sharpe_ratio': scores['sharpe_ratio']})[name]:.3f}" for name in names)


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("MSFT", ("15.340", "1.039", "24.980", "9.428")),
        ("JNJ", ("13.895", "1.343", "17.500", "9.847")),
        ("BTC", ("21.822", "0.683", "37.426", "20.796")),
    ],
)
def test_row_is_rebuilt_to_the_printed_decimals(rebuilt: dict[str, RebuiltRow], symbol: str, expected: tuple[str, ...]):
    assert as_printed(rebuilt[symbol].recomputed) == expected


def test_every_metric_matches_but_the_return_of_bitcoin(rebuilt: dict[str, RebuiltRow]):
    missed = [(symbol, metric) for symbol, row in rebuilt.items() for metric, same in row.matches.items() if not same]
    assert missed == [("BTC", "cumulative_return")]
    assert as_printed(rebuilt["BTC"].printed)[0] == "21.821"


def test_variants_are_both_windows_with_both_roots(rebuilt: dict[str, RebuiltRow]):
    variants = {(one.window, one.days_volatility): as_printed(one.scores()) for one in rebuilt["MSFT"].variants}
    assert variants["full window", 252] == ("16.654", "1.122", "24.946", "9.428")
    assert variants["full window", 365] == ("16.654", "0.932", "30.022", "9.428")  # GPT-4's printed row
    assert variants["last day dropped", 252] == ("15.340", "1.039", "24.980", "9.428")
    assert len(variants) == 4


def test_variants_of_a_short_path_by_hand():
    """Log returns 0.1, -0.1, 0.3 (mean 0.1, squared deviations 0.08) and, without the last, 0.1, -0.1."""
    closes = np.exp(np.array([0.0, 0.1, 0.0, 0.3]))
    full, full_365, dropped, _ = hold_variants(closes)
    assert (full.num_prices, dropped.num_prices) == (4, 3)
    assert full.cumulative_return == pytest.approx(0.3)
    assert full.annual_volatility == pytest.approx(0.2 * math.sqrt(252))
    assert full_365.annual_volatility == pytest.approx(0.2 * math.sqrt(365))
    assert full.sharpe_ratio == pytest.approx(0.3 / (4 / 252) / (0.2 * math.sqrt(252)))
    assert full_365.sharpe_ratio == pytest.approx(0.3 / (4 / 252) / (0.2 * math.sqrt(365)))  # the mean stays x 252
    assert dropped.cumulative_return == pytest.approx(0.0)
    assert full.max_drawdown == pytest.approx(0.1)  # 1.1 x 0.9 = 0.99 after 1.1


def test_content_of_the_file_has_dates_as_text_and_nothing_but_json(rebuilt: dict[str, RebuiltRow]):
    content = rebuilt["MSFT"].as_dict()
    assert list(content) == ["convention", "printed", "recomputed", "matches", "variants"]
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    convention = json.loads(json.dumps(content))["convention"]
    assert convention["window"] == ["2020-10-01", "2021-05-05"]
    assert convention["last_day_dropped"] is True
    variant = json.loads(json.dumps(content))["variants"][0]
    assert list(variant)[:3] == ["window", "days_volatility", "num_prices"]
    assert list(variant)[3:] == ["cumulative_return", "sharpe_ratio", "annual_volatility", "max_drawdown"]


def test_file_that_ends_early_is_refused():
    prices = pl.DataFrame({"session": [date(2020, 10, 1), date(2020, 10, 2)], "close": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"MSFT: 2 prices from 2020-10-01 to 2021-05-06, where the benchmark has 150"):
        benchmark_closes("MSFT", prices)
