"""Which headline moved a decision, on a policy whose probabilities are known."""

import re

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.replay import replay
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.account import BUY, HOLD
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import leave_headlines_out, split_prompt, write_prefix
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.experiments.influence import INFLUENCE, measure_influence
from flag_kedro.names import POLICY


def weight(headline: str) -> int:
    """What a headline adds to the policy below."""
    return sum(map(ord, headline)) % 7


def decide(states: States) -> Decisions:
    """Buy with 0.1 plus a hundredth of all weights, and what the account's text weighs; else hold."""
    odds = []
    for prefix, account in zip(states.prefix, states.account, strict=True):
        headlines = re.findall(r"^- (.*)$", prefix, flags=re.MULTILINE)
        odds.append(0.1 + 0.01 * sum(map(weight, headlines)) + 0.001 * weight(account))
    buys = np.array(odds)
    return Decisions(
        np.where(states.action_mask[:, BUY] & (np.arange(len(states)) % 2 == 0), BUY, HOLD),
        np.stack([np.zeros_like(buys), 1.0 - buys, buys], axis=1),
        np.zeros_like(buys),
    )


@pytest.fixture
def split(small_states: dict[str, pl.DataFrame]) -> MarketSplit:
    (fold,) = roll_folds(common_sessions(small_states), train=20, validation=10, test=12, folds=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    return MarketSplit.of(small_states, DataConfig(windows=windows), EnvConfig())


@pytest.mark.parametrize("view", ["position", "compact", "paper"])
def test_each_headline_is_left_out_behind_the_account_that_decided(split: MarketSplit, view: str):
    split = MarketSplit.of(split.states, split.data, EnvConfig(account_view=view))
    decisions = replay(POLICY, split.test, split.env, decide).decisions
    chosen = {"BRIX": [split.test.sessions[1][9]], "ALDR": list(split.test.sessions[0][2:12])}
    table = measure_influence(decide, decisions, split, chosen)
    assert dict(table.schema) == INFLUENCE
    news = {
        (symbol, row["session"]): [line[2:] for line in row["news_text"].splitlines() if line.startswith("- ")]
        for symbol in chosen
        for row in split.states[symbol].iter_rows(named=True)
        if row["session"] in chosen[symbol]
    }
    assert [(row["symbol"], row["session"], row["headline"]) for row in table.iter_rows(named=True)] == [
        (symbol, session, headline)
        for symbol in chosen
        for session in chosen[symbol]
        for headline in news[symbol, session]
    ]
    assert {"buy", "hold"} >= set(table["action"])
    assert table.height > 10
    for row in table.iter_rows(named=True):
        change = row["probability"] - row["probability_without"]
        sign = 1 if row["action"] == "buy" else -1
        assert change == pytest.approx(sign * 0.01 * weight(row["headline"]), abs=1e-12)


def test_without_any_headline_there_is_nothing_to_leave_out(split: MarketSplit):
    decisions = replay(POLICY, split.test, split.env, decide).decisions
    assert measure_influence(decide, decisions, split, {}).schema == pl.Schema(INFLUENCE)


def test_prompt_without_its_only_headline_says_that_there_is_none():
    (pair,) = leave_headlines_out(write_prefix("up 1%", "- a wins"))
    assert pair == ("a wins", write_prefix("up 1%", "none"))
    assert leave_headlines_out(write_prefix("up 1%", "none")) == []


def test_other_headlines_and_the_note_stay_as_they_are():
    prefix = write_prefix("up 1%", "- a\n- b - c\n(+3 more)")
    assert leave_headlines_out(prefix) == [
        ("a", write_prefix("up 1%", "- b - c\n(+3 more)")),
        ("b - c", write_prefix("up 1%", "- a\n(+3 more)")),
    ]


def test_prompt_is_cut_where_the_account_begins():
    prefix = write_prefix("up 1%", "- Account: closed")
    assert split_prompt(prefix + " flat. Decision:") == (prefix, " flat. Decision:")
