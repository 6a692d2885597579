"""`policy.num_layers`: the first layers of a backbone, as if it had been built with those alone."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from flag_kedro.env.states import States
from flag_kedro.errors import ParameterError
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.backbone import load_backbone
from flag_kedro.policy.bundle import TrainedPolicy, load_policy
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.policy.source import find_backbone
from flag_kedro.policy.trunk import open_trunk_cache

CPU = torch.device("cpu")
TWO = PolicyConfig(frozen_layers=1, num_layers=2)
FACTS = {"symbols": ["A"], "windows": {"train": ["2024-01-01", "2024-02-01"], "test": ["2024-03-01", "2024-04-01"]}}
LAYER_2 = re.compile(r"(layers|h)\.2\.")
StatesOf = Callable[..., States]


def test_first_layers_answer_as_a_model_built_with_those_alone(family_backbone: Path):
    config = AutoConfig.from_pretrained(family_backbone)
    config.num_hidden_layers = 2
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:2]
    built = AutoModel.from_config(config, attn_implementation="sdpa").eval()
    weights = load_file(family_backbone / "model.safetensors")
    built.load_state_dict({name: weight for name, weight in weights.items() if not LAYER_2.search(name)})
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        expected = built(input_ids=ids).last_hidden_state
        assert torch.equal(load_backbone(family_backbone, CPU, 2)(input_ids=ids).last_hidden_state, expected)
        assert not torch.equal(load_backbone(family_backbone, CPU)(input_ids=ids).last_hidden_state, expected)


@pytest.mark.parametrize("trainable", ["lora", "layers"])
def test_a_cut_policy_reopens_with_the_same_answers(
    trainable: str, positioned_backbone: Path, build: Callable[..., ActorCritic], states_of: StatesOf, tmp_path: Path
):
    model = build(positioned_backbone, PolicyConfig(frozen_layers=1, num_layers=2, trainable=trainable))
    assert not any(LAYER_2.search(name) for name, _ in model.named_parameters())
    (tmp_path / "policy").mkdir()
    TrainedPolicy(model, positioned_backbone, FACTS).write(tmp_path / "policy")
    write_manifest(tmp_path / "policy")
    opened = load_policy(tmp_path / "policy", positioned_backbone, CPU)
    states = states_of([(0, 0), (3, 1), (5, 0)])
    with torch.no_grad():
        assert torch.equal(opened.evaluate(states).log_probs, model.evaluate(states).log_probs)
    assert json.loads((tmp_path / "policy" / "policy.json").read_text())["policy"]["num_layers"] == 2
    assert "the first 2 layers of it" in (tmp_path / "policy" / "README.md").read_text()


def test_the_cards_lines_open_a_cut_policy(
    positioned_backbone: Path, build: Callable[..., ActorCritic], tmp_path: Path
):
    model = build(positioned_backbone, replace(TWO, backbone=str(positioned_backbone)))
    (tmp_path / "policy").mkdir()
    TrainedPolicy(model, positioned_backbone, FACTS).write(tmp_path / "policy")
    code = (tmp_path / "policy" / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    code = code.replace('f"{bundle}/../backbone"', repr(str(positioned_backbone))).replace(
        '"."', repr(str(tmp_path / "policy"))
    )
    names: dict[str, PeftModel] = {}
    exec(code, names)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        opened = names["model"].eval()(input_ids=ids).last_hidden_state
        assert torch.equal(opened, load_cut(model, ids))


def load_cut(model: ActorCritic, ids: torch.Tensor) -> torch.Tensor:
    """What the backbone of an actor-critic says under transformers' own attention."""
    model.trunk.base.set_attn_implementation("sdpa")
    output: torch.Tensor = model.backbone(input_ids=ids).last_hidden_state
    return output


def test_rows_of_the_trunk_are_of_one_number_of_layers(positioned_backbone: Path):
    contexts = []
    for config in (TWO, PolicyConfig(frozen_layers=1), PolicyConfig(frozen_layers=1, num_layers=3)):
        cache = open_trunk_cache(positioned_backbone, config, CPU)
        assert cache is not None
        contexts.append(json.dumps(cache.context))
    assert len(set(contexts)) == 3


def test_more_layers_than_there_are_are_refused(positioned_backbone: Path):
    config = PolicyConfig(backbone=str(positioned_backbone), num_layers=4)
    with pytest.raises(ParameterError, match=r"policy\.num_layers is 4, but .* has 3 layers; lower it"):
        find_backbone(config)
    with pytest.raises(ParameterError, match=r"policy\.num_layers is 4, but the backbone has 3 layers"):
        load_backbone(positioned_backbone, CPU, 4)
    assert find_backbone(PolicyConfig(backbone=str(positioned_backbone), num_layers=3))


def test_no_layer_left_to_learn_is_refused():
    with pytest.raises(ValueError, match=r"policy\.num_layers is 2 and policy\.frozen_layers 2: no layer is left"):
        PolicyConfig(num_layers=2, frozen_layers=2)
