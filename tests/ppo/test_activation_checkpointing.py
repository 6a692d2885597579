"""Layers that are computed again in the backward pass: the same weights, fewer tensors kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch

from flag_kedro.data.streams import stream
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.sweep import Combination
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trainable import trainable_state
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.training import build_model, start_training
from flag_kedro.ppo.training_spec import TrainingSpec

PPO = PPOConfig(total_timesteps=32, num_envs=2, num_steps=4, minibatch_size=8, update_epochs=2, kl_coef=0.05)
TOPS = {
    "lora": PolicyConfig(frozen_layers=0, trunk_cache="never"),
    "layers": PolicyConfig(frozen_layers=0, trainable="layers"),
    "bfloat16": PolicyConfig(frozen_layers=0, dtype="bfloat16"),
    "unpacked": PolicyConfig(frozen_layers=0, packing=False),
}
MakeSpec = Callable[[PolicyConfig, bool], TrainingSpec]


@pytest.fixture(scope="module")
def spec_of(small_window: TradingWindow, tmp_path_factory: pytest.TempPathFactory) -> MakeSpec:
    """A training of a tiny backbone, all of whose layers learn, with or without checkpointing."""
    folder: Path = tmp_path_factory.mktemp("backbone")
    write_backbone(PolicyConfig(), [text for texts in small_window.prefixes for text in texts], 0, folder)

    def make(policy: PolicyConfig, checkpointing: bool) -> TrainingSpec:
        ppo = replace(PPO, activation_checkpointing=checkpointing)
        return TrainingSpec(folder, None, small_window, None, EnvConfig(), policy, ppo, RuntimeConfig(device="cpu"), 0)

    return make


@dataclass
class SavedBytes:
    """Bytes of tensors that wait for the backward pass."""

    now: int = 0
    most: int = 0


@contextmanager
def saved_bytes() -> Iterator[SavedBytes]:
    """Count what autograd keeps, weights and tensors that share memory once."""
    count, holders = SavedBytes(), dict[int, int]()

    class Kept:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor, self.key = tensor, tensor.untyped_storage().data_ptr()
            first = holders.get(self.key, 0) == 0
            holders[self.key] = holders.get(self.key, 0) + 1
            count.now += tensor.untyped_storage().nbytes() if first else 0
            count.most = max(count.most, count.now)

        def __del__(self) -> None:
            holders[self.key] -= 1
            count.now -= self.tensor.untyped_storage().nbytes() if holders[self.key] == 0 else 0

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        yield count


@pytest.mark.parametrize(
    "top", [pytest.param(top, marks=[pytest.mark.slow] if top == "bfloat16" else []) for top in TOPS]
)
def test_weights_are_the_same_bits_with_and_without_it(spec_of: MakeSpec, top: str):
    weights = []
    for checkpointing in (False, True):
        model, updates = start_training(spec_of(TOPS[top], checkpointing))
        before = trainable_state(model)
        assert len(list(updates)) == PPO.num_updates(2)
        weights.append(trainable_state(model))
        assert all(not torch.equal(weight, before[name]) for name, weight in weights[-1].items())
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def test_less_is_kept_for_the_backward_pass(spec_of: MakeSpec, small_window: TradingWindow):
    prefixes = small_window.prefixes[0][:8]
    states = States(prefixes, [" flat. Decision:"] * 8, stream(0, "masks").random((8, 3)) < 2.0)
    most = []
    for checkpointing in (False, True):
        model = build_model(spec_of(TOPS["lora"], checkpointing), torch.device("cpu"))
        with saved_bytes() as saved:
            evaluation = model.evaluate(states)
            kept = saved.most
            (evaluation.values.sum() + evaluation.log_probs.sum()).backward()
            del evaluation
        assert saved.now == 0
        assert saved.most == kept
        most.append(kept)
    assert most[1] < 0.5 * most[0]


def test_each_layer_that_learns_is_computed_twice_and_only_for_gradients(
    spec_of: MakeSpec, small_window: TradingWindow, monkeypatch: pytest.MonkeyPatch
):
    states = States(small_window.prefixes[0][:1], [" flat. Decision:"], stream(0, "masks").random((1, 3)) < 2.0)

    def passes(checkpointing: bool, gradients: bool) -> int:
        model: ActorCritic = build_model(spec_of(TOPS["lora"], checkpointing), torch.device("cpu"))
        count = []
        model.top.layers[0].register_forward_pre_hook(lambda *_: count.append(1))
        with torch.set_grad_enabled(gradients):
            values = model.evaluate(states).values
        if gradients:
            values.sum().backward()
        return len(count)

    assert passes(False, True) == passes(True, False) == 2  # of the prefix, and of the suffix behind it
    assert passes(True, True) == 4


def test_no_key_or_name_depends_on_it():
    other = replace(PPO, activation_checkpointing=True)
    assert PPO.learning() == other.learning()
    names = {Combination({}, EnvConfig(), PolicyConfig(), ppo).name for ppo in (PPO, other)}
    assert len(names) == 1
    assert "activation_checkpointing" in asdict(other)
