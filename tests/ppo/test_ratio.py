"""Before the first optimizer step the update sees the policy that collected: every ratio is exactly 1."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trunk import open_trunk_cache
from flag_kedro.ppo import losses
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.trainer import train

CPU = torch.device("cpu")
NUM_ENVS, NUM_STEPS = 4, 6
NUM_STATES = NUM_ENVS * NUM_STEPS * 2
"""Two symbols."""
WHOLE = PPOConfig(
    total_timesteps=NUM_STATES, num_envs=NUM_ENVS, num_steps=NUM_STEPS, minibatch_size=NUM_STATES,
    gradient_accumulation_steps=1, learning_rate=1e-2, gamma=0.95, gae_lambda=0.98, update_epochs=1, clip_vloss=True,
    ent_coef=0.05, kl_coef=0.05, stagger_starts=False, reward_scale=1.0, validation_interval=10,
)  # fmt: skip
SHORT_EPISODES = EnvConfig(max_episode_steps=4)
COMBINATIONS = [
    {"packing": packing, "distinct_states": distinct, "trunk_cache": cache}
    for packing, distinct, cache in product((False, True), (False, True), ("never", "ram"))
]


@pytest.fixture(scope="module")
def backbone(small_window: TradingWindow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    write_backbone(PolicyConfig(), [text for texts in small_window.prefixes for text in texts], 0, folder)
    return folder


def build(backbone: Path, config: PolicyConfig) -> ActorCritic:
    """An actor-critic that is far from uniform, whose LoRA says something."""
    cache = open_trunk_cache(backbone, config, CPU)
    model = build_actor_critic(backbone, config, 0, CPU, cache)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and ("lora_" in name or name.startswith("heads.")):
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return model


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Ratios of all states in the order in which the update saw them."""
    seen: list[float] = []
    plain = losses.policy_loss

    def note(log_ratio: Tensor, advantages: Tensor, clip_coef: float) -> Tensor:
        seen.extend(log_ratio.exp().tolist())
        assert log_ratio.requires_grad
        return plain(log_ratio, advantages, clip_coef)

    monkeypatch.setattr(losses, "policy_loss", note)
    return seen


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("savings", COMBINATIONS, ids=lambda savings: "-".join(map(str, savings.values())))
def test_every_ratio_is_exactly_one_at_first(
    savings: dict[str, object], dtype: str, backbone: Path, small_window: TradingWindow, ratios: list[float]
):
    model = build(backbone, PolicyConfig(dtype=dtype, **savings))
    (row,) = train(model, small_window, None, SHORT_EPISODES, WHOLE, 0, Accelerator(cpu=True))
    assert "env/episode_reward" in row  # episodes ended within the rollout
    assert ratios == [1.0] * NUM_STATES
    assert row["ppo/approx_kl"] == 0.0
    assert row["ppo/clip_fraction"] == 0.0
    assert row["ppo/kl"] == 0.0
    assert row["ppo/grad_norm"] > 0.01
    assert min(row["env/hold_share"], row["env/buy_share"]) > 0.05


@pytest.mark.parametrize("trainable", ["lora", "layers"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ratios_of_paper_accounts_and_of_minibatches_start_at_one(
    dtype: str, trainable: str, backbone: Path, small_window: TradingWindow, ratios: list[float]
):
    """With a step size of almost 0 the weights stand still, so that later minibatches and epochs tell the same."""
    still = replace(
        WHOLE, learning_rate=1e-30, minibatch_size=12, gradient_accumulation_steps=3, update_epochs=2, kl_coef=0.0
    )
    env = replace(SHORT_EPISODES, account_view="paper")
    model = build(backbone, PolicyConfig(dtype=dtype, trainable=trainable))
    (row,) = train(model, small_window, None, env, still, 0, Accelerator(cpu=True))
    assert ratios == [1.0] * (2 * NUM_STATES)
    assert row["ppo/approx_kl"] == 0.0


def test_ratios_leave_one_after_a_step(backbone: Path, small_window: TradingWindow, ratios: list[float]):
    twice = replace(WHOLE, update_epochs=2)
    (row,) = train(build(backbone, PolicyConfig()), small_window, None, SHORT_EPISODES, twice, 0, Accelerator(cpu=True))
    assert ratios[:NUM_STATES] == [1.0] * NUM_STATES
    assert ratios.count(1.0) < 1.1 * NUM_STATES
    assert row["ppo/approx_kl"] > 0.0


def test_ratios_are_one_again_at_the_beginning_of_the_next_update(
    backbone: Path, small_window: TradingWindow, ratios: list[float]
):
    """Answers that were looked up belong to the weights of their own rollout."""
    two = replace(WHOLE, total_timesteps=2 * NUM_STATES)
    rows = list(
        train(build(backbone, PolicyConfig()), small_window, None, SHORT_EPISODES, two, 0, Accelerator(cpu=True))
    )
    assert ratios == [1.0] * (2 * NUM_STATES)
    assert rows[0]["ppo/kl"] == 0.0 < rows[1]["ppo/kl"]
