"""The simulated market against its rule, reconstructed from what it publishes."""

import re
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.headlines import COMPANIES, TEMPLATES
from flag_kedro.data.schema import NEWS, PRICES
from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, garch_noise, simulate_market
from flag_kedro.data.streams import stream
from flag_kedro.errors import ParameterError

SYMBOLS = ("ALDR", "FJRD")
SPAN = {"market": "easy", "first_session": date(2021, 1, 4), "last_session": date(2021, 12, 31)}
PATTERNS = {
    kind: re.compile("|".join("^" + re.sub(r"\\{\w+\\}", ".+", re.escape(text)) + "$" for text in texts))
    for kind, texts in TEMPLATES.items()
}
DIRECTION = {"good": 1, "bad": -1, "neutral": 0}


def simulate(symbols: tuple[str, ...] | None = SYMBOLS, seed: int = 0, **changes: object) -> SimulatedMarket:
    return simulate_market(symbols, SimulatedConfig(**(SPAN | changes)), seed)


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate()


@pytest.fixture(scope="module")
def full() -> SimulatedMarket:
    return simulate_market(("ALDR", "BRIX", "CORV"), SimulatedConfig(market="easy"), 0)


def kind_of(headline: str) -> str:
    (kind,) = [kind for kind, pattern in PATTERNS.items() if pattern.match(headline)]
    return kind


def num_moving(market: SimulatedMarket) -> int:
    return sum(kind_of(headline) != "neutral" for headline in market.news["headline"])


def reconstruct_effect(market: SimulatedMarket, symbol: str, signal: float, horizon: int) -> list[float]:
    """The rule, applied article by article to the published headlines."""
    sessions = market.prices.filter(pl.col("symbol") == symbol)
    closes = sessions["available_at"].to_list()
    effect = [0.0] * len(closes)
    for time, headline in market.news.filter(pl.col("symbol") == symbol).select("available_at", "headline").rows():
        usable = [day for day, close in enumerate(closes) if close >= time]
        for day in usable[1 : 1 + horizon]:  # usable[0] is the first decision that may use it
            effect[day] += DIRECTION[kind_of(headline)] * signal
    return effect


def open_to_close(market: SimulatedMarket) -> np.ndarray:
    return (market.prices["close"].log() - market.prices["open"].log()).to_numpy()


def close_to_open(market: SimulatedMarket) -> np.ndarray:
    logs = market.prices.select(
        "symbol", overnight=pl.col("open").log() - pl.col("close").log().shift(1).over("symbol")
    )
    return logs["overnight"].drop_nulls().to_numpy()


def same(one: SimulatedMarket, other: SimulatedMarket) -> bool:
    return (
        one.prices.equals(other.prices, null_equal=True)
        and one.news.equals(other.news, null_equal=True)
        and one.truth.equals(other.truth, null_equal=True)
        and one.articles.equals(other.articles)
    )


def test_same_seed_gives_the_same_bits(market):
    assert same(market, simulate())


def test_another_seed_gives_other_prices_and_other_news(market):
    other = simulate(seed=1)
    assert not (other.prices["close"] == market.prices["close"]).any()
    assert other.news["headline"].to_list() != market.news["headline"].to_list()


def test_symbol_does_not_depend_on_which_others_are_drawn(market):
    alone = simulate(("FJRD",))
    among = simulate(("KELP", "FJRD", "ALDR"))
    for other in (among, market):
        tables = (other.prices, other.news, other.truth, other.articles)
        chosen = [table.filter(pl.col("symbol") == "FJRD") for table in tables]
        assert same(alone, SimulatedMarket(*chosen))


def test_symbols_come_in_the_order_asked_for():
    assert simulate(("KELP", "ALDR")).prices["symbol"].unique(maintain_order=True).to_list() == ["KELP", "ALDR"]


def test_six_symbols_are_drawn_when_none_are_named():
    assert simulate(None).prices["symbol"].n_unique() == 6


def test_unknown_symbol_is_refused_with_those_there_are():
    with pytest.raises(
        ParameterError, match=r"data\.symbols: no data for MSFT TSLA; the simulated market has ALDR BRIX"
    ):
        simulate(("ALDR", "MSFT", "TSLA"))


def test_default_span_is_five_years_of_new_york_after_59_sessions_of_warm_up(full):
    """New York traded on 252, 253, 252, 251 and 250 days in 2019 to 2023."""
    days = full.prices.filter(pl.col("symbol") == "BRIX")["session"]
    assert (days >= date(2019, 1, 2)).sum() == 252 + 253 + 252 + 251 + 250
    assert (days < date(2019, 1, 2)).sum() == 59
    assert days.to_list() == exchange_sessions("XNYS", days[0], date(2023, 12, 29))["session"].to_list()


def test_tables_have_the_columns_of_the_schema(market):
    assert dict(market.prices.schema) == PRICES
    assert dict(market.news.schema) == NEWS


def test_price_is_available_at_the_close_early_closes_included(market):
    day_after_thanksgiving = market.prices.filter(pl.col("session") == date(2021, 11, 26))
    assert set(day_after_thanksgiving["available_at"].dt.hour()) == {18}


def test_high_and_low_hold_open_and_close(full):
    rows = full.prices.select(
        above=pl.col("high") >= pl.max_horizontal("open", "close"),
        below=pl.col("low") <= pl.min_horizontal("open", "close"),
        positive=pl.min_horizontal("open", "high", "low", "close", "volume") > 0,
        undivided=pl.col("adj_close") == pl.col("close"),
    )
    assert rows.min().row(0) == (True, True, True, True)


def test_about_half_of_the_headlines_come_after_the_close(full):
    closes = full.prices.select("symbol", "session", close="available_at")
    news = full.news.with_columns(session=pl.col("published_at").dt.date()).join(closes, on=["symbol", "session"])
    assert news.height == full.news.height  # each on a day of trading
    assert 0.47 < (news["published_at"] > news["close"]).mean() < 0.53


def test_headlines_are_known_when_published(market):
    assert market.news["available_at"].equals(market.news["published_at"].alias("available_at"))


def test_every_session_has_one_to_three_neutral_headlines(market):
    neutral = [
        time.date()
        for time, text in market.news.filter(pl.col("symbol") == "ALDR").select("published_at", "headline").rows()
        if kind_of(text) == "neutral"
    ]
    counts = pl.Series(neutral).value_counts()
    sessions = market.prices.filter(pl.col("symbol") == "ALDR").height
    assert counts.height == sessions
    assert set(counts["count"]) == {1, 2, 3}


@pytest.mark.parametrize("horizon", [1, 3, 5])
def test_headline_moves_exactly_the_horizon_sessions_after_the_first_that_may_use_it(horizon):
    market = simulate(signal=0.01, horizon=horizon)
    for symbol in SYMBOLS:
        truth = market.truth.filter(pl.col("symbol") == symbol)["effect"].to_numpy()
        assert np.count_nonzero(truth) > 50
        np.testing.assert_allclose(truth, reconstruct_effect(market, symbol, 0.01, horizon), atol=1e-12)


def test_truth_counts_headlines_at_the_first_decision_that_can_know_them(full):
    for symbol in ("ALDR", "CORV"):
        closes = full.prices.filter(pl.col("symbol") == symbol)["available_at"].to_list()
        usable, before_close = [0] * len(closes), [False] * len(closes)
        for time, headline in full.news.filter(pl.col("symbol") == symbol).select("available_at", "headline").rows():
            if (sign := DIRECTION[kind_of(headline)]) and time <= closes[-1]:
                day = next(day for day, close in enumerate(closes) if close >= time)
                usable[day] += sign
                before_close[day] |= time.date() == closes[day].date()
        truth = full.truth.filter(pl.col("symbol") == symbol)
        assert truth["usable"].to_list() == usable
        assert truth["before_close"].to_list() == before_close


def test_twin_without_signal_differs_by_exactly_the_planted_effect(market):
    twin = simulate(signal=0.0)
    np.testing.assert_allclose(open_to_close(market) - open_to_close(twin), market.truth["effect"], atol=1e-12)
    np.testing.assert_allclose(close_to_open(market), close_to_open(twin), atol=1e-12)
    assert set(twin.truth["effect"]) == {0.0}


def test_twin_without_signal_has_the_same_news(market):
    assert simulate(signal=0.0).news.equals(market.news, null_equal=True)


def test_every_moved_session_opens_after_the_headline_so_that_next_open_can_earn_it():
    market = simulate(("ALDR",), share=1.0, horizon=1, signal=0.01)
    opens = exchange_sessions("XNYS", market.prices["session"][0], date(2021, 12, 31))["opens_at"].to_list()
    closes = market.prices["available_at"].to_list()
    num_same_day = 0
    for time, headline in market.news.select("available_at", "headline").rows():
        first = next((day for day, close in enumerate(closes) if close >= time), None)
        if kind_of(headline) != "neutral" and first is not None and first + 1 < len(opens):
            assert opens[first + 1] > closes[first] >= time
            num_same_day += opens[first] < time
    assert num_same_day > 50  # headlines during trading are among them


@pytest.mark.parametrize(
    ("share", "low", "high"), [(0.0, 0.0, 0.0), (0.2, 0.15, 0.25), (0.5, 0.44, 0.56), (1.0, 1.0, 1.0)]
)
def test_share_is_the_part_of_symbol_sessions_with_a_good_or_bad_headline(share, low, high):
    market = simulate(share=share)
    assert low <= num_moving(market) / market.prices.height <= high


def test_good_and_bad_headlines_are_about_as_frequent(full):
    kinds = [kind_of(headline) for headline in full.news["headline"]]
    assert 0.45 < kinds.count("good") / (kinds.count("good") + kinds.count("bad")) < 0.55


def test_market_without_moving_headlines_has_no_effect():
    assert set(simulate(share=0.0).truth["effect"]) == {0.0}


def test_twice_the_signal_is_twice_the_effect(market):
    double = simulate(signal=0.012)
    np.testing.assert_allclose(double.truth["effect"], 2 * market.truth["effect"].to_numpy(), atol=1e-12)


def test_drift_of_a_year_is_spread_over_252_sessions():
    """0.252 a year is 0.001 a session."""
    rising, level = simulate(drift=0.252), simulate(drift=0.0)
    np.testing.assert_allclose(open_to_close(rising) - open_to_close(level), 0.001, atol=1e-12)


def test_twice_the_noise_is_twice_every_log_return():
    quiet, loud = simulate(signal=0.0, noise=0.01), simulate(signal=0.0, noise=0.02)
    np.testing.assert_allclose(open_to_close(loud), 2 * open_to_close(quiet), atol=1e-12)
    np.testing.assert_allclose(close_to_open(loud), 2 * close_to_open(quiet), atol=1e-12)


def test_noise_is_the_standard_deviation_of_close_to_close_returns():
    """Averaged over twelve symbols and three years; clustering makes a single symbol wander."""
    market = simulate_market(tuple(COMPANIES), SimulatedConfig(market="easy", signal=0.0, noise=0.01), 0)
    returns = market.prices.select(pl.col("close").log().diff().over("symbol"))["close"].drop_nulls()
    assert returns.std() == pytest.approx(0.01, rel=0.1)


def test_symbols_share_a_common_factor():
    twin = simulate_market(tuple(COMPANIES), SimulatedConfig(market="easy", signal=0.0), 0)
    returns = open_to_close(twin).reshape(len(COMPANIES), -1)
    correlations = np.corrcoef(returns)[np.triu_indices(len(COMPANIES), k=1)]
    assert 0.2 < correlations.mean() < 0.4


def test_volatility_clusters_but_signs_cannot_be_told():
    """Bollerslev (1986): the squares of GARCH(1, 1) with 0.08 and 0.90 have first autocorrelation 0.205."""
    noise = garch_noise(stream(0, "a long path"), 40_000)
    squares = np.corrcoef(noise[1:] ** 2, noise[:-1] ** 2)[0, 1]
    assert 0.12 < squares < 0.29
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.025
    assert noise.var() == pytest.approx(1.0, rel=0.08)


def test_streams_of_different_purpose_differ_and_of_the_same_agree():
    draws = [
        stream(*key).random() for key in ((0, "a", "b"), (0, "a", "c"), (0, "b", "a"), (1, "a", "b"), (0, "a", "b"))
    ]
    assert len(set(draws)) == 4
    assert draws[0] == draws[-1]


def test_span_must_begin_before_it_ends():
    with pytest.raises(ValidationError, match=r"simulated\.first_session .2022-01-03. must lie before"):
        SimulatedConfig(market="easy", first_session=date(2022, 1, 3), last_session=date(2022, 1, 3))


@pytest.mark.parametrize(
    ("key", "value"), [("share", 1.5), ("noise", 0.0), ("signal", -0.01), ("horizon", 0), ("drift", 2.0), ("sharpe", 1)]
)
def test_impossible_and_unknown_parameters_are_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        SimulatedConfig(**{key: value})


def test_span_that_begins_on_a_holiday_starts_with_the_next_session():
    prices = simulate(("ALDR",), first_session=date(2021, 1, 1)).prices
    assert prices["session"][59] == date(2021, 1, 4)
    assert prices["session"][58] == date(2021, 1, 4) - timedelta(days=4)


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_effects_known_at_a_close_follow_from_the_headlines_published_until_then(horizon: int):
    market = simulate(horizon=horizon, signal=0.01)
    for symbol in ("ALDR", "FJRD"):
        truth = market.truth.filter(pl.col("symbol") == symbol)
        closes = market.prices.filter(pl.col("symbol") == symbol)["available_at"].to_list()
        news = market.news.filter(pl.col("symbol") == symbol)
        for day in range(10, 40):
            published = news.filter(pl.col("available_at") <= closes[day])
            effect = reconstruct_effect(replace(market, news=published), symbol, 0.01, horizon)
            row = truth.row(day, named=True)
            assert row["next_effect"] == pytest.approx(effect[day + 1], abs=1e-12)
            assert row["second_effect"] == pytest.approx(effect[day + 2], abs=1e-12)
