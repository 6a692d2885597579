"""Finding a backbone: at once, or an error that says what to do."""

import json
from pathlib import Path

import pytest

from flag_kedro.errors import ParameterError
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.source import find_backbone


def test_hub_id_offline_and_not_cached_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    config = PolicyConfig(backbone="nobody-here/no-such-model")
    with pytest.raises(
        ParameterError, match=r"nobody-here/no-such-model could not be had[\s\S]*copy the model's folder"
    ):
        find_backbone(config)


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "plain-name", "a/b/c"])
def test_name_that_can_be_no_backbone_is_refused(name: str):
    with pytest.raises(ParameterError, match="neither a folder here nor a hub id"):
        find_backbone(PolicyConfig(backbone=name))


def test_folder_without_weights_names_what_is_missing(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ParameterError, match=r"lacks tokenizer\.json, \*\.safetensors"):
        find_backbone(PolicyConfig(backbone=str(tmp_path)))


def test_freezing_every_layer_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 3}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ParameterError, match=r"policy\.frozen_layers is 3, but .* has 3 layers"):
        find_backbone(PolicyConfig(backbone=str(tmp_path), frozen_layers=3))
    assert find_backbone(PolicyConfig(backbone=str(tmp_path), frozen_layers=2)).geometry == {"num_hidden_layers": 3}


def test_revision_of_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(ParameterError, match=r"policy\.revision"):
        find_backbone(PolicyConfig(backbone=str(tmp_path), revision="main"))
