"""Decisions in the ledger as a rule that a replay follows."""

from collections.abc import Sequence
from datetime import date

import numpy as np

from flag_kedro.backtest.replay import Replay
from flag_kedro.env.account import ACTION_NAMES, HOLD, only_hold
from flag_kedro.env.states import Decisions, States
from flag_kedro.env.window import TradingWindow
from flag_kedro.serving.ledger import Line


class Recorded:
    """A rule that does what was decided, and holds where nothing was or where it cannot be done."""

    def __init__(self, lines: Sequence[Line], window: TradingWindow) -> None:
        self._window = window
        self._actions = {(line["symbol"], date.fromisoformat(line["session"])): line["action"] for line in lines}
        self._positions = {(line["symbol"], date.fromisoformat(line["session"])): line["position"] for line in lines}
        self._session = 0
        self.num_undecided = self.num_illegal = 0

    def decide(self, states: States) -> Decisions:
        """The decisions of the next session."""
        actions = np.full(len(states), HOLD)
        for s, (symbol, days) in enumerate(zip(self._window.symbols, self._window.sessions, strict=True)):
            if self._session >= len(days) - 1:  # the last close, whose decision has no fill yet
                continue
            taken = self._actions.get((symbol, days[self._session]))
            if taken is None:
                self.num_undecided += not only_hold(states.action_mask[s])  # stopped, or no event: nothing to decide
            elif not states.action_mask[s, ACTION_NAMES.index(taken)]:
                self.num_illegal += 1
            else:
                actions[s] = ACTION_NAMES.index(taken)
        self._session += 1
        return Decisions(actions)

    def count_other_positions(self, played: Replay) -> int:
        """Decisions that were asked for from another position than the account had then."""
        held = played.decisions.select("symbol", "session", "position").iter_rows()
        return sum(self._positions.get((symbol, session), position) != position for symbol, session, position in held)
