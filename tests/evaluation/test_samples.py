"""Rows of samples by hand, and that nothing of a row but what came of it depends on what comes later."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from flag_kedro.data.config import DataConfig, NewsConfig, WindowsConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.evaluation.samples import SAMPLES, gather_samples, gather_tagged_headlines
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_tables import MarketTables

CONFIG = SimulatedConfig(market="easy", first_session=date(2023, 1, 3), last_session=date(2023, 12, 29))
OUTCOMES = ["next_return", "next_variance", "week_variance", "large_move"]


@pytest.fixture(scope="module")
def split() -> MarketSplit:
    market = simulate_market(("ALDR", "BRIX"), CONFIG, seed=0)
    universe = pl.DataFrame(schema=UNIVERSE)
    states = MarketTables(market.prices, market.news, {}, universe, FeaturesConfig()).build_states()
    (fold,) = roll_folds(common_sessions(states), train=100, validation=40, test=40, folds=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    return MarketSplit.of(states, DataConfig(windows=windows), EnvConfig())


@pytest.fixture(scope="module")
def samples(split: MarketSplit) -> pl.DataFrame:
    return gather_samples(split, NewsConfig(), CONFIG)


def test_rows_say_what_came_next_within_their_window(samples: pl.DataFrame, split: MarketSplit):
    assert samples.schema == pl.Schema(SAMPLES)
    assert samples.group_by("symbol", "window").len()["len"].to_list().count(40) == 4
    marks = split.states["ALDR"].filter(pl.col("session") >= split.windows.train[0])["mark_price"].to_numpy()
    own = samples.filter(symbol="ALDR", window="train")
    returns = np.diff(np.log(marks))
    assert own["next_return"][3] == pytest.approx(returns[3])
    assert own["week_variance"][3] == pytest.approx((returns[3:8] ** 2).sum())
    assert own["next_return"].null_count() == 1
    assert own["week_variance"].null_count() == 5
    assert own["prefix"][3] == split.train.prefixes[0][3]


def test_the_truth_is_the_markets(samples: pl.DataFrame):
    truth = simulate_market(("ALDR", "BRIX"), CONFIG, seed=0).truth
    both = samples.join(truth, on=["symbol", "session"])
    assert both["news_sign"].to_list() == both["usable"].sign().to_list()
    assert set(both["news_sign"]) == {-1, 0, 1}


def test_the_oracles_forecast_is_there_where_headlines_announce_volatility(samples: pl.DataFrame, split: MarketSplit):
    assert samples["oracle_week"].null_count() == samples.height
    announcing = replace(CONFIG, language="recombined", volatility_news=0.4, volatility_effect=2.0)
    found = gather_samples(split, NewsConfig(), announcing)
    truth = simulate_market(("ALDR", "BRIX"), announcing, seed=0).truth.select(
        "symbol", "session", expected=pl.col("week_variance")
    )
    both = found.join(truth, on=["symbol", "session"], how="left")
    assert both["oracle_week"].equals(both["expected"], null_equal=True)
    assert both["oracle_week"].null_count() < both.height / 10


def test_what_comes_later_changes_outcomes_alone(samples: pl.DataFrame, split: MarketSplit):
    session = split.windows.test[0]
    states = {
        symbol: table.with_columns(
            mark_price=pl.when(pl.col("session") >= session)
            .then(pl.col("mark_price") * 1.5)
            .otherwise(pl.col("mark_price"))
        )
        for symbol, table in split.states.items()
    }
    changed = gather_samples(replace(split, states=states), NewsConfig(source="none"), CONFIG)
    before = [frame.filter(pl.col("session") < session).drop("news_sign", "level") for frame in (samples, changed)]
    assert before[0].equals(before[1])
    assert changed["news_sign"].null_count() == changed.height
    assert not samples.drop(OUTCOMES).equals(changed.drop(OUTCOMES))


def test_tagged_headlines_are_asked_alone_without_their_tag(split: MarketSplit):
    (first, *_), states = split.train.sessions[0], dict(split.states)
    news = (
        "- Sales rise (sentiment: positive)\n- Boss leaves (sentiment: negative)\n- Meeting held (sentiment: neutral)"
    )
    states["ALDR"] = states["ALDR"].with_columns(
        news_text=pl.when(pl.col("session") == first).then(pl.lit(news)).otherwise(pl.col("news_text"))
    )
    found = gather_tagged_headlines(replace(split, states=states))
    assert found.select("symbol", "session", "window", "news_sign").rows() == [
        ("ALDR", first, "train", 1),
        ("ALDR", first, "train", -1),
    ]
    assert "Market: not shown\nNews: \n- Sales rise\nAccount:" in found["prefix"][0]
    assert "sentiment" not in "".join(found["prefix"])
    assert gather_tagged_headlines(split).height == 0
