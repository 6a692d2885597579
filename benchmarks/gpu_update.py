"""Updates of PPO, from rollout to optimizer steps, of random weights of a known geometry on random prompts.

Prompts have as many tokens as those of real states; weights, rewards and texts are random, since neither time nor
memory depends on what they say. The training is the project's own (`start_training`).
"""

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from actor_critic_backbone import Geometry, write_random_backbone
from actor_critic_meters import count_flops, forget_peak, now, peak_above
from model_flops import Reading, reading_of, top_backward, top_forward, total, trunk_forward

from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.features.market_state import build_market_states
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.packing import RowIds
from flag_kedro.policy.trunk_cache import TrunkRow
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.training import start_training
from flag_kedro.ppo.training_spec import TrainingSpec

MOST_UPDATES = 20
SESSIONS = date(2023, 1, 3), date(2023, 12, 29)


@dataclass(frozen=True)
class Load:
    """What an update reads."""

    prefix_tokens: tuple[int, int] = (300, 420)
    """Fewest and most."""
    num_envs: int = 16
    num_steps: int = 16
    minibatch_size: int = 256
    update_epochs: int = 4
    batch_tokens: int = 16384
    dtype: Literal["float32", "bfloat16"] = "bfloat16"


class Counter:
    """Counts what a model is asked to read, and the operations that takes by formula."""

    def __init__(self, model: ActorCritic, geometry: Geometry, rank: int) -> None:
        self.frozen = len(model.trunk.layers)
        self.geometry, self.layers, self.rank = geometry, len(model.top.layers), rank
        self._read, self._seen = model.trunk.rows, set[tuple[Any, ...]]()
        model.trunk.rows = self._rows  # type: ignore[method-assign]
        self.reset()

    def reset(self) -> None:
        """Count from 0; what the trunk has read stays known."""
        self.trunk, self.forward, self.backward = Reading(), Reading(), Reading()

    @property
    def flops(self) -> int:
        """Operations that had to be done since the last reset."""
        geometry, layers, rank = self.geometry, self.layers, self.rank
        top = top_forward(geometry, layers, rank, self.forward) + top_backward(geometry, layers, rank, self.backward)
        return trunk_forward(geometry, self.frozen, self.trunk) + top

    def _rows(self, requested: Sequence[RowIds], **options: bool) -> list[TrunkRow]:
        self.trunk += total(map(self._new, requested))
        read = total(reading_of(len(ids.prefix), list(map(len, ids.suffixes))) for ids in requested if ids.suffixes)
        self.forward += read
        self.backward += read if torch.is_grad_enabled() else Reading()
        return self._read(requested, **options)

    def _new(self, ids: RowIds) -> Reading:
        """What of a row the trunk never read."""
        suffixes = [suffix for suffix in ids.suffixes if (ids.prefix, suffix) not in self._seen]
        known = (ids.prefix,) in self._seen
        self._seen |= {(ids.prefix,), *((ids.prefix, suffix) for suffix in suffixes)}
        return reading_of(len(ids.prefix), list(map(len, suffixes)), prefix_is_known=known)


def random_window(load: Load, geometry: Geometry, seed: int) -> TradingWindow:
    """A simulated market whose prompts are random words, a token each."""
    config = SimulatedConfig(market="easy", first_session=SESSIONS[0], last_session=SESSIONS[1])
    market = simulate_market(None, config, seed)
    tables, _ = build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=600, article_chars=240)
    window, rng = cut_window(tables, SESSIONS, "next_open"), np.random.default_rng(seed)

    def text() -> str:
        num = rng.integers(load.prefix_tokens[0], load.prefix_tokens[1], endpoint=True)
        return " ".join(f"w{word}" for word in rng.integers(1, geometry.vocab_size, num))

    return replace(window, prefixes=tuple(tuple(text() for _ in texts) for texts in window.prefixes))


def training_of(
    geometry: Geometry, folder: Path, load: Load, window: TradingWindow, device: torch.device, checkpointing: bool
) -> TrainingSpec:
    """A training that does not end by itself."""
    ppo = PPOConfig(
        total_timesteps=10**9, num_envs=load.num_envs, num_steps=load.num_steps, update_epochs=load.update_epochs,
        minibatch_size=load.minibatch_size, activation_checkpointing=checkpointing,
    )  # fmt: skip
    policy = PolicyConfig(frozen_layers=geometry.frozen_layers, dtype=load.dtype, batch_tokens=load.batch_tokens)
    runtime = RuntimeConfig(device="cpu" if device.type == "cpu" else "cuda", threads=torch.get_num_threads())
    return TrainingSpec(folder, None, window, None, EnvConfig(), policy, ppo, runtime, 0)


def measure_update(
    geometry: Geometry, folder: Path, load: Load, device: torch.device, checkpointing: bool, seconds: float
) -> dict[str, Any]:
    """Mean of some updates after a first one, of as many as begin within a budget of seconds.

    Args:
        geometry: of the backbone.
        folder: the backbone's, written if it is not there.
        load: what an update reads.
        device: where it computes.
        checkpointing: `ppo.activation_checkpointing`.
        seconds: budget; at least one update is measured.

    Returns:
        Rates, peak memory, and operations by formula and, padding and repeated layers included, as torch counts them.
    """
    try:
        return _measure(geometry, folder, load, device, checkpointing, time.perf_counter() + seconds)
    finally:
        gc.collect()


def _measure(
    geometry: Geometry, folder: Path, load: Load, device: torch.device, checkpointing: bool, deadline: float
) -> dict[str, Any]:
    if not folder.exists():
        folder.mkdir(parents=True)
        write_random_backbone(geometry, 0, folder)
    window = random_window(load, geometry, 0)
    spec = training_of(geometry, folder, load, window, device, checkpointing)
    start = forget_peak(device)
    model, updates = start_training(spec)
    counter = Counter(model, geometry, spec.policy.lora_rank)
    next(updates)
    counter.reset()
    started, rows = now(device), list[dict[str, Any]]()
    while not rows or (now(device) < deadline and len(rows) < MOST_UPDATES):
        rows.append(next(updates))
    elapsed, read, flops = now(device) - started, counter.forward, counter.flops
    trunk = counter.trunk.tokens
    peak = peak_above(start, device)
    counter.reset()
    computed = count_flops(lambda: next(updates))
    decisions = len(rows) * load.num_envs * load.num_steps * len(window.symbols)
    return {
        "weights": sum(weight.numel() for weight in model.parameters()),
        "weights_that_learn": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        "updates": len(rows),
        "seconds_an_update": elapsed / len(rows),
        "rollout_seconds": float(np.mean([row["ppo/rollout_seconds"] for row in rows])),
        "update_seconds": float(np.mean([row["ppo/update_seconds"] for row in rows])),
        "decisions_per_second": decisions / elapsed,
        "tokens_per_second": (read.tokens + trunk) / elapsed,
        "trunk_tokens_an_update": trunk / len(rows),
        "top_tokens_an_update": read.tokens / len(rows),
        "model_flops_an_update": flops / len(rows),
        "model_flops_per_second": flops / elapsed,
        "computed_to_model_flops": computed / counter.flops,
        "peak_memory_mb": peak,
        "last_loss": rows[-1]["ppo/loss"],
    }
