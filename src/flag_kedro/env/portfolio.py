"""The trading MDP of one account that holds several symbols: weights over symbols and cash, session after session.

Shape legend: A = accounts, S = symbols, T = sessions.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flag_kedro.env.account import DUST, NUM_ACTIONS, SELL, Bools, Floats, Ints
from flag_kedro.env.config import EnvConfig, PortfolioConfig, Positions
from flag_kedro.env.portfolio_account import PortfolioAccounts
from flag_kedro.env.rewards import make_reward
from flag_kedro.env.snapshot import Changing, changing_arrays, put_back, take_snapshot
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow, refuse_other_sessions
from flag_kedro.errors import DataError

HELD_EDGES = (0.02, 0.34, 0.67)
HELD_NAMES = ("none", "some", "half", "most")
"""Share of the account in the symbol below, between and from `HELD_EDGES` on."""
SLACK = 1e-9
"""By which weights may miss their limits, for rounding."""


def holding_texts(positions: Positions) -> list[str]:
    """All account texts behind a symbol's prompt: how much of the account is in it."""
    texts = [f" {name}. Decision:" for name in HELD_NAMES]
    return texts if positions == "long_flat" else texts + [f" short {name}. Decision:" for name in HELD_NAMES[1:]]


def require_common_sessions(window: TradingWindow) -> None:
    """Refuse a window whose symbols do not all trade on the same sessions: one account cannot wait for some of them.

    Raises:
        DataError: naming the symbols that differ from the first.
    """
    first, *others = window.symbols
    differing = [symbol for symbol, days in zip(others, window.sessions[1:], strict=True) if days != window.sessions[0]]
    if differing:
        raise DataError(
            f"a portfolio needs all symbols on the same sessions; {', '.join(differing)} trade on others than {first}. "
            "Choose symbols of one exchange that were listed all the time (data.symbols)"
        )


class PortfolioVectorEnv:
    """A accounts, each over all S symbols of a window.

    Decisions and fills are those of `TradingVectorEnv`: weights that are asked for at the close of session d trade at
    session d + 1's fill price, where `portfolio.threshold` compares them with what is held at the close of d. Costs are
    of the value traded from drifted weights. Reward, interest, fees, ruin, truncation and the restart within the same
    step are those of `TradingVectorEnv` too, of the account as a whole; orders are always filled whole. With
    `env.decide_on` `events` nothing is traded at the close of a session that is an event for none of the symbols,
    whatever is asked for. The stop is that of `TradingVectorEnv`, too: what is asked for in a stopped account is not
    read, all its weights are 0 from the next fill on.

    Info of a step: `equity` [A] and the weights `held` [A, S] at the mark before any restart, `weights` [A, S] over the
    return that ended there (at `next_close` those before the fill, else those after it, or before it where all was
    sold), their sum `position` [A], `traded_value` [A] in money, `stopped` [A] from this mark on;
    `final_states` where an episode has ended.

    Raises:
        DataError: when symbols trade on different sessions.
        ValueError: when the window's prompts offer other positions than `config`, or it was cut for other sessions to
            trade on (`env.decide_on`).
    """

    def __init__(
        self, window: TradingWindow, config: EnvConfig, portfolio: PortfolioConfig, num_accounts: int = 1
    ) -> None:
        if window.positions != config.positions:
            raise ValueError(
                f"env.positions is {config.positions}, but the window's prompts offer {window.positions}; cut it anew"
            )
        refuse_other_sessions(window, config)
        require_common_sessions(window)
        self.window, self.config, self.portfolio = window, config, portfolio
        self.num_envs, self.num_symbols = num_accounts, len(window.symbols)
        self.last_session = int(window.num_sessions[0]) - 1
        self.session = np.zeros(num_accounts, dtype=np.int64)
        self.elapsed = np.zeros(num_accounts, dtype=np.int64)
        self.accounts = PortfolioAccounts.open(num_accounts, self.num_symbols, config.initial_cash)
        self._reward = make_reward(config, num_accounts, self.last_session)
        self._texts = holding_texts(config.positions)
        self._equity = np.full(num_accounts, config.initial_cash)
        self._stops = config.max_drawdown_stop is not None
        self._peak = self._equity.copy()
        """Largest equity at a mark of the episode, where accounts can be stopped."""
        self.stopped = np.zeros(num_accounts, dtype=bool)
        """Whether an account is to be closed and to stay flat."""

    def reset(self, start: Ints | None = None) -> None:
        """Open every account anew, at the window's start or at session indices `start` [A]."""
        self.session = np.zeros(self.num_envs, dtype=np.int64) if start is None else np.asarray(start).copy()
        self._restart(np.ones(self.num_envs, dtype=bool))

    def step(self, targets: Floats | None) -> tuple[Floats, Bools, Bools, dict[str, Any]]:
        """Rebalance to `targets` [A, S] at the next session, or leave all as it is (None), mark there and reward.

        Returns:
            Rewards [A], terminated [A], truncated [A] and info.

        Raises:
            ValueError: when weights are not allowed.
        """
        equity_before, held = self._equity, self.weights()
        trades = np.zeros(self.num_envs, dtype=bool)
        if targets is not None:
            self._check(targets)
            trades = np.abs(targets - held).max(axis=1) > self.portfolio.threshold
        if self.window.is_event is not None:
            trades &= self._at(self.window.is_event).any(axis=1)
        targets = held if targets is None else targets
        if self._stops:
            targets = np.where(self.stopped[:, None], 0.0, targets)
            trades = np.where(self.stopped, (held != 0.0).any(axis=1), trades)
        traded, weights = self._trade(targets, trades)
        weights = self._over_return(held, weights)
        equity = self.accounts.equity(self._at(self.window.mark_prices))
        terminated = self._ruin(equity, equity_before)
        rewards = self._reward.step(equity_before, equity)
        self._equity = equity
        self._stop(equity)
        truncated = (self.session == self.last_session) & ~terminated
        if self.config.max_episode_steps is not None:
            truncated |= (self.elapsed >= self.config.max_episode_steps) & ~terminated
        info: dict[str, Any] = {
            "equity": equity.copy(),
            "weights": weights,
            "position": weights.sum(axis=1),
            "held": self.weights(),
            "traded_value": traded,
            "stopped": self.stopped.copy(),
        }
        ended = terminated | truncated
        if ended.any():
            info["final_states"] = self.states()
            self.session = np.where(ended & (self.session == self.last_session), 0, self.session)
            self._restart(ended)
        return rewards, terminated, truncated, info

    def equity(self) -> Floats:
        """Cash plus shares at the current session's marks, [A]."""
        return self._equity.copy()

    def weights(self) -> Floats:
        """Share of equity in each symbol at the current session's marks, [A, S]."""
        return self.accounts.weights(self._at(self.window.mark_prices))

    def states(self) -> States:
        """The decisions now due: a prompt for each account and symbol, those of an account side by side, [A x S]."""
        weights = self.weights()
        codes = np.searchsorted(HELD_EDGES, np.abs(weights), side="right")
        short = (weights < 0.0) & (codes > 0)
        codes = np.where(short, codes + len(HELD_NAMES) - 1, codes)
        sessions = self.session.tolist()
        prefixes = [self.window.prefixes[s][t] for t in sessions for s in range(self.num_symbols)]
        mask = np.ones((len(prefixes), NUM_ACTIONS), dtype=bool)
        mask[:, SELL] = self.config.positions == "long_short"
        return States(prefixes, [self._texts[code] for code in codes.ravel().tolist()], mask)

    def upcoming_prefixes(self, num_steps: int) -> list[str]:
        """Prefixes of the decisions now due and of those after each of the next `num_steps` steps, without ruin."""
        sessions = dict.fromkeys(self.session.tolist())
        return [
            self.window.prefixes[s][(session + ahead) % (self.last_session + 1)]
            for ahead in range(num_steps + 1)
            for session in sessions
            for s in range(self.num_symbols)
        ]

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of all that later steps depend on besides window and config; `restore` puts them back."""
        return take_snapshot(self._changing())

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Take the state of another environment of the same window, config and number of accounts.

        Raises:
            ValueError: when the snapshot is of other accounts.
        """
        put_back(self._changing(), snapshot)

    def _changing(self) -> Changing:
        own = ("session", "elapsed", "_equity", *(("_peak", "stopped") if self._stops else ()))
        return changing_arrays(self, own, self.accounts, self._reward)

    def _at(self, prices: NDArray[Any]) -> NDArray[Any]:
        """Prices (or flags) [S, T] at each account's session, [A, S]."""
        return prices[:, self.session].T

    def _check(self, targets: Floats) -> None:
        """Raise where weights are not allowed."""
        if targets.shape != (self.num_envs, self.num_symbols) or not np.isfinite(targets).all():
            raise ValueError(f"weights must be finite numbers [{self.num_envs}, {self.num_symbols}]; got {targets}")
        gross, lowest = np.abs(targets).sum(axis=1), targets.min()
        if (gross > self.portfolio.gross + SLACK).any():
            raise ValueError(f"weights sum to {gross.max():.6f}, portfolio.gross allows {self.portfolio.gross:g}")
        if self.config.positions == "long_flat" and lowest < -SLACK:
            raise ValueError(f"a weight is {lowest:.6f}, but env.positions is long_flat")

    def _restart(self, which: Bools) -> None:
        self.elapsed[which] = 0
        self._reward.reset(which)
        self.accounts.reset(which, self.config.initial_cash)
        self._equity = np.where(which, self.config.initial_cash, self._equity)
        self._peak = np.where(which, self.config.initial_cash, self._peak)
        self.stopped = self.stopped & ~which

    def _trade(self, targets: Floats, trades: Bools) -> tuple[Floats, Floats]:
        """Pass the night, rebalance and move on to the next session; traded value [A] and weights after it [A, S]."""
        night_before, config = self._at(self.window.mark_prices), self.config
        self.session = self.session + 1
        self.elapsed += 1
        years, prices = self._at(self.window.years)[:, 0], self._at(self.window.fill_prices)
        accrues = config.cash_rate > 0.0 or config.positions == "long_short" or self.portfolio.gross > 1.0
        after_fill = self.window.fill == "same_close"
        if accrues and not after_fill:
            self.accounts.accrue(night_before, years, config.cash_rate, config.borrow_rate)
        traded = self.accounts.rebalance(targets, prices, config.cost, trades)
        if accrues and after_fill:
            self.accounts.accrue(night_before, years, config.cash_rate, config.borrow_rate)
        return traded, self.accounts.weights(prices)

    def _stop(self, equity: Floats) -> None:
        """Stop the accounts whose `equity` [A] is too far below its peak."""
        if self.config.max_drawdown_stop is None:
            return
        self._peak = np.maximum(self._peak, equity)
        self.stopped = self.stopped | (equity <= self._peak * (1.0 - self.config.max_drawdown_stop))

    def _over_return(self, before: Floats, after: Floats) -> Floats:
        """Weights held over the return from mark to mark, [A, S], as `TradingVectorEnv` counts positions."""
        match self.window.fill:
            case "next_close":
                return before
            case "same_close":
                return after
            case "next_open":
                return np.where((after == 0.0).all(axis=1)[:, None], before, after)

    def _ruin(self, equity: Floats, equity_before: Floats) -> Bools:
        """Close out the accounts that have nothing left, in `equity` [A] too; which they are, [A]."""
        ruined: Bools = equity <= DUST * self.config.initial_cash
        if ruined.any():
            self.accounts.close_out(ruined, equity_before)
            equity[ruined] = self.accounts.cash[ruined]
        return ruined
