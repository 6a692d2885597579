"""What a simulated market offers, and which share of it a strategy takes."""

from dataclasses import asdict, replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.counterfactual import replay_targets
from flag_kedro.backtest.replay import replay
from flag_kedro.data.config import DataConfig, NewsConfig, WindowsConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError
from flag_kedro.experiments.oracle import ask_oracle
from flag_kedro.experiments.yardstick import Yardstick, describe_yardstick, measure_yardstick
from flag_kedro.features.market_state import build_market_states

SIMULATED = SimulatedConfig(market="laboratory", first_session=date(2022, 7, 1), last_session=date(2023, 6, 30))
DATA = DataConfig(
    windows=WindowsConfig(
        train=(date(2022, 7, 1), date(2022, 9, 30)),
        validation=(date(2022, 10, 3), date(2022, 10, 31)),
        test=(date(2022, 11, 1), date(2023, 6, 30)),
    ),
    symbols=("ALDR", "BRIX"),
    seed=3,
)


@pytest.fixture(scope="module")
def split() -> MarketSplit:
    market = simulate_market(DATA.symbols, SIMULATED, DATA.seed)
    states, _ = build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=300, article_chars=100)
    return MarketSplit.of(states, DATA, EnvConfig(), "laboratory")


def measured(split: MarketSplit, **changes: object) -> Yardstick | None:
    equity = replay("buy_and_hold", split.test, split.env, buy_and_hold).equity
    inputs = {"data": DATA, "news": NewsConfig(), "simulated": SIMULATED} | changes
    return measure_yardstick(equity, split, **inputs)  # type: ignore[arg-type]


def test_share_is_what_was_earned_over_what_the_optimal_policy_expects(split: MarketSplit) -> None:
    yardstick = measured(split)
    assert yardstick is not None
    marks, fills = split.test.mark_prices, split.test.fill_prices
    cost = 1.0 + split.env.cost
    held = sum(np.log(marks[s, -1] / (fills[s, 1] * cost)) for s in range(2))  # bought at the second open
    assert yardstick.shares["buy_and_hold"] * yardstick.expected_log_return == pytest.approx(held, rel=1e-12)
    assert yardstick.market == "laboratory"


def test_sharpe_ratio_is_of_both_symbols_in_one_account(split: MarketSplit) -> None:
    yardstick = measured(split)
    oracle = ask_oracle(split.test, split.env, simulate_market(DATA.symbols, SIMULATED, DATA.seed).truth, SIMULATED)
    equity = replay_targets(split.test, split.env, oracle.targets[:, None]).equity
    money = pl.Series(equity[0, 0] + equity[1, 0])
    returns = money.log().diff().drop_nulls()
    assert yardstick is not None
    assert yardstick.sharpe_ratio == pytest.approx(returns.mean() / returns.std() * 252**0.5, rel=1e-12)
    assert yardstick.sharpe_ratio > 2.0


@pytest.mark.parametrize(
    "changes",
    [
        {"data": replace(DATA, source="files", path="prices.csv")},
        {"news": NewsConfig(source="none")},
        {"simulated": replace(SIMULATED, horizon=7)},
    ],
)
def test_other_markets_have_no_yardstick(split: MarketSplit, changes: dict[str, object]) -> None:
    assert measured(split, **changes) is None


def drawn(simulated: SimulatedConfig, **env: float) -> MarketSplit:
    market = simulate_market(DATA.symbols, simulated, DATA.seed)
    states, _ = build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=300, article_chars=100)
    return MarketSplit.of(states, DATA, EnvConfig(**env))


def test_twin_without_a_signal_has_no_shares() -> None:
    twin = replace(SIMULATED, signal=0.0)
    yardstick = measured(drawn(twin), simulated=twin)
    assert yardstick is not None
    assert yardstick.shares == {}
    assert yardstick.market.startswith("laboratory with ")
    assert "signal=0" in yardstick.market
    assert "nothing to learn" in str(describe_yardstick(asdict(yardstick), "buy_and_hold"))


def test_effects_below_the_costs_are_not_called_nothing() -> None:
    weak = replace(SIMULATED, signal=1e-5, drift=0.0)
    yardstick = measured(drawn(weak), simulated=weak)
    assert yardstick is not None
    assert "Effects do not pay for costs." in str(describe_yardstick(asdict(yardstick), "buy_and_hold"))


def test_interest_is_not_counted_as_reading() -> None:
    assert measured(drawn(SIMULATED, cash_rate=0.05)) is None


def test_other_prices_than_those_traded_are_refused(split: MarketSplit) -> None:
    with pytest.raises(DataError, match="do not draw the closes"):
        measured(split, simulated=replace(SIMULATED, noise=0.02))


def test_sentence_says_how_strong_the_market_is_and_what_was_taken() -> None:
    shares = {"flag_trader": 0.431, "text_ridge": 0.2}
    yardstick = Yardstick(market="laboratory", signal=0.01, sharpe_ratio=5.24, expected_log_return=2.0, shares=shares)
    assert describe_yardstick(asdict(yardstick), "flag_trader") == (
        "The optimal policy on the headlines of this market has a Sharpe ratio of 5.2. "
        "flag_trader takes 43% of the log return that it expects, text_ridge 20%."
    )
    assert describe_yardstick(None, "flag_trader") is None
