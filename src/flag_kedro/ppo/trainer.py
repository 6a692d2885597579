"""Training on trading text: rollout, update, validation, again and again; it can be stopped and resumed anywhere.

Shape legend: T = steps, S = symbols, A = accounts per symbol, N = S x A, M = T x N states of a rollout.
"""

import logging
import time
from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from flag_kedro.data.streams import stream
from flag_kedro.env.account import Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import TrainingError
from flag_kedro.policy.interface import Policy
from flag_kedro.policy.trainable import frozen_copy, load_trainable_state, trainable_state
from flag_kedro.ppo.best_checkpoint import BestCheckpoint
from flag_kedro.ppo.checkpoint import Checkpoints, TrainingState, prefixed, without_prefix
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed.sharded_trunk import PassSynchronizer
from flag_kedro.ppo.distributed.sharding import Shard, weights_sum
from flag_kedro.ppo.learner import Learner, Metrics
from flag_kedro.ppo.rollout import Rollout, RolloutCollector

logger = logging.getLogger(__name__)

ADAM_EPS = 1e-5


def train(
    model: Policy,
    window: TradingWindow,
    validation: TradingWindow | None,
    env_config: EnvConfig,
    config: PPOConfig,
    seed: int,
    accelerator: Accelerator,
    checkpoints: Checkpoints | None = None,
    synchronizer: PassSynchronizer | None = None,
) -> Generator[Metrics, None, None]:
    """Train `model` in place, yielding metrics after each update; a resumed training yields all earlier ones first.

    Afterwards it holds the weights of the best validation, or the last ones without a validation window.

    Args:
        model: the actor-critic with its initial weights, on the accelerator's device.
        window: sessions to learn from.
        validation: sessions that choose the weights; never the test window.
        env_config: the MDP.
        config: how to learn.
        seed: of every random draw.
        accelerator: places and steps the model, and knows the other processes, if there are any; they must all
            call this with the same arguments, save for `checkpoints`, which only process 0 has.
        checkpoints: where to go on, and where to leave the state every `ppo.checkpoint_interval` updates, and
            when the training is stopped from outside; None keeps nothing.
        synchronizer: of a trunk that is shared among the processes.

    Yields:
        Metrics by their MLflow names, and `step`, the account-decisions taken so far.

    Raises:
        TrainingError: when a loss or gradient is not finite, a limit that was asked for is crossed, or processes
            have come apart.
        PeerLostError: when another process is gone.
    """
    trainer = Trainer(model, window, validation, env_config, config, seed, accelerator, synchronizer)
    found = None if checkpoints is None else checkpoints.newest()
    shared = trainer.shard.share(b"" if found is None else found.to_bytes(), accelerator.device)
    if shared:
        trainer.restore(TrainingState.from_bytes(shared))
        logger.info("going on after update %d of %d", len(trainer.history), trainer.num_updates)
        yield from list(trainer.history)
    if checkpoints is None:
        while not trainer.finished:
            yield trainer.advance()
        trainer.selection.restore(model)
        return
    state, saved = trainer.state(), len(trainer.history)
    try:
        while not trainer.finished:
            row = trainer.advance()
            state = trainer.state()
            if trainer.finished or len(trainer.history) - saved >= config.checkpoint_interval:
                checkpoints.save(state)
                saved = len(trainer.history)
            yield row
    except TrainingError:
        raise
    except BaseException:  # stopped from outside: the update in progress is lost, those before it are not
        if len(state.history) > saved:
            checkpoints.save(state)
        if state.history and not trainer.finished:
            logger.warning("stopped after update %d; the same command goes on there", len(state.history))
        raise
    trainer.selection.restore(model)


class Trainer:
    """Everything that a training carries from one update to the next."""

    def __init__(
        self,
        model: Policy,
        window: TradingWindow,
        validation: TradingWindow | None,
        env_config: EnvConfig,
        config: PPOConfig,
        seed: int,
        accelerator: Accelerator,
        synchronizer: PassSynchronizer | None = None,
    ) -> None:
        self.config = config
        self.shard = Shard.of(accelerator, synchronizer)
        self.num_updates = config.num_updates(len(window.symbols))
        self.history: list[Metrics] = []
        self.env = TradingVectorEnv(window, env_config, config.num_envs)
        starts = _starts(window, seed) if config.stagger_starts else None
        self.collector = RolloutCollector(self.env, seed, config.num_envs, starts)
        reference = frozen_copy(model) if config.kl_coef > 0 else None
        optimizer = torch.optim.Adam(_parameter_groups(model, config), eps=ADAM_EPS)
        self.model = accelerator.prepare_model(model, evaluation_mode=True)  # no wrapper: `shard` adds up gradients
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.learner = Learner(self.model, reference, self.optimizer, config, seed, accelerator, self.shard)
        self.selection = BestCheckpoint(validation, env_config, config)

    @property
    def finished(self) -> bool:
        """Whether the budget or patience is used up."""
        return len(self.history) == self.num_updates or self.selection.exhausted

    def advance(self) -> Metrics:
        """One update: rollout, learning and, if it is due, validation."""
        update, started, read = len(self.history), time.perf_counter(), [self.model.tokens_read]
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 - update / self.num_updates if self.config.anneal_lr else 1)
        together = self.shard.spread(self.model)
        rollout = self.collector.collect(together, self.config.num_steps)
        collected = time.perf_counter()
        read.append(self.model.tokens_read)
        metrics = self.learner.learn(rollout, update)
        self._refuse_drift(update)
        learned = time.perf_counter()
        metrics |= _describe(rollout, self.optimizer.param_groups[0]["lr"])
        read.append(self.model.tokens_read)
        metrics |= {
            "ppo/rollout_seconds": collected - started,
            "ppo/update_seconds": learned - collected,
            "ppo/rollout_tokens_per_second": self._of_all(read[1] - read[0]) / (collected - started),
            "ppo/update_tokens_per_second": self._of_all(read[2] - read[1]) / (learned - collected),
        }
        if self._validation_is_due(update):
            metrics["env/validation_log_return"] = self.selection.validate(self.model, together.decide)
            metrics["ppo/validation_seconds"] = time.perf_counter() - learned
        row = {"step": (update + 1) * rollout.rewards.numel(), **metrics}
        self.history.append(row)
        if self.selection.exhausted:
            logger.info("early stop: %d validations without a new best", self.config.patience)
        return row

    def state(self) -> TrainingState:
        """Copies of all that the next updates depend on."""
        tensors = prefixed("weights", trainable_state(self.model)) | prefixed("optimizer", self._optimizer_tensors())
        tensors |= prefixed("best", self.selection.best_weights or {})
        tensors |= prefixed("env", {name: torch.from_numpy(array) for name, array in self.env.snapshot().items()})
        tensors |= prefixed("collector", self.collector.snapshot())
        return TrainingState(tensors, list(self.history), self.selection.facts(), self.finished)

    def restore(self, state: TrainingState) -> None:
        """Stand where `state` was taken; the model must have its initial weights."""
        load_trainable_state(self.model, without_prefix("weights", state.tensors))
        self._load_optimizer(without_prefix("optimizer", state.tensors))
        self.env.restore({name: tensor.numpy() for name, tensor in without_prefix("env", state.tensors).items()})
        self.collector.restore(without_prefix("collector", state.tensors))
        self.selection.load(state.selection, without_prefix("best", state.tensors))
        self.history = list(state.history)

    def _of_all(self, number: int) -> int:
        """The sum over all processes."""
        return sum(self.shard.gather(number, self.model.device))

    def _refuse_drift(self, update: int) -> None:
        """Compare the weights of all processes.

        Raises:
            TrainingError: when they are no longer the same.
        """
        if self.shard.world > 1:
            sums = self.shard.gather(weights_sum(self.model.parameters()), self.model.device)
            if len(set(sums)) > 1:
                raise TrainingError(
                    f"after update {update + 1} the weights of the {self.shard.world} processes are no longer the "
                    "same: training stopped and no policy was saved. Give every machine the same hardware and "
                    "versions"
                )

    def _validation_is_due(self, update: int) -> bool:
        last = update == self.num_updates - 1
        return self.selection.window is not None and (last or (update + 1) % self.config.validation_interval == 0)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        by_weight = self.optimizer.state_dict()["state"]
        return {f"{weight}.{name}": tensor.clone() for weight, own in by_weight.items() for name, tensor in own.items()}

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        by_weight: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            weight, name = key.split(".")
            by_weight.setdefault(int(weight), {})[name] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": by_weight})


def _parameter_groups(model: Policy, config: PPOConfig) -> list[dict[str, Any]]:
    """The backbone's weights that learn and the heads', each with its own step size."""
    heads = {id(weight) for weight in model.heads.parameters()}
    top = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in heads]
    rates = config.learning_rate, config.head_learning_rate or config.learning_rate
    return [
        {"params": weights, "initial_lr": rate, "lr": rate}
        for weights, rate in zip((top, list(model.heads.parameters())), rates, strict=True)
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
