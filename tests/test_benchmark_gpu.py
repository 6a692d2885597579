"""The script that measures a GPU measures the same at a tiny size on a CPU, and its ways of attending agree."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import gpu
import gpu_attention
from gpu_attention import Documents, draw_documents, masked_attention, plain_attention, variable_lengths
from gpu_card import data_sheet_peak

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script leaves, with so short a budget that one update of each kind is measured."""
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actor_critic_meters.LONG_ENOUGH", 1e-3)  # the machine's rate, which nothing here looks at
        patch.setattr("gpu.SHARES", {"card": 0.05, "updates": 0.75, "attention": 0.1, "collectives": 0.1})
        patch.setattr("sys.argv", ["gpu.py", "--tiny", "--device=cpu", "--threads=1", "--seconds=60", f"--out={path}"])
        patch.setattr("gpu_update.MOST_UPDATES", 1)
        gpu.main()
    return dict(json.loads(path.read_text()))


def test_updates_are_measured_with_and_without_checkpointing(report: dict[str, Any]):
    plain, checkpointed = report["updates"]
    assert (plain["checkpointing"], checkpointed["checkpointing"]) == (False, True)
    for row in (plain, checkpointed):
        for name in ("decisions_per_second", "tokens_per_second", "model_flop_utilisation", "peak_memory_mb"):
            assert row[name] > 0.0
    assert plain["last_loss"] == checkpointed["last_loss"]
    assert plain["model_flops_an_update"] == checkpointed["model_flops_an_update"]
    assert plain["computed_to_model_flops"] >= 1.0
    assert checkpointed["computed_to_model_flops"] > plain["computed_to_model_flops"]


def test_each_way_of_attending_is_measured_or_told_as_missing(report: dict[str, Any]):
    masked, flex, varlen = report["attention"]
    assert masked["forward_backward_ms"] > masked["forward_ms"] > 0.0
    assert flex["forward_ms"] > 0.0
    differences = [value for row in (masked, flex) for name, value in row.items() if name.startswith("max_")]
    assert len(differences) == 4 + 1  # FlexAttention has no backward pass on a CPU
    assert max(differences) < 1e-5
    assert varlen["not_available"] == "torch.nn.attention.varlen has CUDA kernels only"


def test_processes_sum_and_read_through_shared_layers(report: dict[str, Any]):
    [row] = report["collectives"]
    assert (row["backend"], row["processes"], row["sum_is_right"]) == ("gloo", 2, True)
    assert row["held_of_trunk"] == pytest.approx(0.5, abs=0.01)
    assert row["max_difference"] == 0.0
    assert row["sum_bytes_per_second"] > 0.0


def test_card_and_plan_are_told(report: dict[str, Any]):
    [card] = report["card"]
    assert card["bfloat16_flops_per_second"] > 0.0
    assert report["plan"]["geometries"].keys() == {"tiny-4"}
    assert report["tests"] == "python -m pytest -m gpu"


def test_a_cut_leaves_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "_updates", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr("sys.argv", ["gpu.py", "--tiny", "--device=cpu", "--threads=1", f"--out={tmp_path / 'a.json'}"])
    with pytest.raises(KeyboardInterrupt):
        gpu.main()
    assert json.loads((tmp_path / "a.json").read_text()).keys() == {"seconds", "plan", "tests", "card"}


def test_a_card_is_known_by_its_name():
    assert data_sheet_peak("NVIDIA H100 PCIe") == 756e12
    assert data_sheet_peak("NVIDIA H200") == data_sheet_peak("NVIDIA H100 80GB HBM3") == 989e12
    assert data_sheet_peak("NVIDIA GeForce GT 710") is None


def varlen_by_hand(query, key, value, of_queries, of_keys, max_q, max_k, *, window_size, enable_gqa):
    """What torch documents of its kernel: sequence after sequence, causal from the last key backwards."""
    assert (window_size, int(of_queries.diff().max()), int(of_keys.diff().max())) == ((-1, 0), max_q, max_k)
    outputs = []
    for first, last, start, end in zip(of_queries, of_queries[1:], of_keys, of_keys[1:], strict=False):
        size, seen = int(last - first), int(end - start)
        mask = torch.ones(size, seen, dtype=torch.bool).tril(seen - size)
        rows = query[first:last], key[start:end], value[start:end]
        output = gpu_attention.attend(*(row.transpose(0, 1)[None] for row in rows), mask)
        outputs.append(output[0].transpose(0, 1))
    assert enable_gqa == (query.shape[1] != key.shape[1])
    return torch.cat(outputs)


@pytest.mark.parametrize("groups", [1, 3])
def test_padded_and_unpadded_sequences_give_what_a_loop_gives(monkeypatch: pytest.MonkeyPatch, groups: int):
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_by_hand)
    documents = draw_documents(3, (5, 40), (1, 9), 0)
    assert documents.tokens == sum(documents.prefixes) + sum(map(sum, documents.suffixes))
    torch.manual_seed(0)
    query, key, value = (torch.randn(documents.tokens, heads, 8) for heads in (3, groups, groups))
    expected = plain_attention(documents)(query, key, value)
    for way in (masked_attention(documents, CPU), variable_lengths(documents, CPU)):
        torch.testing.assert_close(way(query, key, value), expected)


def test_a_suffix_sees_its_prefix_and_itself_alone():
    documents = Documents([2, 1], [[1, 1], [2]])
    torch.manual_seed(0)
    query, key, value = (torch.randn(documents.tokens, 1, 8) for _ in range(3))
    before = plain_attention(documents)(query, key, value)
    for token, seen_by in enumerate([{0, 1, 2, 3}, {1, 2, 3}, {2}, {3}, {4, 5, 6}, {5, 6}, {6}]):
        changed = value.clone()
        changed[token] += 1.0
        after = plain_attention(documents)(query, key, changed)
        assert {at for at in range(7) if not torch.equal(after[at], before[at])} == seen_by
