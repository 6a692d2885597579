"""The bundle: standard PEFT inside, exact after reopening, refused when it does not fit."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModel

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError, MadeOtherwiseError
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.bundle import TrainedPolicy, check_facts, load_policy, read_description
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.policy.model_card import write_model_card
from flag_kedro.policy.origin import BUILT_HERE, BackboneOrigin
from flag_kedro.policy.smollm2 import HUB_ID
from flag_kedro.policy.trunk import open_trunk_cache
from flag_kedro.ppo.config import PPOConfig

FACTS = {
    "symbols": ["ALDR"],
    "data_hash": "abc",
    "windows": {"train": ["2023-01-03", "2023-02-01"], "validation": None, "test": ["2023-03-01", "2023-04-03"]},
    "env": {"cost_bps": 5.0},
    "seed": 0,
}


def disturb(model: ActorCritic) -> None:
    """Move all weights that learn, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))


@pytest.fixture(params=["lora float32", "layers float32", "lora bfloat16", "layers bfloat16"])
def trained(request: pytest.FixtureRequest, tiny_backbone: Path) -> ActorCritic:
    trainable, dtype = request.param.split()
    config = PolicyConfig(frozen_layers=1, trainable=trainable, dtype=dtype)
    model = build_actor_critic(tiny_backbone, config, 0, torch.device("cpu"))
    disturb(model)
    return model


def write(model: ActorCritic, backbone: Path, folder: Path) -> Path:
    folder.mkdir()
    TrainedPolicy(model, backbone, FACTS).write(folder)
    write_manifest(folder)
    return folder


def test_reopened_bundle_answers_bit_for_bit(
    trained: ActorCritic, tiny_backbone: Path, small_window: TradingWindow, tmp_path: Path
):
    states = TradingVectorEnv(small_window, EnvConfig()).states()
    bundle = write(trained, tiny_backbone, tmp_path / "policy")
    cpu = torch.device("cpu")
    cache = open_trunk_cache(bundle / "backbone", trained.config, cpu)
    opened = load_policy(bundle, bundle / "backbone", cpu, cache)
    assert not any(weight.requires_grad for weight in opened.backbone.parameters())
    with torch.no_grad():
        before, after = trained.evaluate(states), opened.evaluate(states)
    assert torch.equal(before.log_probs, after.log_probs)
    assert torch.equal(before.values, after.values)


@pytest.mark.parametrize("readout", ["last", "lines"])
def test_a_bundle_brings_its_volatility_head_and_says_so(
    readout: str, tiny_backbone: Path, small_window: TradingWindow, tmp_path: Path
):
    states = TradingVectorEnv(small_window, EnvConfig()).states()
    model = build_actor_critic(tiny_backbone, PolicyConfig(readout=readout), 0, torch.device("cpu"))
    assert "volatility_head" not in read_description(write(model, tiny_backbone, tmp_path / "without"))
    model.add_volatility_head(mean=-7.5, deviation=0.5)
    assert model.log_variances(states).tolist() == [-7.5] * len(states)
    disturb(model)
    bundle = write(model, tiny_backbone, tmp_path / "policy")
    said = read_description(bundle)["volatility_head"]
    assert said == {"sessions": 5, "mean": -7.5, "deviation": 0.5}
    opened = load_policy(bundle, bundle / "backbone", torch.device("cpu"))
    assert torch.equal(opened.log_variances(states), model.log_variances(states))
    assert opened.log_variances(states).std() > 0.0
    card = (bundle / "README.md").read_text()
    assert "A third head, which reads the same, forecasts" in card
    assert "next 5 sessions: its output times 0.5, plus -7.5." in card
    assert "third head" not in (tmp_path / "without" / "README.md").read_text()
    without = load_policy(tmp_path / "without", tiny_backbone, torch.device("cpu"))
    assert without.volatility_head is None
    with pytest.raises(DataError, match=r"no head that forecasts volatility; train one with .*ppo\.volatility_coef="):
        without.log_variances(states)


def test_peft_opens_the_bundle_with_the_trained_adapter(tiny_backbone: Path, tmp_path: Path):
    model = build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1), 0, torch.device("cpu"))
    disturb(model)
    bundle = write(model, tiny_backbone, tmp_path / "policy")
    opened = PeftModel.from_pretrained(AutoModel.from_pretrained(bundle / "backbone"), bundle).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected = model.backbone(input_ids=ids).last_hidden_state
        reopened = opened(input_ids=ids).last_hidden_state
    assert torch.equal(expected, reopened)


def test_the_cards_lines_open_a_bundle_from_any_folder(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1), 0, torch.device("cpu"))
    disturb(model)
    bundle = write(model, tiny_backbone, tmp_path / "policy")
    card = (bundle / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    names: dict[str, PeftModel] = {}
    exec(card.partition("```python\n")[2].partition("```")[0].replace('"."', repr(str(bundle))), names)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(
            names["model"].eval()(input_ids=ids).last_hidden_state, model.backbone(ids).last_hidden_state
        )


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (BUILT_HERE, {"license": "apache-2.0", "base_model": None}),
        (
            BackboneOrigin(name="SmolLM2", source="package", model=HUB_ID, version="0.1.2"),
            {"license": "apache-2.0", "base_model": HUB_ID},
        ),
        (
            BackboneOrigin(name="mine", source="folder"),
            {"license": "other", "license_name": "that-of-its-backbone", "base_model": None},
        ),
    ],
    ids=lambda value: value.name if isinstance(value, BackboneOrigin) else "",
)
def test_the_card_says_licence_and_base_model_as_the_hub_reads_them(
    origin: BackboneOrigin, expected: dict[str, str | None], tmp_path: Path
):
    policy = asdict(PolicyConfig(backbone="tiny" if origin is BUILT_HERE else "own"))
    windows = {"train": ["2024-01-01", "2024-02-01"], "test": ["2024-03-01", "2024-04-01"]}
    write_model_card({"policy": policy, "windows": windows, "symbols": ["A"], "backbone_hash": "0"}, origin, tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert {name: getattr(card.data, name, None) for name in expected} == expected


def test_bundle_carries_no_path_of_this_machine(trained: ActorCritic, tiny_backbone: Path, tmp_path: Path):
    bundle = write(trained, tiny_backbone, tmp_path / "policy")
    for file in bundle.rglob("*"):
        if file.is_file():
            assert str(tiny_backbone).encode() not in file.read_bytes(), file


def test_bundle_holds_no_pickle(trained: ActorCritic, tiny_backbone: Path, tmp_path: Path):
    bundle = write(trained, tiny_backbone, tmp_path / "policy")
    assert {file.suffix for file in bundle.rglob("*") if file.is_file()} <= {".json", ".safetensors", ".md", ".jinja"}


def test_changed_file_is_named(trained: ActorCritic, tiny_backbone: Path, tmp_path: Path):
    bundle = write(trained, tiny_backbone, tmp_path / "policy")
    with (bundle / "heads.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"heads\.safetensors"):
        read_description(bundle)


def test_missing_manifest_means_an_unfinished_bundle(trained: ActorCritic, tiny_backbone: Path, tmp_path: Path):
    bundle = write(trained, tiny_backbone, tmp_path / "policy")
    (bundle / "MANIFEST.json").unlink()
    with pytest.raises(DataError, match="not whole"):
        load_policy(bundle, tiny_backbone, torch.device("cpu"))


def test_another_backbone_is_refused(trained: ActorCritic, tiny_backbone: Path, tmp_path: Path):
    bundle = write(trained, tiny_backbone, tmp_path / "policy")
    other = tmp_path / "other"
    shutil.copytree(tiny_backbone, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    shutil.rmtree(bundle / "backbone")  # as in a bundle of any backbone but tiny
    write_manifest(bundle)
    load_policy(bundle, tiny_backbone, torch.device("cpu"))
    with pytest.raises(DataError, match="not the backbone"):
        load_policy(bundle, other, torch.device("cpu"))


def test_facts_that_differ_are_all_named(trained: ActorCritic, tiny_backbone: Path, tmp_path: Path):
    description = read_description(write(trained, tiny_backbone, tmp_path / "policy"))
    check_facts(description, FACTS)
    with pytest.raises(DataError, match=r"data_hash: trained on abc, found xyz\n  env: trained on"):
        check_facts(description, FACTS | {"data_hash": "xyz", "env": {"cost_bps": 1.0}})


def test_a_policy_of_other_risk_rules_is_refused_and_its_own_are_named():
    stopped, free = EnvConfig(max_drawdown_stop=0.1, drawdown_penalty=1.0), EnvConfig()
    for trained, found, said in [
        (stopped, free, {"env.max_drawdown_stop": 0.1, "env.drawdown_penalty": 1.0}),
        (free, stopped, {"env.max_drawdown_stop": None, "env.drawdown_penalty": 0.0}),
    ]:
        check_facts({"env": trained.facts()}, {"env": trained.facts()})
        with pytest.raises(MadeOtherwiseError, match="env: trained on") as refused:
            check_facts({"env": trained.facts()}, {"env": found.facts()})
        assert refused.value.params == said


def test_a_policy_with_another_volatility_coefficient_is_refused_and_its_own_can_be_given():
    without, beside = PPOConfig(total_timesteps=400), PPOConfig(total_timesteps=400, volatility_coef=0.5)
    for trained, found in ((without, beside), (beside, without)):
        with pytest.raises(MadeOtherwiseError, match="ppo: trained on") as refused:
            check_facts({"ppo": trained.learning()}, {"ppo": found.learning()})
        given = {name.removeprefix("ppo."): value for name, value in refused.value.params.items()}
        assert given == {"volatility_coef": trained.volatility_coef}
        assert PPOConfig(**(asdict(found) | given)) == trained
