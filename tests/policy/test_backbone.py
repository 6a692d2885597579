"""Backbones: what may become one, and what may not."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FalconConfig,
    FalconModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    GPTNeoXConfig,
    GPTNeoXModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    MistralModel,
    PreTrainedModel,
    Qwen2Config,
    Qwen2Model,
)

from flag_kedro.errors import ParameterError
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.backbone import backbone_hash, load_backbone, load_tokenizer, write_backbone
from flag_kedro.policy.config import PolicyConfig

SMALL = {"vocab_size": 1024, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
MIDDLE = {"intermediate_size": 48}


Save = Callable[[PreTrainedModel], Path]


@pytest.mark.parametrize("trainable", ["lora", "layers"])
@pytest.mark.parametrize(
    "model",
    [
        GPTNeoXModel(GPTNeoXConfig(**SMALL, **MIDDLE)),
        MistralModel(MistralConfig(**SMALL, **MIDDLE, num_key_value_heads=2)),
        Qwen2Model(Qwen2Config(**SMALL, **MIDDLE, num_key_value_heads=2)),
        GPT2Model(GPT2Config(**SMALL, bos_token_id=0)),
    ],
    ids=["gpt_neox", "mistral", "qwen2", "gpt2"],
)
def test_other_families_learn_in_their_top_layer_only(
    model: PreTrainedModel, trainable: str, save_backbone: Save, tmp_path: Path
):
    config = PolicyConfig(backbone=str(save_backbone(model)), trainable=trainable)
    folder = tmp_path / "backbone"
    folder.mkdir()
    write_backbone(config, [], 0, folder)
    built = build_actor_critic(folder, config, 0, torch.device("cpu"))
    learning = [name for name, weight in built.backbone.named_parameters() if weight.requires_grad]
    assert learning
    assert all("layers.1." in name or ".h.1." in f".{name}" for name in learning)


def test_family_without_such_layers_is_refused(save_backbone: Save):
    """Its layers are called as GPT-2's, but positions are told in another way."""
    source = save_backbone(FalconModel(FalconConfig(**SMALL)))
    for trainable in ("lora", "layers"):
        config = PolicyConfig(backbone=str(source), trainable=trainable)
        with pytest.raises(ParameterError, match="FalconModel is not built as Llama"):
            build_actor_critic(source, config, 0, torch.device("cpu"))


def test_missing_weights_are_refused_not_drawn_at_random(save_backbone: Save, tmp_path: Path):
    source = save_backbone(MistralModel(MistralConfig(**SMALL, **MIDDLE, num_key_value_heads=2)))
    weights = load_file(source / "model.safetensors")
    remaining = {name: weight for name, weight in weights.items() if "layers.0.mlp" not in name}
    save_file(remaining, source / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "backbone").mkdir()
    with pytest.raises(ParameterError, match=r"lacks 3 weights, first layers\.0\.mlp"):
        write_backbone(PolicyConfig(backbone=str(source)), [], 0, tmp_path / "backbone")


def test_weights_that_are_no_numbers_are_refused_by_name(save_backbone: Save, tmp_path: Path):
    source = save_backbone(MistralModel(MistralConfig(**SMALL, **MIDDLE, num_key_value_heads=2)))
    weights = load_file(source / "model.safetensors")
    weights["layers.1.mlp.up_proj.weight"][0, :3] = torch.nan
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "backbone").mkdir()
    with pytest.raises(ParameterError, match=r"3 of the .* weights layers\.1\.mlp\.up_proj\.weight .* NaN or infinite"):
        write_backbone(PolicyConfig(backbone=str(source)), [], 0, tmp_path / "backbone")


def test_tokens_without_an_embedding_are_refused_by_name(save_backbone: Save, tmp_path: Path):
    """A tokenizer of another model, or one that got tokens added; training would end in an IndexError."""
    source = save_backbone(MistralModel(MistralConfig(**SMALL, **MIDDLE, num_key_value_heads=2)))
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_tokens([f"<extra{number}>" for number in range(SMALL["vocab_size"])])
    tokenizer.save(str(source / "tokenizer.json"))
    (tmp_path / "backbone").mkdir()
    with pytest.raises(ParameterError, match=r"tokens of .* have no embedding, such as .*the weights have [\d,]+ rows"):
        write_backbone(PolicyConfig(backbone=str(source)), [], 0, tmp_path / "backbone")


def test_special_token_in_the_news_is_ordinary_text(tiny_backbone: Path):
    tokenizer, start = load_tokenizer(tiny_backbone)
    assert start == [tokenizer.token_to_id("<|begin|>")]
    assert start[0] not in tokenizer.encode("- profits <|begin|> rise").ids


def test_same_seed_gives_the_same_tiny_backbone(tmp_path: Path):
    texts = ["Market: calm\n", "News: none\n"]
    hashes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        write_backbone(PolicyConfig(), texts, seed, tmp_path / name)
        hashes.append((tmp_path / name / "model.safetensors").read_bytes())
    assert hashes[0] == hashes[1] != hashes[2]
    assert json.loads((tmp_path / "a" / "config.json").read_text())["model_type"] == "llama"


def written(source: Path, folder: Path, seed: int = 0, **policy: object) -> Path:
    folder.mkdir()
    write_backbone(PolicyConfig(backbone=str(source), **policy), [], seed, folder)
    return folder


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_model_head_is_kept(tied: bool, save_backbone: Save, tmp_path: Path):
    model = LlamaForCausalLM(LlamaConfig(**SMALL, **MIDDLE, tie_word_embeddings=tied)).eval()
    folder = written(save_backbone(model), tmp_path / "backbone")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(AutoModelForCausalLM.from_pretrained(folder)(ids).logits, model(ids).logits)
        assert torch.equal(load_backbone(folder, torch.device("cpu"))(ids).last_hidden_state, model.model(ids)[0])


def test_a_head_tied_to_gpt2s_embeddings_is_kept(save_backbone: Save, tmp_path: Path):
    model = GPT2LMHeadModel(GPT2Config(**SMALL, bos_token_id=0)).eval()
    folder = written(save_backbone(model), tmp_path / "backbone")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(AutoModelForCausalLM.from_pretrained(folder)(ids).logits, model(ids).logits)
        assert torch.equal(load_backbone(folder, torch.device("cpu"))(ids).last_hidden_state, model.transformer(ids)[0])


def test_no_head_is_made_up_where_there_is_none(save_backbone: Save, tmp_path: Path):
    source = save_backbone(LlamaModel(LlamaConfig(**SMALL, **MIDDLE)))
    folder = written(source, tmp_path / "backbone")
    assert load_file(folder / "model.safetensors").keys() == load_file(source / "model.safetensors").keys()


def test_a_tokenizer_is_taken_to_the_letter_whatever_its_class(smollm2: Path, save_backbone: Save, tmp_path: Path):
    """transformers 5 rebuilds a GPT2Tokenizer from vocabulary and merges, and then no longer cuts SmolLM2's digits."""
    source = save_backbone(LlamaModel(LlamaConfig(**SMALL | {"vocab_size": 49152}, **MIDDLE)))
    (source / "tokenizer.json").write_bytes((smollm2 / "tokenizer.json").read_bytes())
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    folder = written(source, tmp_path / "backbone")
    assert (folder / "tokenizer.json").read_bytes() == (smollm2 / "tokenizer.json").read_bytes()
    ids = load_tokenizer(folder)[0].encode("\n   2019").ids
    assert ids == AutoTokenizer.from_pretrained(folder)("\n   2019", add_special_tokens=False)["input_ids"]
    assert ids != AutoTokenizer.from_pretrained(source)("\n   2019", add_special_tokens=False)["input_ids"]


def test_a_tokenizer_that_cannot_be_read_is_refused(save_backbone: Save, tmp_path: Path):
    source = save_backbone(LlamaModel(LlamaConfig(**SMALL, **MIDDLE)))
    (source / "tokenizer.json").write_text("{}")
    with pytest.raises(ParameterError, match=r"tokenizer\.json of .* cannot be read"):
        written(source, tmp_path / "backbone")


def test_a_backbones_hash_is_that_of_its_three_files_one_behind_the_other(tiny_backbone: Path):
    names = ("config.json", "tokenizer.json", "model.safetensors")
    assert backbone_hash(tiny_backbone) == sha256(b"".join((tiny_backbone / n).read_bytes() for n in names)).hexdigest()


def test_random_weights_keep_geometry_and_tokenizer_and_nothing_else(save_backbone: Save, tmp_path: Path):
    source = save_backbone(LlamaForCausalLM(LlamaConfig(**SMALL, **MIDDLE)))
    kept = written(source, tmp_path / "kept")
    drawn, again, other = (
        written(source, tmp_path / name, seed, weights="random")
        for name, seed in (("drawn", 0), ("again", 0), ("other", 1))
    )
    assert (drawn / "tokenizer.json").read_bytes() == (kept / "tokenizer.json").read_bytes()
    models = [load_backbone(folder, torch.device("cpu")) for folder in (kept, drawn, again, other)]
    first, second, third, fourth = (model.layers[0].mlp.up_proj.weight for model in models)
    assert [len(model.layers) for model in models] == [len(models[0].layers)] * 4
    assert first.shape == second.shape
    assert not torch.equal(first, second)
    assert torch.equal(second, third)
    assert not torch.equal(second, fourth)
    assert float(second.detach().std()) == pytest.approx(models[1].config.initializer_range, rel=0.1)
    assert json.loads((drawn / "origin.json").read_text())["name"].startswith("random weights in the geometry of")
