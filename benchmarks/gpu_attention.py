"""Attention over prompts that share prefixes: the padded, masked path in use against kernels without padding.

- `masked`: as policy/attention.py has it, prefixes causal in rows of one padded length, suffixes masked behind them;
- `flex`: all tokens in one row, FlexAttention with a mask of documents whose suffixes do not see each other;
- `varlen`: prefixes, then suffixes behind copies of their prefixes' keys, as sequences of unequal lengths.

Each is held against a plain loop in float32 over documents and suffixes.

Shape legend: T = tokens of all documents, A = heads, G = key-value heads, D = head size, P = tokens of a prefix,
S = tokens of a suffix.
"""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from actor_critic_backbone import Geometry
from actor_critic_meters import now
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from flag_kedro.policy.attention import PrefixStep, SuffixStep
from flag_kedro.policy.packing import PREFIX_BUCKET, SUFFIX_BUCKET, suffix_mask

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Outputs [T, A, D] of queries [T, A, D], keys and values [T, G, D]."""


@dataclass(frozen=True)
class Documents:
    """Lengths of prefixes, and of the suffixes behind each; tokens lie one document after the other."""

    prefixes: list[int]
    suffixes: list[list[int]]

    @property
    def prefix_starts(self) -> list[int]:
        """First token of each document."""
        sizes = [prefix + sum(own) for prefix, own in zip(self.prefixes, self.suffixes, strict=True)]
        return [0, *np.cumsum(sizes)[:-1].tolist()]

    @property
    def tokens(self) -> int:
        """T."""
        return sum(self.prefixes) + sum(map(sum, self.suffixes))

    @property
    def spans(self) -> list[tuple[int, slice]]:
        """Document and tokens of each suffix."""
        spans = []
        for index, (start, prefix, own) in enumerate(
            zip(self.prefix_starts, self.prefixes, self.suffixes, strict=True)
        ):
            ends = start + prefix + np.cumsum(own)
            spans += [(index, slice(int(end) - size, int(end))) for end, size in zip(ends, own, strict=True)]
        return spans

    def prefix(self, index: int) -> slice:
        """Tokens of a document's prefix."""
        start = self.prefix_starts[index]
        return slice(start, start + self.prefixes[index])


def draw_documents(num: int, prefix_tokens: tuple[int, int], suffix_tokens: tuple[int, int], seed: int) -> Documents:
    """Documents of two or three suffixes, lengths uniform between the fewest and most tokens that are given."""
    rng = np.random.default_rng(seed)

    def draw(fewest: int, most: int, size: int) -> list[int]:
        return [int(tokens) for tokens in rng.integers(fewest, most, size, endpoint=True)]

    prefixes = draw(*prefix_tokens, num)
    return Documents(prefixes, [draw(*suffix_tokens, int(rng.integers(2, 4))) for _ in range(num)])


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of [B, A, L, D] to [B, G, K, D], causal without a mask."""
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True)


class Layer(torch.nn.Module):
    """What the project's attention asks of a layer."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.layer_idx, self.num_key_value_groups, self.is_causal = 0, groups, True
        self.eval()


def plain_attention(documents: Documents) -> Attention:
    """One document and one suffix after the other."""

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        outputs = torch.empty_like(query)
        for index in range(len(documents.prefixes)):
            own = documents.prefix(index)
            q, k, v = (part[own].transpose(0, 1)[None] for part in (query, key, value))
            outputs[own] = attend(q, k, v, None)[0].transpose(0, 1)
        for index, own in documents.spans:
            before = documents.prefix(index)
            size, num = own.stop - own.start, documents.prefixes[index]
            k, v = (torch.cat([part[before], part[own]]).transpose(0, 1)[None] for part in (key, value))
            mask = torch.ones(size, num + size, dtype=torch.bool, device=query.device).tril(num)
            outputs[own] = attend(query[own].transpose(0, 1)[None], k, v, mask)[0].transpose(0, 1)
        return outputs

    return run


def masked_attention(documents: Documents, device: torch.device) -> Attention:
    """The path in use: rows of one padded length, suffixes behind gathered keys and values."""
    spans = documents.spans
    prefixes = [documents.prefix(index) for index in range(len(documents.prefixes))]
    longest = -(-max(documents.prefixes) // PREFIX_BUCKET) * PREFIX_BUCKET
    wide = -(-max(own.stop - own.start for _, own in spans) // SUFFIX_BUCKET) * SUFFIX_BUCKET
    prefix_rows, suffix_rows = _rows(prefixes, longest, device), _rows([own for _, own in spans], wide, device)
    document = torch.tensor([index for index, _ in spans], device=device)
    mask = suffix_mask(torch.tensor(documents.prefixes, device=device)[document], longest, wide)
    real_prefix, real_suffix = prefix_rows >= 0, suffix_rows >= 0

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        outputs, layer = torch.empty_like(query), Layer(query.shape[1] // key.shape[1])
        prefix = PrefixStep()
        q, k, v = (part[prefix_rows.clamp(min=0)].transpose(1, 2) for part in (query, key, value))
        outputs[prefix_rows[real_prefix]] = prefix.attend(layer, q, k, v, None)[real_prefix]
        past = {0: (k[document], v[document])}
        q, k, v = (part[suffix_rows.clamp(min=0)].transpose(1, 2) for part in (query, key, value))
        outputs[suffix_rows[real_suffix]] = SuffixStep(past, mask).attend(layer, q, k, v, None)[real_suffix]
        return outputs

    return run


def flex(documents: Documents, device: torch.device) -> Attention:
    """FlexAttention over one row, compiled on a GPU."""
    document = torch.empty(documents.tokens, dtype=torch.int32)
    part = torch.full((documents.tokens,), -1, dtype=torch.int32)
    for number, (index, own) in enumerate(documents.spans):
        document[documents.prefix(index)] = document[own] = index
        part[own] = number
    document, part = document.to(device), part.to(device)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        shared = (part[key] == -1) | (part[key] == part[query])
        return (document[query] == document[key]) & shared & (query >= key)

    size = documents.tokens
    compiled = torch.compile(flex_attention) if device.type == "cuda" else flex_attention
    block_mask = create_block_mask(sees, None, None, size, size, device=device.type)

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (rows.transpose(0, 1)[None] for rows in (query, key, value))
        output: Tensor = compiled(q, k, v, block_mask=block_mask, enable_gqa=q.shape[1] != k.shape[1])
        return output[0].transpose(0, 1)

    return run


def variable_lengths(documents: Documents, device: torch.device) -> Attention:
    """The variable-length kernel of torch: prefixes causal, then suffixes behind copies of their prefixes."""
    from torch.nn.attention.varlen import varlen_attn

    spans = documents.spans
    prefix_tokens = _tokens([documents.prefix(index) for index in range(len(documents.prefixes))], device)
    own_tokens = _tokens([own for _, own in spans], device)
    seen_tokens = _tokens([part for index, own in spans for part in (documents.prefix(index), own)], device)
    own_sizes = [own.stop - own.start for _, own in spans]
    seen_sizes = [documents.prefixes[index] + size for (index, _), size in zip(spans, own_sizes, strict=True)]
    of_prefixes, of_own, of_seen = (_offsets(s, device) for s in (documents.prefixes, own_sizes, seen_sizes))
    longest, wide, furthest = max(documents.prefixes), max(own_sizes), max(seen_sizes)

    kernel: Callable[..., Tensor] = partial(varlen_attn, window_size=(-1, 0))  # type: ignore[assignment]

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attend_all = partial(kernel, enable_gqa=query.shape[1] != key.shape[1])
        outputs = torch.empty_like(query)
        q, k, v = (part[prefix_tokens] for part in (query, key, value))
        outputs[prefix_tokens] = attend_all(q, k, v, of_prefixes, of_prefixes, longest, longest)
        q, k, v = query[own_tokens], key[seen_tokens], value[seen_tokens]
        outputs[own_tokens] = attend_all(q, k, v, of_own, of_seen, wide, furthest)
        return outputs

    return run


def measure_attention(
    geometry: Geometry, documents: Documents, device: torch.device, repeats: int, deadline: float
) -> list[dict[str, Any]]:
    """A row for each way: milliseconds forward and with backward, and largest differences to the plain loop.

    Args:
        geometry: whose heads.
        documents: lengths.
        device: where to compute; bfloat16 on a GPU, float32 on a CPU.
        repeats: of which the median counts.
        deadline: on the clock of `time.perf_counter`; ways not begun by then are told as such.
    """
    size = geometry.hidden_size // geometry.num_attention_heads
    generator = torch.Generator().manual_seed(0)
    heads = geometry.num_attention_heads, geometry.num_key_value_heads, geometry.num_key_value_heads
    drawn = [torch.randn(documents.tokens, num, size, generator=generator).to(device) for num in heads]
    direction = torch.randn(drawn[0].shape, generator=generator).to(device)
    expected = _gradients(plain_attention(documents), drawn, direction)
    ways: dict[str, Callable[[], Attention]] = {
        "masked": lambda: masked_attention(documents, device),
        "flex": lambda: flex(documents, device),
        "varlen": lambda: variable_lengths(documents, device),
    }
    rows = []
    for name, make in ways.items():
        row: dict[str, Any] = {"way": name, "tokens": documents.tokens, "heads": heads[0], "head_size": size}
        if missing := _missing(name, device):
            rows.append(row | {"not_available": missing})
            continue
        if time.perf_counter() > deadline:
            rows.append(row | {"not_measured": "the time of this section was over"})
            continue
        backward = name != "flex" or device.type == "cuda"
        try:
            rows.append(row | _measure(make(), drawn, direction, expected, repeats, backward))
        except (RuntimeError, NotImplementedError) as error:  # a kernel that does not know this card or these shapes
            rows.append(row | {"failed": f"{type(error).__name__}: {error}"[:500]})
    return rows


def _missing(name: str, device: torch.device) -> str | None:
    """Why a way cannot be tried here."""
    if name != "varlen":
        return None
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return f"torch {torch.__version__} has no torch.nn.attention.varlen"
    return None if device.type == "cuda" else "torch.nn.attention.varlen has CUDA kernels only"


def _measure(
    way: Attention, drawn: list[Tensor], direction: Tensor, expected: list[Tensor], repeats: int, backward: bool
) -> dict[str, Any]:
    device = drawn[0].device
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    low = [part.to(dtype) for part in drawn]
    towards = direction.to(dtype)
    begun = now(device)
    if backward:
        found = _gradients(way, low, towards)
    else:
        with torch.no_grad():
            found = [way(*low)]
    first = now(device) - begun
    names = ("output", "query_gradient", "key_gradient", "value_gradient")
    differences = {
        f"max_{name}_difference": float((one.float() - other).abs().max() / other.abs().max())
        for name, one, other in zip(names, found, expected, strict=False)
    }
    with torch.no_grad():
        forward = _median(lambda: way(*low), device, repeats)
    both = _median(lambda: _gradients(way, low, towards), device, repeats) if backward else None
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "first_call_seconds": first,
        "forward_ms": 1e3 * forward,
        "forward_backward_ms": None if both is None else 1e3 * both,
        **differences,
    }


def _gradients(way: Attention, drawn: list[Tensor], direction: Tensor) -> list[Tensor]:
    """Outputs, and gradients of queries, keys and values along a direction."""
    leaves = [part.detach().requires_grad_() for part in drawn]
    outputs = way(*leaves)
    return [outputs.detach(), *torch.autograd.grad(outputs, leaves, direction)]


def _median(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        started = now(device)
        work()
        seconds.append(now(device) - started)
    return float(np.median(seconds))


def _rows(spans: list[slice], length: int, device: torch.device) -> Tensor:
    """Tokens of each span, padded to a length with -1, [B, length]."""
    rows = pad_sequence([torch.arange(span.start, span.stop) for span in spans], batch_first=True, padding_value=-1)
    return torch.nn.functional.pad(rows, (0, length - rows.shape[1]), value=-1).to(device)


def _tokens(spans: list[slice], device: torch.device) -> Tensor:
    return torch.cat([torch.arange(span.start, span.stop) for span in spans]).to(device)


def _offsets(sizes: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *np.cumsum(sizes).tolist()], dtype=torch.int32, device=device)
