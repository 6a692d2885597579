"""Decision rules with parameters fixed in advance, to hold a policy against."""

import numpy as np

from flag_kedro.backtest.replay import Decide, Decisions
from flag_kedro.data.streams import stream
from flag_kedro.env.account import BUY, HOLD
from flag_kedro.env.prompt import States


def buy_and_hold(states: States) -> Decisions:
    """Buy as soon as it is legal, then hold."""
    return Decisions(np.where(states.action_mask[:, BUY], BUY, HOLD))


def flat(states: States) -> Decisions:
    """Never trade."""
    return Decisions(np.full(len(states), HOLD))


def random_legal(seed: int, symbols: tuple[str, ...]) -> Decide:
    """Draw every action uniformly among the legal ones, each symbol from a stream of its own."""
    streams = [stream(seed, "random baseline", symbol) for symbol in symbols]

    def decide(states: States) -> Decisions:
        scores = np.stack([rng.random(3) for rng in streams])
        return Decisions(np.argmax(np.where(states.action_mask, scores, -1.0), axis=1))

    return decide
