"""Articles of the simulated market: what each kind says, when it is out, and what it plants."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from flag_kedro.data.config import DataConfig
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, simulate_market
from flag_kedro.data.simulated.articles import Article
from flag_kedro.data.simulated.clauses import VERBS
from flag_kedro.data.simulated.effects import plant_effects
from flag_kedro.data.simulated.wording import STALE_MARKS
from flag_kedro.data.windows import resolve_windows

DIRECTION = {"good": 1, "bad": -1}
RULE = SimulatedConfig(market="laboratory", signal=0.01, horizon=3, decay=0.5, priced_in=0.3)


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market(("ALDR", "FJRD"), SimulatedConfig(market="laboratory", signal=0.006), 0)


def article(kind: str, day: int, *, after_close: bool, size: float = 1.0) -> Article:
    return Article(day, after_close, datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day), kind, "", size)


def planted(*articles: Article, num: int = 9) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in plant_effects(articles, RULE.rule(), num).items()}


def test_headline_after_the_close_moves_that_session_before_and_three_later_less_and_less():
    """Of size 2: 2 % in the first session after its first decision (that of day 4), then 1 % and 0.5 %; and 0.6 % on
    the day itself, which closes before it is out."""
    truth = planted(article("good", 3, after_close=True, size=2.0))
    assert truth["effect"] == pytest.approx([0, 0, 0, 0.006, 0, 0.02, 0.01, 0.005, 0])
    assert truth["next_effect"] == pytest.approx([0, 0, 0, 0, 0.02, 0.01, 0.005, 0, 0])
    assert truth["second_effect"] == pytest.approx([0, 0, 0, 0, 0.01, 0.005, 0, 0, 0])
    assert truth["usable"] == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert not any(truth["before_close"])


def test_headline_during_a_session_moves_the_one_before_it_and_those_after():
    truth = planted(article("bad", 3, after_close=False))
    assert truth["effect"] == pytest.approx([0, 0, -0.003, 0, -0.01, -0.005, -0.0025, 0, 0])
    assert truth["next_effect"] == pytest.approx([0, 0, 0, -0.01, -0.005, -0.0025, 0, 0, 0])
    assert truth["usable"] == [0, 0, 0, -1, 0, 0, 0, 0, 0]
    assert truth["before_close"].index(True) == 3


def test_effects_add_up_and_end_with_the_market():
    """The first one has no session before it; the last is known only after the end."""
    first, second = article("good", 0, after_close=False), article("bad", 0, after_close=True)
    truth = planted(first, second, article("good", 3, after_close=True), num=4)
    assert truth["effect"] == pytest.approx([-0.003, 0.01, 0.005 - 0.01, 0.0025 - 0.005 + 0.003])
    assert truth["usable"] == [1, -1, 0, 0]


@pytest.mark.parametrize("kind", ["neutral", "rival", "ambiguous", "stale"])
def test_other_kinds_move_nothing_and_are_not_counted(kind):
    assert all(not any(values) for values in planted(article(kind, 3, after_close=True, size=0.0)).values())


def by_symbol(market: SimulatedMarket) -> Iterator[tuple[str, list[datetime], pl.DataFrame, pl.DataFrame]]:
    news = market.news.with_columns(market.articles["kind"], market.articles["size"])
    for symbol in ("ALDR", "FJRD"):
        here = pl.col("symbol") == symbol
        closes = market.prices.filter(here)["available_at"].to_list()
        yield symbol, closes, news.filter(here), market.truth.filter(here)


def test_planted_truth_follows_from_published_times_kinds_and_sizes(market):
    """The rule, applied article by article: with all that is planted, and with what each close can know."""
    signal, decay, horizon, priced_in = 0.006, 0.5, 3, 0.3
    for _, closes, news, truth in by_symbol(market):
        effect, following = np.zeros(len(closes) + 9), np.zeros(len(closes) + 9)
        for time, kind, size in news.select("available_at", "kind", "size").rows():
            first = DIRECTION.get(kind, 0) * signal * size
            closed = sum(close < time for close in closes)  # before it is out
            if closed:
                effect[closed - 1] += priced_in * first
            for age in range(horizon):
                effect[closed + 1 + age] += first * decay**age
                following[closed + age] += first * decay**age
        np.testing.assert_allclose(truth["effect"], effect[: len(closes)], atol=1e-12)
        np.testing.assert_allclose(truth["next_effect"], following[: len(closes)], atol=1e-12)


def test_usable_counts_good_less_bad_headlines_of_the_symbol_itself(market):
    for _, closes, news, truth in by_symbol(market):
        usable = [0] * (len(closes) + 1)
        for time, kind in news.select("available_at", "kind").rows():
            usable[sum(close < time for close in closes)] += DIRECTION.get(kind, 0)
        assert truth["usable"].to_list() == usable[:-1]


def test_sizes_have_mean_one_and_the_given_spread():
    market = simulate_market(tuple(COMPANIES), SimulatedConfig(market="laboratory", size_spread=0.4), 0)
    sizes = market.articles.filter(pl.col("size") > 0.0)["size"]
    assert len(sizes) > 5000
    assert sizes.mean() == pytest.approx(1.0, abs=0.02)
    assert sizes.log().std() == pytest.approx(0.4, rel=0.05)
    assert set(market.articles.filter(pl.col("size") == 0.0)["kind"]) == {"neutral", "rival", "ambiguous", "stale"}


def test_equal_sizes_are_exactly_one():
    market = simulate_market(("ALDR",), SimulatedConfig(market="laboratory", size_spread=0.0), 0)
    assert set(market.articles["size"]) == {0.0, 1.0}


def starts(text: str, kind: str) -> bool:
    return any(text.startswith(verb + " ") for verb in VERBS[kind])


@pytest.mark.parametrize("kind", ["good", "bad", "neutral"])
def test_own_articles_name_the_company_and_begin_with_a_verb_of_their_kind(market, kind):
    for symbol, _, news, _ in by_symbol(market):
        for headline in news.filter(pl.col("kind") == kind)["headline"]:
            assert headline.startswith(COMPANIES[symbol] + " ")
            assert starts(headline.removeprefix(COMPANIES[symbol] + " "), kind)


def test_good_and_bad_articles_are_about_as_frequent(market):
    counts = dict(market.articles["kind"].value_counts().rows())
    assert 0.45 < counts["good"] / (counts["good"] + counts["bad"]) < 0.55


def test_rival_is_another_company_named_first_with_good_or_bad_news(market):
    for symbol, _, news, _ in by_symbol(market):
        for headline in news.filter(pl.col("kind") == "rival")["headline"]:
            (rival,) = [name for name in COMPANIES.values() if headline.startswith(name)]
            assert rival != COMPANIES[symbol]
            rest = headline.removeprefix(rival + " ")
            assert starts(rest, "good") or starts(rest, "bad")
            assert f"; {COMPANIES[symbol]} " in rest


def test_ambiguous_article_says_something_good_and_something_bad_of_its_company(market):
    orders = set()
    for symbol, _, news, _ in by_symbol(market):
        for headline in news.filter(pl.col("kind") == "ambiguous")["headline"]:
            first, second = headline.split(", while it ")
            first = first.removeprefix(COMPANIES[symbol] + " ")
            order = tuple(kind for text in (first, second) for kind in ("good", "bad") if starts(text, kind))
            assert sorted(order) == ["bad", "good"]
            orders.add(order)
    assert len(orders) == 2


def test_stale_article_repeats_one_that_was_usable_4_to_10_sessions_before(market):
    ages = set()
    for _, closes, news, _ in by_symbol(market):
        days = [sum(close < time for close in closes) for time in news["available_at"]]
        rows = list(zip(days, news["kind"], news["headline"], strict=True))
        for day, kind, headline in rows:
            if kind == "stale":
                (mark,) = [mark for mark in STALE_MARKS if headline.startswith(mark)]
                told = headline.removeprefix(mark)
                found = {day - old for old, other, text in rows if other in DIRECTION and text == told and old < day}
                assert found & set(range(4, 11))
                ages |= found
    assert set(range(4, 11)) <= ages


def clauses(headline: str) -> Iterator[str]:
    """The sentences in a headline without marks of repetition, companies and what is said beside them."""
    for mark in STALE_MARKS:
        headline = headline.removeprefix(mark)
    for clause in headline.split("; ")[0].split(", while "):
        for name in (*COMPANIES.values(), "it"):
            clause = clause.removeprefix(name + " ")
        yield clause


@pytest.mark.parametrize("seed", range(3))
def test_no_clause_of_one_window_occurs_in_another(seed):
    """An article belongs to the window of the first decision that may use it."""
    market = simulate_market(None, SimulatedConfig(market="laboratory", stale_share=0.5), seed)
    sessions = market.prices.filter(pl.col("symbol") == "ALDR").select("session", "available_at")
    windows = resolve_windows(DataConfig(), {"ALDR": sessions[59:]})
    assert windows.validation is not None
    lasts = windows.train[1], windows.validation[1]
    ends = [sessions.filter(pl.col("session") == last)["available_at"].item() for last in lasts]  # their last decisions
    said: list[set[str]] = [set(), set(), set()]
    for time, headline in market.news.select("available_at", "headline").rows():
        said[sum(time > end for end in ends)].update(clauses(headline))
    assert min(len(window) for window in said) > 800
    assert not any(one & other for one, other in combinations(said, 2))
    for window in said:
        for verb in (verb for verbs in VERBS.values() for verb in verbs):
            assert any(clause.startswith(verb + " ") for clause in window)


def test_sentences_of_templates_do_recur_in_the_test_window():
    """What the recombined language is for."""
    market = simulate_market(("ALDR",), SimulatedConfig(market="easy"), 0)
    texts = market.news["headline"].to_list()
    train, test = set(texts[: int(0.6 * len(texts))]), texts[int(0.8 * len(texts)) :]
    assert np.mean([text in train for text in test]) > 0.8


def test_templates_too_have_rivals_and_stale_articles():
    config = SimulatedConfig(market="laboratory", language="templates")
    market = simulate_market(("ALDR",), config, 0)
    for kind in ("rival", "ambiguous", "stale"):
        headlines = market.news.filter(market.articles["kind"] == kind)["headline"]
        assert len(headlines) > 50
        assert headlines.str.contains("Alder Foods").all()
