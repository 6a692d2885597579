"""The trading MDP for agents that read numbers instead of prompts.

Shape legend: S = symbols, T = sessions of the longest, K = indicators.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import polars as pl
from gymnasium import spaces
from numpy.typing import NDArray

from flag_kedro.env.account import ACTION_NAMES, BUY, HOLD, SELL, Floats
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import IllegalActions, TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError
from flag_kedro.features.indicators import compute_indicators

INDICATORS = ("return_1", "return_5", "return_20", "volatility_20", "rsi_14", "macd", "range_60")
LARGEST = 5.0
"""Absolute value, in standard deviations, at which standardised indicators are clipped."""
TINY_STD = 1e-12
"""Least deviation of an indicator, which would be divided by 0 otherwise."""
REWARD_SCALE = 100.0
"""Factor of every reward, so that returns of a session are of the order of 1."""

Numbers = NDArray[np.float32]


def observation_space(num_indicators: int) -> spaces.Box:
    """Standardised, clipped indicators and the position's code, [K + 1]."""
    return spaces.Box(-LARGEST, LARGEST, (num_indicators + 1,), np.float32)


def action_space() -> spaces.Discrete:
    """Sell, hold, buy."""
    return spaces.Discrete(len(ACTION_NAMES))


def indicator_table(prices: pl.DataFrame, window: TradingWindow) -> Floats:
    """Indicators known at each session's close, NaN behind the end of a shorter symbol, [S, T, K].

    Args:
        prices: the prices table of ingest, from 59 sessions before the window on.
        window: sessions wanted.

    Raises:
        DataError: when an indicator of a session cannot be computed.
    """
    table = np.full((*window.mark_prices.shape, len(INDICATORS)), np.nan)
    for s, symbol in enumerate(window.symbols):
        indicators = compute_indicators(prices.filter(pl.col("symbol") == symbol).sort("session"))
        days = pl.DataFrame({"session": window.sessions[s]}, schema={"session": pl.Date})
        rows = days.join(indicators, on="session", how="left", maintain_order="left")
        missing = rows.filter(pl.any_horizontal(pl.col(INDICATORS).is_null()))
        if missing.height:
            raise DataError(
                f"{symbol} {missing['session'][0]}: no indicators in {missing.height} session(s) of the window; "
                "give the prices that the market states were made from, at least 59 sessions before the window: with "
                "features.warm_up=partial begin data.windows later, or leave this agent out"
            )
        table[s, : rows.height] = rows.select(INDICATORS).to_numpy()
    return table


def standardise(table: Floats, reference: Floats) -> Floats:
    """Indicators [..., K] less their mean in `reference` [..., K], over their deviation there."""
    flat = reference.reshape(-1, reference.shape[-1])
    return np.asarray((table - flat.mean(axis=0)) / np.maximum(flat.std(axis=0), TINY_STD))


def position_code(action_mask: NDArray[Any]) -> Floats:
    """The position as a number from the legal actions [..., 3]: 1 long, -1 at the lowest position, 0 between, [...]."""
    return action_mask[..., SELL].astype(np.float64) - action_mask[..., BUY].astype(np.float64)


class IndicatorEnv(gym.Env[Numbers, int]):
    """One account of one symbol, for agents that read numbers.

    Observation: the session's standardised indicators, clipped to +-`LARGEST`, and `position_code`, [K + 1].
    Actions: 0 sell, 1 hold, 2 buy. **An illegal action (selling what is not held, buying again) holds** unless it is
        to be refused, because most such agents know no masks; others find them in `action_masks`.
    Fills, costs, reward (times `REWARD_SCALE`) and episode end are those of `TradingVectorEnv`; there is no
        autoreset, and every episode starts at the window's first session.
    """

    def __init__(
        self, window: TradingWindow, config: EnvConfig, indicators: Floats, illegal: IllegalActions = "hold"
    ) -> None:
        """Trade `window`.

        Args:
            window: of one symbol.
            config: costs and reward.
            indicators: standardised, of each session, [T, K].
            illegal: what a masked action does.

        Raises:
            ValueError: when the window has several symbols.
        """
        if len(window.symbols) != 1:
            raise ValueError(f"IndicatorEnv trades one symbol; the window has {' '.join(window.symbols)}")
        self._vector = TradingVectorEnv(window, config)
        self._indicators = indicators
        self._illegal = illegal
        self._mask = np.ones(3, dtype=bool)
        self.observation_space: spaces.Box = observation_space(indicators.shape[1])  # type: ignore[assignment]
        self.action_space: spaces.Discrete = action_space()  # type: ignore[assignment]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Numbers, dict[str, Any]]:
        """Start at the window's first session, flat; nothing is drawn."""
        super().reset(seed=seed)
        observations, _ = self._vector.reset()
        return self._observe(int(observations["session"][0]), observations["action_mask"][0]), {}

    def step(self, action: int) -> tuple[Numbers, float, bool, bool, dict[str, Any]]:
        """Take one decision; see the class."""
        taken = HOLD if self._illegal == "hold" and not self._mask[int(action)] else int(action)
        observations, rewards, terminated, truncated, info = self._vector.step(np.array([taken]))
        if terminated[0] or truncated[0]:
            final = info["final_obs"][0]
            observation = self._observe(int(final["session"]), final["action_mask"])
        else:
            observation = self._observe(int(observations["session"][0]), observations["action_mask"][0])
        return observation, float(rewards[0]) * REWARD_SCALE, bool(terminated[0]), bool(truncated[0]), {}

    def action_masks(self) -> NDArray[np.bool_]:
        """Which of sell, hold and buy are legal now, [3]; sb3-contrib's MaskablePPO asks for it by this name."""
        return self._mask.copy()

    def _observe(self, session: int, action_mask: NDArray[Any]) -> Numbers:
        self._mask = action_mask.astype(bool)
        return observe(self._indicators[session], self._mask)


def observe(indicators: Floats, action_mask: NDArray[Any]) -> Numbers:
    """What the agent sees: standardised `indicators` [..., K], clipped, and the position's code, [..., K + 1]."""
    clipped = np.clip(indicators, -LARGEST, LARGEST)
    return np.concatenate([clipped, position_code(action_mask)[..., None]], axis=-1).astype(np.float32)
