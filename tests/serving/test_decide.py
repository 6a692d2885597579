"""Decisions outside a backtest: the backtest's own on each of its sessions, and refused where data are stale."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.replay import replay
from flag_kedro.data.config import DataConfig, NewsConfig, WindowsConfig
from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.account import BUY, HOLD
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import write_prefix
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.names import POLICY
from flag_kedro.serving.config import DecideConfig, Entry
from flag_kedro.serving.decide import Decision, decide

NOW = datetime(2023, 10, 2, 12, 0, tzinfo=UTC)


class Reads:
    """A policy whose answer is a hash of all that a prompt says, so that any other prompt is another answer."""

    device = "cpu"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def decide(self, states: States) -> Decisions:
        odds = np.stack([self._odds(*pair) for pair in zip(states.prefix, states.account, strict=True)])
        odds = np.where(states.action_mask, odds, 0.0)
        odds /= odds.sum(axis=1, keepdims=True)
        values = odds[:, 0] + 2.0 * odds[:, 1] + 3.0 * odds[:, 2]  # a matrix product's bits depend on the rows beside
        return Decisions(odds.argmax(axis=1), odds, values)

    def _odds(self, prefix: str, account: str) -> Any:
        self.asked.append(prefix + account)
        generator = np.random.default_rng(list((prefix + account).encode()))
        return generator.random(3)

    def read_ahead(self, prefixes: Any) -> None:
        pass


@pytest.fixture
def prices() -> pl.DataFrame:
    config = SimulatedConfig(market="easy", first_session=date(2023, 7, 3), last_session=date(2023, 9, 29))
    return simulate_market(("ALDR", "BRIX"), config, seed=0).prices


@pytest.fixture
def make_split(small_states: dict[str, pl.DataFrame]) -> Callable[..., MarketSplit]:
    def make(**env: Any) -> MarketSplit:
        (fold,) = roll_folds(common_sessions(small_states), train=20, validation=10, test=12, folds=1)
        windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
        return MarketSplit.of(small_states, DataConfig(windows=windows), EnvConfig(**env))

    return make


def asked(split: MarketSplit, prices: pl.DataFrame, **config: Any) -> list[Decision]:
    return decide(Reads(), split, prices, DecideConfig(**config), NOW).decisions  # type: ignore[arg-type]


@pytest.mark.parametrize("view", ["position", "compact", "paper"])
@pytest.mark.parametrize("positions", ["long_flat", "long_short"])
def test_every_session_of_the_test_window_has_the_backtests_decision(
    view: str, positions: str, make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    split = make_split(account_view=view, positions=positions)
    played = replay(POLICY, split.test, split.env, Reads().decide)
    sessions = split.test.sessions[0]
    assert len(sessions) == 12
    assert played.decisions["position"].n_unique() > 1
    for session in sessions:
        rows = played.decisions.filter(session=session).to_dicts()
        found = asked(split, prices, as_of=session)
        assert [each.symbol for each in found] == [row["symbol"] for row in rows]
        for each, row in zip(found, rows, strict=True):
            assert (each.action, each.position, each.value) == (row["action"], row["position"], row["value"])
            assert list(each.probabilities.values()) == [row[f"prob_{name}"] for name in ("sell", "hold", "buy")]


@pytest.mark.slow
@pytest.mark.parametrize("view", ["position", "compact", "paper"])
def test_on_investorbench_every_session_has_the_backtests_decision_too(view: str, investorbench: Path):
    data, news = DataConfig(source="investorbench", path=str(investorbench), symbols=("MSFT",)), NewsConfig()
    market = load_market(MarketConfig(data, replace(news, date_only="next_session"), SimulatedConfig()), Path(), NOW)
    names = {symbol: list(aliases) for symbol, aliases in market.names.items()}
    features = FeaturesConfig(digest_sessions=1, min_article_chars=120)
    tables = MarketTables(market.prices, market.news, names, market.universe, features)
    split = MarketSplit.of(tables.build_states(), data, EnvConfig(fill="next_close", account_view=view))  # type: ignore[arg-type]
    played = replay(POLICY, split.test, split.env, Reads().decide)
    assert set(played.decisions["position"]) == {0, 1}
    (sessions,) = split.test.sessions
    assert len(sessions) > 140
    for session, row in zip(sessions, played.decisions.to_dicts(), strict=True):
        (found,) = asked(split, market.prices, as_of=session)
        assert (found.action, found.position, found.value) == (row["action"], row["position"], row["value"])
        assert list(found.probabilities.values()) == [row[f"prob_{name}"] for name in ("sell", "hold", "buy")]


def test_each_part_is_left_out_in_turn(make_split: Callable[..., MarketSplit], prices: pl.DataFrame):
    split = make_split()
    table = split.states["BRIX"].filter(pl.col("news_text").str.count_matches("\n") > 0)
    state = table.row(0, named=True)
    paid = prices.filter(symbol="BRIX", session=state["session"])["low"].item()
    brix_at_half = prices.with_columns(adj_close=pl.col("close") / 2)  # a dividend that halved it: a big gain
    entry = {"BRIX": Entry(session=state["session"], price=paid)}
    prices = brix_at_half
    brix = asked(split, prices, as_of=state["session"], position=entry)[1]
    headlines = [line[2:] for line in state["news_text"].splitlines()]
    assert [(part.part, part.text) for part in brix.without] == [
        *(("headline", text) for text in headlines),
        ("prices", "prices and indicators"),
        ("account", "long one day big gain"),
    ]
    policy, mask = Reads(), np.array([[True, True, False]])
    prompts = [
        *(
            (write_prefix(state["market_text"], "\n".join(f"- {line}" for line in headlines if line != left)), None)
            for left in headlines
        ),
        (write_prefix("not shown", state["news_text"]), None),
        (write_prefix(state["market_text"], state["news_text"]), " flat. Decision:"),
    ]
    action = ("sell", "hold", "buy").index(brix.action)
    for part, (prefix, account) in zip(brix.without, prompts, strict=True):
        answer = policy.decide(States([prefix], [account or " long one day big gain. Decision:"], mask))
        assert answer.probabilities is not None
        assert part.probability == answer.probabilities[0][action]


def test_an_entry_is_told_by_how_long_and_how_well_it_is_held(
    make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    split = make_split()
    sessions = split.states["ALDR"]["session"]
    mark = float(split.states["ALDR"]["mark_price"][24])
    for price, words in ((mark / 1.005, "small gain"), (mark / 0.98, "loss"), (mark / 1.03, "gain")):
        entry = {"ALDR": Entry(session=sessions[20], price=price)}
        reachable = prices.with_columns(low=pl.lit(0.0), high=pl.lit(1e6))
        aldr, brix = asked(split, reachable, as_of=sessions[24], position=entry)
        assert aldr.account_text == f"long days {words}"
        assert (aldr.position, brix.position, brix.account_text) == (1, 0, "flat")
        assert aldr.position_from == "given by decide.position"
    paid_out = reachable.with_columns(adj_close=pl.col("close") / 2)  # half of it has been paid out since
    entry = {"ALDR": Entry(session=sessions[20], price=2 * mark / 1.005)}
    assert asked(split, paid_out, as_of=sessions[24], position=entry)[0].account_text == "long days small gain"


def test_a_price_that_nobody_paid_is_refused(make_split: Callable[..., MarketSplit], prices: pl.DataFrame):
    """Above all what was paid before a split: 4 for 1 leaves a quarter of it."""
    split = make_split()
    day = split.states["ALDR"]["session"][20]
    traded = prices.filter(symbol="ALDR", session=day).row(0, named=True)
    for price, fits in ((4 * traded["close"], False), (1.05 * traded["high"], False), (traded["close"], True)):
        entry = {"ALDR": Entry(session=day, price=price)}
        if fits:
            asked(split, prices, as_of=day, position=entry)
        else:
            with pytest.raises(ParameterError, match=r"ALDR traded from .* in today's shares"):
                asked(split, prices, as_of=day, position=entry)


@pytest.mark.parametrize(
    ("fill", "words"), [("next_open", "two days"), ("next_close", "two days"), ("same_close", "one day")]
)
def test_sessions_held_are_the_backtests(
    fill: str, words: str, make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    """Bought by a replay on one session's fill, and told as an entry of it: the same words a session later."""
    split = make_split(fill=fill)
    days = list(split.test.sessions[0])
    filled = days[4]
    decided = filled if fill == "same_close" else days[3]

    def buys(states: States) -> Decisions:
        buys.step += 1  # type: ignore[attr-defined]
        now = days[buys.step - 1]  # type: ignore[attr-defined]
        return Decisions(np.full(len(states), BUY if now == decided else HOLD))

    buys.step = 0  # type: ignore[attr-defined]
    prompt = replay(POLICY, split.test, split.env, buys).prompts.filter(symbol="ALDR", session=days[5])["prompt"].item()
    paid = prices.filter(symbol="ALDR", session=filled)["open" if fill == "next_open" else "close"].item()
    told = asked(split, prices, as_of=days[5], position={"ALDR": Entry(session=filled, price=paid)})[0]
    assert f" {told.account_text}. Decision:" == prompt[prompt.rindex("Account:") + len("Account:") :]
    assert words in told.account_text


def test_the_ledger_says_where_accounts_are(make_split: Callable[..., MarketSplit], prices: pl.DataFrame):
    """Night after night from the ledger: the backtest's decisions, one by one."""
    split = make_split()
    played = replay(POLICY, split.test, split.env, Reads().decide).decisions
    policy, lines = cast("Any", Reads()), list[dict[str, Any]]()
    for session in split.test.sessions[0]:
        found = decide(policy, split, prices, DecideConfig(as_of=session, position="ledger"), NOW, lines).decisions
        rows = played.filter(session=session).to_dicts()
        assert [(each.symbol, each.action, each.position) for each in found] == [
            (row["symbol"], row["action"], row["position"]) for row in rows
        ]
        lines += [asdict(each) for each in found]


def test_markets_of_different_hours_each_have_their_newest_close(
    make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    """Stocks beside a market that never closes: on a Sunday it has two sessions more."""
    split = make_split()
    table = split.states["BRIX"]
    weekend = [date(2023, 9, 30), date(2023, 10, 1)]
    later = pl.concat([table.tail(1)] * 2).with_columns(
        session=pl.Series(weekend),
        decided_at=pl.Series([datetime(2023, 10, 1, tzinfo=UTC), datetime(2023, 10, 2, tzinfo=UTC)]),
    )
    states = {"ALDR": split.states["ALDR"], "BTC-USD": pl.concat([table, later.cast(dict(table.schema))])}
    data = replace(split.data, source="files", path="x")
    mixed = MarketSplit.of(states, data, split.env)
    policy: Any = Reads()
    found = decide(policy, mixed, prices, DecideConfig(), datetime(2023, 10, 2, 0, 30, tzinfo=UTC))
    told = {each.symbol: (each.session, each.fills_at) for each in found.decisions}
    assert told == {"ALDR": ("2023-09-29", "2023-10-02T13:30:00+00:00"), "BTC-USD": ("2023-10-01", None)}


def test_members_of_a_universe_that_are_gone_are_left_out_and_named(
    make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    split = make_split()
    states = {name: table.with_columns(member=pl.lit(True)) for name, table in split.states.items()}
    gone = split.with_states({**states, "BRIX": states["BRIX"].head(-5)})
    policy: Any = Reads()
    newest = split.states["ALDR"]["decided_at"][-1]
    found = decide(policy, gone, prices, DecideConfig(), newest + timedelta(hours=1))
    assert [each.symbol for each in found.decisions] == ["ALDR"]
    assert found.left_out == {"BRIX": "is stale: its states end on 2023-09-22, and 5 sessions have closed since"}


def test_a_day_outside_the_test_window_is_decided_from_flat_and_says_so(
    make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    split = make_split()
    outside = split.states["ALDR"]["session"][3]
    for each in asked(split, prices, as_of=outside):
        assert each.position == 0
        assert each.position_from == f"taken to be flat: {outside} is not in the test window"
    inside = split.test.sessions[0][5]
    assert all(each.position_from.startswith("replayed from") for each in asked(split, prices, as_of=inside))
    assert all(each.position == 0 for each in asked(split, prices, as_of=inside, position="flat"))


def test_the_newest_session_must_be_the_last_that_closed(make_split: Callable[..., MarketSplit], prices: pl.DataFrame):
    split = make_split()
    newest = split.states["ALDR"]["decided_at"][-1]
    policy: Any = Reads()
    (first, _) = decide(policy, split, prices, DecideConfig(), newest + timedelta(hours=1)).decisions
    assert (first.session, first.sessions_behind) == ("2023-09-29", 0)
    assert first.fills_at == "2023-10-02T13:30:00+00:00"  # Monday's open
    weekend = decide(policy, split, prices, DecideConfig(), newest + timedelta(days=2)).decisions
    assert weekend[0].sessions_behind == 0
    with pytest.raises(
        DataError,
        match=r'ALDR is stale: its states end on 2023-09-29, and 1 sessions.*--params="decide\.as_of=2023-09-29"',
    ):
        decide(policy, split, prices, DecideConfig(), newest + timedelta(days=3, hours=1))
    late = decide(
        policy, split, prices, DecideConfig(max_age_sessions=1), newest + timedelta(days=3, hours=1)
    ).decisions
    assert late[0].sessions_behind == 1


def test_a_symbol_that_ends_earlier_is_stale(make_split: Callable[..., MarketSplit], prices: pl.DataFrame):
    split = make_split()
    shorter = split.with_states({**split.states, "BRIX": split.states["BRIX"].head(-1)})
    policy: Any = Reads()
    newest = split.states["ALDR"]["decided_at"][-1]
    with pytest.raises(DataError, match="BRIX is stale: its states end on 2023-09-28, and 1 sessions"):
        decide(policy, shorter, prices, DecideConfig(), newest + timedelta(hours=1))
    with pytest.raises(DataError, match="BRIX has no state of 2023-09-29"):
        asked(shorter, prices, as_of=date(2023, 9, 29))


@pytest.mark.parametrize(
    ("env", "position", "said"),
    [
        ({}, {"CORV": Entry(session=date(2023, 9, 1), price=1.0)}, "names CORV; there is ALDR, BRIX"),
        ({}, {"ALDR": Entry(session=date(2023, 9, 1), price=1.0, side="short")}, r"ALDR\.side is short"),
        ({"account_view": "paper"}, {"ALDR": Entry(session=date(2023, 9, 1), price=1.0)}, "the last ten rewards"),
        ({"max_drawdown_stop": 0.1}, {"ALDR": Entry(session=date(2023, 9, 1), price=1.0)}, "largest equity so far"),
        ({}, {"ALDR": Entry(session=date(2023, 9, 2), price=1.0)}, "2023-09-02, no session of ALDR up to 2023-09-20"),
        ({}, {"ALDR": Entry(session=date(2023, 9, 21), price=1.0)}, "2023-09-21, no session of ALDR up to 2023-09-20"),
    ],
)
def test_positions_that_cannot_be_are_refused(
    env: dict[str, Any], position: Any, said: str, make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    with pytest.raises(ParameterError, match=said):
        asked(make_split(**env), prices, as_of=date(2023, 9, 20), position=position)


@pytest.mark.parametrize("positions", ["long_flat", "long_short"])
def test_what_a_drawdown_has_stopped_is_left_out_and_told(
    positions: str, make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    split = make_split(positions=positions, max_drawdown_stop=0.003)
    played = replay(POLICY, split.test, split.env, Reads().decide)
    said = set()
    for session in split.test.sessions[0]:
        rows = played.decisions.filter(session=session)
        stopped = {row["symbol"]: row["position"] for row in rows.filter("stopped").iter_rows(named=True)}
        if len(stopped) == 2:
            with pytest.raises(DataError, match=r"nothing to decide: ALDR: env\.max_drawdown_stop has") as refused:
                asked(split, prices, as_of=session)
            told = [part.partition("; BRIX")[0] for part in str(refused.value).split("its account: ")[1:]]
            assert ["close all of it" in part for part in told] == [stopped[name] != 0 for name in ("ALDR", "BRIX")]
            said |= {position != 0 for position in stopped.values()}
            continue
        found = decide(Reads(), split, prices, DecideConfig(as_of=session), NOW)  # type: ignore[arg-type]
        assert [each.symbol for each in found.decisions] == [name for name in ("ALDR", "BRIX") if name not in stopped]
        assert found.left_out.keys() == stopped.keys()
        for name, position in stopped.items():
            assert ("close all of it at the next fill" in found.left_out[name]) == (position != 0)
            said.add(position != 0)
    assert said == {True, False}


def test_what_comes_later_changes_nothing(make_split: Callable[..., MarketSplit], prices: pl.DataFrame):
    split = make_split()
    session = split.test.sessions[0][6]
    expected = asked(split, prices, as_of=session)
    later = pl.col("session") > session
    changed = {
        symbol: table.with_columns(
            market_text=pl.when(later).then(pl.lit("changed")).otherwise("market_text"),
            mark_price=pl.when(later).then(pl.col("mark_price") * 3).otherwise("mark_price"),
            open_price=pl.when(later).then(pl.col("open_price") / 3).otherwise("open_price"),
        )
        for symbol, table in split.states.items()
    }
    assert asked(replace(split, states=changed), prices, as_of=session) == expected


@pytest.mark.parametrize("given", ["replayed", "flat"])
def test_without_an_event_the_decision_is_to_hold_and_says_so(
    given: str, make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    split = make_split(decide_on="events", event_news_burst=None, event_large_move=1.0)
    first, last = split.windows.test
    days = [day for day in split.states["ALDR"]["session"] if first < day <= last]
    config = {} if given == "replayed" else {"position": "flat"}
    taken = [each for day in days for each in asked(split, prices, as_of=day, **config)]
    idle, busy = ([each for each in taken if bool(each.events) == has] for has in (False, True))
    assert idle
    assert busy
    assert {(each.action, each.probabilities["hold"]) for each in idle} == {("hold", 1.0)}
    assert {each.action for each in busy} & {"buy", "sell"}
    assert all(each.events == ["large_move"] for each in busy)
    assert idle[0].as_json()["events"] == []


def test_a_decision_says_nothing_of_events_where_every_session_may_trade(
    make_split: Callable[..., MarketSplit], prices: pl.DataFrame
):
    split = make_split()
    assert "events" not in asked(split, prices, as_of=split.windows.test[1])[0].as_json()
