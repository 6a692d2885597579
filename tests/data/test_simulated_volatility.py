"""Headlines that announce turbulence or its end: what they plant, that they can be read, and the oracle's forecast."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from flag_kedro.data.realised import realised_variance
from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, simulate_market
from flag_kedro.data.simulated.articles import Article
from flag_kedro.data.simulated.clauses import TAILS, VERBS
from flag_kedro.data.simulated.config import PRESETS
from flag_kedro.data.simulated.expected_variance import expect_week_variance
from flag_kedro.data.simulated.prices import Climate, garch_noise, garch_variance
from flag_kedro.data.simulated.volatility import MATTERS, PHRASES, announce, plant_volatility
from flag_kedro.data.streams import stream

SYMBOLS = ("ALDR", "FJRD")
REGIMES = SimulatedConfig(market="regimes")
RULE = replace(REGIMES.rule(), volatility_effect=3.0, volatility_decay=0.5)
QUIET = replace(RULE, signal=0.0, drift=0.0, noise=0.01, volatility_news=0.5)
"""Without any planted return."""


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market(SYMBOLS, REGIMES, 0)


def article(kind: str, day: int, *, after_close: bool = False, size: float = 0.0) -> Article:
    return Article(day, after_close, datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day), kind, "", size)


def announced(market: SimulatedMarket) -> pl.Series:
    return market.articles["kind"].is_in(list(PHRASES))


def test_regimes_are_the_laboratory_with_announcements():
    assert PRESETS["regimes"] == replace(PRESETS["laboratory"], volatility_news=0.4, volatility_effect=2.0)
    assert all(rule.volatility_news == 0.0 for name, rule in PRESETS.items() if name != "regimes")


def test_turbulence_triples_the_noise_from_the_next_session_on_fades_and_ends_with_the_next_headline():
    """3, then 3 to the power of 1/2 and 1/4; known on day 5 one of its end, which says a third."""
    articles = [article("turbulent", 1), article("good", 3, size=1.0), article("settled", 4, after_close=True)]
    planted = plant_volatility(articles, RULE, 8)
    assert planted["turbulence"].tolist() == [0, 1, 0.5, 0.25, 0.125, -1, -0.5, -0.25]
    assert planted["volatility"] == pytest.approx([1, 1, 3, 3**0.5, 3**0.25, 3**0.125, 1 / 3, 3**-0.5])


def test_announcements_change_no_other_article_and_without_effect_no_price():
    plain = simulate_market(SYMBOLS, SimulatedConfig(market="laboratory"), 0)
    twin = simulate_market(SYMBOLS, replace(REGIMES, volatility_effect=1.0), 0)
    assert twin.prices.equals(plain.prices)
    assert twin.news.filter(~announced(twin)).equals(plain.news, null_equal=True)
    assert announced(twin).sum() == pytest.approx(0.4 * twin.prices.height, rel=0.1)
    assert set(twin.truth["volatility"]) == {1.0}


def test_noise_and_nothing_else_is_multiplied():
    still = replace(REGIMES, signal=0.0, drift=0.0, regime_drift=0.0)
    one, twin = (simulate_market(SYMBOLS, each, 3) for each in (still, replace(still, volatility_effect=1.0)))
    assert one.news.equals(twin.news, null_equal=True)
    for first, last in (("open", "close"), ("close", "open")):
        moves = [
            table.prices.select(move=(pl.col(last).log() - pl.col(first).log().shift(int(last == "open"))))["move"]
            for table in (one, twin)
        ]
        within = (one.prices["symbol"] == one.prices["symbol"].shift()).fill_null(False)
        ratio = (moves[0] / moves[1]).filter(within)
        np.testing.assert_allclose(ratio, one.truth["volatility"].filter(within), rtol=1e-6)


def test_state_of_each_session_is_said_by_headlines_out_before_the_close_before(market: SimulatedMarket):
    news = market.news.with_columns(market.articles["kind"]).filter(announced(market))
    for symbol in SYMBOLS:
        here = pl.col("symbol") == symbol
        closes = market.prices.filter(here)["available_at"].to_list()
        out = news.filter(here).sort("available_at").select("available_at", "kind").rows()
        expected = [1.0]
        for close in closes[:-1]:
            known = [kind for time, kind in out if time <= close]
            expected.append({"turbulent": 2.0, "settled": 0.5}[known[-1]] if known else 1.0)
        assert market.truth.filter(here)["volatility"].to_list() == expected
        new = [sum(before < time <= close for time, _ in out) for before, close in pairwise(closes)]
        assert max(new) == 1


def test_each_sentence_is_in_one_window_and_each_part_in_all():
    rng = np.random.default_rng(0)
    for kind, phrases in PHRASES.items():
        windows = [{announce(kind, "X", window, rng) for _ in range(12_000)} for window in range(3)]
        assert set.union(*windows) == {
            f"X {verb} {noun} {tail}" for verb in phrases for noun in MATTERS for tail in TAILS
        }
        assert [len(window) for window in windows] == [864, 864, 864]
        for window in windows:
            assert all(any(text.startswith(f"X {verb} ") for text in window) for verb in phrases)


def test_phrases_tell_turbulence_from_its_end_and_neither_from_good_or_bad():
    for one, other in combinations([*PHRASES.values(), *VERBS.values()], 2):
        assert not any(f"{verb} ".startswith(f"{rest} ") for verb in one for rest in other)
        assert not any(f"{verb} ".startswith(f"{rest} ") for verb in other for rest in one)
    assert len(PHRASES["turbulent"]) == len(PHRASES["settled"]) == 12


def test_garch_variance_is_the_one_that_drew_the_noise():
    shocks = stream(0, "x").standard_normal(50)
    noise = garch_noise(stream(0, "x"), 50)
    np.testing.assert_allclose(noise[1:] / np.sqrt(garch_variance(noise)[:-1]), shocks[1:])


def expected(articles: list[Article], state: float, rule: object = QUIET) -> float:
    """Of a first close in a market whose noise has its usual variance."""
    num = 7
    climate = Climate([None] * num, np.zeros(num), np.ones(num), np.ones(num))
    turbulence = np.full(num, state)
    found = expect_week_variance(articles, turbulence, climate, np.ones(num), rule)  # type: ignore[arg-type]
    assert np.isnan(found[2:]).all()
    return float(found[0])


def test_expected_variance_is_worked_by_hand():
    """Noise of 1 leaves the GARCH variance at 1, so that a session without headlines has 0.0001."""
    assert expected([], 0.0, replace(QUIET, volatility_news=0.0)) == pytest.approx(5e-4)
    assert expected([], 1.0, replace(QUIET, volatility_news=0.0)) == pytest.approx(
        1e-4 * (9 + 3 + 3**0.5 + 3**0.25 + 3**0.125)
    )
    # of a headline in every session each following one has 9 or 1/9
    assert expected([], -1.0, replace(QUIET, volatility_news=1.0)) == pytest.approx(
        1e-4 * (1 / 9 + 4 * (9 + 1 / 9) / 2)
    )


def test_expected_variance_counts_known_and_unknown_effects_by_hand():
    """Signal 0.01: a headline of size 2 moves by 2, 1 and 0.5 %; of unknown ones half are out in any session."""
    still = replace(QUIET, volatility_news=0.0, noise=1e-9, share=0.0, signal=0.01)
    assert expected([article("bad", 0, size=2.0)], 0.0, still) == pytest.approx(4e-4 + 1e-4 + 0.25e-4)
    assert expected([article("good", 1, size=2.0)], 0.0, still) == pytest.approx(0.0, abs=1e-12)
    often = replace(still, share=0.5, size_spread=0.0, priced_in=0.3)
    # 0.09 in each, then 1, 1.25, and 1.3125 twice (three sessions each)
    assert expected([], 0.0, often) == pytest.approx(0.5e-4 * (5 * 0.09 + 1 + 1.25 + 1.3125 + 1.3125))


def test_oracle_is_right_on_average_whatever_the_last_headline_said():
    """Eight markets: realised over expected variance is 1 within a few percent in each state, and far apart between."""
    parts = []
    for seed in range(8):
        market = simulate_market(None, REGIMES, seed)
        for (symbol,), truth in market.truth.group_by("symbol", maintain_order=True):
            closes = market.prices.filter(pl.col("symbol") == symbol)["close"].to_numpy()
            realised = realised_variance(np.diff(np.log(closes), prepend=np.nan))
            parts.append(
                truth.select(
                    "week_variance",
                    state=pl.col("volatility").shift(-1),
                    realised=pl.Series(realised, nan_to_null=True),
                )
            )
    means = pl.concat(parts).drop_nulls().group_by("state").agg(pl.all().mean()).sort("state")
    assert means["state"].to_list()[0] == 0.5
    said = dict(means.select("state", "week_variance").rows())
    for state, forecast, realised in means.select("state", "week_variance", "realised").rows():
        if state != 1.0:  # which ends with the first headline
            assert realised == pytest.approx(forecast, rel=0.04)
    assert said[2.0] > 2.0 * said[0.5]


def test_other_languages_have_no_words_for_it():
    with pytest.raises(
        ValidationError, match=r"volatility_news is 0\.4, but simulated\.language=paraphrases has no words"
    ):
        SimulatedConfig(market="regimes", language="paraphrases")
    with pytest.raises(ValidationError, match=r"simulated\.language=templates has no words"):
        SimulatedConfig(market="easy", volatility_news=0.1)
    SimulatedConfig(market="language", volatility_effect=2.0)
