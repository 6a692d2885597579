"""The trading MDP over many accounts at once, with its Gymnasium faces.

Shape legend: S = symbols, A = accounts per symbol, N = S x A accounts (those of a symbol side by side).
"""

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from flag_kedro.env.account import (
    ACTION_NAMES,
    BUY,
    DUST,
    HOLD,
    NUM_ACTIONS,
    SELL,
    Accounts,
    Bools,
    Floats,
    Ints,
    refuse_masked,
)
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import (
    HISTORY,
    account_texts,
    compact_account_codes,
    compact_account_texts,
    paper_account_text,
)
from flag_kedro.env.rewards import make_reward
from flag_kedro.env.snapshot import Changing, changing_arrays, put_back, take_snapshot
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow, refuse_other_sessions

Observation = dict[str, Any]
IllegalActions = Literal["refuse", "hold"]
"""What a masked action does in a single agent's environment: an error, or the same as `hold`."""


class LegalActions(spaces.MultiDiscrete):
    """Actions whose `sample` draws legal ones only, so that a random agent needs no mask of its own."""

    def __init__(self, env: "TradingVectorEnv") -> None:
        super().__init__(np.full(env.num_envs, 3))
        self._env = env

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        """One legal action for each account, uniformly, [N]."""
        scores = self.np_random.random((self._env.num_envs, 3))
        return np.argmax(np.where(self._env.action_mask(), scores, -1.0), axis=1)


def _observation_space(num_symbols: int, longest: int) -> spaces.Dict:
    """Observations of one account in a window whose longest symbol has `longest` sessions."""
    return spaces.Dict(
        {
            "symbol": spaces.Discrete(num_symbols),
            "session": spaces.Discrete(longest),
            "position": spaces.Discrete(3, start=-1),
            "sessions_held": spaces.Discrete(longest + 1),
            "unrealised_return": spaces.Box(-np.inf, np.inf, (), np.float64),
            "action_mask": spaces.MultiBinary(3),
        }
    )


class TradingVectorEnv(VectorEnv[Observation, Ints, Floats]):
    """N accounts that trade the symbols of one window.

    Observation: numbers for each account (`symbol`, `session` indices, `position`, `sessions_held`,
        `unrealised_return`, `action_mask`); `states()` gives the same decisions as prompts.
    Actions and mask: 0 sell, 1 hold, 2 buy. `long_flat`: sell is masked when flat, buy when long. `long_short`:
        sell is masked when short, buy when long. With `env.decide_on` `events` both are masked at sessions that are no
        event; an order that is filled in parts is gone on with. A masked action is an error.
    Fills: the decision of session d fills at d + 1, at `window.fill_prices` (under `same_close` these are the
        closes of d). `max_participation` of that session's volume sets a limit to it; what is left of an order is
        tried again each session until it is done or the opposite is asked for, and the mask is that of what was asked
        for last.
    Costs: `config.cost` of each trade's value; `borrow_rate` for the shares that are short over a night. Free
        cash earns `cash_rate`. What is held over the night is what is held before the fill, under
        `same_close` after it.
    Reward: from mark to mark, `config.reward`. `log_return` is ln(equity(d + 1) / equity(d)); under
        `next_close` a purchase first shows as its cost, then as exposure one step later.
        `sharpe_increment` is 0 at the first step, the first ratio at the second; see `rewards`.
    Episode end: truncation at the window's last session, or after `config.max_episode_steps`; termination
        when equity is 0 or less, which only a short position can bring about: the account is then left with
        `account.RUIN_SHARE` of its equity at the mark before. The next episode starts, there or at the window's start,
        within the same step (`AutoresetMode.SAME_STEP`). What was reached before is in
        `info["final_states"]` for all accounts and, as Gymnasium has it, in `info["final_obs"]` for those
        that ended.
    Info: `equity` at the mark before any reset, `position` held over the return that ended there (under
        `next_open` the one after the fill, or the one before where that is flat), `exposure`, the share of equity
        that was in it, `traded_value` in money, all [N]; with a stop `stopped` too, from this mark on.
    Stop: with `config.max_drawdown_stop`, an account whose equity at a mark is that share below its running peak in the
        episode, or more, is closed at the next fill, at the usual costs (with `max_participation` in parts), and stays
        flat until the episode ends; from that mark on only hold is legal.

    Raises:
        ValueError: when the window's prompts offer other positions than `config`, or it was cut for other sessions to
            trade on (`env.decide_on`).
    """

    def __init__(self, window: TradingWindow, config: EnvConfig, accounts_per_symbol: int = 1) -> None:
        if window.positions != config.positions:
            raise ValueError(
                f"env.positions is {config.positions}, but the window's prompts offer {window.positions}; cut it anew"
            )
        refuse_other_sessions(window, config)
        num_symbols, longest = window.mark_prices.shape
        self.window = window
        self.config = config
        self.num_envs = num_symbols * accounts_per_symbol
        self.symbol = np.repeat(np.arange(num_symbols), accounts_per_symbol)
        self.last_session = window.num_sessions[self.symbol] - 1
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = _observation_space(num_symbols, longest)
        self.single_action_space = spaces.Discrete(3)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._account_texts = account_texts(config.account_view, config.positions)
        self._accrues = config.cash_rate > 0.0 or config.positions == "long_short"
        self._row = self.symbol * longest
        self._fills, self._marks = window.fill_prices.ravel(), window.mark_prices.ravel()
        self._years = window.years.ravel()
        self._is_event = None if window.is_event is None else window.is_event.ravel()
        self._max_shares: Floats | None = None
        if config.max_participation is not None:
            self._max_shares = np.nan_to_num(config.max_participation * window.fill_volumes.ravel(), nan=np.inf)
        limited = self._max_shares is not None
        self._stops = config.max_drawdown_stop is not None
        self.accounts = Accounts.open(
            self.num_envs, config.initial_cash, config.positions, limited=limited, stoppable=self._stops
        )
        self.session = np.zeros(self.num_envs, dtype=np.int64)
        self.action_space = LegalActions(self)
        self._reward = make_reward(config, self.num_envs, longest - 1)
        self._equity = np.full(self.num_envs, config.initial_cash)
        self._peak = self._equity.copy()
        """Largest equity at a mark of the episode, where accounts can be stopped."""
        self._mark = self._marks.take(self._row)
        self._history: list[list[tuple[float, float, str]]] = []
        """Reward, equity after it and action of the last sessions of each account, for the paper's account view."""
        self._restart(np.ones(self.num_envs, dtype=bool))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Open every account anew.

        Args:
            seed: seeds `action_space` alone; the market itself draws nothing.
            options: `{"start": [S]}` gives each symbol's first session index in this first episode.

        Returns:
            The observation of each account, [N] a key, and an empty info.

        Raises:
            ValueError: when a start is missing, or leaves its symbol no step.
        """
        super().reset(seed=seed)
        if seed is not None:
            self.action_space.seed(seed)
        num_symbols = len(self.window.symbols)
        start = np.asarray((options or {}).get("start", np.zeros(num_symbols, dtype=np.int64)))
        if start.shape != (num_symbols,):
            raise ValueError(f"start must hold one session index for each of {num_symbols} symbols; got {start}")
        if np.any(start < 0) or np.any(start >= self.window.num_sessions - 1):
            raise ValueError(f"start must leave each symbol at least one step; got {start.tolist()}")
        self.session = start[self.symbol].copy()
        self._restart(np.ones(self.num_envs, dtype=bool))
        return self._observe(), {}

    def step(  # type: ignore[override]  # Gymnasium gives flags the rewards' type
        self, actions: Ints
    ) -> tuple[Observation, Floats, Bools, Bools, dict[str, Any]]:
        """Fill `actions` [N] at the next session, mark there and reward; see the class for the rest.

        Returns:
            Observation, rewards [N], terminated [N], truncated [N] and info.

        Raises:
            ValueError: when there is not one action for each account, or one is masked.
        """
        actions = np.asarray(actions, dtype=np.int64)
        self._check_legal(actions)
        equity_before, position_before = self._equity, self.accounts.position.copy()
        invested_before = self._invested(equity_before)
        traded = self._trade(actions)
        equity = self.accounts.equity(self._mark)
        position = self._position_over_return(position_before)
        terminated = self._ruin(equity, equity_before)
        rewards = self._reward.step(equity_before, equity)
        self._equity = equity
        self._stop(equity)
        stopped = self.accounts.stopped
        if self.config.account_view == "paper":
            self._remember(actions, rewards)
        truncated = self._is_truncated() & ~terminated
        info: dict[str, Any] = {
            "traded_value": traded,
            "equity": equity.copy(),
            "position": position,
            "exposure": self._exposure_over_return(position, invested_before, equity),
        }
        if stopped is not None:
            info["stopped"] = stopped.copy()
        ended = terminated | truncated
        if ended.any():
            info |= {
                "final_states": self.states(),
                "final_obs": self._final_observations(ended),
                "_final_obs": ended,
            }
            self.session = np.where(ended & (self.session == self.last_session), 0, self.session)
            self._restart(ended)
        return self._observe(), rewards, terminated, truncated, info

    def equity(self) -> Floats:
        """Cash plus shares at the current session's mark, [N]."""
        return self._equity.copy()

    def action_mask(self) -> Bools:
        """Legal actions of the decisions now due, [N, 3]: those of the accounts, and `hold` alone where no event is."""
        mask = self.accounts.action_mask()
        if self._is_event is not None:
            mask[:, [SELL, BUY]] &= self._is_event.take(self._row + self.session)[:, None]
        return mask

    def states(self) -> States:
        """The decisions now due, as prompts."""
        prefixes = self.window.prefixes
        return States(
            prefix=[prefixes[s][t] for s, t in zip(self.symbol.tolist(), self.session.tolist(), strict=True)],
            account=self._texts(),
            action_mask=self.action_mask(),
        )

    def upcoming_prefixes(self, num_steps: int) -> list[str]:
        """Prefixes of the decisions now due and of those after each of the next `num_steps` steps, without ruin."""
        sessions = dict.fromkeys(zip(self.symbol.tolist(), self.session.tolist(), strict=True))
        last = self.window.num_sessions - 1
        return [
            self.window.prefixes[symbol][(session + ahead) % (int(last[symbol]) + 1)]
            for ahead in range(num_steps + 1)
            for symbol, session in sessions
        ]

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of all that later steps depend on besides window and config; `restore` puts them back."""
        past = np.full((self.num_envs, HISTORY, 3), np.nan)
        for account, rows in enumerate(self._history):
            for age, (reward, value, action) in enumerate(rows):
                past[account, age] = reward, value, ACTION_NAMES.index(action)
        return take_snapshot(self._changing()) | {"history": past}

    def restore(self, snapshot: Mapping[str, NDArray[Any]]) -> None:
        """Take the state of another environment of the same window, config and number of accounts.

        Args:
            snapshot: what `snapshot` returned there.

        Raises:
            ValueError: when the snapshot is of other accounts.
        """
        put_back(self._changing(), snapshot, {"history": (self.num_envs, HISTORY, 3)})
        self._mark = self._marks.take(self._row + self.session)
        self._history = [
            [(float(reward), float(value), ACTION_NAMES[int(action)]) for reward, value, action in rows if action >= 0]
            for rows in snapshot["history"]
        ]

    def _changing(self) -> Changing:
        """Every array that steps change; the history apart."""
        own = ("session", "elapsed", "_equity", *(("_peak",) if self._stops else ()))
        return changing_arrays(self, own, self.accounts, self._reward)

    def _restart(self, which: Bools) -> None:
        """Open the accounts in `which` [N] anew at their current sessions."""
        if which.all():
            self.elapsed = np.zeros(self.num_envs, dtype=np.int64)
            self._history = [[] for _ in range(self.num_envs)]
        self.elapsed[which] = 0
        self._reward.reset(which)
        self.accounts.reset(which, self.config.initial_cash)
        self._equity = np.where(which, self.config.initial_cash, self._equity)
        self._peak = np.where(which, self.config.initial_cash, self._peak)
        self._mark = self._marks.take(self._row + self.session)
        if self.config.account_view == "paper":
            for account in np.flatnonzero(which):
                self._history[account].clear()

    def _trade(self, actions: Ints) -> Floats:
        """Pass the night, fill `actions` and move on to the next session's mark; traded value [N]."""
        accounts, config = self.accounts, self.config
        night_before = self._mark
        self.session = self.session + 1
        self.elapsed += 1
        here = self._row + self.session
        max_shares = None if self._max_shares is None else self._max_shares.take(here)
        after_fill = self.window.fill == "same_close"
        if self._accrues and not after_fill:
            accounts.accrue(night_before, self._years.take(here), config.cash_rate, config.borrow_rate)
        traded = accounts.fill(actions, self._fills.take(here), config.cost, max_shares)
        if self._accrues and after_fill:
            accounts.accrue(night_before, self._years.take(here), config.cash_rate, config.borrow_rate)
        self._mark = self._marks.take(here)
        return traded

    def _ruin(self, equity: Floats, equity_before: Floats) -> Bools:
        """Close out the accounts that have nothing left, in `equity` [N] too; which they are, [N]."""
        if self.config.positions == "long_flat":
            return np.zeros(self.num_envs, dtype=bool)
        ruined = equity <= DUST * self.config.initial_cash
        if ruined.any():
            self.accounts.close_out(ruined, equity_before)
            equity[ruined] = self.accounts.cash[ruined]
        return ruined

    def _stop(self, equity: Floats) -> None:
        """Stop the accounts whose `equity` [N] is too far below its peak."""
        if self.config.max_drawdown_stop is None:
            return
        assert self.accounts.stopped is not None
        self._peak = np.maximum(self._peak, equity)
        self.accounts.stopped |= equity <= self._peak * (1.0 - self.config.max_drawdown_stop)

    def _position_over_return(self, before: NDArray[np.int8]) -> Ints:
        after = self.accounts.position
        match self.window.fill:
            case "next_close":
                held = before
            case "same_close":
                held = after
            case "next_open":
                held = np.where(after == 0, before, after)
        return held.astype(np.int64)

    def _invested(self, equity: Floats) -> Floats | None:
        """Value of the shares at the mark over `equity` [N]; None where orders are filled whole."""
        return None if self._max_shares is None else np.abs(self.accounts.shares * self._mark) / equity

    def _exposure_over_return(self, position: Ints, before: Floats | None, equity: Floats) -> Floats:
        """Share of equity that was invested, [N]: all of it in a position whose order is filled whole."""
        after = self._invested(equity)
        if before is None or after is None:
            return np.abs(position).astype(np.float64)
        whole = np.where((after == 0.0) | (self.window.fill == "next_close"), before, after)
        return np.where(position == 0, 0.0, whole)

    def _is_truncated(self) -> Bools:
        truncated: Bools = self.session == self.last_session
        if self.config.max_episode_steps is not None:
            truncated |= self.elapsed >= self.config.max_episode_steps
        return truncated

    def _remember(self, actions: Ints, rewards: Floats) -> None:
        for past, reward, value, action in zip(self._history, rewards, self._equity, actions, strict=True):
            past.append((float(reward), float(value), ACTION_NAMES[action]))
            del past[:-HISTORY]

    def _texts(self) -> list[str]:
        """The text of each account, [N]."""
        accounts, texts = self.accounts, self._account_texts
        if texts is None:
            return self._paper_texts()
        if self.config.account_view == "position":
            return [texts[code] for code in accounts.position.tolist()]  # the last text is that of -1, short
        codes = compact_account_codes(
            accounts.position, accounts.sessions_held, self._unrealised(), self.config.positions
        )
        return [texts[code] for code in codes]

    def _paper_texts(self) -> list[str]:
        accounts = self.accounts
        return [
            paper_account_text(cash, shares, equity, *(zip(*past, strict=True) if past else ((), (), ())))
            for cash, shares, equity, past in zip(
                accounts.cash, accounts.shares, self._equity, self._history, strict=True
            )
        ]

    def _unrealised(self) -> Floats:
        return self.accounts.unrealised_return(self._mark)

    def _observe(self) -> Observation:
        return {
            "symbol": self.symbol.copy(),
            "session": self.session.copy(),
            "position": self.accounts.position.astype(np.int64),
            "sessions_held": self.accounts.sessions_held.copy(),
            "unrealised_return": self._unrealised(),
            "action_mask": self.action_mask().astype(np.int8),
        }

    def _final_observations(self, ended: Bools) -> NDArray[np.object_]:
        """Observation of each account that ended, None for the others, [N]."""
        observed = self._observe()
        reached = np.full(self.num_envs, None, dtype=object)
        rows = zip(*(list(values[ended]) for values in observed.values()), strict=True)
        for account, row in zip(np.flatnonzero(ended).tolist(), rows, strict=True):
            reached[account] = dict(zip(observed, row, strict=True))
        return reached

    def _check_legal(self, actions: Ints) -> None:
        if actions.shape != (self.num_envs,):
            raise ValueError(f"expected one action for each of {self.num_envs} accounts; got shape {actions.shape}")
        if actions.min() >= 0 and actions.max() < NUM_ACTIONS:
            legal = self.accounts.is_legal(actions)
        else:
            legal = (actions >= 0) & (actions < NUM_ACTIONS)
        if self._is_event is not None:
            legal &= (actions == HOLD) | self._is_event.take(self._row + self.session)
        if not legal.all():
            account, mask = int(np.argmin(legal)), self.action_mask()
            symbol = int(self.symbol[account])
            day = self.window.sessions[symbol][self.session[account]]
            refused = (self.window.symbols[symbol], day, int(actions[account]), mask[account])
            refuse_masked(*refused, int(self.accounts.asked[account]))


class TradingEnv(gym.Env[Observation, int]):
    """One account of one symbol: `TradingVectorEnv` for a single agent that reads prompts.

    Observation: `prompt` (text) and `action_mask`. Actions, fills, costs, reward and episode end are those of
    `TradingVectorEnv`; there is no autoreset.

    Args:
        window: of one symbol.
        config: costs and reward.
        illegal: what a masked action does; `hold` is for agents that know no masks.

    Raises:
        ValueError: when the window has several symbols, or its prompts offer other positions than `config`.
    """

    def __init__(self, window: TradingWindow, config: EnvConfig, illegal: IllegalActions = "refuse") -> None:
        if len(window.symbols) != 1:
            raise ValueError(f"TradingEnv trades one symbol; the window has {' '.join(window.symbols)}")
        self._vector = TradingVectorEnv(window, config)
        self._illegal = illegal
        texts = [*self._vector.window.prefixes[0], *compact_account_texts(config.positions)]
        charset = frozenset("".join(texts) + '0123456789.-+{}[]",:_ abcdefghijklmnopqrstuvwxyzACD\n')
        longest = max(len(prefix) for prefix in self._vector.window.prefixes[0]) + 1_000
        self.observation_space = spaces.Dict(
            {"prompt": spaces.Text(longest, charset=charset), "action_mask": spaces.MultiBinary(3)}
        )
        self.action_space: spaces.Discrete = _LegalAction(self._vector)  # type: ignore[assignment]
        self._ended = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start at the window's first session, flat; `seed` seeds `action_space`, the market itself draws nothing."""
        super().reset(seed=seed)
        if seed is not None:
            self.action_space.seed(seed)
        self._vector.reset()
        self._ended = False
        return self._prompt(self._vector.states()), {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one decision; see the class.

        Raises:
            ValueError: when the action is masked and shall be refused, or the episode has ended.
        """
        if self._ended:
            raise ValueError("the episode has ended; call reset")
        taken = HOLD if self._illegal == "hold" and not self.action_masks()[action] else action
        _, rewards, terminated, truncated, info = self._vector.step(np.array([taken]))
        self._ended = bool(terminated[0] or truncated[0])
        states = info["final_states"] if self._ended else self._vector.states()
        reached = {name: float(info[name][0]) for name in ("traded_value", "equity", "position", "exposure")}
        return self._prompt(states), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), reached

    def action_masks(self) -> Bools:
        """Which of sell, hold and buy are legal now, [3]; sb3-contrib's MaskablePPO asks for it by this name."""
        return np.asarray(self._vector.action_mask()[0])

    @staticmethod
    def _prompt(states: States) -> Observation:
        return {
            "prompt": states.prefix[0] + states.account[0],
            "action_mask": states.action_mask[0].astype(np.int8),
        }


class _LegalAction(spaces.Discrete):
    """The single account's actions; `sample` draws legal ones only."""

    def __init__(self, env: TradingVectorEnv) -> None:
        super().__init__(3)
        self._env = env

    def sample(self, mask: Any = None, probability: Any = None) -> np.int64:
        """One legal action, uniformly."""
        return np.int64(self.np_random.choice(np.flatnonzero(self._env.action_mask()[0])))
