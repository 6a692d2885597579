"""Sharing work among processes changes nothing; here they are threads that meet at a barrier."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import compact_account_texts
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import TrainingError
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.evaluation_cache import EvaluationCache
from flag_kedro.policy.interface import Evaluation
from flag_kedro.policy.trainable import trainable_state
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed import sharding
from flag_kedro.ppo.distributed.sharding import Shard
from flag_kedro.ppo.history import Metrics, without_wall_times
from flag_kedro.ppo.trainer import Trainer, train

MakeModel = Callable[[], ActorCritic]
CPU = torch.device("cpu")
PPO = PPOConfig(
    total_timesteps=96, num_envs=2, num_steps=8, gradient_accumulation_steps=2, minibatch_size=14, kl_coef=0.1,
    update_epochs=2, learning_rate=1e-3, reward_scale=100.0, validation_interval=2, stagger_starts=True, gamma=0.95,
    gae_lambda=0.98, clip_vloss=True, ent_coef=0.05,
)  # fmt: skip
REINFORCE = replace(PPO, algorithm="reinforce", gae_lambda=1.0, minibatch_size=None, update_epochs=1)


@dataclass
class Meeting:
    """Adds up tensors of threads, in the order of their ranks."""

    world: int
    brought: dict[int, Tensor] = field(default_factory=dict)
    calls: int = 0

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.world, timeout=60)
        self.own = threading.local()

    def all_reduce_sum(self, tensor: Tensor) -> None:
        self.brought[self.own.rank] = tensor.clone()
        self.barrier.wait()
        tensor.copy_(sum(self.brought[rank] for rank in range(self.world)))
        self.calls += self.own.rank == 0
        self.barrier.wait()

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """What `work` returns in each of the threads; if one fails, so do all."""

        def start(rank: int) -> Any:
            self.own.rank = rank
            try:
                return work(rank)
            except BaseException:
                self.barrier.abort()
                raise

        with ThreadPoolExecutor(self.world) as pool:
            futures = [pool.submit(start, rank) for rank in range(self.world)]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
            raise error  # the cause, not its echo in a thread that still waited
        return [future.result() for future in futures]


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Meeting]:
    """Let the threads of a meeting take the place of processes."""

    def make(world: int) -> Meeting:
        meeting = Meeting(world)
        monkeypatch.setattr(sharding, "all_reduce_sum", meeting.all_reduce_sum)
        return meeting

    return make


class OneOf(Accelerator):
    """An accelerator that believes to be one of many."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__(cpu=True)
        self._rank, self._world = rank, world

    @property
    def process_index(self) -> int:
        return self._rank

    @property
    def num_processes(self) -> int:
        return self._world


def test_whole_prefixes_are_dealt_out_in_turn():
    prefixes = ["b", "b", "a", "c", "a", "d", "d", "e"]
    assert [Shard(rank, 2).rows_to_read(prefixes).tolist() for rank in (0, 1)] == [[0, 1, 3, 7], [2, 4, 5, 6]]
    assert Shard(3, 6).rows_to_read(prefixes).tolist() == [5, 6]
    assert Shard(5, 6).rows_to_read(prefixes).tolist() == []
    assert Shard().rows_to_read(prefixes).tolist() == list(range(8))


def test_elements_of_others_come_through_to_the_bit(meet: Callable[[int], Meeting]):
    expected = torch.tensor([-0.0, 0.0, -torch.inf, torch.nan, 1e-45, -3.4e38, 0.1])

    def work(rank: int) -> Tensor:
        found = torch.zeros(7)
        found[rank::2] = expected[rank::2]
        return Shard(rank, 2).combine(found)

    for found in meet(2).run(work):
        assert torch.equal(found.view(torch.int32), expected.view(torch.int32))


def test_gradients_add_up_and_a_missing_one_is_zero(meet: Callable[[int], Meeting]):
    def work(rank: int) -> list[list[float]]:
        one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 1))
        frozen = nn.Parameter(torch.zeros(3), requires_grad=False)
        one.grad = None if rank == 2 else torch.tensor([1.0, 10.0 * rank])
        two.grad = torch.tensor([[100.0]]) if rank == 2 else None
        Shard(rank, 3).all_reduce_gradients([one, frozen, two])
        assert frozen.grad is None
        return [one.grad.tolist(), two.grad.tolist()]

    assert meet(3).run(work) == [[[2.0, 10.0], [[100.0]]]] * 3


@pytest.mark.parametrize("world", [2, 3])
def test_lookups_give_the_policy_s_own_bits_and_ask_for_each_state_once(
    make_model: MakeModel, small_window: TradingWindow, meet: Callable[[int], Meeting], world: int
):
    texts = compact_account_texts()
    prefixes = [
        text for session in range(5) for symbol in (0, 1) for text in small_window.prefixes[symbol][session:][:1] * 3
    ]
    masks = np.array([[False, True, True], [True, True, False], [True, True, True]] * 10)
    states = States(prefixes, [texts[n % 4 * 7] for n in range(30)], masks)
    expected = make_model().evaluate(states)
    models, asked = [make_model() for _ in range(world)], [[] for _ in range(world)]

    def work(rank: int) -> Evaluation:
        evaluate = models[rank].evaluate
        models[rank].evaluate = lambda some: (
            asked[rank].extend(zip(some.prefix, some.account, strict=True)) or evaluate(some)
        )
        return EvaluationCache(Shard(rank, world).spread(models[rank])).evaluate(states)

    for said in meet(world).run(work):
        assert torch.equal(said.log_probs, expected.log_probs)
        assert torch.equal(said.values, expected.values)
    everything = [question for own in asked for question in own]
    assert len(everything) == len(set(zip(states.prefix, states.account, map(tuple, masks), strict=True)))
    for one, other in pairwise(asked):
        assert one
        assert not {prefix for prefix, _ in one} & {prefix for prefix, _ in other}


def learn(
    model: ActorCritic, window: TradingWindow, validation: TradingWindow, config: PPOConfig, accelerator: Accelerator
) -> tuple[list[Metrics], Tensor]:
    rows = [without_wall_times(row) for row in train(model, window, validation, EnvConfig(), config, 0, accelerator)]
    return rows, torch.cat([weight.flatten() for weight in trainable_state(model).values()])


@pytest.mark.parametrize(
    ("world", "config"),
    [
        (2, PPO),
        (3, replace(PPO, target_kl=1e-6, kl_coef=0.0)),
        (9, replace(PPO, total_timesteps=64)),  # more processes than the 7 groups of a minibatch
        (2, REINFORCE),
    ],
    ids=["ppo", "target_kl", "idle", "reinforce"],
)
def test_training_does_not_depend_on_the_number_of_processes(
    make_model: MakeModel,
    small_window: TradingWindow,
    small_states: dict[str, pl.DataFrame],
    meet: Callable[[int], Meeting],
    world: int,
    config: PPOConfig,
):
    validation = cut_window(small_states, (date(2023, 8, 1), date(2023, 8, 15)), "next_open")
    expected, weights = learn(make_model(), small_window, validation, config, Accelerator(cpu=True))
    models, meeting = [make_model() for _ in range(world)], meet(world)
    told = meeting.run(lambda rank: learn(models[rank], small_window, validation, config, OneOf(rank, world)))
    assert meeting.calls > 0
    for rows, own in told:
        assert rows == told[0][0]
        assert torch.equal(own, told[0][1])
    rows, own = told[0]
    assert float((own - weights).norm() / weights.norm()) <= 1e-6
    assert [list(row) for row in rows] == [list(row) for row in expected]
    for row, one in zip(rows, expected, strict=True):
        assert row == pytest.approx(one, rel=1e-6, abs=1e-6)


def test_processes_whose_weights_differ_stop(
    make_model: MakeModel, small_window: TradingWindow, meet: Callable[[int], Meeting]
):
    trainers = [Trainer(make_model(), small_window, None, EnvConfig(), PPO, 0, OneOf(rank, 2)) for rank in (0, 1)]
    weight = trainers[1].model.heads["value"].weight
    with torch.no_grad():
        weight[0, 3] += 1e-5
    with pytest.raises(TrainingError, match="after update 1 the weights of the 2 processes are no longer the same"):
        meet(2).run(lambda rank: trainers[rank].advance())
