"""The published table as shipped, and the convention of each Buy & Hold row."""

import tomllib
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import pytest

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.exchanges import benchmark_calendar
from flag_kedro.data.windows import INVESTORBENCH_CRYPTO, INVESTORBENCH_STOCKS
from flag_kedro.errors import DataError
from flag_kedro.published.results import (
    CONVENTIONS,
    FLAG,
    HOLD,
    choose_symbols,
    load_published,
    published_row,
    same_as_printed,
    volatility_days,
    why_skipped,
)

ROOT = Path(__file__).resolve().parents[2]


def test_table_has_fifteen_models_on_six_symbols_once_each():
    rows = load_published()
    keys = {(row.model, row.symbol) for row in rows}
    assert len(rows) == len(keys) == 90
    assert len({row.model for row in rows}) == 15
    assert {row.symbol for row in rows} == set(CONVENTIONS)


def test_ratios_are_decimals_and_sharpe_is_plain():
    row = published_row(FLAG, "JNJ")
    assert row.scores() == {
        "cumulative_return": 0.33724,
        "sharpe_ratio": 3.344,
        "annual_volatility": 0.17174,
        "max_drawdown": 0.0932,
    }


def test_every_number_is_kept_as_printed_with_three_decimals():
    lines = files("flag_kedro.published").joinpath("published.csv").read_text().splitlines()[1:]
    numbers = [number for line in lines for number in line.split(",")[2:]]
    assert len(numbers) == 360
    assert all(len(number.split(".")[1]) == 3 for number in numbers)


def test_every_file_of_the_package_that_is_no_module_goes_into_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["flag_kedro"]
    package = ROOT / "src" / "flag_kedro"
    others = [path.relative_to(package) for path in package.rglob("*") if path.suffix not in (".py", ".pyc")]
    data = [path.as_posix() for path in others if (package / path).is_file()]
    assert {"published/published.csv", "published/published.html.jinja"} <= set(data)
    assert [name for name in data if not any(fnmatch(name, pattern) for pattern in patterns)] == []


@pytest.mark.parametrize("symbol", CONVENTIONS)
def test_windows_are_the_benchmarks_and_have_as_many_sessions_as_stated(symbol: str):
    convention = CONVENTIONS[symbol]
    windows = INVESTORBENCH_CRYPTO if symbol == "BTC" else INVESTORBENCH_STOCKS
    assert convention.benchmark_window == windows.test
    calendar = benchmark_calendar(symbol)
    assert len(exchange_sessions(calendar, *convention.window)) == convention.num_prices
    assert len(exchange_sessions(calendar, *convention.benchmark_window)) == convention.benchmark_prices


def test_convention_is_described_in_a_line():
    assert CONVENTIONS["HON"].describe() == (
        "2020-10-01 to 2021-05-05, last day dropped, 149 prices, mean x 252, volatility x sqrt(252)"
    )
    assert CONVENTIONS["BTC"].describe() == ("2023-04-05 to 2023-11-05, 215 prices, mean x 252, volatility x sqrt(365)")


@pytest.mark.parametrize(
    ("metric", "value", "printed", "same"),
    [
        ("cumulative_return", 0.153404, 0.1534, True),
        ("cumulative_return", 0.2182163, 0.21821, False),  # 21.822 where 21.821 is printed
        ("cumulative_return", 0.2182149, 0.21821, True),
        ("sharpe_ratio", 1.0386, 1.039, True),
        ("sharpe_ratio", 1.0384, 1.039, False),
        ("sharpe_ratio", None, 1.039, False),
    ],
)
def test_numbers_are_compared_as_they_would_be_printed(metric: str, value: float | None, printed: float, same: bool):
    assert same_as_printed(metric, value, printed) is same


def test_basis_of_a_volatility_goes_by_who_made_the_row():
    assert [volatility_days(HOLD, symbol) for symbol in ("MSFT", "BTC")] == [252, 365]
    assert [volatility_days(FLAG, symbol) for symbol in ("MSFT", "BTC")] == [252, 252]
    assert [volatility_days("GPT-4", symbol) for symbol in ("MSFT", "BTC")] == [365, 365]


def test_symbols_asked_for_must_be_in_the_table():
    assert choose_symbols(None) == ("MSFT", "JNJ", "UVV", "HON", "TSLA", "BTC")
    assert choose_symbols(("BTC",)) == ("BTC",)
    with pytest.raises(DataError, match=r"data\.symbols: the published table has no row for NFLX; it has MSFT"):
        choose_symbols(("MSFT", "NFLX"))


def test_reason_says_which_file_and_that_tesla_was_never_released():
    assert why_skipped("UVV").startswith("no uvv.json; only")
    assert "never released" in why_skipped("TSLA")
