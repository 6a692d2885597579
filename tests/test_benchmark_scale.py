"""The plan of docs/scale.md: sums by hand, measured bytes in proportion, and a page that shows what is computed."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import scale
from actor_critic_backbone import GEOMETRIES, Geometry
from scale_measure import measure, narrowed, on_line
from scale_plan import Assumptions, exchanges, memory, pieces, row_bytes

ROOT = Path(__file__).resolve().parents[1]
TINY = Geometry(4, 6, 3, 2, 1, 10, 1)
"""One frozen layer of 32 + 16 + 72 = 120 weights; LoRA of rank 1 has 16 + 12 + 30 = 58 in each layer that learns."""
GIVEN = Assumptions(
    symbols=10, years=2.0, sessions_a_year=5, prefix_tokens=3, suffix_tokens=1, suffixes=2, lora_rank=1, accounts=4,
    minibatch_size=8, peak_tflops=1e-12, utilisation=(0.5, 0.25), gpu_dollars=3.0, validations=3, context_gb=0.0,
    header_bytes=100,
)  # fmt: skip
MEASURED = {
    "kept_bytes_a_token_and_layer": 50.0,
    "kept_bytes_a_token_in_the_last": 20.0,
    "recomputed_bytes_a_token_and_layer": 8.0,
    "recomputed_bytes_a_token_in_the_last": 20.0,
}


def test_the_trunk_reads_every_prompt_once_and_keeps_a_row_of_it():
    piece = pieces(TINY, GIVEN)[1]
    pairs = 6 + 2 * (3 + 1)  # of a prefix of three, and of two suffixes of one token behind it
    assert piece.prompts == 10 * 2 * 5
    assert piece.flops == 100 * (2 * 120 * 5 + 4 * 4 * pairs)
    assert piece.stored_bytes == 100 * (5 * 4 * 2 + 100)
    assert piece.gpu_hours(GIVEN) == (piece.flops / 0.5 / 3600, piece.flops / 0.25 / 3600)
    assert row_bytes(TINY, GIVEN) == 140


def test_windows_share_the_prompts_and_checkpointing_costs_one_forward_pass_an_epoch():
    names = [piece.name for piece in pieces(TINY, GIVEN)]
    _, _, rollouts, updates, validations, replay = pieces(TINY, GIVEN)
    assert names[0] == "articles to states"
    assert (rollouts.prompts, updates.prompts, validations.prompts, replay.prompts) == (60, 240, 60, 20)
    again = pieces(TINY, GIVEN, checkpointing=True)[3]
    assert again.flops - updates.flops == pytest.approx(4 * rollouts.flops)


def test_memory_of_one_gpu_and_of_two_that_share_the_trunk():
    one, two = (memory(TINY, MEASURED, GIVEN, processes) for processes in (1, 2))
    weights = 10 * 4 + 3 * (120 + 8) + 4  # embeddings, layers with two norms, the last norm
    tokens = 8 // 4 * 5
    assert one.weights == pytest.approx(2 * weights / 1e9)
    assert one.loading == pytest.approx(4 * weights / 1e9)
    assert one.learning == pytest.approx(2 * 58 * 16 / 1e9)
    assert one.kept == pytest.approx(tokens * (50 + 20) / 1e9)
    assert one.recomputed == pytest.approx(
        tokens * (8 + 20 + 50) / 1e9
    )  # one layer is whole while it is computed again
    assert two.weights == pytest.approx(2 * (weights - 120 + 60 + 120) / 1e9)  # half of it, and one layer gathered
    assert two.kept == pytest.approx(one.kept / 2)


def test_processes_send_what_a_ring_sends():
    by_axis = {sent.axis: sent for sent in exchanges(TINY, GIVEN, 4)}
    assert by_axis["prompts of a minibatch"].sent_bytes == 2 * 0.75 * 2 * 58 * 4
    assert by_axis["environments"].sent_bytes == 2 * 0.75 * 10 * 4 * 4 * 4
    assert by_axis["weights (FSDP)"].sent_bytes == 0.75 * 120 * 2


def test_measured_bytes_are_in_proportion_to_prompts_and_layers(tmp_path: Path):
    torch.set_num_threads(1)
    row = measure(GEOMETRIES["tiny"], "bfloat16", tmp_path)
    assert row["kept_of_twice_the_prompts"] == pytest.approx(2.0, rel=0.01)
    assert row["recomputed_of_twice_the_prompts"] == pytest.approx(2.0, rel=0.01)
    hidden, narrow = 128 * 2, 2 * 128 * 2  # in bfloat16: inputs of a layer, keys and values of a prefix
    assert hidden + narrow * 128 / 144 <= row["recomputed_bytes_a_token_and_layer"] < 1.2 * (hidden + narrow)
    assert row["kept_bytes_a_token_and_layer"] > 5 * row["recomputed_bytes_a_token_and_layer"]
    assert row["row_bytes"] == pytest.approx(144 * 128 * 2 + Assumptions().header_bytes, abs=100)


def test_a_line_through_two_widths_and_heads_of_one_size():
    assert [on_line(2.0, 3.0, width) for width in (0.125, 0.25, 0.5, 1.0)] == [2.0, 3.0, 5.0, 9.0]
    eighth = narrowed(GEOMETRIES["llama-3-8b"], 8)
    assert (eighth.hidden_size, eighth.num_attention_heads, eighth.num_key_value_heads) == (512, 4, 1)


def test_the_page_shows_what_the_command_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.argv", ["scale.py", "--measured", str(ROOT / "docs" / "scale.json")])
    scale.main()
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    for section in capsys.readouterr().out.strip().split("\n\n"):
        assert section in page


def test_a_measured_card_replaces_the_assumed_utilisation(tmp_path: Path):
    path = tmp_path / "gpu.json"
    rows = [
        {"geometry": "smollm2-1.7b", "checkpointing": checkpointing, "model_flops_per_second": rate}
        for checkpointing, rate in ((True, 1e12), (False, 2e14))
    ]
    path.write_text(json.dumps({"updates": rows}))
    assert scale.measured_utilisation(path, "smollm2-1.7b", 1000.0) == pytest.approx(0.2)
    with pytest.raises(SystemExit, match="no update of llama-3-8b; it has"):
        scale.measured_utilisation(path, "llama-3-8b", 1000.0)
