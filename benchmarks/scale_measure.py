"""What a backbone of a known size keeps for the backward pass, and what a row of its trunk takes, measured on a CPU.

Layers have a vocabulary of 1,024 and, up to 1,000 wide, their true width; as many are built as show what one more
takes. All bytes are straight lines of width where heads keep their size and there are more of them; so wider layers are
measured at an eighth and a quarter, and one at half to check the line. Nothing depends on what weights say, so
they are random. Writes one JSON file, a row for each geometry.

    python benchmarks/scale_measure.py --json docs/scale.json
"""

import argparse
import gc
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
from actor_critic_backbone import GEOMETRIES, Geometry, random_texts, write_random_backbone
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from flag_kedro.data.atomic import atomic_write
from flag_kedro.env.states import States
from flag_kedro.policy import prefix_forward
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.attention import SuffixStep
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.prefix_kv_cache import TakenRows
from flag_kedro.policy.trunk import open_trunk_cache

CPU = torch.device("cpu")
Dtype = Literal["float32", "bfloat16"]
PREFIX, SUFFIX, SUFFIXES = 128, 8, 2
"""Tokens of a prefix, of a suffix, and suffixes behind each prefix: what a minibatch of 16 accounts asks, without
padding."""
BATCH_TOKENS = 512
LAYERS = 2, 3
WIDEST = 1000
NUMBERS = (
    "lora_weights_a_layer",
    "row_bytes",
    "kept_bytes_a_token_and_layer",
    "kept_bytes_a_token_in_the_last",
    "recomputed_bytes_a_token_and_layer",
    "recomputed_bytes_a_token_in_the_last",
)
PROMPTS = 4, 8


@dataclass
class Saved:
    """Bytes that autograd keeps, weights not counted and memory that tensors share counted once."""

    bytes: int = 0


@contextmanager
def saved_bytes(model: nn.Module) -> Iterator[Saved]:
    """Count what is kept while this is open."""
    seen = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved, kept = Saved(), list[Tensor]()  # kept, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            kept.append(tensor.detach())
            saved.bytes += storage.nbytes()
        return tensor

    def recompute(layer: partial[Tensor], hidden: Tensor, **options: bool) -> Tensor:
        """Count what a layer that is computed again holds by itself: positions, masks, keys and values of prefixes."""
        step = layer.keywords["step"]
        held = [*layer.keywords["position_embeddings"], layer.keywords["position_ids"]]
        if isinstance(step, SuffixStep):
            assert isinstance(step.past, TakenRows)
            held += [step.mask, *(part for pair in step.past.kept.values() for part in pair)]
        for tensor in held:
            pack(tensor)
        assert options == {"use_reentrant": False, "preserve_rng_state": False}
        output: Tensor = checkpoint(layer, hidden, use_reentrant=False, preserve_rng_state=False)
        return output

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with patch.object(prefix_forward, "checkpoint", recompute), hooks:
        yield saved


def states_of(prompts: int, geometry: Geometry) -> States:
    """Prompts with random words, `SUFFIXES` account texts behind each."""
    rng = np.random.default_rng(0)
    prefixes, accounts = random_texts(prompts, PREFIX, geometry, rng), random_texts(SUFFIXES, SUFFIX, geometry, rng)
    pairs = [(prefix, account) for prefix in prefixes for account in accounts]
    texts = [prefix for prefix, _ in pairs], [account for _, account in pairs]
    return States(*texts, np.ones((len(pairs), 3), dtype=np.bool_))


def kept_bytes(model: ActorCritic, geometry: Geometry, prompts: int, *, recomputes: bool) -> int:
    """Bytes that wait for the backward pass of so many prompts."""
    model.top.recomputes = recomputes
    states = states_of(prompts, geometry)
    with saved_bytes(model) as saved:
        evaluation = model.evaluate(states)
    del evaluation
    return saved.bytes


def measure_any(geometry: Geometry, dtype: Dtype, *, check: bool) -> dict[str, Any]:
    """A row; of a wide backbone by the line through an eighth and a quarter of its width.

    Args:
        geometry: of the backbone.
        dtype: in which it computes.
        check: whether half of the width is measured too, and how far the line is off there.
    """
    if geometry.hidden_size <= WIDEST:
        return _measure_apart(geometry, dtype) | {"widths": [1.0]}
    eighth, quarter = (_measure_apart(narrowed(geometry, divisor), dtype) for divisor in (8, 4))
    row: dict[str, Any] = {"widths": [0.125, 0.25], "dtype": dtype}
    row |= {name: on_line(eighth[name], quarter[name], 1.0) for name in NUMBERS}
    if not check:
        return row
    half = _measure_apart(narrowed(geometry, 2), dtype)
    errors = [abs(on_line(eighth[name], quarter[name], 0.5) / half[name] - 1.0) for name in NUMBERS]
    return row | {"largest_error_at_half": max(errors)}


def on_line(eighth: float, quarter: float, width: float) -> float:
    """A number at some width, by the line through those at an eighth and at a quarter."""
    return eighth + (quarter - eighth) * (width - 0.125) / 0.125


def narrowed(geometry: Geometry, divisor: int) -> Geometry:
    """The same with a part of its heads, and as many times narrower."""
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    sizes = {name: getattr(geometry, name) for name in names}
    assert all(size % divisor == 0 for size in sizes.values())
    return replace(geometry, **{name: size // divisor for name, size in sizes.items()})


def _measure_apart(geometry: Geometry, dtype: Dtype) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        return measure(geometry, dtype, Path(scratch))


def measure(geometry: Geometry, dtype: Dtype, scratch: Path) -> dict[str, Any]:
    """A row: bytes of a token in a layer that learns, and of a trunk's row on disk."""
    small = replace(geometry, num_hidden_layers=max(LAYERS), vocab_size=1024, frozen_layers=0)
    write_random_backbone(small, 0, scratch)
    kept: dict[tuple[int, int, bool], int] = {}
    for layers in LAYERS:
        config = PolicyConfig(
            frozen_layers=0,
            num_layers=layers,
            dtype=dtype,
            batch_tokens=BATCH_TOKENS,
            trunk_cache="never",
        )
        model = build_actor_critic(scratch, config, 0, CPU)
        for prompts in PROMPTS:
            for recomputes in (False, True):
                kept[layers, prompts, recomputes] = kept_bytes(model, small, prompts, recomputes=recomputes)
        learning = sum(weight.numel() for weight in model.backbone.parameters() if weight.requires_grad) // layers
        del model
        gc.collect()
    few, many = LAYERS
    tokens = max(PROMPTS) * (PREFIX + SUFFIXES * SUFFIX)
    row: dict[str, Any] = {
        "dtype": dtype,
        "lora_weights_a_layer": learning,
        "row_bytes": row_bytes(small, dtype, scratch),
    }
    for recomputes, name in ((False, "kept"), (True, "recomputed")):
        layer = (kept[many, max(PROMPTS), recomputes] - kept[few, max(PROMPTS), recomputes]) / tokens
        row[f"{name}_bytes_a_token_and_layer"] = layer
        row[f"{name}_bytes_a_token_in_the_last"] = kept[few, max(PROMPTS), recomputes] / tokens - (few - 1) * layer
        row[f"{name}_of_twice_the_prompts"] = (
            kept[many, max(PROMPTS), recomputes] / kept[many, min(PROMPTS), recomputes]
        )
    return row


def row_bytes(geometry: Geometry, dtype: Dtype, folder: Path) -> int:
    """Bytes of a file with the trunk's outputs for one prefix and its suffixes."""
    config = PolicyConfig(frozen_layers=1, num_layers=2, dtype=dtype, batch_tokens=BATCH_TOKENS, trunk_cache="disk")
    rows = folder / "rows"
    model = build_actor_critic(folder, config, 0, CPU, open_trunk_cache(folder, config, CPU, rows))
    states = states_of(1, geometry)
    model.complete_rows(states.account)
    list(model.encode([states.prefix[0]]))
    [file] = rows.rglob("*.safetensors")
    return file.stat().st_size


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument("--geometries", nargs="+", choices=GEOMETRIES, default=[n for n in GEOMETRIES if n != "tiny"])
    parser.add_argument("--check", default="smollm2-1.7b", help="a geometry that is measured at half its width too")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = {}
    for name in arguments.geometries:
        rows[name] = measure_any(GEOMETRIES[name], arguments.dtype, check=name == arguments.check)
        print(name, rows[name], flush=True)
    prompts = {"prefix_tokens": PREFIX, "suffix_tokens": SUFFIX, "suffixes": SUFFIXES, "batch_tokens": BATCH_TOKENS}
    with atomic_write(arguments.json) as aside:
        aside.write_text(json.dumps({"torch": torch.__version__, **prompts, "geometries": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
