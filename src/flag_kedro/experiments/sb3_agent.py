"""Stable-Baselines3's PPO on numeric indicators: what reinforcement learning makes of prices without any text.

An optional extra: `pip install 'flag_kedro[sb3]'`. Settings are fixed here, in advance. Shape legend: K = indicators.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.torch import load_file, save_file

from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import HOLD, Floats
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decide, Decisions, States
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError
from flag_kedro.experiments.indicator_env import (
    INDICATORS,
    TINY_STD,
    IndicatorEnv,
    action_space,
    indicator_table,
    observation_space,
    observe,
)
from flag_kedro.policy.manifest import verify_manifest

"""Least deviation that an indicator is divided by."""
TIMESTEPS = 50_000
"""Account-decisions over all symbols."""
NET_ARCH = (64, 64)
SETTINGS = {"n_steps": 256, "batch_size": 256, "n_epochs": 4, "gamma": 0.9, "ent_coef": 0.01, "learning_rate": 1e-3}
"""Where they differ from Stable-Baselines3's own; steps are per symbol."""
WEIGHTS, DESCRIPTION, FACTS = "policy.safetensors", "agent.json", "facts.json"


@dataclass(frozen=True)
class Sb3Agent:
    """A trained agent, and how its indicators are standardised."""

    policy: Any
    """`stable_baselines3.common.policies.ActorCriticPolicy`."""
    mean: Floats
    """Of each indicator over the training window, [K]."""
    deviation: Floats
    """Standard deviation of each indicator over the training window, [K]."""
    facts: dict[str, Any] = field(default_factory=dict)
    """`data_hash`, `windows`, `env`, `symbols`, `seed`, as of the language model's bundle."""

    def decide(self, prices: pl.DataFrame, window: TradingWindow) -> Decide:
        """A rule for one replay of `window`: its k-th call answers session k, always with the likeliest action.

        As in training, an illegal action holds.

        Args:
            prices: the prices table of ingest; only past closes of each session are read.
            window: the window to be replayed.

        Raises:
            DataError: when an indicator of a session cannot be computed.
            ValueError: (by the rule) when it is asked for a session beyond the window.
        """
        indicators = np.nan_to_num((indicator_table(prices, window) - self.mean) / self.deviation)
        num_sessions = indicators.shape[1]
        session = 0

        def rule(states: States) -> Decisions:
            nonlocal session
            if session == num_sessions:
                raise ValueError(f"the agent has indicators of {num_sessions} sessions and was asked for one more")
            observations = observe(indicators[:, session], states.action_mask)
            session += 1
            actions, _ = self.policy.predict(observations, deterministic=True)
            return Decisions(np.where(states.action_mask[np.arange(len(states)), actions], actions, HOLD))

        return rule

    def write(self, folder: Path) -> None:
        """Write weights (safetensors) and JSON into an existing empty `folder`; the manifest comes after."""
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.policy.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        description = {
            "indicators": list(INDICATORS),
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "net_arch": list(NET_ARCH),
            "timesteps": TIMESTEPS,
            "settings": SETTINGS,
        }
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
        (folder / FACTS).write_text(json.dumps(self.facts, indent=2, sort_keys=True) + "\n")


def train_sb3(
    prices: pl.DataFrame,
    windows: Sequence[TradingWindow],
    config: EnvConfig,
    seed: int,
    *,
    facts: dict[str, Any] | None = None,
    timesteps: int = TIMESTEPS,
) -> Sb3Agent:
    """Train on the training window, one environment per symbol, on the CPU.

    Stable-Baselines3 seeds the global generators of Python, NumPy and torch with `seed`.

    Args:
        prices: the prices table of ingest.
        windows: the training window, cut for each symbol alone.
        config: costs and reward; `max_episode_steps` counts here too.
        seed: of weights, actions and minibatches.
        facts: written beside the weights.
        timesteps: account-decisions over all symbols; whole rollouts of `n_steps` are played.

    Raises:
        DataError: when Stable-Baselines3 is not installed or an indicator cannot be computed.
        ValueError: when a window has several symbols.
    """
    sb3 = _import_sb3()
    tables = [indicator_table(prices, window)[0] for window in windows]
    mean = np.concatenate(tables).mean(axis=0)
    deviation = np.maximum(np.concatenate(tables).std(axis=0), TINY_STD)
    environments = [
        IndicatorEnv(window, config, (table - mean) / deviation) for window, table in zip(windows, tables, strict=True)
    ]
    learner = sb3.PPO(
        "MlpPolicy",
        sb3.common.vec_env.DummyVecEnv([partial(_identity, environment) for environment in environments]),
        policy_kwargs={"net_arch": list(NET_ARCH)},
        seed=derived_seed(seed, "sb3"),
        device="cpu",
        **SETTINGS,
    )
    learner.learn(timesteps)
    learner.policy.set_training_mode(False)
    return Sb3Agent(learner.policy, mean, deviation, facts or {})


def load_sb3(folder: Path) -> Sb3Agent:
    """Open a folder written by `Sb3Agent.write`, manifest included.

    Raises:
        DataError: when the folder is damaged, has other indicators, or Stable-Baselines3 is not installed.
    """
    sb3 = _import_sb3()
    verify_manifest(folder)
    description = json.loads((folder / DESCRIPTION).read_text())
    if description["indicators"] != list(INDICATORS):
        raise DataError(
            f"{folder} reads {', '.join(description['indicators'])}, this version {', '.join(INDICATORS)}; "
            "train again with kedro run --pipelines=sb3_baseline"
        )
    policy = sb3.common.policies.ActorCriticPolicy(
        observation_space(len(INDICATORS)), action_space(), lambda _: 0.0, net_arch=description["net_arch"]
    )
    policy.load_state_dict(load_file(folder / WEIGHTS))
    policy.set_training_mode(False)
    mean, deviation = np.array(description["mean"]), np.array(description["deviation"])
    return Sb3Agent(policy, mean, deviation, json.loads((folder / FACTS).read_text()))


def _identity(environment: IndicatorEnv) -> IndicatorEnv:
    """The environment: Stable-Baselines3 takes functions that make one."""
    return environment


def _import_sb3() -> Any:
    """The module, which carries no types for mypy."""
    try:
        import stable_baselines3
    except ImportError as error:
        raise DataError(
            f"the sb3_baseline needs Stable-Baselines3, which cannot be imported ({error}); "
            "install it with pip install 'flag_kedro[sb3]'"
        ) from error
    return stable_baselines3
