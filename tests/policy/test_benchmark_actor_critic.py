"""The benchmark of the fast actor-critic runs, and its ways of reading agree."""

import contextlib
import io
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ARGUMENTS = "--geometry tiny --prefix 32 --suffix 8 --accounts 4 --distinct 2 --epochs 1 --repeats 1 --threads 1 --json"
PREFIX, SUFFIX, ACCOUNTS, DISTINCT, PASSES = 32, 8, 4, 2, 2


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What the script prints, parsed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.syspath_prepend(BENCHMARKS)
        patch.setattr("actor_critic_meters.LONG_ENOUGH", 1e-3)  # the machine's rate, which nothing here looks at
        patch.setattr("sys.argv", ["actor_critic.py", *ARGUMENTS.split()])
        runpy.run_path(str(BENCHMARKS / "actor_critic.py"), run_name="__main__")
    return dict(json.loads(printed.getvalue()))


def row_of(report: dict[str, Any], variant: str, dtype: str = "float32") -> dict[str, Any]:
    [row] = [row for row in report["rows"] if (row["variant"], row["dtype"]) == (variant, dtype)]
    return dict(row)


def test_gradients_of_every_variant_are_those_of_the_plain_loop(report: dict[str, Any]) -> None:
    for variant in ("none", "packing", "trunk_cache", "full", "known_rows", "known_prefix", "warm"):
        row = row_of(report, variant)
        assert row["relative_gradient_difference"] <= 1e-5
        assert row["relative_gradient_difference_layers"] <= 1e-5
    assert report["relative_gradient_difference"] == row_of(report, "warm")["relative_gradient_difference"]


@pytest.mark.parametrize(("key", "dtype"), [("speedup", "float32"), ("speedup_bfloat16", "bfloat16")])
@pytest.mark.parametrize(("end", "variant"), [("", "warm"), ("_cold", "full")])
def test_speedup_is_plain_seconds_by_seconds(
    report: dict[str, Any], key: str, dtype: str, end: str, variant: str
) -> None:
    plain, fast = row_of(report, "plain", dtype), row_of(report, variant, dtype)
    assert report[key + end] == pytest.approx(plain["seconds"] / fast["seconds"])


def test_bfloat16_gradients_are_near_those_of_the_plain_loop_in_bfloat16(report: dict[str, Any]) -> None:
    assert 0 < report["relative_gradient_difference_bfloat16"] < 0.05


def test_tokens_are_those_that_each_saving_leaves(report: dict[str, Any]) -> None:
    prompts = PASSES * ACCOUNTS * (PREFIX + SUFFIX)
    row = PREFIX + DISTINCT * SUFFIX
    plain, packing, full, warm = (row_of(report, name) for name in ("plain", "packing", "full", "warm"))
    assert (plain["trunk_tokens"], plain["top_tokens"]) == (prompts, prompts)
    assert packing["top_tokens"] == PASSES * (PREFIX + ACCOUNTS * SUFFIX)
    assert (full["trunk_tokens"], full["top_tokens"]) == (row, PASSES * row)
    assert (warm["trunk_tokens"], warm["top_tokens"]) == (0, PASSES * row)
    known_rows, known_prefix = row_of(report, "known_rows"), row_of(report, "known_prefix")
    assert (known_rows["trunk_tokens"], known_rows["top_tokens"]) == (row, PASSES * row)
    assert (known_prefix["trunk_tokens"], known_prefix["top_tokens"]) == (DISTINCT * SUFFIX, PASSES * row)


def test_operations_of_the_plain_loop_are_those_of_its_matrix_products(report: dict[str, Any]) -> None:
    hidden, wide, layers, tokens, length = 128, 256, 2, ACCOUNTS * (PREFIX + SUFFIX), PREFIX + SUFFIX
    maps = 2 * tokens * (4 * hidden**2 + 3 * hidden * wide)  # q, k, v, o; gate, up, down
    attention = 2 * tokens * length * 2 * hidden // 2  # scores and sums, causal
    heads = 2 * ACCOUNTS * hidden * 4
    rollout = layers * (maps + attention) + heads
    # Backward only through the layer that learns: two products for each map, attention's five for two.
    epoch = rollout + 2 * maps + 2.5 * attention + 2 * heads
    plain = row_of(report, "plain")
    assert plain["update_flops"] == pytest.approx(epoch, rel=0.01)
    assert plain["flops"] == pytest.approx(rollout + epoch, rel=0.01)
