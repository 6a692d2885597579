"""The causality audit changes all that became known after times it chooses, and compares what was decided by them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date, datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.audit import audit_causality, choose_cuts
from flag_kedro.backtest.audit_results import CausalityCheck
from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.corruptions import CORRUPTIONS, SPLITS
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.data.columns import NEWS_SCHEMA, PRICES_SCHEMA
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decisions, States
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_tables import MarketTables

CONFIG = EnvConfig()
WINDOW = (date(2023, 7, 3), date(2023, 8, 15))
Tables = Mapping[str, pl.DataFrame]
Peek = Callable[[TradingWindow], Callable[[States], Decisions]]


@pytest.fixture(scope="module")
def market() -> MarketTables:
    config = SimulatedConfig(market="easy", first_session=date(2023, 7, 3), last_session=date(2023, 8, 15))
    simulated = simulate_market(("ALDR", "BRIX"), config, seed=0)
    rows = [("ALDR", None, None, None), ("BRIX", None, date(2023, 8, 1), date(2023, 12, 29))]
    universe = pl.DataFrame(rows, schema=UNIVERSE, orient="row")
    names = {"ALDR": ["Alder Foods"], "BRIX": ["Brixton Steel"], "CORV": ["Corvid Software"]}
    news = simulated.news.sort("symbol", "available_at", maintain_order=True)  # as ingest leaves it
    return MarketTables(simulated.prices, news, names, universe, FeaturesConfig(digest_sessions=1))


def _play(
    tables: MarketTables,
    until: datetime | None,
    change: Callable[[Tables], Tables] = lambda states: states,
    peek: Peek | None = None,
) -> dict[str, Replay]:
    window = cut_window(change(tables.build_states()), WINDOW, "next_open")
    rules = {"buy_and_hold": buy_and_hold, "reader": _buys_what_reads_long if peek is None else peek(window)}
    return {name: replay(name, window, CONFIG, rule) for name, rule in rules.items()}


def _buys_what_reads_long(states: States) -> Decisions:
    wanted = np.where([len(prefix) % 2 for prefix in states.prefix], 2, 0)
    return Decisions(np.where(states.action_mask[np.arange(len(states)), wanted], wanted, 1))


def _decided_at(tables: MarketTables) -> pl.DataFrame:
    in_window = pl.col("session").is_between(*WINDOW)
    return tables.prices.select("symbol", "session", decided_at="available_at").filter(in_window)


def _audit(
    tables: MarketTables, play: Callable[..., Mapping[str, Replay]] = _play, num: int = 4
) -> list[CausalityCheck]:
    decided_at = _decided_at(tables)
    return audit_causality(tables, decided_at, play(tables, None), play, choose_cuts(decided_at, num, seed=1), seed=1)


def _tomorrows_news(states: Tables) -> Tables:
    return {s: t.with_columns(pl.col("news_text").shift(-1).fill_null("none")) for s, t in states.items()}


def test_every_time_is_checked_with_every_corruption(market: MarketTables) -> None:
    checks = _audit(market)
    assert [check.corruption for check in checks] == [*CORRUPTIONS] * 4
    assert [check.num_differences for check in checks] == [0] * 12
    assert all(count > 0 for check in checks for count in check.compared.values())


def _is_surer_before_a_rise(window: TradingWindow) -> Callable[[States], Decisions]:
    """The same actions as an honest rule, with probabilities that know the future."""
    moves = np.abs(np.diff(np.log(window.mark_prices), axis=1, append=0.0)) % 0.1
    steps = iter(range(window.mark_prices.shape[1]))

    def decide(states: States) -> Decisions:
        actions = buy_and_hold(states).actions
        probabilities = np.repeat(moves[:, [next(steps)]], 3, axis=1)
        return Decisions(actions, probabilities)

    return decide


def test_probabilities_that_know_the_future_are_caught_where_actions_do_not(market: MarketTables) -> None:
    checks = _audit(market, partial(_play, peek=_is_surer_before_a_rise))
    listed = [difference for check in checks for difference in check.differences]
    assert {difference.strategy for difference in listed} == {"reader"}
    assert {difference.what for difference in listed} == {"decisions"}


def test_difference_names_what_strategy_symbol_and_session(market: MarketTables) -> None:
    check = _audit(market, partial(_play, change=_tomorrows_news), num=1)[2]
    assert check.corruption == "reversed and dealt anew"
    cut = datetime.fromisoformat(check.decided_at)
    assert {difference.session for difference in check.differences} == {cut.date().isoformat()}
    assert {difference.symbol for difference in check.differences} <= {"ALDR", "BRIX"}
    assert "prompts" in {difference.what for difference in check.differences}


def test_content_of_the_file_has_checks_with_counts_and_differences(market: MarketTables) -> None:
    check = asdict(_audit(market, partial(_play, change=_tomorrows_news), num=1)[2])
    assert list(check) == ["decided_at", "corruption", "compared", "num_differences", "differences"]
    assert list(check["compared"]) == ["prompts", "decisions", "fills"]
    assert list(check["differences"][0]) == ["what", "strategy", "symbol", "session"]


def test_session_missing_from_the_replay_counts_as_a_difference(market: MarketTables) -> None:
    def forgetful(tables: MarketTables, until: datetime | None) -> dict[str, Replay]:
        replays = _play(tables, until)
        if until is not None:
            whole = replays["reader"]
            replays["reader"] = Replay(whole.prompts, whole.decisions.slice(1), whole.equity)
        return replays

    assert all(check.num_differences == 1 for check in _audit(market, forgetful))


# What the corruptions do


@pytest.fixture(scope="module")
def cut(market: MarketTables) -> datetime:
    """The close of the eleventh session, 18 July."""
    time: datetime = _decided_at(market)["decided_at"].unique().sort()[10]
    return time


@pytest.fixture(params=CORRUPTIONS)
def changed(request: pytest.FixtureRequest, market: MarketTables, cut: datetime) -> MarketTables:
    return CORRUPTIONS[request.param](market, cut, np.random.default_rng(0))


def test_corruption_keeps_the_past_as_it_was_and_no_row_of_the_future(
    changed: MarketTables, market: MarketTables, cut: datetime
) -> None:
    later, keys = pl.col("available_at") > cut, ["symbol", "available_at"]
    for before, after in ((market.prices, changed.prices), (market.news, changed.news)):
        assert after.filter(~later).equals(before.filter(~later))
        assert after.schema == before.schema
        same = before.filter(later).join(after.filter(later), on=before.columns, nulls_equal=True)
        assert same.height < 0.05 * before.filter(later).height
        assert after.select(keys).equals(after.select(keys).sort(keys))
    assert all(market.universe[name].dtype == changed.universe[name].dtype for name in UNIVERSE)


def test_corrupted_tables_still_have_valid_columns(changed: MarketTables) -> None:
    PRICES_SCHEMA.validate(changed.prices)
    NEWS_SCHEMA.validate(changed.news)
    assert changed.prices.select("symbol", "session").is_unique().all()
    inside = pl.all_horizontal(pl.col("open", "close").is_between("low", "high"))
    assert changed.prices.select(inside.all()).item()


def test_deletion_leaves_what_was_known(market: MarketTables, cut: datetime) -> None:
    then = CORRUPTIONS["deleted"](market, cut, np.random.default_rng(0))
    assert then.prices.equals(market.prices.filter(pl.col("available_at") <= cut))
    assert then.news.equals(market.news.filter(pl.col("available_at") <= cut))
    assert then.universe["last"].to_list() == [None, None]
    assert then.universe["delisted"].to_list() == [None, None]
    assert then.names == market.names


def test_universe_of_a_later_time_keeps_the_days_before_it(market: MarketTables) -> None:
    cut = datetime.fromisoformat("2023-08-10T20:00:00+00:00")
    then = CORRUPTIONS["deleted"](market, cut, np.random.default_rng(0)).universe
    assert then["last"].to_list() == [None, date(2023, 8, 1)]
    assert then["delisted"].to_list() == [None, None]
    moved = CORRUPTIONS["inserted, moved and rescaled"](market, cut, np.random.default_rng(0)).universe
    assert moved["last"].to_list() == [None, date(2023, 8, 1)]
    assert moved["delisted"].to_list() == [None, date(2024, 1, 28)]


def test_insertion_adds_sessions_after_weekends_and_doubles_articles(market: MarketTables, cut: datetime) -> None:
    after = CORRUPTIONS["inserted, moved and rescaled"](market, cut, np.random.default_rng(0))
    later = pl.col("available_at") > cut
    assert after.news.filter(later).height == 2 * market.news.filter(later).height
    sessions = after.prices.filter(later & (pl.col("symbol") == "ALDR"))["session"]
    closures = 4  # the weekends from 22 July to 13 August, each of which got a session on its Saturday
    assert len(sessions) == market.prices.filter(later & (pl.col("symbol") == "ALDR")).height + closures
    assert sessions[0] == cut.date() + timedelta(days=2)  # 19 July, moved by a day


def test_prices_are_reversed_by_hand(market: MarketTables) -> None:
    cut = datetime.fromisoformat("2023-07-05T20:00:00+00:00")
    closes = [1.0, 2.0, 3.0, 4.0, 5.0]
    prices = pl.DataFrame(
        {"symbol": "A", "available_at": [cut + timedelta(days=k - 1) for k in range(5)], "volume": closes}
        | {name: closes for name in ("open", "high", "low", "close", "adj_close")}
    )
    tables = MarketTables(prices, market.news.clear(), {}, market.universe, market.features)
    after = CORRUPTIONS["reversed and dealt anew"](tables, cut, np.random.default_rng(0)).prices
    assert after["adj_close"].to_list() == [1.0, 2.0, 5.0, 4.0, 3.0]
    assert after["volume"].to_list() == [1.0, 2.0, 5.0, 4.0, 3.0]


@pytest.mark.parametrize("split", SPLITS)
def test_a_later_split_changes_no_text_and_no_bit_of_equity(
    split: Callable[[MarketTables], MarketTables], market: MarketTables
) -> None:
    before, after = _play(market, None), _play(split(market), None)
    for name in before:
        assert before[name].prompts.equals(after[name].prompts)
        assert before[name].equity.equals(after[name].equity)


# The times


def _sessions(first: date, num: int) -> pl.DataFrame:
    days = [first + timedelta(days=k) for k in range(num)]
    weekdays = [day for day in days if day.weekday() < 5]
    closes = [datetime.combine(day, datetime.min.time()) + timedelta(hours=21) for day in weekdays]
    return pl.DataFrame({"session": weekdays, "decided_at": closes})


@pytest.mark.parametrize("seed", range(20))
def test_times_hold_a_month_end_and_every_weekday(seed: int) -> None:
    cuts = choose_cuts(_sessions(date(2024, 1, 1), 180), 6, seed)
    assert sorted({cut.weekday() for cut in cuts}) == [0, 1, 2, 3, 4]
    ends = [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 29), date(2024, 4, 30), date(2024, 5, 31)]
    assert {cut.date() for cut in cuts} & set(ends)


def test_times_hold_the_session_before_a_holiday_and_ends_and_starts_of_months() -> None:
    sessions = _sessions(date(2024, 2, 1), 90).filter(pl.col("session") != date(2024, 2, 19))
    cuts = {cut.date() for cut in choose_cuts(sessions, 9, seed=3)}
    assert date(2024, 2, 16) in cuts
    assert date(2024, 3, 29) in cuts
    assert cuts & {date(2024, 3, 1), date(2024, 4, 1)}


def test_times_are_the_same_for_the_same_seed_and_never_the_ends() -> None:
    sessions = _sessions(date(2024, 1, 1), 60)
    chosen = [choose_cuts(sessions, 12, seed) for seed in range(30)]
    assert choose_cuts(sessions, 12, 5) == chosen[5]
    assert chosen[5] != chosen[6]
    inner = sessions["decided_at"][1:-1].to_list()
    assert {cut for cuts in chosen for cut in cuts} == set(inner)
    assert all(len(set(cuts)) == 12 and cuts == sorted(cuts) for cuts in chosen)


def test_short_window_is_audited_at_every_time_between_its_ends() -> None:
    sessions = _sessions(date(2024, 1, 1), 5)
    assert choose_cuts(sessions, 9, seed=0) == sessions["decided_at"][1:4].to_list()
    with pytest.raises(DataError, match="no decision between its first and its last"):
        choose_cuts(sessions[:2], 3, seed=0)
