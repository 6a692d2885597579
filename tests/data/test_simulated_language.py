"""The simulated market that takes language: levels, conflicts and effects; older languages are as they were."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from flag_kedro.data.config import DataConfig
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, simulate_market
from flag_kedro.data.simulated.articles import Article
from flag_kedro.data.simulated.effects import plant_effects
from flag_kedro.data.simulated.paraphrases import LARGE, SMALL, load_neutral, load_pairs
from flag_kedro.data.simulated.wording import STALE_MARKS
from flag_kedro.data.windows import resolve_windows

LANGUAGE = SimulatedConfig(language="paraphrases")
HALF_YEAR = {"first_session": date(2021, 1, 4), "last_session": date(2021, 6, 30)}
OLD_TRUTH = ("symbol", "session", "effect", "next_effect", "second_effect", "usable", "before_close", "regime")
RULE = SimulatedConfig(signal=0.01, horizon=3, decay=0.5, priced_in=0.3).rule()


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market(tuple(COMPANIES)[:4], LANGUAGE, 0)


def digest(market: SimulatedMarket) -> str:
    """Of all tables in the columns that they had before paraphrases, to six decimals."""
    tables = (
        market.prices,
        market.news,
        market.truth.select(OLD_TRUTH),
        market.articles.select("symbol", "session", "kind", "size"),
    )
    rounded = [table.with_columns(pl.col(pl.Float64).round(6) + 0.0) for table in tables]
    return sha256(b"".join(table.write_csv(float_precision=6).encode() for table in rounded)).hexdigest()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"market": "laboratory"}, "9d276bac000f499e33988ba08a1e94a0ae25d1010e824d2e5b1585a633f77bf7"),
        (
            {"market": "laboratory", "language": "templates"},
            "d0235a9e29027c686e6015bdc4a5b04cb5cf4e376429e21952e9c7c0ebb2c99c",
        ),
        ({"market": "easy"}, "3eb563656ebb03552806f3107baf81c76fbfd3020c7c8edd618112e6429ba100"),
        (
            {"market": "realistic", "stale_share": 0.5},
            "baf91e7b6dd488b3d4ade70d1ee06e601f955a2fb50970b843913a6b6e18e80c",
        ),
    ],
)
def test_older_languages_are_as_they_were_before_paraphrases(given, expected):
    """Hashes of the tables, taken before there were any."""
    assert digest(simulate_market(("ALDR", "FJRD"), SimulatedConfig(**given, **HALF_YEAR), 3)) == expected


def test_language_brings_its_shares_and_what_is_given_wins():
    assert (LANGUAGE.rule().reversal_share, LANGUAGE.rule().conflict_share) == (0.3, 0.1)
    given = SimulatedConfig(language="paraphrases", reversal_share=0.0, conflict_share=0.25).rule()
    assert (given.reversal_share, given.conflict_share) == (0.0, 0.25)
    for language in ("templates", "recombined", None):
        rule = SimulatedConfig(language=language).rule()
        assert (rule.reversal_share, rule.conflict_share) == (0.0, 0.0)


@pytest.mark.parametrize("name", ["reversal_share", "conflict_share"])
def test_older_languages_have_neither_reversals_nor_conflicts(name):
    with pytest.raises(
        ValidationError, match=rf"simulated\.{name} is 0\.2, but simulated\.language=recombined has no such headlines"
    ):
        SimulatedConfig(**{name: 0.2})
    SimulatedConfig(**{name: 0.2}, language="paraphrases")


def article(kind: str, day: int, size: float, *, after_close: bool = True, level: int = 4) -> Article:
    published = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)
    return Article(day, after_close, published, kind, "", 2.0 * size, level, mean_size=size)


def test_conflict_moves_by_the_difference_of_sizes_and_counts_as_the_larger_one():
    """3 less 1 times 1 % is 2 %, where either headline's mean size is half of that; 30 % of it before it is out."""
    truth = plant_effects([article("bad", 3, 1.5), article("good", 3, 0.5)], RULE, 9)
    assert truth["effect"].tolist() == pytest.approx([0, 0, 0, -0.006, 0, -0.02, -0.01, -0.005, 0])
    assert truth["usable"].tolist() == [0, 0, 0, 0, -1, 0, 0, 0, 0]
    assert truth["level"].tolist() == [0, 0, 0, 0, 4, 0, 0, 0, 0]


def test_level_of_a_session_is_the_highest_of_what_its_decision_may_use_first():
    """A rival's news of day 2 and a plain headline of the evening before; what nobody can use any more has none."""
    articles = [
        article("good", 1, 1.0, level=1),
        article("rival", 2, 1.0, after_close=False, level=3),
        article("bad", 3, 1.0, after_close=False, level=2),
        article("bad", 4, 1.0, level=2),
    ]
    assert plant_effects(articles, RULE, 5)["level"].tolist() == [0, 0, 3, 2, 0]


def test_effect_that_can_be_expected_is_what_usable_counts():
    """Where sizes do not scatter: what the oracle takes a count for is what is planted, conflicts included."""
    config = replace(LANGUAGE, size_spread=0.0, horizon=1, signal=0.01, conflict_share=0.3)
    truth = simulate_market(("ALDR",), config, 0).truth
    np.testing.assert_allclose(truth["next_effect"], 0.01 * truth["usable"].to_numpy(), atol=1e-12)
    assert set(truth.filter(pl.col("level") == 4)["usable"]) >= {-1, 1}


def test_share_of_events_counts_conflicts_in_place_of_other_headlines():
    """A quarter of the sessions, and 0.4 of the others."""
    rule = SimulatedConfig(language="paraphrases", share=0.4, conflict_share=0.25).rule()
    assert rule.event_share == pytest.approx(0.25 + 0.75 * 0.4)
    config = replace(LANGUAGE, share=0.4, conflict_share=0.25)
    drawn = simulate_market(tuple(COMPANIES), config, 0)
    moving = drawn.articles.filter(pl.col("size") > 0.0).select("symbol", "session").unique()
    assert moving.height / drawn.prices.height == pytest.approx(0.55, abs=0.02)


def test_conflicts_are_two_headlines_that_no_other_headline_of_the_day_stands_beside(market):
    joined = market.news.select("published_at", "headline").with_columns(market.articles)
    conflicts = joined.filter(pl.col("level") == 4)
    assert conflicts.height / 2 / market.prices.height == pytest.approx(0.1, abs=0.015)
    closes = market.prices.select("symbol", "session", close="available_at")
    for (symbol, day), rows in conflicts.group_by("symbol", "session"):
        both = rows.sort("size")
        assert sorted(both["kind"]) == ["bad", "good"]
        assert both["size"][1] == pytest.approx(3 * both["size"][0])
        assert both["headline"][0].endswith(SMALL)
        assert both["headline"][1].endswith(LARGE)
        here = (pl.col("symbol") == symbol) & (pl.col("session") == day)
        assert (both["published_at"] > closes.filter(here)["close"].item()).n_unique() == 1
        assert joined.filter(here & (pl.col("size") > 0.0)).height == 2


def test_conflicts_replace_headlines_and_change_nothing_else():
    without = simulate_market(("ALDR",), replace(LANGUAGE, conflict_share=0.0), 0)
    with_some = simulate_market(("ALDR",), LANGUAGE, 0)
    days = set(with_some.articles.filter(pl.col("level") == 4)["session"])
    for kinds in (["neutral", "rival", "ambiguous"], ["good", "bad"]):
        one, other = (
            drawn.news.select("published_at", "headline")
            .with_columns(drawn.articles)
            .filter(pl.col("kind").is_in(kinds), pl.col("level") != 4)
            for drawn in (without, with_some)
        )
        if "good" in kinds:
            one = one.filter(~pl.col("session").is_in(days))
        assert one.height > 200
        assert one.equals(other)


def test_reports_say_an_event_again_in_other_words_and_move_nothing(market):
    """Three outlets: two more headlines for each event, of its side, level and half of the day; prices stay."""
    told = simulate_market(tuple(COMPANIES)[:4], replace(LANGUAGE, reports=3), 0)
    assert told.prices.equals(market.prices)
    assert told.truth.equals(market.truth, null_equal=True)
    reports = told.articles["kind"] == "report"
    assert told.news.filter(~reports).equals(market.news, null_equal=True)
    pairs = {text: (index, pair.level) for index, pair in enumerate(load_pairs()) for text in (pair.good, pair.bad)}
    side_of = {text: side for pair in load_pairs() for side, text in (("good", pair.good), ("bad", pair.bad))}
    joined = told.news.select("available_at", "headline").with_columns(told.articles)
    closes = told.prices.select("symbol", "session", close="available_at")
    joined = joined.join(closes, on=["symbol", "session"]).with_columns(late=pl.col("available_at") > pl.col("close"))
    assert joined.filter(kind="report").height > 1000
    for _, rows in joined.filter(pl.col("kind").is_in(["good", "bad", "report"])).group_by("symbol", "session"):
        own = rows.filter(pl.col("kind") != "report").sort("size")[-1]  # of two that disagree, the larger one
        again = rows.filter(kind="report")
        assert again.height == 2
        assert set(again["late"]) == set(own["late"])
        assert set(again["level"]) == set(own["level"])
        said = [predicates(headline)[0] for headline in again["headline"]]
        assert {side_of[text] for text in said} == set(own["kind"])
        assert len({pairs[text][0] for text in said}) == 2
        if own["level"].item() == 4:
            assert all(headline.endswith(LARGE) for headline in again["headline"])
        else:
            assert {pairs[text][1] for text in said} == set(own["level"])


def test_prices_of_the_language_market_tell_nothing_and_its_words_all():
    """No drift, no regimes, nothing priced in, one session moved: returns depend on the headlines just out alone."""
    drawn = simulate_market(("ALDR",), SimulatedConfig(market="language", size_spread=0.0), 0)
    truth = drawn.truth
    np.testing.assert_allclose(truth["effect"][1:], 0.02 * truth["usable"].to_numpy()[:-1], atol=1e-12)
    assert truth["regime"].null_count() == truth.height
    assert set(drawn.articles["kind"]) == {"good", "bad", "neutral", "report", "rival"}
    assert SimulatedConfig(market="language", language="recombined").rule().reports == 1


def test_reports_need_a_language_that_words_things_anew():
    with pytest.raises(ValidationError, match=r"simulated\.reports is 2, but simulated\.language=recombined"):
        SimulatedConfig(reports=2)


def test_levels_are_of_the_wording_and_of_whom_it_is_about(market):
    level_of = {text: pair.level for pair in load_pairs() for text in (pair.good, pair.bad)}
    joined = market.news.select("headline").with_columns(market.articles)
    for symbol, kind, level, headline in joined.select("symbol", "kind", "level", "headline").rows():
        if kind in ("good", "bad") and level != 4:
            assert level == level_of[headline.removeprefix(COMPANIES[symbol] + " ")]
        elif level != 4:
            assert level == (3 if kind == "rival" else 0)
    own = joined.filter(pl.col("level").is_in([1, 2]))["level"]
    assert (own == 2).mean() == pytest.approx(0.3, abs=0.03)


def predicates(headline: str) -> list[str]:
    """What is said in a headline, without marks of repetition, names, and words of size."""
    for mark in STALE_MARKS:
        headline = headline.removeprefix(mark)
    said = []
    for clause in headline.split("; ")[0].split(", while "):
        for name in (*COMPANIES.values(), "it"):
            clause = clause.removeprefix(name + " ")
        for size in (*LARGE, *SMALL):
            clause = clause.removesuffix(" " + size)
        said.append(clause)
    return said


def test_every_window_speaks_in_its_own_wordings_whatever_the_kind(market):
    """An article belongs to the window of the first decision that may use it."""
    window_of = {text: pair.window for pair in load_pairs() for text in (pair.good, pair.bad)}
    window_of |= {text: window for window, texts in enumerate(load_neutral()[:3]) for text in texts}
    sessions = market.prices.filter(pl.col("symbol") == "ALDR").select("session", "available_at")
    windows = resolve_windows(DataConfig(), {"ALDR": sessions[59:]})
    assert windows.validation is not None
    lasts = windows.train[1], windows.validation[1]
    ends = [sessions.filter(pl.col("session") == last)["available_at"].item() for last in lasts]
    kinds = set()
    for time, headline, kind in (
        market.news.with_columns(market.articles["kind"]).select("available_at", "headline", "kind").rows()
    ):
        kinds.add(kind)
        assert {window_of[text] for text in predicates(headline)} == {sum(time > end for end in ends)}
    assert kinds == {"good", "bad", "neutral", "rival", "ambiguous", "stale"}


def test_twin_without_signal_has_the_same_news(market):
    twin = simulate_market(tuple(COMPANIES)[:4], replace(LANGUAGE, signal=0.0), 0)
    assert twin.news.equals(market.news, null_equal=True)
    assert set(twin.truth["effect"]) == {0.0}


def test_a_second_set_of_test_wordings_changes_what_the_test_window_says_and_nothing_else():
    first = simulate_market(("ALDR", "BRIX"), SimulatedConfig(market="language"), 0)
    second = simulate_market(("ALDR", "BRIX"), SimulatedConfig(market="language", test_wordings="second"), 0)
    assert first.prices.equals(second.prices)
    assert first.truth.equals(second.truth)
    keys = ["symbol", "session", "kind", "size", "level"]
    assert first.articles.select(keys).equals(second.articles.select(keys))
    last = first.news.filter(first.news["headline"] != second.news["headline"])
    same = first.news.filter(first.news["headline"] == second.news["headline"])
    sets = [{text for pair in load_pairs() if pair.window == each for text in (pair.good, pair.bad)} for each in (2, 3)]
    ends = same.filter(pl.col("published_at") < last["published_at"].min())
    assert ends.height > 0.75 * first.news.height
    for market, own, other in ((first, *sets), (second, *reversed(sets))):
        said = market.news["headline"].to_list()
        assert any(text.endswith(tuple(own)) for text in said)
        assert not any(text.endswith(tuple(other)) for text in said)


def test_a_second_set_is_of_paraphrases_alone():
    with pytest.raises(
        ValidationError, match=r"simulated\.test_wordings is second, but simulated\.language=recombined"
    ):
        SimulatedConfig(test_wordings="second")
