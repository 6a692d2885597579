"""Training on trading text: update after update, with validation; it can be stopped and resumed anywhere."""

import logging
from collections.abc import Generator, Mapping

import numpy as np
import torch
from accelerate import Accelerator

from flag_kedro.data.streams import stream
from flag_kedro.env.account import Ints
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.portfolio import PortfolioVectorEnv
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import TrainingError
from flag_kedro.names import VALIDATION_LOG_RETURN
from flag_kedro.policy.interface import Policy
from flag_kedro.policy.trainable import frozen_copy, load_trainable_state, trainable_state
from flag_kedro.ppo.actions import Weights
from flag_kedro.ppo.best_checkpoint import BestCheckpoint
from flag_kedro.ppo.checkpoint import Checkpoints, TrainingState, prefixed, without_prefix
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed.sharded_trunk import PassSynchronizer
from flag_kedro.ppo.distributed.sharding import Shard, weights_sum
from flag_kedro.ppo.history import LEARNING_RATE, PRUNED, STEP, VALIDATION_SECONDS, Metrics, pruned_at
from flag_kedro.ppo.limits import refuse_idle_penalty
from flag_kedro.ppo.optimizer import load_optimizer_tensors, make_optimizer, optimizer_tensors, set_learning_rates
from flag_kedro.ppo.rollout import RolloutCollector
from flag_kedro.ppo.statistics import describe_rollout
from flag_kedro.ppo.stopwatch import Stopwatch
from flag_kedro.ppo.update import ppo_update
from flag_kedro.ppo.volatility_targets import volatility_targets

logger = logging.getLogger(__name__)


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
    portfolio: PortfolioConfig | None = None,
    floors: Mapping[int, float] | None = None,
) -> Generator[Metrics, None, None]:
    """Train `model` in place, yielding metrics after each update; a resumed training yields all earlier ones first.

    Afterwards it holds the weights of the best validation, or the last ones without a validation window.

    Args:
        model: the actor-critic with its initial weights, on the accelerator's device; with a volatility head where
            `ppo.volatility_coef` is above 0.
        window: sessions to learn from.
        validation: sessions that choose the weights; never the test window.
        env_config: the MDP.
        config: how to learn.
        seed: of every random draw.
        accelerator: places the model, and knows the other processes, if there are any; they must all call this with
            the same arguments, save for `checkpoints`, which only process 0 has.
        checkpoints: where to go on, and where to leave the state every `ppo.checkpoint_interval` updates, and
            when the training is stopped from outside; None keeps nothing.
        synchronizer: of a trunk that is shared among the processes.
        portfolio: of one account over all symbols; None trades each symbol in an account of its own.
        floors: by account-decisions taken, the best log return on validation below which the training is pruned.

    Yields:
        Metrics by their MLflow names, and `step`, the account-decisions taken so far.

    Raises:
        CheckpointError: when there are checkpoints and none is sound.
        DataError: when the window is too short for what a volatility head learns.
        ParameterError: when it is too short for `env.cvar_penalty` to count.
        TrainingError: when a loss or gradient is not finite, a limit that was asked for is crossed, or processes
            have come apart.
        PeerLostError: when another process is gone.
    """
    trainer = Trainer(
        model, window, validation, env_config, config, seed, accelerator, synchronizer, portfolio, floors
    )  # fmt: skip
    newest = None if checkpoints is None else checkpoints.newest()
    resumed = trainer.shard.broadcast(b"" if newest is None else newest.to_bytes(), accelerator.device)
    if resumed:
        trainer.restore(TrainingState.from_bytes(resumed))
        logger.info("going on after update %d of %d", len(trainer.history), trainer.num_updates)
        yield from list(trainer.history)
    if checkpoints is None:
        while not trainer.finished:
            yield trainer.advance()
    else:
        yield from _advance_and_save(trainer, checkpoints)
    trainer.selection.restore(model)


def _advance_and_save(trainer: "Trainer", checkpoints: Checkpoints) -> Generator[Metrics, None, None]:
    """Update until nothing is left to learn, saving the state on the way and when stopped from outside."""
    state, num_saved = trainer.state(), len(trainer.history)
    try:
        while not trainer.finished:
            row = trainer.advance()
            state = trainer.state()
            if trainer.finished or len(trainer.history) - num_saved >= trainer.config.checkpoint_interval:
                checkpoints.save(state)
                num_saved = len(trainer.history)
            yield row
    except TrainingError:
        raise
    except BaseException:  # stopped from outside: the update in progress is lost, those before it are not
        if len(state.history) > num_saved:
            checkpoints.save(state)
        if state.history and not trainer.finished:
            logger.warning("stopped after update %d; the same command goes on there", len(state.history))
        raise


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
        portfolio: PortfolioConfig | None = None,
        floors: Mapping[int, float] | None = None,
    ) -> None:
        self.config = config
        self.floors = dict(floors or {})
        self.seed = seed
        self.shard = Shard.of(accelerator, synchronizer)
        self.num_updates = config.num_updates(len(window.symbols) if portfolio is None else 1)
        self.history: list[Metrics] = []
        refuse_idle_penalty(window, env_config)
        self.collector = _open_collector(window, env_config, portfolio, config, seed)
        self.env = self.collector.env
        self.reference = frozen_copy(model) if config.kl_coef > 0 else None
        optimizer = make_optimizer(model, config)
        self.model = accelerator.prepare_model(model, evaluation_mode=True)  # no wrapper: `shard` sums gradients
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.selection = BestCheckpoint(validation, env_config, config, portfolio)

    @property
    def finished(self) -> bool:
        """Whether the budget or patience is used up, or the training was pruned."""
        return len(self.history) == self.num_updates or self.selection.exhausted or pruned_at(self.history) is not None

    def advance(self) -> Metrics:
        """One update, and validation if it is due.

        Raises:
            TrainingError: when a loss or gradient is not finite, a limit that was asked for is crossed, or processes
                have come apart.
            PeerLostError: when another process is gone.
        """
        update, stopwatch = len(self.history), Stopwatch(self.model)
        set_learning_rates(self.optimizer, 1 - update / self.num_updates if self.config.anneal_lr else 1)
        rollout, metrics = ppo_update(
            self.model, self.reference, self.optimizer, self.collector, self.config, self.seed, update, self.shard,
            stopwatch,
        )  # fmt: skip
        self._refuse_drift(update)
        stopwatch.lap("update")
        metrics |= {LEARNING_RATE: self.optimizer.param_groups[0]["lr"]} | describe_rollout(
            rollout, self.collector.head
        )
        metrics |= stopwatch.metrics(lambda number: sum(self.shard.all_gather(number, self.model.device)))
        if self._validation_is_due(update):
            metrics[VALIDATION_LOG_RETURN] = self.selection.validate(self.model, self.shard.spread(self.model))
            metrics[VALIDATION_SECONDS] = stopwatch.lap("validation")
        row = {STEP: (update + 1) * rollout.rewards.numel(), **metrics}
        self.history.append(row)
        if self.selection.exhausted:
            logger.info("early stop: %d validations without a new best", self.config.patience)
        if VALIDATION_LOG_RETURN in row and not self.finished:
            self._prune(row)
        return row

    def state(self) -> TrainingState:
        """Copies of all that the next updates depend on."""
        tensors = prefixed("weights", trainable_state(self.model))
        tensors |= prefixed("optimizer", optimizer_tensors(self.optimizer))
        tensors |= prefixed("best", self.selection.best_weights or {})
        tensors |= prefixed("env", {name: torch.from_numpy(array) for name, array in self.env.snapshot().items()})
        tensors |= prefixed("collector", self.collector.snapshot())
        return TrainingState(tensors, list(self.history), self.selection.facts(), self.finished)

    def restore(self, state: TrainingState) -> None:
        """Stand where `state` was taken; the model must have its initial weights."""
        load_trainable_state(self.model, without_prefix("weights", state.tensors))
        load_optimizer_tensors(self.optimizer, without_prefix("optimizer", state.tensors))
        self.env.restore({name: tensor.numpy() for name, tensor in without_prefix("env", state.tensors).items()})
        self.collector.restore(without_prefix("collector", state.tensors))
        self.selection.load(state.selection, without_prefix("best", state.tensors))
        self.history = list(state.history)

    def _refuse_drift(self, update: int) -> None:
        """Compare the weights of all processes.

        Raises:
            TrainingError: when they are no longer the same.
        """
        if self.shard.world > 1:
            sums = self.shard.all_gather(weights_sum(self.model.parameters()), self.model.device)
            if len(set(sums)) > 1:
                raise TrainingError(
                    f"after update {update + 1} the weights of the {self.shard.world} processes are no longer the "
                    "same: training stopped and no policy was saved. Give every machine the same hardware and "
                    "versions"
                )

    def _prune(self, row: Metrics) -> None:
        """Mark the row of the last update as that of a pruned training, if validation fell short by then."""
        floor = self.floors.get(int(row[STEP]))
        if floor is not None and self.selection.best_score < floor:
            row[PRUNED] = 1.0
            logger.info(
                "pruned: %+.3f at best on validation after %d decisions, others had %+.3f in the median",
                self.selection.best_score, row[STEP], floor,
            )  # fmt: skip

    def _validation_is_due(self, update: int) -> bool:
        last = update == self.num_updates - 1
        return self.selection.window is not None and (last or (update + 1) % self.config.validation_interval == 0)


def _open_collector(
    window: TradingWindow, env: EnvConfig, portfolio: PortfolioConfig | None, config: PPOConfig, seed: int
) -> RolloutCollector:
    """The environment with what outputs mean in it, and what a volatility head learns."""
    num = config.num_envs
    volatility = volatility_targets(window) if config.volatility_coef > 0.0 else None
    if portfolio is None:
        starts = _starts(window.symbols, window.num_sessions, seed) if config.stagger_starts else None
        return RolloutCollector(TradingVectorEnv(window, env, num), seed, num, starts, volatility=volatility)
    lengths = np.repeat(window.num_sessions[:1], num)
    starts = _starts(tuple(map(str, range(num))), lengths, seed) if config.stagger_starts else None
    head = Weights(len(window.symbols), env.positions, portfolio.gross)
    return RolloutCollector(PortfolioVectorEnv(window, env, portfolio, num), seed, num, starts, head, volatility)


def _starts(names: tuple[str, ...], num_sessions: Ints, seed: int) -> Ints:
    """A first session for each symbol, or for each portfolio, so that they are at different times."""
    lengths = zip(names, num_sessions, strict=True)
    return np.array([stream(seed, "start", name).integers(length - 1) for name, length in lengths])
