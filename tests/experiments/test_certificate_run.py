"""One run of the certificate: a market that says nothing costs no training; a run holds what was traded."""

from datetime import date

import pytest

from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments import certificate_run
from flag_kedro.experiments.certificate_run import (
    CertificateSettings,
    draw_market,
    is_informative,
    run_certificate_market,
)
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

PPO = PPOConfig(
    total_timesteps=128, num_envs=2, num_steps=16, minibatch_size=64, kl_coef=0.0, gradient_accumulation_steps=1,
    reward_scale=100.0, validation_interval=2, learning_rate=5e-4, gamma=0.95, gae_lambda=0.98, update_epochs=1,
    clip_vloss=True, ent_coef=0.05, stagger_starts=False,
)  # fmt: skip


def settings(signal: float) -> CertificateSettings:
    simulated = SimulatedConfig(
        market="easy", first_session=date(2023, 1, 3), last_session=date(2023, 12, 29), signal=signal
    )
    runtime = RuntimeConfig(device="cpu", threads=1)
    rooms = FeaturesConfig(), EnvConfig(), PolicyConfig(), PPO, runtime
    return CertificateSettings(("ALDR", "BRIX"), simulated, *rooms)


@pytest.mark.parametrize("planted", [True, False])
def test_a_market_that_says_nothing_is_not_trained_on(planted: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(certificate_run, "run_training")
    run = run_certificate_market(settings(0.0005), 3, planted=planted)
    assert not run.informative
    assert run.oracle_t < 5
    assert (run.share, run.curve) == (None, [])


@pytest.mark.parametrize(
    ("oracle_t", "share", "expected"),
    [(6.0, 0.1, True), (6.0, -0.1, True), (6.0, 0.3, False), (6.0, -0.3, False), (4.0, 0.0, False)],
)
def test_rising_and_falling_markets_say_nothing_alike(oracle_t: float, share: float, expected: bool):
    assert is_informative(oracle_t, share) is expected


def test_a_run_says_what_the_policy_took_of_the_oracle():
    """A signal ten times as strong makes even a short market informative."""
    run = run_certificate_market(settings(0.06), 3, planted=True)
    assert run.informative
    assert run.share == pytest.approx(run.log_return / run.oracle_log_return)
    assert run.oracle_log_return > 1
    assert [point["step"] for point in run.curve] == [128.0]
    twin = run_certificate_market(settings(0.06), 3, planted=False)
    assert twin.share is None
    assert (twin.oracle_t, twin.informative) == (run.oracle_t, True)
    assert twin.shift_percentile is None or 0 <= twin.shift_percentile <= 1


def test_the_twin_is_the_same_market_without_the_effect():
    planted, twin = (draw_market(settings(0.06), 3, planted=kind) for kind in (True, False))
    assert planted.test.prefixes[0][-1].split("News:")[1] == twin.test.prefixes[0][-1].split("News:")[1]
    assert (planted.test.mark_prices != twin.test.mark_prices).any()
    assert set(twin.truth["next_effect"]) == {0.0}
