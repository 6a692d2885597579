"""The account of all symbols together, by hand."""

import math
from datetime import date

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.pooled import ReplayedStrategies, pool_accounts, pool_cash, pool_log_returns
from flag_kedro.backtest.replay import EQUITY
from flag_kedro.backtest.scores import path_sessions

MONDAY, TUESDAY, SATURDAY = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 6)


def path(symbol: str, strategy: str, *rows: tuple[date, float, int, float]) -> pl.DataFrame:
    """Rows of session, equity, position and traded value."""
    sessions, equity, position, traded = zip(*rows, strict=True)
    exposure = [0.5 * abs(held) for held in position]
    columns = {"strategy": strategy, "symbol": symbol, "session": sessions, "equity": equity, "position": position}
    return pl.DataFrame(
        {**columns, "log_return": [None] * len(rows), "traded_value": traded, "exposure": exposure},
        schema=EQUITY,
        strict=False,
    )


STOCK = path("A", "rule", (MONDAY, 100.0, 0, 0.0), (TUESDAY, 110.0, 1, 50.0))
COIN = path("B", "rule", (MONDAY, 100.0, 0, 0.0), (TUESDAY, 90.0, -1, 30.0), (SATURDAY, 60.0, 0, 7.0))


def test_accounts_add_up_and_a_closed_exchange_leaves_its_symbol_as_it_was() -> None:
    pooled = pool_accounts(pl.concat([STOCK, COIN]))
    assert pooled.columns == list(EQUITY)
    assert pooled["symbol"].unique().to_list() == ["all"]
    assert pooled["session"].to_list() == [MONDAY, TUESDAY, SATURDAY]
    assert pooled["equity"].to_list() == [200.0, 200.0, 170.0]
    assert pooled["position"].to_list() == [0, 2, 1]
    assert pooled["traded_value"].to_list() == [0.0, 80.0, 7.0]
    assert pooled["exposure"].to_list() == pytest.approx([0.0, (55 + 45) / 200, 55 / 170])
    assert pooled["log_return"][0] is None
    assert pooled["log_return"][1:].to_list() == pytest.approx([0.0, math.log(170 / 200)])


def test_symbol_that_is_listed_later_waits_with_its_money() -> None:
    late = path("C", "rule", (SATURDAY, 100.0, 0, 0.0))
    assert pool_accounts(pl.concat([COIN, late]))["equity"].to_list() == [200.0, 190.0, 160.0]


def test_each_strategy_is_added_up_for_itself_and_keeps_its_place() -> None:
    other = path("A", "another", (MONDAY, 100.0, 0, 0.0), (TUESDAY, 50.0, 1, 1.0))
    pooled = pool_accounts(pl.concat([STOCK, other]))
    assert pooled["strategy"].to_list() == ["rule", "rule", "another", "another"]
    assert pooled["log_return"].to_list() == [None, pytest.approx(math.log(1.1)), None, pytest.approx(math.log(0.5))]


def test_cash_of_all_symbols_grows_as_their_accounts_would() -> None:
    cash = {"A": np.array([0.01]), "B": np.array([0.02, 0.03])}
    start, middle, end = 200.0, 100 * math.exp(0.01) + 100 * math.exp(0.02), 100 * math.exp(0.01) + 100 * math.exp(0.05)
    returns = pool_cash(pl.concat([STOCK, COIN]), cash)
    assert returns == pytest.approx([math.log(middle / start), math.log(end / middle)])


def test_log_return_of_equal_shares_is_that_of_the_money_in_all() -> None:
    assert pool_log_returns(np.log([[2.0, 1.0], [0.5, 1.0]])) == pytest.approx([math.log(1.25), 0.0])


@pytest.mark.parametrize(("calendars", "expected"), [({"A": "XNYS", "B": "24/7"}, "24/7"), ({"A": "XNYS"}, "XNYS")])
def test_all_together_never_close_where_one_of_them_never_does(calendars: dict[str, str], expected: str) -> None:
    pooled = ReplayedStrategies(pl.DataFrame({"symbol": ["A"]}), STOCK, calendars).pooled
    assert pooled.calendars == {"all": expected}
    assert pooled.cash_returns is None
    assert pooled.decisions["symbol"].to_list() == ["all"]


def test_account_of_all_symbols_is_ruined_where_all_of_them_are() -> None:
    """On different days, too; the token share that the environment leaves is nothing here."""
    ruined = [(MONDAY, 100.0, 0, 0.0), (TUESDAY, 0.01, -1, 0.0), (SATURDAY, 0.01, 0, 0.0)]
    later = [(MONDAY, 100.0, 0, 0.0), (TUESDAY, 90.0, -1, 0.0), (SATURDAY, 0.009, -1, 0.0)]
    pooled = pool_accounts(pl.concat([path("A", "rule", *ruined), path("B", "rule", *later)]))
    assert pooled["equity"].to_list() == [200.0, 90.0, 0.0]
    assert path_sessions(pooled, None).ruined
    alone = pool_accounts(pl.concat([path("A", "rule", *ruined), COIN]))
    assert alone["equity"].to_list() == [200.0, 90.0, 60.0]
    assert not path_sessions(alone, None).ruined
