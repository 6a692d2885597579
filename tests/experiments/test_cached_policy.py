"""A policy's memory in the audit: the same answers, asked anew where it counts."""

import numpy as np
import pytest

from flag_kedro.backtest.replay import replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decisions, States
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.cached_policy import CachedPolicy


class Oracle:
    """Answers from the prompt's length and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def decide(self, states: States) -> Decisions:
        self.asked += 1
        scores = np.array([[1.0 + (len(prefix) * k) % 7 for k in (1, 2, 3)] for prefix in states.prefix])
        probabilities = np.where(states.action_mask, scores, 0.0)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return Decisions(probabilities.argmax(axis=1), probabilities, scores[:, 0])


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


def test_memory_gives_the_same_tables_and_asks_anew_in_the_last_sessions(
    oracle: Oracle, small_window: TradingWindow
) -> None:
    policy, num = CachedPolicy(oracle.decide), int(small_window.num_sessions.max())
    first = replay("a", small_window, EnvConfig(), policy.answer)
    again = replay("a", small_window, EnvConfig(), policy.answer_again({num - 4, num - 3, num - 2, num - 1}))
    assert oracle.asked == num + 4
    assert again.decisions.equals(first.decisions)
    assert again.equity.equals(first.equity)


def test_prompt_that_was_never_seen_is_asked(oracle: Oracle, small_window: TradingWindow) -> None:
    policy = CachedPolicy(oracle.decide)
    replay("a", small_window, EnvConfig(), policy.answer)
    mask = np.array([[False, True, True]])
    known = States([small_window.prefixes[0][0]], [" flat. Decision:"], mask)
    for states, asks in ((known, 0), (States(["unseen"], known.account, mask), 1)):
        before = oracle.asked
        said = policy.answer_again(set())(states)
        assert oracle.asked - before == asks
        expected = Oracle().decide(states)
        assert said.actions.tolist() == expected.actions.tolist()
        assert said.probabilities is not None
        assert expected.probabilities is not None
        assert said.probabilities.tolist() == expected.probabilities.tolist()
