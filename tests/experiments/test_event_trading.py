"""The same strategies at every session and on events: held against their own tables."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from flag_kedro import names
from flag_kedro.backtest.pooled import pool_accounts
from flag_kedro.data.config import DataConfig, NewsConfig, WindowsConfig
from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.errors import DataError
from flag_kedro.experiments.cached_policy import CachedPolicy
from flag_kedro.experiments.event_trading import (
    ON_EVENTS,
    ORACLE,
    BothWays,
    compare_modes,
    fills_of,
    on_sessions,
    replay_both_ways,
)
from flag_kedro.experiments.strategies import Strategies
from flag_kedro.experiments.yardstick import ask_about, measure_yardstick
from flag_kedro.features.market_state import build_market_states

SYMBOLS = ("ALDR", "BRIX", "CORV")
CONFIG = SimulatedConfig(market="easy", first_session=date(2023, 1, 3), last_session=date(2023, 12, 1))
TEST = (date(2023, 4, 3), date(2023, 12, 1))
WINDOWS = WindowsConfig(
    train=(date(2023, 1, 3), date(2023, 2, 28)), validation=(date(2023, 3, 1), date(2023, 3, 31)), test=TEST
)
ENV = EnvConfig(event_news_burst=3.0)
DATA = DataConfig(symbols=SYMBOLS, windows=WINDOWS)


def restless(states: States) -> Decisions:
    """Trade by the length of the prompt."""
    odd = np.array([len(prefix) % 2 for prefix in states.prefix], dtype=bool)
    wanted = np.where(odd, 2, 0)
    return Decisions(np.where(states.action_mask[np.arange(len(wanted)), wanted], wanted, 1))


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market(SYMBOLS, CONFIG, DATA.seed)


@pytest.fixture(scope="module")
def split(market: SimulatedMarket) -> MarketSplit:
    states, _ = build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=600, article_chars=240)
    return MarketSplit.of(states, DATA, ENV, "easy")


@pytest.fixture(scope="module")
def both(market: SimulatedMarket, split: MarketSplit) -> BothWays:
    policy = CachedPolicy(restless)
    strategies = Strategies({names.POLICY: lambda: policy}, None, split, 0)
    return replay_both_ways(strategies, market.prices, ask_about(split, DATA, NewsConfig(), CONFIG))


@pytest.fixture(scope="module")
def results(both: BothWays, split: MarketSplit) -> dict:
    yardstick = measure_yardstick(both.equity, split, DATA, NewsConfig(), CONFIG)
    return compare_modes(both, split, yardstick, 199, 0)


def test_on_events_nobody_trades_at_another_session(both: BothWays, split: MarketSplit):
    window = on_sessions(split, "events").test
    idle = {(s, day) for s, own, is_event in zip(window.symbols, window.sessions, window.is_event, strict=True)
            for day, one in zip(own, is_event, strict=False) if not one}  # fmt: skip
    trades = both.decisions.filter(pl.col("action") != "hold")
    on_events = trades.filter(pl.col("strategy").str.ends_with(ON_EVENTS))
    assert on_events.height > 100
    assert not idle & set(on_events.select("symbol", "session").iter_rows())
    assert idle & set(trades.select("symbol", "session").iter_rows())
    assert {ORACLE, ORACLE + ON_EVENTS, names.BENCHMARK + ON_EVENTS} <= set(both.equity["strategy"])


def test_sums_shares_and_what_is_kept_are_those_of_the_tables(both: BothWays, results: dict):
    sums = dict(both.equity.group_by("strategy").agg(pl.col("log_return").sum()).iter_rows())
    for name in (names.POLICY, names.BENCHMARK, ORACLE):
        every, events = (results["scores"][mode][name] for mode in ("every_session", "events"))
        assert every["summed_log_return"] == pytest.approx(sums[name])
        assert events["summed_log_return"] == pytest.approx(sums[name + ON_EVENTS])
        assert events["share"] == pytest.approx(sums[name + ON_EVENTS] / results["expected_log_return"])
        assert results["kept"][name]["turnover"] == pytest.approx(events["turnover"] / every["turnover"])
    kept = results["kept"][ORACLE]
    assert 0.0 < kept["log_return"] < 1.0
    assert results["kept"][names.FLAT]["log_return"] is None


def test_the_paired_difference_is_that_of_the_accounts(both: BothWays, results: dict):
    pooled = pool_accounts(both.equity)
    paths = {name: pooled.filter(strategy=name)["equity"] for name in (names.POLICY, names.POLICY + ON_EVENTS)}
    growth = {name: np.log(path[-1] / path[0]) for name, path in paths.items()}
    found = results["differences"][names.POLICY]
    assert found["log_return"]["value"] == pytest.approx(growth[names.POLICY + ON_EVENTS] - growth[names.POLICY])
    ratios = [results["scores"][mode][names.POLICY]["sharpe_ratio"] for mode in ("events", "every_session")]
    assert found["sharpe_ratio"]["value"] == pytest.approx(ratios[0] - ratios[1])
    low, high = found["log_return"]["ci95"]
    assert low < found["log_return"]["value"] < high


def test_fills_are_the_sessions_at_which_money_was_traded(both: BothWays, split: MarketSplit):
    window = split.test
    for name in (names.POLICY, names.POLICY + ON_EVENTS, ORACLE):
        own = both.decisions.filter(strategy=name)
        filled = fills_of(own, window, "buy") | fills_of(own, window, "sell")
        traded = both.equity.filter(strategy=name).sort("symbol", "session")["traded_value"].to_numpy() > 0.0
        assert filled.ravel().tolist() == traded.tolist()


def test_the_optimal_policys_purchases_are_followed_by_what_was_planted(results: dict):
    study = results["event_study"]["decisions"]["every_session"][ORACLE]
    assert study["buy"]["earned"]["value"] > 0.0
    assert study["sell"]["earned"]["value"] < 0.0
    assert study["buy"]["corrected_p_values"]["earned"] < 0.05


def test_events_are_counted_by_kind(results: dict, split: MarketSplit):
    counts = results["events"]["ALDR"]
    assert counts["sessions"] == int(split.test.num_sessions[0])
    assert counts["events"] == counts["news_burst"] > 0
    assert counts["filing"] == counts["large_move"] == 0
    assert set(results["event_study"]["events"]) == {"news_burst"}


def test_without_events_nothing_is_replayed(market: SimulatedMarket, split: MarketSplit):
    none = MarketSplit.of(split.states, DATA, EnvConfig(event_news_burst=99.0), "easy")
    strategies = Strategies({}, None, none, 0)
    with pytest.raises(DataError, match="the test window from 2023-04-03 to 2023-12-01 has no event"):
        replay_both_ways(strategies, market.prices, None)
