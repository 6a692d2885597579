"""The language certificate as its node issues it, on one seed: rows are kept, and what is missing is said."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import ParameterError
from flag_kedro.experiments import language_run
from flag_kedro.experiments.certificate_run import CertificateSettings
from flag_kedro.experiments.language_certificate import LanguageCertificate
from flag_kedro.experiments.language_run import ENCODER_RIDGE, READERS
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.hooks.summaries.certificate import print_certificate
from flag_kedro.pipelines.certify import language
from flag_kedro.pipelines.certify.language import issue_language_certificate
from flag_kedro.pipelines.certify.nodes import draw_certificate, keep_language_certificate
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

SEED = 10


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> CertificateSettings:
    from flag_kedro.policy.backbone import write_backbone

    backbone = tmp_path_factory.mktemp("backbone")
    write_backbone(PolicyConfig(), ["Task: trade one stock\nNews: none\n"] * 50, 0, backbone)
    simulated = SimulatedConfig(
        language="paraphrases", signal=0.05, drift=0.0, regime_sessions=0,
        first_session=date(2023, 1, 3), last_session=date(2023, 12, 29),
    )  # fmt: skip
    ppo = PPOConfig(total_timesteps=128, num_envs=2, num_steps=16, minibatch_size=64, learning_rate=1e-3)
    policy = PolicyConfig(backbone=str(backbone), readout="lines")  # a folder: `tiny` has no weights to draw anew
    rooms = FeaturesConfig(), EnvConfig(), policy, ppo, RuntimeConfig(device="cpu", threads=1)
    return CertificateSettings(("ALDR", "BRIX"), simulated, *rooms)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def certificate(settings: CertificateSettings, rows: Path) -> dict[str, Any]:
    return json.loads(json.dumps(issue_language_certificate(settings, (SEED,), rows)))


def test_every_reader_and_the_twin_have_a_row(certificate: dict[str, Any], rows: Path):
    readers = [each["reader"] for each in certificate["readers"]]
    assert set(READERS) - set(readers) <= {ENCODER_RIDGE}
    assert [run["planted"] for run in certificate["runs"]].count(False) == 1
    files = {path.stem for path in (rows / certificate["key"]).glob("*.json")}
    assert files == {f"{reader}-{SEED}" for reader in readers} | {f"twin-{SEED}"}


def test_one_seed_certifies_nothing(certificate: dict[str, Any]):
    assert not certificate["passed"]
    assert any("1 informative seeds" in reason for reason in certificate["reasons"])


def test_rows_that_were_left_behind_are_not_trained_again(
    certificate: dict[str, Any], settings: CertificateSettings, rows: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(language_run, "run_training", raising=False)
    monkeypatch.setattr(language_run, "_targets", lambda *arguments: pytest.fail("trained again"))
    assert json.loads(json.dumps(issue_language_certificate(settings, (SEED,), rows))) == certificate


def test_table_and_picture_tell_the_same_numbers(
    certificate: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "120")
    print_certificate(certificate, Path("data"))
    printed = capsys.readouterr().out
    assert "SIMULATED" in printed
    assert "Failed" in printed
    for each in certificate["readers"]:
        assert f"{each['median_share']:.2f}" in printed
    bars = draw_certificate(certificate).data[0]
    assert sorted(bars.y) == sorted(each["median_share"] for each in certificate["readers"])


def test_shares_of_all_readers_are_kept_beside_later_certificates_of_other_kinds(certificate: dict[str, Any]):
    kept = keep_language_certificate(certificate, None)
    for each in certificate["readers"]:
        assert kept["shares"][each["reader"]] == {"median": each["median_share"], "per_seed": [each["shares"]["10"]]}
        assert kept["levels"][each["reader"]] == each["by_level"]
    assert kept["passed"] is False
    assert LanguageCertificate.from_json(certificate).runs
    assert keep_language_certificate({"kind": "easy"}, kept) == kept
    assert keep_language_certificate({"kind": "easy"}, None) == {}


def test_a_market_that_says_nothing_is_left_out(settings: CertificateSettings, tmp_path: Path):
    silent = replace(settings, simulated=replace(settings.simulated, signal=0.0005))
    certificate = issue_language_certificate(silent, (SEED,), tmp_path)
    assert certificate["uninformative_seeds"] == [SEED]
    assert certificate["runs"] == []


def test_a_language_whose_words_recur_is_refused(settings: CertificateSettings, tmp_path: Path):
    recurring = replace(settings, simulated=SimulatedConfig(language="recombined"))
    with pytest.raises(ParameterError, match="needs paraphrases"):
        issue_language_certificate(recurring, (SEED,), tmp_path)


def test_without_the_encoders_package_it_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("flag_kedro.experiments.sentence_encoder.is_installed", lambda: False)
    assert ENCODER_RIDGE not in language._readers()
    assert "encoder_ridge is left out" in caplog.text
