"""Two processes train as one does, and nothing of them stays behind, however they end."""

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
import torch

from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError, ParameterError, TrainingError, WorkerError
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trainable import trainable_state
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed.processes import _failure, _own_address
from flag_kedro.ppo.distributed.spec_folder import fingerprint, read_spec, write_spec
from flag_kedro.ppo.distributed.worker import work, write_failure
from flag_kedro.ppo.history import Metrics, without_wall_times
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.training import start_training
from flag_kedro.ppo.training_spec import TrainingSpec

SMALL = PPOConfig(
    total_timesteps=96, num_envs=2, num_steps=8, gradient_accumulation_steps=2, minibatch_size=14, kl_coef=0.1,
    learning_rate=1e-3, reward_scale=100.0, validation_interval=2, stagger_starts=True, gamma=0.95, gae_lambda=0.98,
    update_epochs=1, clip_vloss=True, ent_coef=0.05,
)  # fmt: skip
LONG = replace(SMALL, total_timesteps=32 * 10_000, checkpoint_interval=10_000)
CPU = RuntimeConfig(threads=1, device="cpu")
TOLERANCE = 1e-6
MINUTE = 60.0
TRAIN_A_JOB = """
import json, sys
from pathlib import Path
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.distributed.spec_folder import read_spec
from flag_kedro.ppo.training import start_training
from flag_kedro.policy.trainable import trainable_state
from flag_kedro.ppo.history import without_wall_times
spec, _ = read_spec(Path(sys.argv[1]))
checkpoints = Checkpoints(Path(sys.argv[3]), "key") if len(sys.argv) > 3 else None
model, updates = start_training(spec, checkpoints)
rows = []
for row in updates:
    rows.append(without_wall_times(row))
    print("update", len(rows), flush=True)
weights = [weight.flatten().tolist() for weight in trainable_state(model).values()]
Path(sys.argv[2]).write_text(json.dumps([rows, sum(weights, [])]))
"""
BROKEN = """
import os
if os.environ.get("RANK") == "1":
    from flag_kedro.ppo import trainer
    def fall_over(*arguments):
        raise LookupError("the second process fell over")
    trainer.ppo_update = fall_over
"""


@dataclass(frozen=True)
class Trainer:
    """Starts trainings of one backbone and window."""

    backbone: Path
    window: TradingWindow
    validation: TradingWindow

    def start(
        self, ppo: PPOConfig, checkpoints: Checkpoints | None = None, policy: PolicyConfig | None = None
    ) -> tuple[ActorCritic, Generator[Metrics, None, None]]:
        return start_training(replace(self.spec(ppo), policy=policy or PolicyConfig()), checkpoints)

    def finish(self, ppo: PPOConfig, policy: PolicyConfig | None = None) -> tuple[list[Metrics], torch.Tensor]:
        model, updates = self.start(ppo, policy=policy)
        return without_times(updates), flat(model)

    def spec(self, ppo: PPOConfig, seed: int = 0) -> TrainingSpec:
        settings = EnvConfig(), PolicyConfig(), ppo, CPU, seed
        return TrainingSpec(self.backbone, None, self.window, self.validation, *settings)


@pytest.fixture(scope="module")
def trainer(
    small_window: TradingWindow, small_states: dict[str, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> Trainer:
    folder = tmp_path_factory.mktemp("backbone")
    write_backbone(PolicyConfig(), [text for texts in small_window.prefixes for text in texts], 0, folder)
    return Trainer(folder, small_window, cut_window(small_states, (date(2023, 8, 1), date(2023, 8, 15)), "next_open"))


def without_times(rows: Iterable[Metrics]) -> list[Metrics]:
    return [without_wall_times(row) for row in rows]


def flat(model: ActorCritic) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in trainable_state(model).values()])


def assert_same(one: tuple[list[Metrics], torch.Tensor], two: tuple[list[Metrics], torch.Tensor]) -> None:
    assert float((one[1] - two[1]).norm() / one[1].norm()) <= TOLERANCE
    assert [list(row) for row in one[0]] == [list(row) for row in two[0]]
    for row, other in zip(one[0], two[0], strict=True):
        assert row == pytest.approx(other, rel=TOLERANCE, abs=TOLERANCE)


def below(pid: int | None = None) -> set[psutil.Process]:
    """All processes that this one, or another, has started, directly or not."""
    return set(psutil.Process(pid).children(recursive=True))


def workers() -> dict[int, psutil.Process]:
    """Training processes below this one by rank."""
    by_rank = {}
    for process in below():
        with suppress(psutil.Error):
            if "flag_kedro.ppo.distributed.worker" in process.cmdline() and "RANK" in process.environ():
                by_rank[int(process.environ()["RANK"])] = process
    return by_rank


def wait_until_gone(processes: set[psutil.Process], seconds: float) -> None:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def nothing_stays() -> Generator[None, None, None]:
    before = below()
    yield
    wait_until_gone(below() - before, 5)


@pytest.fixture(scope="module")
def in_two_processes(trainer: Trainer) -> tuple[list[Metrics], torch.Tensor]:
    return trainer.finish(replace(SMALL, num_processes=2))


def test_two_processes_train_as_one_does(trainer: Trainer, in_two_processes: tuple[list[Metrics], torch.Tensor]):
    one = trainer.finish(SMALL)
    assert len(one[0]) == 3
    assert_same(one, in_two_processes)


@pytest.mark.slow
def test_a_volatility_head_is_trained_by_two_processes_as_by_one(trainer: Trainer):
    ppo = replace(SMALL, volatility_coef=0.5)
    one = trainer.finish(ppo)
    assert one[0][0]["ppo/volatility_loss"] > 0.0
    assert_same(one, trainer.finish(replace(ppo, num_processes=2)))


@pytest.mark.slow
def test_a_portfolio_is_trained_by_two_processes_as_by_one(trainer: Trainer):
    def finish(num_processes: int) -> tuple[list[Metrics], torch.Tensor]:
        spec = trainer.spec(replace(SMALL, num_processes=num_processes))
        model, updates = start_training(replace(spec, portfolio=PortfolioConfig(threshold=0.05)))
        return without_times(updates), flat(model)

    one = finish(1)
    assert len(one[0]) == 6
    assert "env/cash_share" in one[0][0]
    assert_same(one, finish(2))


@pytest.mark.slow  # each reads through shared layers as through its own: test_sharded_trunk.py
def test_processes_that_share_the_frozen_layers_train_as_those_that_do_not(
    trainer: Trainer, in_two_processes: tuple[list[Metrics], torch.Tensor]
):
    """A rollout of one session of two symbols gives one process prompts and the other none."""
    (rows, weights), (other_rows, other_weights) = (
        in_two_processes,
        trainer.finish(replace(SMALL, num_processes=2, fsdp=True)),
    )
    assert rows == other_rows
    assert torch.equal(weights, other_weights)


@pytest.mark.slow
def test_whole_layers_and_reinforce_in_three_processes(trainer: Trainer):
    whole = replace(SMALL, algorithm="reinforce", gae_lambda=1.0, minibatch_size=None, kl_coef=0.0)
    layers = PolicyConfig(trainable="layers")
    assert_same(trainer.finish(whole, layers), trainer.finish(replace(whole, num_processes=3), layers))


def test_a_training_is_read_as_it_was_written(trainer: Trainer, tmp_path: Path, make_window):
    short = make_window("same_close", BB=([1.0, 2.0, 3.0], [1.5, 2.5, 3.5]), AA=([9.0, 8.0], [7.0, 6.0], [10.0, None]))
    for name, window in {"two": trainer.window, "padded": short}.items():
        spec = replace(trainer.spec(replace(SMALL, num_processes=3)), window=window, validation=None)
        spec = replace(spec, portfolio=PortfolioConfig(gross=0.7) if name == "two" else None)
        (tmp_path / name).mkdir()
        write_spec(spec, tmp_path / name)
        again, world = read_spec(tmp_path / name)
        assert world == 3
        assert fingerprint(again) == fingerprint(spec)
        assert again.portfolio == spec.portfolio
        assert (again.env, again.policy, again.ppo, again.runtime) == (spec.env, spec.policy, spec.ppo, spec.runtime)
        for field, other_field in zip(vars(spec.window).items(), vars(again.window).items(), strict=True):
            if isinstance(field[1], np.ndarray) and field[1].ndim == 2:  # the padding is nobody's
                for row, other_row, length in zip(field[1], other_field[1], window.num_sessions, strict=True):
                    np.testing.assert_array_equal(row[:length], other_row[:length], strict=True)
            elif isinstance(field[1], np.ndarray):
                np.testing.assert_array_equal(field[1], other_field[1], strict=True)
            else:
                assert field == other_field
    changed = replace(trainer.window, mark_prices=trainer.window.mark_prices + 1e-12)
    prints = {fingerprint(trainer.spec(SMALL, seed)) for seed in (0, 1)}
    prints |= {
        fingerprint(replace(trainer.spec(SMALL), window=changed)),
        fingerprint(replace(trainer.spec(SMALL), validation=None)),
    }
    assert len(prints) == 4


def test_another_number_of_processes_than_asked_for_is_an_error(trainer: Trainer, tmp_path: Path):
    write_spec(trainer.spec(replace(SMALL, num_processes=2)), tmp_path)
    with pytest.raises(ParameterError, match=r"in 2 processes .* but 1 were started"):
        work(tmp_path, rank=1)


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_fails_the_training_within_a_minute(trainer: Trainer, victim: int, tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, "key")
    _, updates = trainer.start(replace(LONG, num_processes=2), checkpoints)
    next(updates)
    started = time.monotonic()
    workers()[victim].kill()
    with pytest.raises(WorkerError, match=f"training process {victim} was killed by SIGKILL"):
        list(updates)
    assert time.monotonic() - started < MINUTE
    assert len(list(checkpoints.folder.glob("update-*"))) == victim  # process 0 saves what the other's death would lose
    checkpoints.close()


@pytest.mark.slow
def test_a_killed_torchrun_takes_its_processes_along(trainer: Trainer):
    _, updates = trainer.start(replace(LONG, num_processes=2))
    next(updates)
    workers()[0].parent().kill()
    with pytest.raises(WorkerError, match="exit code -9"):
        list(updates)


@pytest.mark.slow
def test_a_process_that_falls_over_leaves_its_own_traceback(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    started = time.monotonic()
    with pytest.raises(WorkerError, match="training process 1 died") as caught:
        trainer.finish(replace(LONG, num_processes=2))
    assert time.monotonic() - started < MINUTE
    assert "LookupError: the second process fell over" in str(caught.value)
    assert "trainer.py" in str(caught.value)


@pytest.mark.slow
def test_an_error_for_the_user_is_the_same_as_in_one_process(trainer: Trainer):
    messages = []
    for num_processes in (1, 2):
        with pytest.raises(TrainingError, match="the gradient is") as caught:
            trainer.finish(replace(SMALL, learning_rate=1e30, num_processes=num_processes))
        assert not isinstance(caught.value, WorkerError)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.slow
def test_processes_end_with_a_killed_parent_and_the_next_one_goes_on(trainer: Trainer, tmp_path: Path):
    config = replace(SMALL, total_timesteps=32 * 12, checkpoint_interval=1, num_processes=2)
    expected, weights = trainer.finish(config)
    write_spec(trainer.spec(config), tmp_path)
    out, saved = tmp_path / "out", tmp_path / "saved"
    command = [sys.executable, "-c", TRAIN_A_JOB, str(tmp_path), str(out), str(saved)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(2)] == ["update 1\n", "update 2\n"]
    family = below(parent.pid)
    assert len(family) == 3  # torchrun and two workers
    parent.kill()
    wait_until_gone(family, 10)
    parent.communicate()
    assert not out.exists()
    assert len(list((saved / "key").glob("update-*"))) == 2
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows, numbers = json.loads(out.read_text())
    assert rows == expected
    assert torch.equal(torch.tensor(numbers), weights)


@pytest.mark.slow
def test_stopped_and_resumed_gives_the_bits_of_an_uninterrupted_training(
    trainer: Trainer, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = replace(SMALL, total_timesteps=32 * 16, checkpoint_interval=1000, num_processes=2)
    expected, weights = trainer.finish(config)
    checkpoints = Checkpoints(tmp_path, "key", "first")
    _, updates = trainer.start(config, checkpoints)
    with closing(updates):
        assert without_times(islice(updates, 2)) == expected[:2]
    assert "the same command goes on there" in caplog.text  # said by process 0 when nobody listened any more
    (saved,) = checkpoints.folder.glob("update-*")  # written when it was stopped
    assert 2 <= int(saved.name.removeprefix("update-")) < 16
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, "key", "second")
    model, updates = trainer.start(config, checkpoints)
    with caplog.at_level(logging.INFO):
        assert without_times(updates) == expected
    assert torch.equal(flat(model), weights)
    assert checkpoints.resumed_from == "first"
    assert "going on after update" in caplog.text  # told by process 0
    checkpoints.close()


def on_machines(specs: list[TrainingSpec], folder: Path) -> list[tuple[int, str, Path]]:
    """Exit code, errors and output of each training, all at once, each as if on a machine of its own."""
    running = []
    for machine, spec in enumerate(specs):
        machine_folder = folder / str(machine)
        machine_folder.mkdir(parents=True)
        write_spec(spec, machine_folder)
        command = [sys.executable, "-c", TRAIN_A_JOB, str(machine_folder), str(machine_folder / "out")]
        running.append(
            (subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True), machine_folder)
        )
    return [(process.wait(300), process.stderr.read(), machine_folder / "out") for process, machine_folder in running]


@pytest.mark.slow
def test_two_machines_train_as_one_process_does(trainer: Trainer, tmp_path: Path):
    one = trainer.finish(SMALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = replace(SMALL, num_machines=2, rendezvous=f"127.0.0.1:{port}")
    (code, errors, out), (other_code, other_errors, other_out) = sorted(
        on_machines([trainer.spec(config)] * 2, tmp_path / "same"), key=lambda machine: machine[0]
    )
    assert code == 0, errors
    rows, weights = json.loads(out.read_text())
    assert_same(one, (rows, torch.tensor(weights)))
    assert other_code == 1
    assert "ResultElsewhereError: the training is done; its policy" in other_errors
    assert not other_out.exists()
    for code, errors, _ in on_machines([trainer.spec(config, seed) for seed in (0, 1)], tmp_path / "different"):
        assert code == 1
        assert "ParameterError: the machines are not at the same training" in errors


SUMMARY = """Failures:
[1]:
  rank      : 2 (local_rank: 2)
  exitcode  : -15 (pid: 12)
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 11)
"""


@pytest.mark.parametrize(
    ("words", "output", "kind", "message"),
    [
        ({0: "peer", 1: "other", 2: "stopped"}, "", WorkerError, "training process 1 died:\ntraceback of 1"),
        ({1: "data", 2: "other"}, "", DataError, "message of 1"),
        ({2: "training", 3: "training"}, "", TrainingError, "message of 2"),
        ({0: "peer"}, SUMMARY.format(code=-9), WorkerError, "training process 1 was killed by SIGKILL"),
        ({}, SUMMARY.format(code=1), WorkerError, "exit code 7; their last words:\nFailures:"),
        ({0: "stopped", 1: "peer"}, "", WorkerError, "asked to stop from outside"),
        ({0: "peer", 1: "stopped"}, "", WorkerError, "of another machine is gone"),
        ({}, "\n".join(map(str, range(99))) + "\nthe end", WorkerError, "last words:\n60\n"),
    ],
    ids=["own", "data", "training", "killed", "no_import", "stopped", "machine", "silent"],
)
def test_what_went_wrong_is_the_first_error_that_is_no_echo(
    tmp_path: Path, words: dict[int, str], output: str, kind: type[Exception], message: str
):
    for rank, word in words.items():
        failure = {"time": rank, "kind": word, "message": f"message of {rank}", "traceback": f"traceback of {rank}"}
        (tmp_path / f"failure-{rank}.json").write_text(json.dumps(failure))
    (tmp_path / "output.txt").write_text(output)
    error = _failure(tmp_path, 7)
    assert type(error) is kind
    assert message in str(error)


def test_a_peer_that_is_lost_while_layers_are_gathered_is_told_from_an_error(tmp_path: Path):
    lost = "[/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:5000"
    for index, (error, kind) in enumerate(
        [(RuntimeError(lost), "peer"), (RuntimeError("shapes do not match"), "other"), (ValueError("gloo"), "other")]
    ):
        write_failure(tmp_path / str(index), error)
        assert json.loads((tmp_path / str(index)).read_text())["kind"] == kind


def test_a_machine_is_reached_where_it_reaches_the_meeting_place():
    assert _own_address("127.0.0.1:29400") == "127.0.0.1"
    with pytest.raises(ParameterError, match=r"ppo\.rendezvous: no-such-host\.invalid cannot be found"):
        _own_address("no-such-host.invalid:29400")
