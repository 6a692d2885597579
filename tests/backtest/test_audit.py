"""The causality audit passes what is causal and catches every leak planted here, at every time it looks."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date, datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.audit import CORRUPTIONS, CausalityAudit, audit_causality, choose_cuts
from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, simulate_market
from flag_kedro.data.validation import ValidatedTables
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decisions, States
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError
from flag_kedro.features.market_state import build_market_states

CONFIG = EnvConfig()
WINDOW = (date(2023, 7, 3), date(2023, 8, 15))
States_ = Mapping[str, pl.DataFrame]
Change = Callable[[States_, pl.DataFrame, pl.DataFrame], States_]


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    config = SimulatedConfig(first_session=date(2023, 7, 3), last_session=date(2023, 8, 15))
    return simulate_market(("ALDR", "BRIX"), config, seed=0)


def _reads_the_prompt(states: States) -> Decisions:
    """A policy as good as any for this: a number from the prompt's characters decides."""
    scores = np.array(
        [
            [hash_of(prefix + account + action) for action in "shb"]
            for prefix, account in zip(states.prefix, states.account, strict=True)
        ]
    )
    probabilities = np.where(states.action_mask, scores, 0.0)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Decisions(probabilities.argmax(axis=1), probabilities, scores[:, 0])


def hash_of(text: str) -> float:
    return sum(position * ord(char) for position, char in enumerate(text, start=1)) % 997 + 1.0


def _play(
    prices: pl.DataFrame,
    news: pl.DataFrame,
    until: datetime | None,
    change: Change = lambda states, prices, news: states,
    peek: Callable[[TradingWindow], Callable[[States], Decisions]] | None = None,
) -> dict[str, Replay]:
    states, _ = build_market_states(prices, news, digest_sessions=1, digest_chars=600, article_chars=240)
    window = cut_window(change(states, prices, news), WINDOW, "next_open")
    rules = {"buy_and_hold": buy_and_hold, "reader": _reads_the_prompt if peek is None else peek(window)}
    return {name: replay(name, window, CONFIG, rule) for name, rule in rules.items()}


def _decided_at(prices: pl.DataFrame) -> pl.DataFrame:
    return prices.select("symbol", "session", decided_at="available_at").filter(pl.col("session").is_between(*WINDOW))


def _audit(market: SimulatedMarket, play: Callable[..., Mapping[str, Replay]], num: int = 4) -> CausalityAudit:
    decided_at = _decided_at(market.prices)
    cuts = choose_cuts(decided_at["decided_at"], num, seed=1)
    reference = play(market.prices, market.news, None)
    return audit_causality(market.prices, market.news, decided_at, reference, play, cuts, seed=1)


def _caught_at(audit: CausalityAudit) -> set[str]:
    return {check.decided_at for check in audit.checks if check.num_differences}


def test_features_and_rules_of_the_project_pass(market: SimulatedMarket) -> None:
    audit = _audit(market, _play)
    assert audit.passed is True
    assert [check.corruption for check in audit.checks] == [*CORRUPTIONS] * 4
    assert all(count > 0 for check in audit.checks for count in check.compared.values())


# Leaks: each is caught at every time the audit looks


def _tomorrows_return_in_the_text(states: States_, prices: pl.DataFrame, news: pl.DataFrame) -> States_:
    tomorrow = (pl.col("mark_price").shift(-1) / pl.col("mark_price")).round(3).cast(pl.String)
    return {symbol: t.with_columns(pl.col("market_text") + tomorrow.fill_null("")) for symbol, t in states.items()}


def _normalised_over_the_whole_table(states: States_, prices: pl.DataFrame, news: pl.DataFrame) -> States_:
    level = pl.col("mark_price")
    score = ((level - level.mean()) / level.std()).round(2).cast(pl.String)
    return {symbol: t.with_columns(pl.col("market_text") + score) for symbol, t in states.items()}


def _tomorrows_news(states: States_, prices: pl.DataFrame, news: pl.DataFrame) -> States_:
    return {s: t.with_columns(pl.col("news_text").shift(-1).fill_null("none")) for s, t in states.items()}


def _total_length_of_all_headlines(states: States_, prices: pl.DataFrame, news: pl.DataFrame) -> States_:
    total = str(news["headline"].str.len_chars().sum())  # swapping articles leaves it as it is
    return {s: t.with_columns(pl.col("news_text") + total) for s, t in states.items()}


def _filled_a_session_later(states: States_, prices: pl.DataFrame, news: pl.DataFrame) -> States_:
    return {s: t.with_columns(pl.col("open_price").shift(-1).fill_null(100.0)) for s, t in states.items()}


def _marked_a_session_later(states: States_, prices: pl.DataFrame, news: pl.DataFrame) -> States_:
    return {s: t.with_columns(pl.col("mark_price").shift(-1).fill_null(100.0)) for s, t in states.items()}


@pytest.mark.parametrize(
    "leak",
    [
        _tomorrows_return_in_the_text,
        _normalised_over_the_whole_table,
        _tomorrows_news,
        _total_length_of_all_headlines,
        _filled_a_session_later,
        _marked_a_session_later,
    ],
)
def test_leak_in_the_features_is_caught_at_every_time(leak: Change, market: SimulatedMarket) -> None:
    audit = _audit(market, partial(_play, change=leak))
    assert audit.passed is False
    assert len(_caught_at(audit)) == 4


def _knows_tomorrows_close(window: TradingWindow) -> Callable[[States], Decisions]:
    rises = np.diff(window.mark_prices, axis=1, append=np.inf) > 0
    steps = iter(range(window.mark_prices.shape[1]))

    def decide(states: States) -> Decisions:
        wanted = np.where(rises[:, next(steps)], 2, 0)
        return Decisions(np.where(states.action_mask[np.arange(len(states)), wanted], wanted, 1))

    return decide


def _is_surer_before_a_rise(window: TradingWindow) -> Callable[[States], Decisions]:
    """The same actions as an honest rule, with probabilities that know the future."""
    moves = np.abs(np.diff(np.log(window.mark_prices), axis=1, append=0.0)) % 0.1
    steps = iter(range(window.mark_prices.shape[1]))

    def decide(states: States) -> Decisions:
        actions = buy_and_hold(states).actions
        probabilities = np.repeat(moves[:, [next(steps)]], 3, axis=1)
        return Decisions(actions, probabilities)

    return decide


@pytest.mark.parametrize("peek", [_knows_tomorrows_close, _is_surer_before_a_rise])
def test_rule_that_peeks_into_the_window_is_caught(
    peek: Callable[[TradingWindow], Callable[[States], Decisions]], market: SimulatedMarket
) -> None:
    audit = _audit(market, partial(_play, peek=peek))
    assert audit.passed is False
    listed = [difference for check in audit.checks for difference in check.differences]
    assert {difference.strategy for difference in listed} == {"reader"}


def test_difference_names_what_strategy_symbol_and_session(market: SimulatedMarket) -> None:
    audit = _audit(market, partial(_play, change=_tomorrows_news), num=1)
    check = audit.checks[2]
    assert check.corruption == "articles swapped among days"
    cut = datetime.fromisoformat(check.decided_at)
    assert {difference.session for difference in check.differences} == {cut.date().isoformat()}
    assert {difference.symbol for difference in check.differences} <= {"ALDR", "BRIX"}
    assert "prompts" in {difference.what for difference in check.differences}


def test_content_of_the_file_has_checks_with_counts_and_differences(market: SimulatedMarket) -> None:
    content = asdict(_audit(market, partial(_play, change=_tomorrows_news), num=1))
    assert list(content) == ["passed", "checks"]
    check = content["checks"][2]
    assert list(check) == ["decided_at", "corruption", "compared", "num_differences", "differences"]
    assert list(check["compared"]) == ["prompts", "decisions", "fills"]
    assert list(check["differences"][0]) == ["what", "strategy", "symbol", "session"]


def test_session_missing_from_the_replay_counts_as_a_difference(market: SimulatedMarket) -> None:
    def forgetful(prices: pl.DataFrame, news: pl.DataFrame, until: datetime | None) -> dict[str, Replay]:
        replays = _play(prices, news, until)
        if until is not None:
            whole = replays["reader"]
            replays["reader"] = Replay(whole.prompts, whole.decisions.slice(1), whole.equity)
        return replays

    assert all(check.num_differences == 1 for check in _audit(market, forgetful).checks)


# What the corruptions do


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_corruption_keeps_the_tables_valid_and_the_past_as_it_was(
    name: str, market: SimulatedMarket, let_in: Callable[..., ValidatedTables]
) -> None:
    cut = _decided_at(market.prices)["decided_at"].unique().sort()[10]
    prices, news = CORRUPTIONS[name](market.prices, market.news, cut, 0)
    let_in(prices, news)
    for before, after in ((market.prices, prices), (market.news, news)):
        earlier = pl.col("available_at") <= cut
        assert after.filter(earlier).equals(before.filter(earlier))
        assert after.schema == before.schema
    changed = (market.prices, market.news)[name.startswith("articles")]
    later = pl.col("available_at") > cut
    now = (prices, news)[name.startswith("articles")].filter(later)
    assert not now.equals(changed.filter(later))


def test_prices_are_multiplied_and_reversed_by_hand() -> None:
    cut = datetime.fromisoformat("2023-07-05T20:00:00+00:00")
    closes = [1.0, 2.0, 3.0, 4.0, 5.0]
    prices = pl.DataFrame(
        {"symbol": "A", "available_at": [cut + timedelta(days=k - 1) for k in range(5)], "volume": closes}
        | {name: closes for name in ("open", "high", "low", "close", "adj_close")}
    )
    news = pl.DataFrame({"available_at": [cut], "headline": ["h"]})
    assert CORRUPTIONS["prices x 10"](prices, news, cut, 0)[0]["close"].to_list() == [1.0, 2.0, 30.0, 40.0, 50.0]
    reversed_prices, _ = CORRUPTIONS["prices reversed in time"](prices, news, cut, 0)
    assert reversed_prices["adj_close"].to_list() == [1.0, 2.0, 5.0, 4.0, 3.0]
    assert reversed_prices["volume"].to_list() == [1.0, 2.0, 5.0, 4.0, 3.0]


# The times


def test_times_are_spread_over_the_window_without_its_ends() -> None:
    start = datetime.fromisoformat("2024-01-01T21:00:00+00:00")
    times = pl.Series([start + timedelta(days=k) for k in range(32)])
    cuts = choose_cuts(times, 3, seed=5)
    assert [1 <= (cut - start).days <= 30 for cut in cuts] == [True] * 3
    assert [((cut - start).days - 1) // 10 for cut in cuts] == [0, 1, 2]
    assert cuts == choose_cuts(times, 3, seed=5)
    assert cuts != choose_cuts(times, 3, seed=6)


def test_short_window_is_audited_at_every_time_between_its_ends() -> None:
    start = datetime.fromisoformat("2024-01-01T21:00:00+00:00")
    times = [start + timedelta(days=k) for k in range(5)]
    assert choose_cuts(pl.Series(times), 9, seed=0) == times[1:4]
    with pytest.raises(DataError, match="no decision between its first and its last"):
        choose_cuts(pl.Series(times[:2]), 3, seed=0)
