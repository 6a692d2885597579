"""What a certificate refuses to run on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import ParameterError, RunInterrupted
from flag_kedro.experiments import certificate_run
from flag_kedro.experiments.certificate import Certificate, CertificateRun
from flag_kedro.experiments.certificate_run import CertificateSettings, assess_market, draw_market
from flag_kedro.experiments.config import CertifyConfig
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.pipelines.certify.nodes import issue_certificate
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

ENDLESS = PPOConfig(
    total_timesteps=10_000_000, learning_rate=5e-4, num_envs=1, num_steps=40, gamma=0.95, gae_lambda=0.98,
    update_epochs=1, clip_vloss=True, ent_coef=0.05, kl_coef=0.05, gradient_accumulation_steps=8, minibatch_size=32,
    stagger_starts=False, reward_scale=1.0, validation_interval=10,
)  # fmt: skip


@pytest.mark.parametrize(
    ("simulated", "env", "named"),
    [
        (SimulatedConfig(market="easy", signal=0.0), EnvConfig(), "simulated.signal is 0"),
        (SimulatedConfig(market="easy", drift=0.1), EnvConfig(), "simulated.drift is 0.1, must be 0.0"),
        (SimulatedConfig(market="easy"), EnvConfig(cash_rate=0.03), "env.cash_rate is 0.03, must be 0.0"),
        (
            SimulatedConfig(market="easy"),
            EnvConfig(positions="long_short"),
            "env.positions is long_short, must be long_flat",
        ),
    ],
)
def test_what_pays_without_reading_is_refused(simulated: SimulatedConfig, env: EnvConfig, named: str):
    rest = FeaturesConfig(), env, PolicyConfig(), ENDLESS, RuntimeConfig()
    with pytest.raises(ParameterError, match=named):
        issue_certificate(CertifyConfig(), simulated, *rest, Path("rows"))


SETTINGS = CertificateSettings(
    ("ALDR", "BRIX"), SimulatedConfig(market="easy", signal=0.02), FeaturesConfig(), EnvConfig(), PolicyConfig(),
    ENDLESS, RuntimeConfig(threads=1),
)  # fmt: skip


def test_an_effect_below_the_cost_says_nothing():
    tiny = replace(SETTINGS, simulated=SimulatedConfig(market="easy", signal=0.0001))
    assessment = assess_market(draw_market(tiny, 1, planted=True), tiny)
    assert (assessment.informative, assessment.oracle_log_return) == (False, 0.0)


def test_a_stopped_certificate_goes_on_with_the_markets_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[int, bool]] = []
    run = certificate_run.run_certificate_market

    def stop_at_third(settings: CertificateSettings, seed: int, *, planted: bool) -> CertificateRun:
        asked.append((seed, planted))
        if len(asked) == 3:
            raise RunInterrupted("stopped by SIGTERM")
        return run(settings, seed, planted=planted)

    def issue() -> dict[str, Any]:
        """On markets that say nothing, which cost no training."""
        silent = SimulatedConfig(market="easy", signal=0.0001)
        rest = FeaturesConfig(), EnvConfig(), PolicyConfig(), ENDLESS, RuntimeConfig()
        return issue_certificate(CertifyConfig(seeds="1 2", symbols=("ALDR", "BRIX")), silent, *rest, tmp_path)

    monkeypatch.setattr(certificate_run, "run_certificate_market", stop_at_third)
    with pytest.raises(RunInterrupted):
        issue()
    certificate = issue()
    assert asked == [(1, True), (2, True), (1, False), (1, False), (2, False)]
    rows = {path.stem for path in (tmp_path / certificate["key"]).glob("*.json")}
    assert rows == {"market-1", "market-2", "twin-1", "twin-2"}
    assert certificate["uninformative_seeds"] == [1, 2]
    assert Certificate.from_json(certificate).key == certificate["key"]
