"""Replays worked by hand: a cost of 25 %, 1,000 in cash, the rule buy, hold, sell, buy, hold, sell.

`next_open`:                                         `next_close`:

    session  open  close  action  position before        close  action  position before
       0       -     10     buy        0                    10     buy        0
       1       8      9    hold        1                     8    hold        1
       2      10     12    sell        1                     9    sell        1
       3      12     11     buy        0                    12     buy        0
       4      16     15    hold        1                    16    hold        1
       5      20     25    sell        1                    20    sell        1     (last: recorded, never filled)

    session  equity                      held             equity                    held
       0     1000                         -                 1000                     -
       1     100 x 9 = 900                1                 100 x 8 = 800            0   buys 100 shares for 800
       2     100 x 12 = 1200              1                 100 x 9 = 900            1
       3     100 x 12 x 0.75 = 900        1                 100 x 12 x 0.75 = 900    1   sells 1,200
       4     45 x 15 = 675                1                 45 x 16 = 720            0   buys 45 shares for 720
       5     45 x 25 = 1125               1                 45 x 20 = 900            1
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flag_kedro.backtest.baselines import buy_and_hold, sticky_random
from flag_kedro.backtest.replay import DECISIONS, EQUITY, replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decide, Decisions, States
from flag_kedro.env.window import TradingWindow

SELL, HOLD, BUY = 0, 1, 2
AT_OPEN = ([7, 8, 10, 12, 16, 20], [10, 9, 12, 11, 15, 25])
AT_CLOSE = ([10, 8, 9, 12, 16, 20], [10, 8, 9, 12, 16, 20])
RULE = [BUY, HOLD, SELL, BUY, HOLD, SELL]
EQUITY_AT = {"next_open": [1_000, 900, 1_200, 900, 675, 1_125], "next_close": [1_000, 800, 900, 900, 720, 900]}
HELD_AT = {"next_open": [0, 1, 1, 1, 1, 1], "next_close": [0, 0, 1, 1, 0, 1]}
TRADED = [0, 800, 0, 1_200, 720, 0]

CutPrices = Callable[..., TradingWindow]


def _scripted(*actions: Sequence[int]) -> Decide:
    """A rule that answers the given actions in turn, one sequence for each symbol; hold once they are used up."""
    asked = iter(range(1_000))

    def decide(states: States) -> Decisions:
        t = next(asked)
        return Decisions(np.array([wanted[t] if t < len(wanted) else HOLD for wanted in actions]))

    return decide


@pytest.mark.parametrize(("fill", "prices"), [("next_open", AT_OPEN), ("next_close", AT_CLOSE)])
def test_decisions_record_the_action_and_the_position_before_it(
    fill: str, prices: tuple[list[int], list[int]], cut_prices: CutPrices, config: EnvConfig
) -> None:
    decisions = replay("rule", cut_prices(fill, A=prices), config, _scripted(RULE)).decisions
    assert decisions["action"].to_list() == ["buy", "hold", "sell", "buy", "hold", "sell"]
    assert decisions["position"].to_list() == [0, 1, 1, 0, 1, 1]
    assert decisions["session"].to_list() == [date(2024, 1, day) for day in range(1, 7)]
    assert decisions["strategy"].unique().to_list() == ["rule"]


@pytest.mark.parametrize(("fill", "prices"), [("next_open", AT_OPEN), ("next_close", AT_CLOSE)])
def test_equity_rows_hold_the_mark_and_what_was_held_over_the_return_ending_there(
    fill: str, prices: tuple[list[int], list[int]], cut_prices: CutPrices, config: EnvConfig
) -> None:
    equity = replay("rule", cut_prices(fill, A=prices), config, _scripted(RULE)).equity
    expected = [float(value) for value in EQUITY_AT[fill]]
    assert equity["equity"].to_list() == pytest.approx(expected, rel=1e-14)
    assert equity["position"].to_list() == HELD_AT[fill]
    assert equity["traded_value"].to_list() == pytest.approx(TRADED, rel=1e-14)
    assert equity["session"].to_list() == [date(2024, 1, day) for day in range(1, 7)]
    assert equity["log_return"][0] is None
    assert equity["log_return"].to_list()[1:] == pytest.approx(
        [math.log(after / before) for before, after in pairwise(expected)], abs=1e-14
    )


def test_last_decision_is_recorded_and_not_filled(cut_prices: CutPrices, config: EnvConfig) -> None:
    window = cut_prices("next_close", A=AT_CLOSE)
    sold, held = (
        replay("rule", window, config, _scripted([BUY, HOLD, HOLD, HOLD, HOLD, last])) for last in (SELL, HOLD)
    )
    assert [sold.decisions["action"][-1], held.decisions["action"][-1]] == ["sell", "hold"]
    assert sold.equity.equals(held.equity)


def test_symbols_of_different_lengths_end_each_at_their_own_last_session(
    cut_prices: CutPrices, config: EnvConfig
) -> None:
    # B has the first three sessions of the close table, C the first two of them
    short, shortest = (tuple(prices[:n] for prices in AT_CLOSE) for n in (3, 2))
    window = cut_prices("next_close", B=short, A=AT_CLOSE, C=shortest)
    played = replay("rule", window, config, _scripted([BUY, HOLD, SELL], RULE, [HOLD, BUY]))
    decisions = {str(symbol): table for (symbol,), table in played.decisions.group_by("symbol")}
    equity = {str(symbol): table for (symbol,), table in played.equity.group_by("symbol")}
    assert decisions["B"]["action"].to_list() == ["buy", "hold", "sell"]
    assert decisions["B"]["position"].to_list() == [0, 1, 1]
    assert equity["B"]["equity"].to_list() == pytest.approx([1_000, 800, 900])
    assert decisions["C"]["action"].to_list() == ["hold", "buy"]
    assert decisions["C"]["position"].to_list() == [0, 0]
    assert equity["C"]["equity"].to_list() == [1_000, 1_000]
    assert equity["C"]["log_return"].to_list() == [None, 0.0]
    assert equity["A"]["equity"].to_list() == pytest.approx(EQUITY_AT["next_close"])
    assert equity["A"]["position"].to_list() == HELD_AT["next_close"]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(2, 9), min_size=2, max_size=4),
    fill=st.sampled_from(["next_open", "next_close"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_symbol_replays_beside_others_as_it_does_alone(
    lengths: list[int], fill: str, seed: int, cut_prices: CutPrices
) -> None:
    rng = np.random.default_rng(seed)
    prices = {
        name: (rng.integers(20, 200, num).tolist(), rng.integers(20, 200, num).tolist())
        for name, num in zip("ABCD", lengths, strict=False)
    }
    config = EnvConfig(account_view="paper")
    prompts: dict[str, list[str]] = {name: [] for name in prices}

    def by_prompt(states: States) -> Decisions:
        """A rule that depends on nothing but what each state says."""
        texts = [f"{prefix}{account}" for prefix, account in zip(states.prefix, states.account, strict=True)]
        wants = [SELL if sum(map(ord, text)) % 2 else BUY for text in texts]
        for name, text in zip(names, texts, strict=True):
            prompts[name].append(text)
        return Decisions(np.where(states.action_mask[np.arange(len(wants)), wants], wants, HOLD))

    names = list(prices)
    together = replay("rule", cut_prices(fill, **prices), config, by_prompt)
    prompts_together = {name: texts[: len(prices[name][0])] for name, texts in prompts.items()}
    for name in prices:
        names = [name]
        prompts[name] = []
        alone = replay("rule", cut_prices(fill, **{name: prices[name]}), config, by_prompt)
        assert alone.decisions.equals(together.decisions.filter(symbol=name))
        assert alone.equity.equals(together.equity.filter(symbol=name))
        assert prompts[name] == prompts_together[name]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([SELL], r"action 0 \(sell\) is masked at B 2024-01-01: the account is flat; valid actions: hold, buy"),
        ([BUY, BUY], r"action 2 \(buy\) is masked at B 2024-01-02: the account is long; valid actions: sell, hold"),
        ([BUY, HOLD, BUY], r"action 2 \(buy\) is masked at B 2024-01-03: the account is long"),
    ],
    ids=["first", "middle", "last"],
)
@pytest.mark.parametrize("num_others", [3, 6], ids=["of_equal_length", "beside_a_longer_symbol"])
def test_masked_decision_is_refused_even_where_it_would_not_be_filled(
    actions: list[int], message: str, num_others: int, cut_prices: CutPrices, config: EnvConfig
) -> None:
    longer, shorter = (tuple(prices[:n] for prices in AT_CLOSE) for n in (num_others, 3))
    window = cut_prices("next_close", A=longer, B=shorter)
    with pytest.raises(ValueError, match=message):
        replay("rule", window, config, _scripted([], actions))


def test_replay_is_one_episode_whatever_the_training_episodes_are(cut_prices: CutPrices, config: EnvConfig) -> None:
    window = cut_prices("next_open", A=AT_OPEN)
    whole = replay("rule", window, config, _scripted(RULE))
    cut = replay("rule", window, replace(config, max_episode_steps=2), _scripted(RULE))
    assert cut.decisions.equals(whole.decisions)
    assert cut.equity.equals(whole.equity)


def test_replay_does_not_depend_on_the_reward(cut_prices: CutPrices, config: EnvConfig) -> None:
    window = cut_prices("next_open", A=AT_OPEN)
    played = [
        replay("rule", window, replace(config, reward=reward), _scripted(RULE))
        for reward in ("log_return", "sharpe_increment")
    ]
    assert played[0].equity.equals(played[1].equity)


def test_probabilities_and_values_of_the_rule_are_recorded(cut_prices: CutPrices, config: EnvConfig) -> None:
    def decide(states: States) -> Decisions:
        return Decisions(np.array([HOLD]), np.array([[0.0, 0.75, 0.25]]), np.array([-0.5]))

    row = replay("rule", cut_prices("next_close", A=AT_CLOSE), config, decide).decisions.row(3, named=True)
    assert [row[name] for name in ("prob_sell", "prob_hold", "prob_buy", "value")] == [0.0, 0.75, 0.25, -0.5]


def test_rule_without_probabilities_leaves_them_null(cut_prices: CutPrices, config: EnvConfig) -> None:
    decisions = replay("rule", cut_prices("next_close", A=AT_CLOSE), config, buy_and_hold).decisions
    assert decisions.select("prob_sell", "prob_hold", "prob_buy", "value").null_count().row(0) == (6, 6, 6, 6)


def test_tables_have_the_declared_columns_ordered_by_symbol_and_session(
    cut_prices: CutPrices, config: EnvConfig
) -> None:
    window = cut_prices("next_close", B=AT_CLOSE, A=AT_CLOSE)
    played = replay("rule", window, config, sticky_random(0, window.symbols))
    assert dict(played.decisions.schema) == DECISIONS
    assert dict(played.equity.schema) == EQUITY
    for table in (played.decisions, played.equity):
        assert table.height == 12
        assert table.select("symbol", "session").rows() == sorted(table.select("symbol", "session").rows())


def test_progress_is_reported_once_a_session(cut_prices: CutPrices, config: EnvConfig) -> None:
    steps: list[None] = []
    window = cut_prices("next_close", A=AT_CLOSE, B=AT_CLOSE)
    replay("rule", window, config, buy_and_hold, on_step=lambda: steps.append(None))
    assert len(steps) == 6


# A cost of 25 %, no fee: 1,000 sold short at 10 are -80 shares and 1,600 in cash, 800 in all; at 21 that is -80


@pytest.mark.parametrize(("fill", "held"), [("next_open", [0, -1, -1, 0, 0]), ("same_close", [0, -1, -1, 0, 0])])
def test_ruined_account_decides_no_more_and_its_equity_stays(
    fill: str, held: list[int], make_window: CutPrices, config: EnvConfig
) -> None:
    window = make_window(fill, positions="long_short", A=[10, 10, 21, 10, 5], B=[10, 10, 10, 10, 20])
    shorts = replace(config, positions="long_short", borrow_bps_year=0.0, cash_rate=0.1)
    played = replay("rule", window, shorts, _scripted([SELL, HOLD, SELL, SELL, SELL], [BUY]))
    decisions, equity = (table.filter(symbol="A") for table in (played.decisions, played.equity))
    assert decisions["action"].to_list() == ["sell", "hold"]
    assert decisions["position"].to_list() == [0, -1]
    path = equity["equity"].to_list()
    assert path[2] == pytest.approx(path[1] / 10_000, rel=1e-14)
    assert path[3:] == [path[2]] * 2
    assert equity["log_return"].to_list()[2:] == pytest.approx([math.log(1e-4), 0.0, 0.0], rel=1e-12)
    assert equity["position"].to_list() == held
    assert equity["traded_value"].to_list()[2:] == [0.0, 0.0, 0.0]
    # B goes on beside it: all in shares from the first day on, whose price doubles on the last
    assert played.decisions.filter(symbol="B").height == 5
    beside = played.equity.filter(symbol="B")["equity"]
    assert (beside / beside[1]).to_list()[1:] == [1.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize("fill", ["next_open", "next_close", "same_close"])
def test_long_short_replay_records_both_sides(fill: str, make_window: CutPrices, config: EnvConfig) -> None:
    window = make_window(fill, positions="long_short", A=[10, 10, 10, 10, 10])
    shorts = replace(config, positions="long_short", borrow_bps_year=0.0)
    played = replay("rule", window, shorts, _scripted([SELL, BUY, HOLD, SELL]))
    assert played.decisions["position"].to_list() == [0, -1, 1, 1, -1]
    assert played.decisions["action"].to_list() == ["sell", "buy", "hold", "sell", "hold"]
    # fills trade 800 to go short, 800 + 480 to reverse (600 / 1.25), 480 + 288 to reverse again (360 / 1.25)
    assert played.equity["traded_value"].to_list() == pytest.approx([0, 800, 1_280, 0, 768])
    assert played.equity["equity"].to_list() == pytest.approx([1_000, 800, 480, 480, 288])
    held = [0, 0, -1, 1, 1] if fill == "next_close" else [0, -1, 1, 1, -1]
    assert played.equity["position"].to_list() == held


def test_every_prompt_is_announced_once_and_before_it_is_asked_for(small_window: TradingWindow):
    announced: list[str] = []

    def decide(states: States) -> Decisions:
        assert set(states.prefix) <= set(announced)
        return Decisions(np.full(len(states), HOLD))

    replay("announced", small_window, EnvConfig(fill=small_window.fill), decide, read_ahead=announced.extend)
    assert sorted(announced) == sorted(text for texts in small_window.prefixes for text in texts)


def test_sixteen_sessions_are_announced_at_a_time(cut_prices: CutPrices, config: EnvConfig):
    """A window of twenty years is not read at once, before anything is seen."""
    num_announced: list[int] = []
    window = cut_prices("next_close", A=([10] * 40, [10] * 40))
    replay("rule", window, config, _scripted([]), read_ahead=lambda texts: num_announced.append(len(texts)))
    assert num_announced == [16, 16, 8]
