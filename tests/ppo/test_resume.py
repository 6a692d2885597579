"""A training that was stopped, anywhere and in any way, goes on as if nothing had happened."""

import multiprocessing
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from accelerate import Accelerator

from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import TrainingError
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trainable import trainable_state
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import Metrics
from flag_kedro.ppo.trainer import train

SMALL = PPOConfig(
    total_timesteps=112, num_envs=2, num_steps=4, gradient_accumulation_steps=1, minibatch_size=8, kl_coef=0.1,
    learning_rate=3e-3, reward_scale=100.0, validation_interval=3, checkpoint_interval=2, stagger_starts=True,
    gamma=0.95, gae_lambda=0.98, update_epochs=1, clip_vloss=True, ent_coef=0.05,
)  # fmt: skip
STEPS = 16
"""Decisions of an update: two symbols, two accounts, four sessions."""


@dataclass(frozen=True)
class Job:
    """All that a training starts from; it travels to other processes."""

    backbone: Path
    window: TradingWindow
    validation: TradingWindow
    env: EnvConfig
    config: PPOConfig
    portfolio: PortfolioConfig | None = None

    def start(self, folder: Path | None) -> tuple[ActorCritic, Iterator[Metrics]]:
        torch.set_num_threads(1)
        model = build_actor_critic(self.backbone, PolicyConfig(), 0, torch.device("cpu"))
        if self.config.volatility_coef > 0.0:
            model.add_volatility_head()
        checkpoints = None if folder is None else Checkpoints(folder, "key")
        arguments = self.window, self.validation, self.env, self.config, 0, Accelerator(cpu=True)
        return model, train(model, *arguments, checkpoints, portfolio=self.portfolio)

    def finish(self, folder: Path | None) -> tuple[list[Metrics], bytes]:
        """History without wall times, and the bits of all weights that learn."""
        model, updates = self.start(folder)
        rows = [{name: value for name, value in row.items() if "second" not in name} for row in updates]
        return rows, b"".join(weight.numpy().tobytes() for weight in trainable_state(model).values())


@pytest.fixture(scope="module")
def make_job(
    small_window: TradingWindow, small_states: dict[str, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Job]:
    backbone = tmp_path_factory.mktemp("backbone")
    write_backbone(PolicyConfig(), [text for texts in small_window.prefixes for text in texts], 0, backbone)
    validation = cut_window(small_states, (date(2023, 8, 1), date(2023, 8, 4)), "next_open")

    def make(env: EnvConfig | None = None, **changes: object) -> Job:
        return Job(backbone, small_window, validation, env or EnvConfig(), replace(SMALL, **changes))

    return make


@pytest.mark.parametrize(
    ("env", "stops"),
    [
        (EnvConfig(), (1, 3, 4)),
        (EnvConfig(reward="sharpe_increment", account_view="paper", max_episode_steps=5), (3,)),
        (EnvConfig(reward="differential_sharpe"), (3,)),
    ],
    ids=["log_return", "paper", "differential"],
)
def test_resumed_equals_uninterrupted_to_the_bit(
    make_job: Callable[..., Job], tmp_path: Path, env: EnvConfig, stops: tuple[int, ...]
):
    job = make_job(env)
    expected = job.finish(None)
    for stop in stops:
        _, updates = job.start(tmp_path / str(stop))
        with closing(updates):
            assert len(list(islice(updates, stop))) == stop
        _, again = job.start(tmp_path / str(stop))
        with closing(again):
            assert len(list(islice(again, stop + 2))) == stop + 2
        assert job.finish(tmp_path / str(stop)) == expected


def test_a_portfolio_resumes_too(make_job: Callable[..., Job], tmp_path: Path):
    env = EnvConfig(positions="long_flat", reward="differential_sharpe", max_episode_steps=5)
    job = replace(make_job(env), portfolio=PortfolioConfig(threshold=0.1))
    expected = job.finish(None)
    assert len(expected[0]) == 14
    for stop in (1, 5):
        _, updates = job.start(tmp_path / str(stop))
        with closing(updates):
            assert len(list(islice(updates, stop))) == stop
        assert job.finish(tmp_path / str(stop)) == expected


def test_a_volatility_head_resumes_too(make_job: Callable[..., Job], tmp_path: Path):
    job = make_job(volatility_coef=0.5)
    expected = job.finish(None)
    assert expected[0][0]["ppo/volatility_loss"] > 0.0
    _, updates = job.start(tmp_path)
    with closing(updates):
        assert len(list(islice(updates, 3))) == 3
    assert job.finish(tmp_path) == expected
    assert expected[1] != make_job().finish(None)[1]


def test_reinforce_and_patience_resume_too(make_job: Callable[..., Job], tmp_path: Path):
    job = make_job(
        algorithm="reinforce",
        gae_lambda=1.0,
        minibatch_size=None,
        patience=1,
        learning_rate=1e-12,
        validation_interval=1,
    )
    expected = job.finish(None)
    assert len(expected[0]) == 2  # the first validation is the best of equals
    _, updates = job.start(tmp_path)
    with closing(updates):
        next(updates)
    assert job.finish(tmp_path) == expected


def test_a_finished_training_that_was_not_saved_yields_its_end_again(make_job: Callable[..., Job], tmp_path: Path):
    expected = make_job().finish(tmp_path)
    assert make_job().finish(tmp_path) == expected


def test_stopped_in_the_middle_of_an_update_loses_that_update_only(
    make_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    job = make_job(checkpoint_interval=100)
    expected = job.finish(None)
    _, updates = job.start(tmp_path)
    for _ in range(3):
        next(updates)
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", interrupt_at_second_call())
        with pytest.raises(KeyboardInterrupt):
            next(updates)
    _, again = job.start(tmp_path)
    with closing(again):
        rows = list(islice(again, 3))
    assert [row["step"] for row in rows] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert job.finish(tmp_path) == expected


def interrupt_at_second_call() -> Callable[..., None]:
    step, calls = torch.optim.Adam.step, []

    def interrupted(optimizer: torch.optim.Adam, *arguments: object, **named: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        step(optimizer, *arguments, **named)

    return interrupted


def test_a_training_that_went_wrong_leaves_no_later_checkpoint(make_job: Callable[..., Job], tmp_path: Path):
    job = make_job(learning_rate=1e30, checkpoint_interval=100)
    with pytest.raises(TrainingError):
        job.finish(tmp_path)
    assert list((tmp_path / "key").glob("update-*")) == []


def work(job: Job, folder: Path, out: Path) -> None:
    rows, weights = job.finish(folder)
    out.write_bytes(repr(rows).encode() + weights)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_ends_with_the_same_bits(make_job: Callable[..., Job], tmp_path: Path, kills: int):
    """kill -9 soon after a checkpoint of its own, also in the middle of saving: every update writes one."""
    job = make_job(checkpoint_interval=1, total_timesteps=STEPS * 4 * kills)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flag_kedro.ppo.training"])
    work(job, tmp_path / "plain", tmp_path / "expected")
    rng = random.Random(0)

    def start() -> BaseProcess:
        process = context.Process(target=work, args=(job, tmp_path / "killed", tmp_path / "out"))
        process.start()
        return process

    for _ in range(kills):
        found, process = saved(tmp_path / "killed"), start()
        while process.is_alive() and saved(tmp_path / "killed") == found:
            time.sleep(0.005)
        process.join(timeout=rng.uniform(0, 0.2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL  # it had not ended by itself
    last = start()
    last.join(timeout=300)
    assert last.exitcode == 0
    assert (tmp_path / "out").read_bytes() == (tmp_path / "expected").read_bytes()


def saved(folder: Path) -> set[str]:
    return {path.name for path in (folder / "key").glob("update-*")}


def test_environment_stands_where_its_snapshot_was_taken(small_window: TradingWindow):
    from flag_kedro.env.trading import TradingVectorEnv

    config = EnvConfig(reward="sharpe_increment", account_view="paper", max_episode_steps=7)
    one, other = (TradingVectorEnv(small_window, config, 3) for _ in range(2))
    one.reset(seed=0)
    for _ in range(10):
        one.step(one.action_space.sample())
    other.restore(one.snapshot())
    assert (other.states().account, other.states().prefix) == (one.states().account, one.states().prefix)
    for _ in range(15):
        actions = one.action_space.sample()
        left, right = one.step(actions), other.step(actions)
        assert np.array_equal(left[1], right[1])
        assert np.array_equal(left[3], right[3])
        assert one.states().account == other.states().account


def test_environment_refuses_the_snapshot_of_another(small_window: TradingWindow):
    from flag_kedro.env.trading import TradingVectorEnv

    one, other = (TradingVectorEnv(small_window, EnvConfig(), accounts) for accounts in (1, 2))
    with pytest.raises(ValueError, match="the snapshot is of another environment"):
        other.restore(one.snapshot())
