"""The causality audit of portfolios: what is held by a time and depends on what became known later is caught."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.corruptions import CORRUPTIONS
from flag_kedro.backtest.portfolio_replay import OpenPortfolio
from flag_kedro.backtest.portfolio_rules import HINDSIGHT
from flag_kedro.data.config import DataConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import States
from flag_kedro.errors import DataError
from flag_kedro.experiments import portfolio_audit
from flag_kedro.experiments.portfolio_audit import RememberedWeights, audit_portfolios
from flag_kedro.experiments.portfolios import replay_portfolios
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_tables import MarketTables

WINDOWS = {
    "train": [date(2023, 1, 3), date(2023, 5, 31)],
    "validation": [date(2023, 6, 1), date(2023, 6, 30)],
    "test": [date(2023, 7, 3), date(2023, 8, 15)],
}


def make_tables(kind: type[MarketTables] = MarketTables) -> MarketTables:
    config = SimulatedConfig(market="easy", first_session=date(2023, 1, 3), last_session=date(2023, 8, 15))
    simulated = simulate_market(("ALDR", "BRIX", "CORV"), config, seed=0)
    news = simulated.news.sort("symbol", "available_at", maintain_order=True)
    return kind(simulated.prices, news, {}, pl.DataFrame(schema=UNIVERSE), FeaturesConfig(digest_sessions=1))


def split_of(tables: MarketTables, env: EnvConfig | None = None) -> MarketSplit:
    return MarketSplit.of(tables.build_states(), DataConfig(source="simulated", windows=WINDOWS), env or EnvConfig())


def weigh_by_length(states: States, held: np.ndarray) -> np.ndarray:
    """Weights in proportion to the lengths of prompts."""
    lengths = np.array([float(len(prefix) % 17 + 1) for prefix in states.prefix])
    return (lengths / lengths.sum())[None]


def opened(weigh: Any = weigh_by_length) -> OpenPortfolio:
    return OpenPortfolio(weigh, lambda prompts: None, {}, "hash", PortfolioConfig(threshold=0.05))


def audit(
    tables: MarketTables, leave_out: tuple[str, ...] = (HINDSIGHT,), env: EnvConfig | None = None
) -> dict[str, Any]:
    split = split_of(tables, env)
    replays = replay_portfolios(split, opened().config, weigh_by_length, leave_out=leave_out)
    weights = pl.concat(replayed.weights for replayed in replays.values())
    return audit_portfolios(weights, tables, split, opened(), num_cuts=3, seed=1)


def test_honest_portfolios_pass_every_corruption():
    found = audit(make_tables())
    assert found["passed"]
    assert [check["corruption"] for check in found["checks"]] == [*CORRUPTIONS] * 3
    assert all(count > 0 for check in found["checks"] for count in check["compared"].values())
    assert found["levels"]["compared"] > 0


@pytest.mark.parametrize(
    "env", [EnvConfig(max_drawdown_stop=0.01), EnvConfig(decide_on="events", event_news_burst=4.0)]
)
def test_stops_and_events_are_no_leaks(env: EnvConfig):
    tables = make_tables()
    found = replay_portfolios(split_of(tables, env), opened().config, weigh_by_length)
    asked = found["flag_trader"].weights["target"]
    if env.max_drawdown_stop is not None:
        assert 0 < asked.null_count() < len(asked)  # it was stopped on the way
    assert audit(tables, env=env)["passed"]


@dataclass(frozen=True)
class Leaking(MarketTables):
    """Tables whose states tell the news of the next session."""

    def build_states(self, *arguments: Any, **named: Any) -> dict[str, pl.DataFrame]:
        states = super().build_states(*arguments, **named)
        return {s: t.with_columns(pl.col("news_text").shift(-1).fill_null("none")) for s, t in states.items()}


def test_prompts_that_tell_tomorrows_news_are_caught():
    found = audit(make_tables(Leaking))
    assert not found["passed"]
    assert {difference["what"] for check in found["checks"] for difference in check["differences"]} == {"prompts"}


def test_the_best_in_hindsight_would_be_caught(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(portfolio_audit, "HINDSIGHT", "none of them")
    found = audit(make_tables(), leave_out=())
    listed = [difference for check in found["checks"] for difference in check["differences"]]
    assert {difference["strategy"] for difference in listed} == {HINDSIGHT}
    assert sum(check["num_differences"] for check in found["checks"]) > len(listed)


def test_a_backtest_of_other_tables_is_refused():
    tables = make_tables()
    replays = replay_portfolios(split_of(tables), opened().config, weigh_by_length, leave_out=(HINDSIGHT,))
    weights = pl.concat(replayed.weights for replayed in replays.values())
    other = weights.with_columns(pl.col("target") * 0.9)
    with pytest.raises(DataError, match="do not repeat from prices and news"):
        audit_portfolios(other, tables, split_of(tables), opened(), num_cuts=1, seed=1)


def test_what_is_remembered_is_not_asked_again_but_the_last_sessions_are():
    asked = []

    def weigh(states: States, held: np.ndarray) -> np.ndarray:
        asked.append(states.prefix[0])
        return np.array([[0.5]])

    remembered = RememberedWeights(weigh)
    states = [States([f"session {t}"], [" none."], np.ones((1, 3), dtype=bool)) for t in range(15)]
    for _ in range(2):
        rule = remembered.again(15)
        for each in states:
            rule(each, np.zeros((1, 1)))
    assert len(asked) == 15 + 10
    assert asked[15:] == [f"session {t}" for t in range(5, 15)]
