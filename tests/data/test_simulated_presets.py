"""Presets of the simulated market: what each holds, regimes, and that none disturbs the draws of another."""

from dataclasses import replace
from datetime import date
from hashlib import sha256
from itertools import groupby

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, simulate_market
from flag_kedro.data.simulated.config import PRESETS
from flag_kedro.data.simulated.prices import draw_climate

SYMBOLS = ("ALDR", "FJRD")
HALF_YEAR = {"first_session": date(2021, 1, 4), "last_session": date(2021, 6, 30)}
LABORATORY = SimulatedConfig(market="laboratory")
NUM_SESSIONS = 59 + 1258


@pytest.fixture(scope="module")
def laboratory() -> SimulatedMarket:
    return simulate_market(SYMBOLS, LABORATORY, 0)


def digest(market: SimulatedMarket) -> str:
    """Of all tables, to six decimals: the last bits of exp and log differ between processors."""
    truth = market.truth.drop("regime", "level", "volatility", "week_variance")
    rounded = [table.with_columns(pl.col(pl.Float64).round(6) + 0.0) for table in (market.prices, market.news, truth)]
    return sha256(b"".join(table.write_csv(float_precision=6).encode() for table in rounded)).hexdigest()


def open_to_close(market: SimulatedMarket) -> np.ndarray:
    return (market.prices["close"].log() - market.prices["open"].log()).to_numpy()


def test_easy_market_is_the_one_that_was_there_before_presets():
    """Hashes of the market and its twin, taken before there was any other."""
    config = SimulatedConfig(market="easy", **HALF_YEAR)
    assert digest(simulate_market(SYMBOLS, config, 3)) == (
        "be84332356790fd9bfe781e332bbb7ebae40f6cf8c72cad3c55a1ba97a5ad5f6"
    )
    assert digest(simulate_market(SYMBOLS, replace(config, signal=0.0), 3)) == (
        "6e77b7046817a97be033759b1c055be8782892e21214f84b677dedf48edac4e4"
    )


def test_what_is_given_wins_and_the_preset_fills_the_rest():
    rule = SimulatedConfig(market="laboratory", noise=0.02, horizon=1).rule()
    assert rule == replace(PRESETS["laboratory"], noise=0.02, horizon=1)
    twin = replace(SimulatedConfig(market="realistic", horizon=2), signal=0.0).rule()
    assert twin == replace(PRESETS["realistic"], signal=0.0, horizon=2)
    assert SimulatedConfig(market="laboratory", drift=0.0, size_spread=0.0).rule().drift == 0.0


def test_realistic_effects_are_a_quarter_of_a_percent_and_all_else_is_the_laboratory():
    assert PRESETS["realistic"] == replace(PRESETS["laboratory"], signal=0.0025)


def test_more_neutral_headlines_at_least_than_at_most_are_refused():
    with pytest.raises(ValidationError, match=r"simulated\.fewest_neutral .4. must not exceed"):
        SimulatedConfig(fewest_neutral=4)


def test_distractors_change_neither_prices_nor_the_other_articles():
    plain = SimulatedConfig(market="easy", **HALF_YEAR)
    before = simulate_market(SYMBOLS, plain, 0)
    shares = {"rival_share": 0.5, "ambiguous_share": 0.4, "stale_share": 0.3}
    after = simulate_market(SYMBOLS, replace(plain, **shares), 0)
    assert after.prices.equals(before.prices)
    assert after.truth.drop("level").equals(before.truth.drop("level"), null_equal=True)
    own = after.articles["kind"].is_in(["good", "bad", "neutral"])
    assert after.news.filter(own).equals(before.news, null_equal=True)
    for kind, share in zip(("rival", "ambiguous", "stale"), shares.items(), strict=True):
        alone = simulate_market(SYMBOLS, replace(plain, **dict([share])), 0)
        one, other = (market.news.filter(market.articles["kind"] == kind) for market in (alone, after))
        assert one.height > 50
        assert one.equals(other, null_equal=True)


def test_twin_without_signal_has_the_same_news_and_regimes_and_lacks_exactly_the_effects(laboratory):
    twin = simulate_market(SYMBOLS, replace(LABORATORY, signal=0.0), 0)
    assert twin.news.equals(laboratory.news, null_equal=True)
    assert twin.articles.equals(laboratory.articles)
    assert twin.truth["regime"].equals(laboratory.truth["regime"])
    np.testing.assert_allclose(open_to_close(laboratory) - open_to_close(twin), laboratory.truth["effect"], atol=1e-12)
    assert set(twin.truth["effect"]) == {0.0}


@pytest.mark.parametrize("market", ["laboratory", "realistic"])
def test_most_articles_move_nothing_and_prompts_stay_short(market):
    drawn = simulate_market(None, SimulatedConfig(market=market), 1)
    assert (drawn.articles["size"] > 0.0).mean() < 0.4
    assert drawn.news.height / drawn.prices.height < 2.5
    assert set(drawn.articles["kind"]) == {"good", "bad", "neutral", "rival", "ambiguous", "stale"}


def test_easy_market_has_no_regimes():
    assert (
        simulate_market(("ALDR",), SimulatedConfig(market="easy", **HALF_YEAR), 0).truth["regime"].null_count()
        == 59 + 124
    )


def test_both_regimes_occur_in_any_120_sessions_and_last_40_to_80():
    firsts = set()
    for seed in range(60):
        names = draw_climate(LABORATORY.rule(), NUM_SESSIONS, seed).names
        stressed = np.array([name == "stressed" for name in names])
        counts = np.convolve(stressed, np.ones(120), mode="valid")
        assert counts.min() > 0
        assert counts.max() < 120
        lengths = [len(list(stretch)) for _, stretch in groupby(names)]
        assert all(40 <= length <= 80 for length in lengths[:-1])
        firsts.add(names[0])
    assert firsts == {"calm", "stressed"}


def test_drift_is_seven_percent_a_year_on_average():
    means = [draw_climate(LABORATORY.rule(), NUM_SESSIONS, seed).drift.mean() * 252 for seed in range(400)]
    assert np.mean(means) == pytest.approx(0.07, abs=0.005)


def test_returns_of_many_markets_rise_by_the_drift():
    """Twelve markets of five years: a standard error of about 0.01."""
    config = replace(LABORATORY, signal=0.0, noise=0.005)
    years = (NUM_SESSIONS - 1) / 252
    grown = []
    for seed in range(12):
        market = simulate_market(SYMBOLS, config, seed)
        ends = market.prices.group_by("symbol").agg((pl.col("close").last() / pl.col("close").first()).log())
        grown.append(ends["close"].mean() / years)
    assert np.mean(grown) == pytest.approx(0.07, abs=0.03)


def test_regimes_differ_in_drift_and_noise_and_are_common_to_all_symbols(laboratory):
    flat = replace(LABORATORY, signal=0.0, drift=0.0, regime_drift=0.0)
    level, tilted, steady = (
        simulate_market(SYMBOLS, config, 0)
        for config in (flat, replace(flat, regime_drift=0.252), replace(flat, regime_sessions=0))
    )
    stressed = (laboratory.truth["regime"] == "stressed").to_numpy()
    np.testing.assert_allclose(
        open_to_close(tilted) - open_to_close(level), np.where(stressed, -0.001, 0.001), atol=1e-12
    )
    np.testing.assert_allclose(open_to_close(level) / open_to_close(steady), np.where(stressed, 1.25, 0.85), rtol=1e-6)
    one, other = (laboratory.truth.filter(pl.col("symbol") == symbol)["regime"].to_list() for symbol in SYMBOLS)
    assert one == other
