"""Event sessions, by plain loops and by hand; nothing later moves them."""

import statistics

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.data.investorbench import read_investorbench
from flag_kedro.features.digest import NO_NEWS, count_articles, write_digests
from flag_kedro.features.events import EVENT_KINDS, FILING, EventRule, find_events, name_kinds

NEWS, MOVE, FILED = EVENT_KINDS.values()


def states_of(marks: list[float], texts: list[str] | None = None) -> pl.DataFrame:
    return pl.DataFrame({"mark_price": marks, "news_text": texts or [NO_NEWS] * len(marks)})


@given(
    st.lists(
        st.lists(st.sampled_from(["- up", "(+3 more)", "a b c " * 20, "none"]), min_size=1, max_size=9), max_size=9
    )
)
def test_as_many_articles_are_counted_as_a_digest_was_written_of(articles: list[list[str]]):
    rows = [(state, text.strip()) for state, texts in enumerate(articles) for text in texts]
    table = pl.DataFrame(rows, schema={"state": pl.Int64, "text": pl.String}, orient="row")
    digests = write_digests(table, digest_chars=120, article_chars=60, min_article_chars=30)
    assert count_articles(digests["news_text"]).to_list() == [len(texts) for texts in articles]


def test_a_state_without_news_has_no_article():
    assert count_articles(pl.Series([NO_NEWS, "- one", "- one\n- two\n(+11 more)"])).to_list() == [0, 1, 13]


def test_a_burst_has_at_least_so_many_articles():
    states = states_of([1.0] * 4, ["- a", "- a\n- b", NO_NEWS, "- a\n(+4 more)"])
    assert find_events(states, EventRule(news_burst=2.0)).tolist() == [0, NEWS, 0, NEWS]


def test_a_burst_beside_the_own_mean_needs_that_many_sessions_before():
    # 20 sessions of one article each, then two (twice the mean of 1), one, none; the mean moves on
    counts = [1] * 20 + [2, 1, 0, 3]
    texts = ["\n".join(f"- {n}" for n in range(count)) or NO_NEWS for count in counts]
    found = find_events(states_of([1.0] * len(counts), texts), EventRule(news_ratio=2.0))
    assert np.flatnonzero(found).tolist() == [20, 23]


def test_no_article_is_no_burst_though_there_was_none_before():
    states = states_of([1.0] * 23, [NO_NEWS] * 22 + ["- one"])
    assert np.flatnonzero(find_events(states, EventRule(news_ratio=1.5))).tolist() == [22]


@pytest.mark.parametrize("sessions", [20, 60])
def test_a_move_is_large_beside_the_deviation_of_the_returns_before_it(sessions: int):
    returns = np.random.default_rng(0).standard_t(3, 200) * 0.01
    marks = 50.0 * np.exp(np.cumsum(returns))
    found = find_events(states_of(marks.tolist()), EventRule(large_move=1.5, sessions=sessions))
    expected = [
        MOVE if t > sessions and abs(returns[t]) >= 1.5 * statistics.stdev(returns[t - sessions : t]) else 0
        for t in range(200)
    ]
    assert found.tolist() == expected
    assert 5 < np.count_nonzero(found) < 60


def test_a_price_that_never_moved_makes_no_large_move():
    assert not find_events(states_of([7.0] * 40), EventRule(large_move=2.0)).any()


@pytest.mark.parametrize(
    "text",
    ["- 10-K summary: sales rose", "- X files 8-K", "- a 10-Q/A", "- 10-K405 filed", "- 10-KSB/A", "- form 20-F"],
)
def test_forms_of_the_sec_are_filings(text: str):
    assert find_events(states_of([1.0], [text]), EventRule(filing=True)).tolist() == [FILED]


@pytest.mark.parametrize(
    "text",
    ["- a 10k run", "- sold 10 K units", "- 110-Knot winds", "- 8 kilograms", "- a 10-k race", "- 6-k units", NO_NEWS],
)
def test_other_texts_are_not(text: str):
    assert find_events(states_of([1.0], [text]), EventRule(filing=True)).tolist() == [0]


def test_filings_of_the_benchmark_are_found(tmp_path):
    file = (
        '{"2020-07-01": {"prices": 10.0, "news": ["Plain story."], "10k": ["Revenue rose."], "10q": []},'
        ' "2020-07-02": {"prices": 11.0, "news": ["Another."], "10k": [], "10q": []}}'
    )
    (tmp_path / "msft.json").write_text(file)
    _, news = read_investorbench(tmp_path, "MSFT", "XNYS", "next_session", filings=True)
    found = news.filter(pl.col("headline").str.contains(FILING))
    assert found["source"].to_list() == ["investorbench 10-K"]


def test_kinds_add_up_and_have_names():
    marks = np.exp(np.cumsum([0.0] + [0.01, -0.01] * 12 + [0.2])).tolist()
    states = states_of(marks, [NO_NEWS] * 25 + ["- 8-K\n- b"])
    found = find_events(states, EventRule(news_burst=2.0, large_move=3.0, filing=True))
    assert found[-1] == NEWS + MOVE + FILED
    assert name_kinds(int(found[-1])) == ["news_burst", "large_move", "filing"]
    assert name_kinds(0) == []


@given(st.integers(0, 2**32 - 1), st.integers(0, 89))
def test_nothing_that_comes_later_moves_an_event(seed: int, until: int):
    rng = np.random.default_rng(seed)
    rule = EventRule(news_burst=3.0, news_ratio=1.5, large_move=1.0, filing=True)

    def draw() -> tuple[list[float], list[str]]:
        texts = [
            "\n".join(["- x 8-K" if rng.random() < 0.1 else "- x"] * int(n)) or NO_NEWS for n in rng.integers(0, 5, 90)
        ]
        return np.exp(np.cumsum(rng.normal(0.0, 0.02, 90))).tolist(), texts

    (marks, texts), (other_marks, other_texts) = draw(), draw()
    before = find_events(states_of(marks, texts), rule)[: until + 1]
    changed = states_of(marks[: until + 1] + other_marks[until + 1 :], texts[: until + 1] + other_texts[until + 1 :])
    assert find_events(changed, rule)[: until + 1].tolist() == before.tolist()
    assert find_events(changed[: until + 1], rule).tolist() == before.tolist()


def test_a_later_split_moves_no_event(small_states: dict[str, pl.DataFrame]):
    rule = EventRule(large_move=1.0)
    for states in small_states.values():
        halved = states.with_columns(pl.col("mark_price") / 2.0)
        assert find_events(halved, rule).tolist() == find_events(states, rule).tolist()
