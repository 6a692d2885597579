"""Shared-prefix attention: over prefixes that many prompts have in common, then over the suffix of each prompt.

A prompt is a prefix (all that precedes the account) and a suffix (the account). Prefill attends causally within
prefixes and keeps their keys and values (a prefix KV cache); then each suffix attends to its prefix and causally
to itself. That is causal attention over every whole prompt with the shared part computed once.

transformers calls `shared_prefix_attention` through its attention interface; without a step it is the causal
attention of scaled_dot_product_attention.

Shape legend: B = rows, A = heads, G = key-value heads, P = tokens of prefixes, L = tokens of suffixes, D = head size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "flag_kedro_two_step"
"""Name in transformers' registry; part of the keys of cached trunk rows, so it stays as older files have it."""
EVEN_QUERIES = 8
"""Copies of a single query: with one, the CPU kernel's buffers of different threads are aligned differently, and bits
would depend on a row's place (docs/experiments.md)."""
KVCache = dict[int, tuple[Tensor, Tensor]]
"""Keys and values by layer."""


class Step(Protocol):
    """What attention does in one pass over some layers."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention output [B, L, A, D] of rotated query [B, A, L, D], key and value [B, G, L, D]."""


@dataclass
class PrefixStep:
    """Causal attention within prefixes, whose keys and values are cached."""

    cache: KVCache = field(default_factory=dict)
    """[B, G, P, D] by layer, filled layer by layer; a layer that is computed again for its gradients changes none."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """See `Step`."""
        self.cache.setdefault(module.layer_idx, (key, value))  # type: ignore[arg-type]
        return _attend(module, query, key, value, None, scaling)


@dataclass
class KeysValuesStep:
    """Keys and values only: no attention is computed, the output is meaningless."""

    cache: KVCache = field(default_factory=dict)
    """[B, G, P or L, D] by layer, filled layer by layer."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """See `Step`."""
        self.cache[module.layer_idx] = key, value  # type: ignore[index]
        return query.transpose(1, 2)


@dataclass
class SuffixStep:
    """Attention of suffixes to their prefixes and, causally, to themselves."""

    past: Mapping[int, tuple[Tensor, Tensor]]
    """Of the prefixes, [B, G, P, D] by layer; empty where there are none."""
    mask: Tensor
    """What each query sees of its prefix and of its own suffix, bool [B, 1, L, P + L]."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """See `Step`."""
        if self.past:
            past_key, past_value = self.past[module.layer_idx]  # type: ignore[index]
            key, value = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
        return _attend(module, query, key, value, self.mask, scaling)


@dataclass
class LastTokenStep:
    """Attention of each suffix's last token to keys and values that hold its own already."""

    past: KVCache
    """[B, G, P + L, D] by layer."""
    mask: Tensor
    """Bool [B, 1, 1, P + L]."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """See `Step`."""
        key, value = self.past[module.layer_idx]  # type: ignore[index]
        query = query.expand(-1, -1, EVEN_QUERIES, -1).contiguous()  # bfloat16's backward is 50 times slower without
        return _attend(module, query, key, value, self.mask, scaling)[:, :1]


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    step: Step | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls; `step` arrives as a keyword of the layer's call.

    Args:
        module: the layer's attention.
        query: rotated, [B, A, L, D].
        key: rotated, [B, G, L, D].
        value: [B, G, L, D].
        attention_mask: of transformers' own masking, used without a step only.
        dropout: probability, which must be 0 with a step.
        scaling: of the scores; None is 1 / sqrt(D).
        step: which part of shared-prefix attention to compute; None attends causally to whole prompts.
        **kwargs: what else transformers hands on, for calls without a step.

    Returns:
        The attention output [B, L, A, D], and None for the attention weights, which are not kept.

    Raises:
        ValueError: when dropout is active, since shared states would get different answers.
    """
    if step is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
        return output, None
    if dropout:
        raise ValueError(f"attention dropout of {dropout} is active; states are shared, so put the model in eval mode")
    return step.attend(module, query, key, value, scaling), None


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    if query.device.type == "cpu":  # its kernel takes grouped heads with a mask too, without copies of keys and values
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=True
        ).transpose(1, 2)
    output, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, is_causal=True)
    result: Tensor = output
    return result


AttentionInterface.register(ATTENTION, shared_prefix_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)  # for calls without a step: padding would be ignored without
