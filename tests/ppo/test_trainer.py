"""PPO as a whole: exact, reproducible, and able to learn what can be learned."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date

import polars as pl
import pytest
import torch
from accelerate import Accelerator

from flag_kedro.backtest.replay import replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import TrainingError
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.trainable import trainable_state
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import Metrics
from flag_kedro.ppo.trainer import train

MakeModel = Callable[[], ActorCritic]
SMALL = PPOConfig(
    total_timesteps=64, num_envs=2, num_steps=8, kl_coef=0.0, gradient_accumulation_steps=1, minibatch_size=16,
    learning_rate=1e-3, reward_scale=100.0, validation_interval=1, gamma=0.95, gae_lambda=0.98, update_epochs=1,
    clip_vloss=True, ent_coef=0.05, stagger_starts=False,
)  # fmt: skip


def learn(
    model: ActorCritic, window: TradingWindow, config: PPOConfig, validation: TradingWindow | None = None, seed: int = 0
) -> list[Metrics]:
    return list(train(model, window, validation, EnvConfig(), config, seed, Accelerator(cpu=True)))


def without_times(rows: list[Metrics]) -> list[Metrics]:
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


def flat(model: ActorCritic) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in trainable_state(model).values()])


def test_same_seed_gives_the_same_bits_and_another_seed_others(make_model: MakeModel, small_window: TradingWindow):
    runs = []
    for seed in (5, 5, 6):
        model = make_model()
        runs.append((without_times(learn(model, small_window, SMALL, seed=seed)), flat(model)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][1], runs[2][1])


def test_ratio_is_exactly_one_before_the_first_optimizer_step(make_model: MakeModel, small_window: TradingWindow):
    whole = replace(SMALL, minibatch_size=32, total_timesteps=32)
    row = learn(make_model(), small_window, whole)[0]
    assert row["ppo/approx_kl"] == 0.0
    assert row["ppo/clip_fraction"] == 0.0


def test_accumulating_eight_parts_equals_one_pass(make_model: MakeModel, small_window: TradingWindow):
    weights = []
    for parts in (1, 8):
        model = make_model()
        learn(model, small_window, replace(SMALL, gradient_accumulation_steps=parts))
        weights.append(flat(model))
    start = flat(make_model())
    assert float((weights[0] - start).norm()) > 0.01
    assert float((weights[0] - weights[1]).norm() / weights[0].norm()) <= 1e-5


def test_zero_kl_to_the_initial_policy_at_first_and_more_later(make_model: MakeModel, small_window: TradingWindow):
    rows = learn(make_model(), small_window, replace(SMALL, kl_coef=0.05, minibatch_size=32))
    assert rows[0]["ppo/kl"] == 0.0
    assert rows[-1]["ppo/kl"] > 0.0


def test_a_large_kl_coefficient_holds_the_policy_at_its_start(make_model: MakeModel, small_window: TradingWindow):
    config = replace(SMALL, total_timesteps=160, ent_coef=0.0)
    free = learn(make_model(), small_window, replace(config, kl_coef=1e-9))[-1]["ppo/kl"]
    held = learn(make_model(), small_window, replace(config, kl_coef=100.0))[-1]["ppo/kl"]
    assert held < free / 2


def test_learning_rate_falls_linearly_to_the_last_update(make_model: MakeModel, small_window: TradingWindow):
    rates = [row["ppo/learning_rate"] for row in learn(make_model(), small_window, replace(SMALL, total_timesteps=128))]
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_steps_count_account_decisions_of_all_symbols(make_model: MakeModel, small_window: TradingWindow):
    rows = learn(make_model(), small_window, SMALL)
    assert [row["step"] for row in rows] == [32, 64]  # 2 symbols x 2 accounts x 8 sessions


def test_target_kl_ends_the_epochs_of_a_rollout(make_model: MakeModel, small_window: TradingWindow):
    weights = []
    for epochs, target_kl in ((1, None), (5, 1e-12), (5, None)):
        model = make_model()
        learn(model, small_window, replace(SMALL, update_epochs=epochs, target_kl=target_kl))
        weights.append(flat(model))
    assert torch.equal(weights[0], weights[1])  # the first epoch already moved further than that
    assert not torch.equal(weights[0], weights[2])


def test_heads_learn_at_their_own_rate(make_model: MakeModel, small_window: TradingWindow):
    def moved(head_learning_rate: float | None) -> tuple[float, float]:
        model, start = make_model(), make_model()
        learn(model, small_window, replace(SMALL, total_timesteps=32, head_learning_rate=head_learning_rate))
        before, after = trainable_state(start), trainable_state(model)
        change = {name: float((after[name] - before[name]).abs().max()) for name in before}
        heads = max(value for name, value in change.items() if name.startswith("heads."))
        return heads, max(value for name, value in change.items() if "lora_B" in name)

    heads, lora = moved(None)
    fast_heads, same_lora = moved(1e-2)
    # Adam moves a weight by at most its rate a step; there are two steps here.
    assert heads <= 2.1e-3 < 5e-3 < fast_heads <= 2.1e-2
    assert max(lora, same_lora) <= 2.1e-3


@pytest.mark.parametrize("bad", [{"learning_rate": 1e30}, {"reward_scale": 1e300}])
def test_training_stops_when_a_gradient_is_not_finite(
    make_model: MakeModel, small_window: TradingWindow, bad: dict[str, float]
):
    with pytest.raises(TrainingError, match=r"the gradient is (nan|inf) at update \d+, epoch 1"):
        learn(make_model(), small_window, replace(SMALL, **bad))


def test_best_validation_weights_are_kept(
    make_model: MakeModel, small_window: TradingWindow, small_states: Mapping[str, pl.DataFrame]
):
    validation = cut_window(small_states, (date(2023, 8, 1), date(2023, 8, 8)), "next_open")
    model = make_model()
    rows = learn(model, small_window, replace(SMALL, total_timesteps=192, learning_rate=1e-2), validation)
    scores = [row["env/validation_log_return"] for row in rows]
    replayed = float(replay("again", validation, EnvConfig(), model.decide).equity["log_return"].sum())
    assert len(set(scores)) > 1
    assert replayed == max(scores)


def test_patience_stops_a_training_that_no_longer_gets_better(
    make_model: MakeModel, small_window: TradingWindow, small_states: Mapping[str, pl.DataFrame]
):
    validation = cut_window(small_states, (date(2023, 8, 1), date(2023, 8, 8)), "next_open")
    still = replace(SMALL, total_timesteps=640, learning_rate=1e-12, patience=3)
    assert len(learn(make_model(), small_window, still, validation)) == 4  # the first is the best of equals


def test_ppo_learns_to_follow_a_headline_that_always_comes_true(make_model: MakeModel, small_window: TradingWindow):
    """Two headlines alternate at random; prices rise 3 % after one and fall 3 % after the other."""
    generator = torch.Generator().manual_seed(0)
    num = 20
    rises = torch.rand(2, num, generator=generator) < 0.5
    headlines = "losses grow as orders fall short", "profit beats all forecasts"
    texts = [f"Market: calm\nNews: \n- {headline}\n" for headline in headlines]
    steps = torch.where(rises, 0.03, -0.03).double()
    marks = torch.exp(torch.cat([torch.zeros(2, 1), steps.cumsum(dim=1)[:, :-1]], dim=1)).numpy() * 100
    window = replace(
        small_window,
        prefixes=tuple(tuple(texts[int(up)] for up in row) for row in rises),
        mark_prices=marks,
        fill_prices=marks.copy(),
        sessions=tuple(sessions[:num] for sessions in small_window.sessions),
        num_sessions=small_window.num_sessions * 0 + num,
    )
    # Filling at the open, which equals the close before: the move after a headline is earned by its own decision.
    window.fill_prices[:, 1:] = marks[:, :-1]
    free = EnvConfig(cost_bps=0, slippage_bps=0)
    config = replace(
        SMALL, total_timesteps=960, num_envs=4, num_steps=10, minibatch_size=80, update_epochs=4, gamma=0.0,
        learning_rate=5e-3, ent_coef=0.01, clip_vloss=False,
    )  # fmt: skip
    model = make_model()
    best = float(rises[:, : num - 1].sum()) * 0.03

    def share_earned() -> float:
        return float(replay("so far", window, free, model.decide).equity["log_return"].sum()) / best

    assert share_earned() < 0.5
    for _ in train(model, window, None, free, config, 0, Accelerator(cpu=True)):
        pass
    assert share_earned() >= 0.95
