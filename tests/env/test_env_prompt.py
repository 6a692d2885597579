from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flag_kedro.env.account import BUY, HOLD, SELL
from flag_kedro.env.config import EnvConfig, Positions
from flag_kedro.env.prompt import (
    account_texts,
    compact_account_codes,
    compact_account_texts,
    paper_account_text,
    write_prefix,
)
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow


def _text(sessions_held: int, unrealised_return: float) -> str:
    codes = compact_account_codes(np.array([True]), np.array([sessions_held]), np.array([unrealised_return]))
    return compact_account_texts()[codes[0]]


def test_compact_view_has_31_distinct_texts() -> None:
    assert len(compact_account_texts()) == 31
    assert len(set(compact_account_texts())) == 31


@pytest.mark.parametrize(
    ("sessions", "words"),
    [
        (1, "one day"),
        (2, "two days"),
        (3, "days"),
        (5, "days"),
        (6, "weeks"),
        (20, "weeks"),
        (21, "months"),
        (500, "months"),
    ],
)
def test_sessions_held_fall_into_the_bucket_that_names_them(sessions: int, words: str) -> None:
    assert _text(sessions, 0.02) == f" long {words} gain. Decision:"


@pytest.mark.parametrize(
    ("unrealised_return", "words"),
    [
        (-0.9, "big loss"),
        (-0.0500001, "big loss"),
        (-0.05, "loss"),
        (-0.0100001, "loss"),
        (-0.01, "small loss"),
        (-1e-9, "small loss"),
        (0.0, "small gain"),
        (0.0099999, "small gain"),
        (0.01, "gain"),
        (0.0499999, "gain"),
        (0.05, "big gain"),
        (3.0, "big gain"),
    ],
)
def test_unrealised_return_falls_into_the_bucket_that_starts_at_its_lower_edge(
    unrealised_return: float, words: str
) -> None:
    assert _text(2, unrealised_return) == f" long two days {words}. Decision:"


def test_flat_account_is_told_in_one_text() -> None:
    codes = compact_account_codes(np.zeros(2, dtype=np.int8), np.array([0, 7]), np.array([0.0, 0.3]))
    assert [compact_account_texts()[code] for code in codes] == [" flat. Decision:"] * 2


@settings(deadline=None)
@given(
    is_long=st.booleans(),
    held=st.integers(1, 10_000),
    unrealised_return=st.floats(-1.0, 1e9, allow_nan=False),
)
def test_every_account_has_one_of_the_31_texts_and_it_names_its_position(
    is_long: bool, held: int, unrealised_return: float
) -> None:
    codes = compact_account_codes(
        np.array([int(is_long)], dtype=np.int8), np.array([held]), np.array([unrealised_return])
    )
    assert 0 <= codes[0] < 31
    assert ("long" in compact_account_texts()[codes[0]]) == is_long


@pytest.mark.parametrize(
    ("positions", "texts"),
    [
        ("long_flat", {0: " flat. Decision:", 1: " long. Decision:"}),
        ("long_short", {0: " flat. Decision:", 1: " long. Decision:", -1: " short. Decision:"}),
    ],
)
def test_view_position_tells_the_position_alone(
    positions: Positions, texts: dict[int, str], make_window: Callable[..., TradingWindow]
) -> None:
    assert sorted(account_texts("position", positions) or []) == sorted(texts.values())
    window = make_window("next_open", positions=positions, A=([10] * 9, [10, 12, 9, 11, 10, 12, 9, 11, 10]))
    env, seen = TradingVectorEnv(window, EnvConfig(account_view="position", positions=positions)), set()
    env.reset()
    for action in (BUY, HOLD, SELL, HOLD, BUY):
        legal = bool(env.states().action_mask[0, action])
        env.step(np.array([action if legal else HOLD]))
        held = int(env.accounts.position[0])
        assert env.states().account == [texts[held]]
        seen.add(held)
    assert seen == set(texts) - ({0} if positions == "long_short" else set())


def test_only_the_papers_account_texts_are_endless() -> None:
    assert account_texts("paper", "long_flat") is None
    assert account_texts("compact", "long_flat") == compact_account_texts()


def test_prefix_tells_task_actions_market_and_news_in_this_order() -> None:
    lines = write_prefix("up 1%", "- a\n- b").split("\n")
    assert [line.split(":")[0] for line in lines] == ["Task", "Actions", "Market", "News", "- a", "- b", "Account"]


def test_prefix_says_none_on_the_line_itself_when_there_is_no_news() -> None:
    assert write_prefix("up 1%", "none").endswith("Market: up 1%\nNews: none\nAccount:")


def test_paper_view_of_a_new_account_has_empty_histories() -> None:
    assert paper_account_text(100_000.0, 0.0, 100_000.0, (), (), ()) == (
        ' {"cash_balance": 100000.00, "asset_position": 0.0000, "total_account_value": 100000.00}, '
        '{"recent_rewards": [], "net_values": [], "actions": []}\nDecision:'
    )


def test_paper_view_cuts_rewards_to_6_and_net_values_to_10_characters() -> None:
    text = paper_account_text(
        0.0,
        12.34567,
        1234567.891,
        (-0.123456, 12.345678, 0.5),
        (1234567.891, 99.5, 123456789.25),
        ("buy", "hold", "hold"),
    )
    assert text == (
        ' {"cash_balance": 0.00, "asset_position": 12.3457, "total_account_value": 1234567.89}, '
        '{"recent_rewards": [-0.123, 12.345, 0.5000], "net_values": [1234567.89, 99.500000, 123456789.], '
        '"actions": [buy, hold, hold]}\nDecision:'
    )
