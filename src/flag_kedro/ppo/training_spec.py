"""All that a training depends on, in one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig


@dataclass(frozen=True)
class SavedAt:
    """Where a training's checkpoints are; the process that starts it holds their lock."""

    root: str
    key: str
    label: str | None


@dataclass(frozen=True)
class TrainingSpec:
    """A training still to be done."""

    backbone: Path
    """Folder of the language model."""
    trunk_cache: Path | None
    """Folder for hidden states of the trunk, where `policy.trunk_cache` is `disk`."""
    window: TradingWindow
    """Sessions to learn from."""
    validation: TradingWindow | None
    """Sessions that choose the weights; never the test window."""
    env: EnvConfig
    policy: PolicyConfig
    ppo: PPOConfig
    runtime: RuntimeConfig
    seed: int
    """Of every random draw."""
    portfolio: PortfolioConfig | None = None
    """One account over all symbols; None for an account of each."""
    saved_at: SavedAt | None = None
    """For other processes that do the training; None where it keeps no checkpoints."""
    floors: Mapping[int, float] = field(default_factory=dict)
    """By account-decisions taken, the best log return on validation below which it is stopped there."""
