"""The table of answers: each distinct state is asked once, and its answer is the policy's own."""

import numpy as np
import pytest
import torch

from flag_kedro.env.states import States, join_states, take_states
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.evaluation_cache import EvaluationCache
from flag_kedro.policy.interface import Evaluation

FLAT, LONG = " flat. Decision:", " long one day small gain. Decision:"


class Counting:
    """A policy that counts what it is asked."""

    def __init__(self, policy: ActorCritic) -> None:
        self.policy = policy
        self.device = policy.device
        self.asked: list[tuple[str, str]] = []

    def evaluate(self, states: States) -> Evaluation:
        self.asked += zip(states.prefix, states.account, strict=True)
        return self.policy.evaluate(states)


def states(window: TradingWindow, rows: list[tuple[int, str]], sell_too: bool = False) -> States:
    masks = [[text != FLAT or sell_too, True, text == FLAT] for _, text in rows]
    return States([window.prefixes[0][t] for t, _ in rows], [text for _, text in rows], np.array(masks))


def test_each_distinct_state_is_asked_once_in_all_calls(actor_critic: ActorCritic, small_window: TradingWindow):
    counting = Counting(actor_critic)
    table = EvaluationCache(counting)
    first, second = [(0, FLAT), (0, FLAT), (0, LONG)], [(0, LONG), (1, FLAT), (0, FLAT)]
    table.evaluate(states(small_window, first))
    table.evaluate(states(small_window, second))
    assert len(counting.asked) == len(set(counting.asked)) == len(table) == 3


def test_answers_have_the_bits_of_the_policy_and_no_gradients(actor_critic: ActorCritic, small_window: TradingWindow):
    asked = states(small_window, [(0, FLAT), (2, LONG), (0, FLAT), (1, LONG), (2, LONG)])
    table = EvaluationCache(actor_critic)
    table.evaluate(states(small_window, [(2, LONG), (5, FLAT)]))
    actual, expected = table.evaluate(asked), actor_critic.evaluate(asked)
    assert torch.equal(actual.log_probs, expected.log_probs)
    assert torch.equal(actual.values, expected.values)
    assert expected.values.requires_grad
    assert not actual.values.requires_grad


def test_other_legal_actions_are_another_state(actor_critic: ActorCritic, small_window: TradingWindow):
    table = EvaluationCache(actor_critic)
    masked = table.evaluate(states(small_window, [(0, FLAT)])).log_probs
    free = table.evaluate(states(small_window, [(0, FLAT)], sell_too=True)).log_probs
    assert len(table) == 2
    assert masked[0, 0] == -torch.inf < free[0, 0]


@pytest.mark.parametrize("rows", [[2, 0], []])
def test_taking_and_joining_states_keep_prompts_and_masks_together(small_window: TradingWindow, rows: list[int]):
    some = states(small_window, [(0, FLAT), (1, LONG), (2, FLAT)])
    taken = take_states(some, rows)
    both = join_states([taken, some])
    assert list(both.account) == [some.account[row] for row in rows] + list(some.account)
    assert both.action_mask.tolist() == [some.action_mask[row].tolist() for row in rows] + some.action_mask.tolist()
