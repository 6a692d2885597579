"""PPO on trading text: rollout, advantages, clipped updates, validation.

Shape legend: T = steps, S = symbols, A = accounts per symbol, N = S x A, M = T x N states of a rollout.
"""

import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from flag_kedro.backtest.replay import replay
from flag_kedro.data.streams import stream
from flag_kedro.env.account import Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import take_states
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.interface import Policy
from flag_kedro.policy.lookup import Lookup
from flag_kedro.policy.trainable import frozen_copy, load_trainable_state, trainable_state
from flag_kedro.ppo import losses
from flag_kedro.ppo.advantages import estimate_advantages
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.errors import TrainingError
from flag_kedro.ppo.rollout import Rollout, RolloutCollector

logger = logging.getLogger(__name__)

ADAM_EPS = 1e-5
Metrics = dict[str, float]


def train(
    model: Policy,
    window: TradingWindow,
    validation: TradingWindow | None,
    env_config: EnvConfig,
    config: PPOConfig,
    seed: int,
    accelerator: Accelerator,
) -> Iterator[Metrics]:
    """Train `model` in place, yielding metrics after each update.

    Afterwards it holds the weights of the best validation, or the last ones without a validation window.

    Args:
        model: the actor-critic, on the accelerator's device.
        window: sessions to learn from.
        validation: sessions that choose the weights; never the test window.
        env_config: the MDP.
        config: PPO's settings.
        seed: of every random draw.
        accelerator: places and steps the model.

    Yields:
        Metrics by their MLflow names, and `step`, the account-decisions taken so far.

    Raises:
        TrainingError: when a loss or gradient is not finite.
    """
    env = TradingVectorEnv(window, env_config, config.num_envs)
    collector = RolloutCollector(env, seed, config.num_envs, _starts(window, seed) if config.stagger_starts else None)
    reference = frozen_copy(model) if config.kl_coef > 0 else None
    optimizer = torch.optim.Adam(_parameter_groups(model, config), eps=ADAM_EPS)
    model, optimizer = accelerator.prepare(model, optimizer)
    selection = Selection(validation, env_config, config)
    num_updates = config.num_updates(len(window.symbols))
    for update in range(num_updates):
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 - update / num_updates if config.anneal_lr else 1)
        rollout = collector.collect(model, config.num_steps)
        collected = time.perf_counter()
        metrics = update_policy(model, reference, optimizer, rollout, config, seed, update, accelerator)
        metrics |= _describe(rollout, optimizer.param_groups[0]["lr"])
        metrics |= {
            "ppo/rollout_seconds": collected - started,
            "ppo/update_seconds": time.perf_counter() - collected,
        }
        last = update == num_updates - 1
        if validation is not None and (last or (update + 1) % config.validation_interval == 0):
            metrics["env/validation_log_return"] = selection.validate(model)
        yield {"step": (update + 1) * rollout.rewards.numel(), **metrics}
        if selection.exhausted:
            logger.info("early stop: %d validations without a new best", config.patience)
            break
    selection.restore(model)


def update_policy(
    model: Policy,
    reference: Policy | None,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    config: PPOConfig,
    seed: int,
    update: int,
    accelerator: Accelerator,
) -> Metrics:
    """Run `update_epochs` of clipped updates over one rollout; minibatches are whole (session, symbol) groups.

    Returns:
        Means over all minibatches.
    """
    next_values = rollout.next_values if config.bootstrap_truncated else rollout.next_values * ~rollout.truncated
    advantages, targets = estimate_advantages(
        rollout.rewards * config.reward_scale, rollout.values, next_values, rollout.terminated, rollout.truncated,
        gamma=config.gamma, gae_lambda=config.gae_lambda,
    )  # fmt: skip
    if config.norm_adv and advantages.numel() > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    advantages, targets, values = advantages.flatten(), targets.flatten(), rollout.values.flatten()
    totals: dict[str, list[float]] = {}
    anchors = None if reference is None else Lookup(reference)
    for epoch in range(config.update_epochs):
        for minibatch in _minibatches(len(values), config, seed, update, epoch):
            parts = np.array_split(minibatch, min(config.gradient_accumulation_steps, len(minibatch)))
            optimizer.zero_grad()
            for groups in parts:
                rows = groups.ravel()
                index = torch.from_numpy(rows).to(values.device)
                said = model.evaluate(take_states(rollout.states, rows))
                log_ratio = said.log_probs.gather(1, rollout.actions[index, None]).squeeze(1) - rollout.log_probs[index]
                terms = {
                    "policy_loss": losses.policy_loss(log_ratio, advantages[index], config.clip_coef),
                    "value_loss": losses.value_loss(
                        said.values,
                        values[index],
                        targets[index],
                        config.clip_coef if config.clip_vloss else None,
                    ),
                    "entropy": losses.entropy(said.log_probs),
                    "approx_kl": (log_ratio.exp() - 1 - log_ratio).detach(),
                    "clip_fraction": ((log_ratio.exp() - 1).abs() > config.clip_coef).float(),
                }
                loss = terms["policy_loss"] + config.vf_coef * terms["value_loss"] - config.ent_coef * terms["entropy"]
                if anchors is not None:
                    anchor = anchors.evaluate(take_states(rollout.states, rows)).log_probs
                    terms["kl"] = losses.kl_divergence(said.log_probs, anchor)
                    loss = loss + config.kl_coef * terms["kl"]
                accelerator.backward(loss.sum() / minibatch.size)
                for name, term in {**terms, "loss": loss}.items():
                    totals.setdefault(name, []).extend(term.detach().tolist())
            norm = accelerator.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            totals.setdefault("grad_norm", []).append(_finite(norm, update, epoch))
            optimizer.step()
        if config.target_kl is not None and np.mean(totals["approx_kl"][-len(values) :]) > config.target_kl:
            break
    return {f"ppo/{name}": float(np.mean(series)) for name, series in totals.items()}


def _minibatches(num_states: int, config: PPOConfig, seed: int, update: int, epoch: int) -> list[Ints]:
    """Shuffled minibatches, each [groups, A] rows of the flattened rollout."""
    groups = np.arange(num_states).reshape(-1, config.num_envs)
    order = stream(seed, "minibatches", update, epoch).permutation(len(groups))
    size = max(1, config.minibatch_size // config.num_envs)
    return [groups[order[start : start + size]] for start in range(0, len(groups), size)]


def _finite(norm: Tensor | None, update: int, epoch: int) -> float:
    """The gradient's norm; a loss that is not finite shows here too.

    Raises:
        TrainingError: when it is not finite.
    """
    assert norm is not None
    if not math.isfinite(float(norm)):
        raise TrainingError(
            f"the gradient is {float(norm)} at update {update + 1}, epoch {epoch + 1}: training stopped and no policy "
            "was saved. Look at ppo/loss and ppo/grad_norm of the updates before; a lower ppo.learning_rate or "
            "ppo.reward_scale keeps them small"
        )
    return float(norm)


def _parameter_groups(model: Policy, config: PPOConfig) -> list[dict[str, Any]]:
    """The backbone's weights that learn and the heads', each with its own step size."""
    heads = {id(weight) for weight in model.heads.parameters()}
    top = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in heads]
    return [
        {"params": top, "initial_lr": config.learning_rate, "lr": config.learning_rate},
        {
            "params": list(model.heads.parameters()),
            "initial_lr": config.head_learning_rate or config.learning_rate,
            "lr": config.head_learning_rate or config.learning_rate,
        },
    ]


def _starts(window: TradingWindow, seed: int) -> Ints:
    """A first session for each symbol, so that symbols are at different times."""
    lengths = zip(window.symbols, window.num_sessions, strict=True)
    return np.array([stream(seed, "start", symbol).integers(num_sessions - 1) for symbol, num_sessions in lengths])


def _describe(rollout: Rollout, learning_rate: float) -> Metrics:
    """Diagnostics of a rollout."""
    actions = torch.bincount(rollout.actions, minlength=3) / len(rollout.actions)
    described = {
        "ppo/learning_rate": learning_rate,
        "env/reward": float(rollout.rewards.mean()),
        "env/exposure": float(np.abs(rollout.positions).mean()),
        "env/sell_share": float(actions[0]),
        "env/hold_share": float(actions[1]),
        "env/buy_share": float(actions[2]),
    }
    if rollout.episode_returns:
        described["env/episode_reward"] = float(np.mean(rollout.episode_returns))
    return described


class Selection:
    """Keeps the weights that traded the validation window best."""

    def __init__(self, window: TradingWindow | None, env_config: EnvConfig, config: PPOConfig) -> None:
        self.window = window
        self.env_config = env_config
        self.patience = config.patience
        self.best_score = -math.inf
        self.best_weights: dict[str, Tensor] | None = None
        self.waited = 0

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def validate(self, model: Policy) -> float:
        """Greedy log return on the validation window, summed over symbols; a new best is kept."""
        assert self.window is not None
        played = replay("validation", self.window, self.env_config, model.decide)
        score = float(played.equity["log_return"].sum())
        if score > self.best_score:
            self.best_score, self.best_weights, self.waited = score, trainable_state(model), 0
        else:
            self.waited += 1
        return score

    def restore(self, model: Policy) -> None:
        """Put the best weights back, if any were kept."""
        if self.best_weights is not None:
            load_trainable_state(model, self.best_weights)
