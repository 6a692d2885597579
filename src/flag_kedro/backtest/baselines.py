"""Decision rules without a market view, to hold a policy against; their parameters are fixed in advance."""

import numpy as np

from flag_kedro.data.streams import stream
from flag_kedro.env.account import BUY, HOLD, SELL
from flag_kedro.env.states import Decide, Decisions, States

SWITCH_PROBABILITY = 0.1


def buy_and_hold(states: States) -> Decisions:
    """Buy as soon as it is legal, then hold."""
    return Decisions(np.where(states.action_mask[:, BUY], BUY, HOLD))


def flat(states: States) -> Decisions:
    """Never trade."""
    return Decisions(np.full(len(states), HOLD))


def sticky_random(seed: int, symbols: tuple[str, ...], switch_probability: float = SWITCH_PROBABILITY) -> Decide:
    """Trade at random, but seldom: what costs and exposure alone would bring.

    In each session, with `switch_probability`, take a legal trade (buy or sell, uniformly where both are), else
    hold; positions are held for 1 / switch_probability sessions in the mean. Each symbol draws from a stream of
    its own, so its decisions do not depend on the others.

    Args:
        seed: of the draws.
        symbols: those of the window, in its order.
        switch_probability: of a trade in a session.
    """
    streams = [stream(seed, "random baseline", symbol) for symbol in symbols]

    def decide(states: States) -> Decisions:
        switching, side = np.stack([rng.random(2) for rng in streams], axis=1)
        can_sell, can_buy = states.action_mask[:, SELL], states.action_mask[:, BUY]
        sells = can_sell & (~can_buy | (side < 0.5))
        trades = np.where(sells, SELL, np.where(can_buy, BUY, HOLD))
        return Decisions(np.where(switching < switch_probability, trades, HOLD))

    return decide
