"""Filling the trunk cache ahead of training: whole rows, continued where it stopped, used by training."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.backbone import load_tokenizer, write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trainable import trainable_state
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.encoding import start_encoding
from flag_kedro.ppo.history import Metrics
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.training import start_training
from flag_kedro.ppo.training_spec import TrainingSpec

CPU = RuntimeConfig(device="cpu", threads=1)
DISK, RAM, NEVER = (PolicyConfig(trunk_cache=kind) for kind in ("disk", "ram", "never"))
PPO = PPOConfig(
    total_timesteps=64, num_envs=4, num_steps=4, minibatch_size=16, kl_coef=0.05, update_epochs=2, learning_rate=5e-4,
    gamma=0.95, gae_lambda=0.98, clip_vloss=True, ent_coef=0.05, gradient_accumulation_steps=4, stagger_starts=False,
    reward_scale=1.0, validation_interval=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def backbone(small_window: TradingWindow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    write_backbone(DISK, prefixes(small_window), 0, folder)
    return folder


def prefixes(window: TradingWindow) -> list[str]:
    return [text for texts in window.prefixes for text in texts]


def encode(backbone: Path, window: TradingWindow, folder: Path) -> list[int]:
    return list(start_encoding(backbone, prefixes(window), EnvConfig(), DISK, CPU, folder))


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def encoded(backbone: Path, small_window: TradingWindow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of all prompts, written by one encoding. Tests must not add to them."""
    folder = tmp_path_factory.mktemp("encoded")
    assert encode(backbone, small_window, folder)[-1] == len(set(prefixes(small_window)))
    return folder


def test_every_prompt_becomes_one_file_and_a_second_time_writes_none(
    backbone: Path, small_window: TradingWindow, encoded: Path
):
    num, before = len(set(prefixes(small_window))), files(encoded)
    assert len(before) == num
    assert encode(backbone, small_window, encoded) == [num]
    assert files(encoded) == before


def test_what_was_interrupted_goes_on_where_it_stopped(backbone: Path, small_window: TradingWindow, tmp_path: Path):
    started = start_encoding(backbone, prefixes(small_window), EnvConfig(), DISK, CPU, tmp_path)
    assert next(started) == 0
    some = next(started)
    started.close()
    written = files(tmp_path)
    assert 0 < some == len(written) < len(set(prefixes(small_window)))
    assert encode(backbone, small_window, tmp_path)[0] == some
    assert written.items() <= files(tmp_path).items()


def start(
    backbone: Path, window: TradingWindow, env: EnvConfig, policy: PolicyConfig, ppo: PPOConfig, folder: Path
) -> tuple[ActorCritic, Iterator[Metrics]]:
    return start_training(TrainingSpec(backbone, folder, window, None, env, policy, ppo, CPU, 0))


def num_tokens(backbone: Path, window: TradingWindow) -> list[int]:
    tokenizer, start_ids = load_tokenizer(backbone)
    return [len(start_ids) + len(tokenizer.encode(prefix).ids) for prefix in prefixes(window)]


def trained(
    backbone: Path, window: TradingWindow, policy: PolicyConfig, folder: Path, env: EnvConfig | None = None
) -> tuple[ActorCritic, Tensor]:
    model, updates = start(backbone, window, env or EnvConfig(), policy, PPO, folder)
    assert len(list(updates)) == 2
    return model, torch.cat([weight.flatten() for weight in trainable_state(model).values()])


@pytest.fixture(scope="module")
def from_ram(backbone: Path, small_window: TradingWindow, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """Weights of a training that keeps its rows in memory."""
    return trained(backbone, small_window, RAM, tmp_path_factory.mktemp("ram"))[1]


def test_training_on_encoded_rows_never_misses_and_has_the_bits_of_training_without(
    backbone: Path, small_window: TradingWindow, encoded: Path, from_ram: Tensor, tmp_path: Path
):
    shutil.copytree(encoded, tmp_path / "rows")
    model, from_disk = trained(backbone, small_window, DISK, tmp_path / "rows")
    cache = model.trunk.cache
    assert cache is not None
    assert cache.misses <= 4  # the prompts that check the backbone
    assert cache.disk_hits > 0
    assert torch.equal(from_ram, from_disk)
    assert torch.equal(trained(backbone, small_window, NEVER, tmp_path)[1], from_disk)


def test_rows_that_were_not_encoded_are_written_by_training(
    backbone: Path, small_window: TradingWindow, from_ram: Tensor, tmp_path: Path
):
    _, cold = trained(backbone, small_window, DISK, tmp_path)
    assert len(files(tmp_path)) > 0
    assert torch.equal(from_ram, cold)


def test_a_prompt_that_histories_make_too_long_is_refused_before_anything_is_trained(
    backbone: Path, small_window: TradingWindow, tmp_path: Path
):
    """With no text behind it every prompt would do: it is the tenth session that would not."""
    policy = replace(NEVER, max_tokens=max(num_tokens(backbone, small_window)) + 100)
    start(backbone, small_window, EnvConfig(), policy, PPO, tmp_path)
    with pytest.raises(DataError, match=r"a prompt has \d+ tokens, the limit is \d+"):
        start(backbone, small_window, EnvConfig(account_view="paper"), policy, PPO, tmp_path)


@pytest.mark.parametrize("readout", ["last", "lines"])
def test_prompts_are_read_with_every_position_at_once(
    backbone: Path, small_window: TradingWindow, readout: Literal["last", "lines"], tmp_path: Path
):
    env, ram = EnvConfig(account_view="position"), replace(RAM, readout=readout)
    model, weights = trained(backbone, small_window, ram, tmp_path, env)
    cache = model.trunk.cache
    assert cache is not None
    assert len(cache.keys_values) == 0
    misses = cache.misses
    states = States(
        [prefix for prefix in dict.fromkeys(read_prefixes(model, small_window)) for _ in range(2)],
        [" flat. Decision:", " long. Decision:"] * (len(set(read_prefixes(model, small_window)))),
        np.ones((2 * len(set(read_prefixes(model, small_window))), 3), dtype=bool),
    )
    model.evaluate(states)
    assert cache.misses == misses  # whatever was read is there behind each account
    never, same = trained(backbone, small_window, replace(NEVER, readout=readout), tmp_path, env)
    assert torch.equal(weights, same)
    model.read_ahead(prefixes(small_window))
    read = cache.misses
    assert torch.equal(model.evaluate(states).log_probs, never.evaluate(states).log_probs)
    assert cache.misses == read


def read_prefixes(model: ActorCritic, window: TradingWindow) -> list[str]:
    """Prefixes of a window that the model's cache has."""
    cache = model.trunk.cache
    assert cache is not None
    return [text for text in prefixes(window) if cache.find(model.tokenise(text, "").prefix) is not None]


def test_endless_account_texts_are_refused(backbone: Path, small_window: TradingWindow, tmp_path: Path):
    paper = EnvConfig(account_view="paper")
    with pytest.raises(ParameterError, match=r"env\.account_view=paper they are endless"):
        start_encoding(backbone, prefixes(small_window), paper, DISK, CPU, tmp_path)
    with pytest.raises(ParameterError, match=r"set env\.account_view to compact, or policy\.trunk_cache to ram"):
        start(backbone, small_window, paper, DISK, PPO, tmp_path)


@pytest.mark.parametrize("change", [{"packing": False}, {"frozen_layers": 0}])
def test_rows_on_disk_need_packing_and_a_trunk(change: dict[str, object]):
    with pytest.raises(ValueError, match=r"policy\.trunk_cache=disk"):
        replace(DISK, **change)


def test_paper_account_view_trains_to_the_same_bits_with_and_without_the_cache(
    backbone: Path, small_window: TradingWindow, tmp_path: Path
):
    paper = EnvConfig(account_view="paper")
    assert torch.equal(*(trained(backbone, small_window, policy, tmp_path, paper)[1] for policy in (RAM, NEVER)))


def test_rollouts_evaluate_each_distinct_state_once(
    backbone: Path, small_window: TradingWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ppo = replace(PPO, kl_coef=0.0, num_steps=8, total_timesteps=64)
    model, updates = start(backbone, small_window, EnvConfig(), NEVER, ppo, tmp_path)
    asked: list[tuple[str, str]] = []
    evaluate: Callable[..., object] = model.evaluate

    def watched(states):
        if not torch.is_grad_enabled():
            asked.extend(zip(states.prefix, states.account, strict=True))
        return evaluate(states)

    monkeypatch.setattr(model, "evaluate", watched)
    next(updates)
    assert 0 < len(asked) == len(set(asked)) < 64


def test_a_folder_that_takes_no_rows_stops_encoding_and_costs_a_training_only_the_saving(
    backbone: Path,
    small_window: TradingWindow,
    from_ram: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        encode(backbone, small_window, tmp_path)
    _, from_disk = trained(backbone, small_window, DISK, tmp_path)
    assert caplog.text.count("their folder does not take them") == 1
    assert torch.equal(from_disk, from_ram)
