"""Returns that are made of known factors are told as that, and files that are none are refused."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.factor_exposure import read_factors, regress_on_factors
from flag_kedro.backtest.market_exposure import regress_on_market
from flag_kedro.backtest.replay import EQUITY
from flag_kedro.errors import DataError

DAYS = [date(2023, 1, 2) + timedelta(days=day) for day in range(401)]


def account(strategy: str, returns: np.ndarray) -> pl.DataFrame:
    """An account of 100 that earns simple `returns`, [n]."""
    path = 100.0 * np.cumprod([1.0, *(1.0 + returns)])
    days = DAYS[: len(path)]
    rows = [(strategy, "A", day, value, 1, None, 0.0, 1.0) for day, value in zip(days, path, strict=True)]
    return pl.DataFrame(rows, schema=EQUITY, orient="row")


@pytest.fixture
def factors() -> pl.DataFrame:
    """Three factors on every day but the first, at whose close the account begins."""
    drawn = np.random.default_rng(4).normal(0.0003, 0.01, (400, 3))
    return pl.DataFrame({"date": DAYS[1:], **{name: drawn[:, at] for at, name in enumerate(["Mkt-RF", "SMB", "HML"])}})


def test_what_is_made_of_factors_is_told_as_that_and_the_rest_is_alpha(factors: pl.DataFrame):
    cash = np.full(400, 0.0001)
    betas = np.array([0.8, -0.3, 0.2])
    own = np.expm1(cash) + 0.0002 + factors.drop("date").to_numpy() @ betas
    found = regress_on_factors(account("p", own), factors, cash)["p"]
    assert found.betas == pytest.approx({"Mkt-RF": 0.8, "SMB": -0.3, "HML": 0.2})
    assert (found.alpha, found.r_squared, found.num_missing) == pytest.approx((0.0002 * 252, 1.0, 0))


def test_the_day_of_a_factor_is_that_of_the_return(factors: pl.DataFrame):
    own = factors["SMB"].to_numpy()
    late = factors.with_columns(pl.col("date") + timedelta(days=1))
    assert regress_on_factors(account("p", own), factors)["p"].betas["SMB"] == pytest.approx(1.0)
    assert abs(regress_on_factors(account("p", own), late)["p"].betas["SMB"]) < 0.2


def test_the_market_as_only_factor_gives_what_the_market_does():
    generator = np.random.default_rng(5)
    market = generator.normal(0.0, 0.01, 300)
    own = 0.4 * market + generator.normal(0.0, 0.01, 300)
    by_market = regress_on_market(pl.concat([account("p", own), account("buy_and_hold", market)]))["p"]
    table = pl.DataFrame({"date": DAYS[1:301], "market": market})
    by_factor = regress_on_factors(account("p", own), table)["p"]
    assert by_factor.alpha_ci95 == pytest.approx(by_market.alpha_ci95)
    assert by_factor.betas_ci95["market"] == pytest.approx(by_market.beta_ci95)


def test_missing_days_are_counted_and_too_few_refused(factors: pl.DataFrame):
    own = account("p", np.random.default_rng(6).normal(0.0, 0.01, 400))
    assert regress_on_factors(own, factors.head(390))["p"].num_missing == 10
    with pytest.raises(DataError, match=r"covers 30 of 400 returns.*3 factors need 40"):
        regress_on_factors(own, factors.head(30))


def test_ruined_and_idle_accounts_have_no_exposure(factors: pl.DataFrame):
    ruined = np.zeros(400)
    ruined[100] = -1.0
    assert regress_on_factors(pl.concat([account("r", ruined), account("idle", np.zeros(400))]), factors) == {}


def test_a_file_is_read_with_either_way_to_write_a_date_and_cash_is_no_factor(tmp_path: Path):
    path = tmp_path / "factors.csv"
    path.write_text("Date, Mkt-RF ,RF\n2023-01-03,0.01,0.0001\n20230102, -0.02,0.0001\n")
    found = read_factors(path)
    assert found.rows() == [(date(2023, 1, 2), -0.02), (date(2023, 1, 3), 0.01)]
    assert found.columns == ["date", "Mkt-RF"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("day,SMB\n2023-01-02,0.1\n", "has the columns day, SMB; it must have date and a factor"),
        ("date,RF\n2023-01-02,0.1\n", "has the columns date, RF; it must have"),
        ("date,SMB\n2023-01-02,0.1\n2023-13-02,0.1\n", "line 3: date is '2023-13-02', which is none"),
        ("date,SMB\n2023-01-02,x\n", "line 2: SMB is 'x', which is none"),
        ("date,SMB\n2023-01-02,nan\n", "line 2: SMB is 'nan', which is none"),
        ("date,SMB\n2023-01-02,\n", "line 2: SMB is None, which is none"),
        ("date,SMB\n2023-01-02,0.1\n20230102,0.2\n", "has 2023-01-02 more than once"),
        (
            "date,SMB\n2023-01-02,0.7\n2023-01-03,-0.8\n",
            "SMB has a standard deviation of 1.06 a day, so it is in percent",
        ),
        ("", "cannot be read as CSV"),
    ],
)
def test_what_is_no_file_of_factors_is_refused_with_its_place(tmp_path: Path, content: str, words: str):
    path = tmp_path / "factors.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        read_factors(path)
