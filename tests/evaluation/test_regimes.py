"""On the preset `regimes` headlines tell of volatility what past prices do not; on its twin they tell nothing."""

from dataclasses import replace

import numpy as np
import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.simulated.volatility import PHRASES
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.evaluation.samples import gather_samples
from flag_kedro.evaluation.tasks import Inputs, TaskResult, evaluate_tasks
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_tables import MarketTables

REGIMES = SimulatedConfig(market="regimes")


def week_volatility(config: SimulatedConfig) -> TaskResult:
    """A reader that tells phrases of turbulence, and of its end, in the prompt, and knows the month's variance."""
    market = simulate_market(None, config, seed=0)
    universe = pl.DataFrame(schema=UNIVERSE)
    states = MarketTables(market.prices, market.news, {}, universe, FeaturesConfig(digest_sessions=1)).build_states()
    samples = gather_samples(MarketSplit.of(states, DataConfig(), EnvConfig()), NewsConfig(), config)
    said = [samples["prefix"].str.contains_any(list(phrases)).cast(pl.Float64) for phrases in PHRASES.values()]
    assert 0.15 < said[0].mean() < 0.25  # type: ignore[operator]
    vectors = np.column_stack([*said, samples["har_month"].fill_null(1.0).log()])
    found = evaluate_tasks(Inputs(samples, {"flag_trader": vectors}, None), Inputs(samples.clear(), {}, None))
    result = found["week_volatility"]
    assert isinstance(result, TaskResult)
    return result


def test_who_reads_the_announcements_is_ahead_of_har_and_behind_the_oracle():
    found = week_volatility(REGIMES)
    losses = {name: score.loss for name, score in found.readers.items()}
    assert losses["oracle"] < losses["flag_trader"] < losses["har"] < losses["ewma"]
    assert found.differences["har"].ci95[1] < 0.0  # type: ignore[union-attr]
    assert found.differences["oracle"].ci95[0] > 0.0  # type: ignore[union-attr]


def test_on_the_twin_nobody_is_ahead_of_har_by_more_than_luck():
    difference = week_volatility(replace(REGIMES, volatility_effect=1.0)).differences["har"]
    assert difference is not None
    assert difference.ci95[1] > 0.0
