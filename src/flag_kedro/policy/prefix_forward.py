"""The forward pass of a stack of layers over prompts that share prefixes: prefill the prefixes, extend by suffixes.

A backbone is two stacks. The trunk (embeddings and lower layers) is frozen; its outputs depend on the token ids
alone. The top (the layers above and the final norm) learns; only the last token of a prompt is read, so in its
last layer every other token gives keys and values and nothing else.

Shape legend: B = rows of a batch, P = tokens of prefixes, L = tokens of suffixes, H = hidden size,
G = key-value heads, D = head size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from flag_kedro.policy.attention import (
    ATTENTION,
    KeysValuesStep,
    KVCache,
    LastTokenStep,
    PrefixStep,
    Step,
    SuffixStep,
)
from flag_kedro.policy.backbone import FINAL_NORMS
from flag_kedro.policy.packing import Batch, SuffixBatch, batches_of_suffixes, chunks_of_prefixes, suffix_mask
from flag_kedro.policy.prefix_kv_cache import PrefixKVCache, append_suffixes, prefix_length


class LayerStack:
    """Consecutive layers of a backbone."""

    def __init__(self, base: PreTrainedModel, first: int, last: int) -> None:
        self.base = base
        self.layers: list[nn.Module] = list(base.layers)[first:last]

    def prefill(self, hidden: Tensor) -> tuple[Tensor, KVCache]:
        """Read prefixes.

        Args:
            hidden: inputs, [B, P, H].

        Returns:
            Outputs [B, P, H], and keys and values [B, G, P, D] of every layer.
        """
        step = PrefixStep()
        return self._run(self.layers, hidden, self._positions(hidden), step), step.cache

    def extend(self, hidden: Tensor, prefix_tokens: Tensor, suffix_tokens: Tensor, past: KVCache) -> Tensor:
        """Read suffixes behind prefixes that were read before; outputs [B, L, H].

        Args:
            hidden: inputs of the suffixes, [B, L, H].
            prefix_tokens: real tokens of the prefix before each suffix, [B].
            suffix_tokens: real tokens of each suffix, [B].
            past: of the prefixes, [B, G, P, D] by layer; empty where there are none.
        """
        step = SuffixStep(past, suffix_mask(prefix_tokens, prefix_length(past), hidden.shape[1]))
        return self._run(self.layers, hidden, self._positions(hidden, prefix_tokens), step)

    def _positions(self, hidden: Tensor, before: Tensor | None = None) -> Tensor:
        """Position ids [B, L] of tokens behind `before` [B] others."""
        positions = torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[:2])
        return positions if before is None else positions + before[:, None]

    def _run(self, layers: Sequence[nn.Module], hidden: Tensor, positions: Tensor, step: Step) -> Tensor:
        rotary = self.base.rotary_emb(hidden, positions)
        for layer in layers:
            hidden = layer(hidden, attention_mask=None, position_ids=positions, position_embeddings=rotary, step=step)
        return hidden

    def refuse_changed(self) -> None:
        """Refuse a backbone whose outputs are no longer those of its prompts.

        Raises:
            ValueError: when its attention is not `ATTENTION` any more, or dropout is active.
        """
        attention = self.base.config._attn_implementation
        if attention != ATTENTION:
            raise ValueError(
                f"the backbone's attention was set to {attention}, which knows neither prefixes nor suffixes; set it "
                f"to {ATTENTION} again"
            )
        if dropout := active_dropout(self.base, self.layers):
            raise ValueError(f"dropout of {dropout} is active; states share what is read: put the model in eval mode")


class Top(LayerStack):
    """The layers that learn, the final norm and the heads, which read each suffix's last token in float32."""

    def __init__(self, base: PreTrainedModel, first: int, heads: Sequence[nn.Module]) -> None:
        super().__init__(base, first, len(base.layers))
        self.norm: nn.Module = next(getattr(base, name) for name in FINAL_NORMS if hasattr(base, name))
        self.heads = list(heads)

    def prefill(self, hidden: Tensor) -> tuple[Tensor, KVCache]:
        """Keys and values of every layer; the outputs of prefixes are not computed (those returned mean nothing)."""
        positions, step = self._positions(hidden), PrefixStep()
        hidden = self._run(self.layers[:-1], hidden, positions, step)
        return hidden, step.cache | self._last_keys_values(hidden, positions)

    def extend(self, hidden: Tensor, prefix_tokens: Tensor, suffix_tokens: Tensor, past: KVCache) -> Tensor:
        """Outputs of the heads on each suffix's last token, side by side, [B, outputs]; see `LayerStack.extend`."""
        positions = self._positions(hidden, prefix_tokens)
        mask = suffix_mask(prefix_tokens, prefix_length(past), hidden.shape[1])
        hidden = self._run(self.layers[:-1], hidden, positions, SuffixStep(past, mask))
        rows, last = torch.arange(len(hidden), device=hidden.device), suffix_tokens - 1
        past_and_suffixes = append_suffixes(past, self._last_keys_values(hidden, positions))
        step = LastTokenStep(past_and_suffixes, mask[rows, :, last][:, :, None])
        outputs = self._run(self.layers[-1:], hidden[rows, last][:, None], positions[rows, last][:, None], step)
        with torch.autocast(hidden.device.type, enabled=False):
            pooled = self.norm(outputs[:, 0].float())
            return torch.cat([head(pooled) for head in self.heads], dim=1)

    def _last_keys_values(self, hidden: Tensor, positions: Tensor) -> KVCache:
        """Keys and values of the last layer, from its inputs."""
        step, layer = KeysValuesStep(), self.layers[-1]
        attention = layer.get_submodule("self_attn" if hasattr(layer, "self_attn") else "attention")
        rotary = self.base.rotary_emb(hidden, positions)
        normed = layer.get_submodule("input_layernorm")(hidden)
        attention(normed, attention_mask=None, position_embeddings=rotary, step=step)
        return step.cache


def active_dropout(base: PreTrainedModel, layers: Sequence[nn.Module]) -> float:
    """The largest dropout probability in use in `layers`."""
    modules = [module for layer in layers for module in layer.modules() if module.training]
    rates = [float(module.p) for module in modules if isinstance(module, nn.Dropout)]
    attention = float(getattr(base.config, "attention_dropout", 0.0) or 0.0) if modules else 0.0
    return max([attention, *rates], default=0.0)


def prefill_and_extend(
    stack: LayerStack, prefixes: Sequence[Tensor], suffixes: Sequence[tuple[int, Tensor]], batch_tokens: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Read every suffix behind its prefix, in batches of canonical shapes.

    Args:
        stack: trunk or top.
        prefixes: inputs of each prefix, [tokens, H].
        suffixes: index of the prefix, and inputs, [tokens, H], of each suffix.
        batch_tokens: of a batch of prefixes.

    Returns:
        Outputs of each prefix, [tokens, H] (of no use from a top), and of each suffix, [tokens, H] or [outputs].

    Raises:
        ValueError: when the backbone's attention was changed, or dropout is active.
    """
    stack.refuse_changed()
    prefix_outputs, suffix_outputs = list(prefixes), [hidden for _, hidden in suffixes]
    for batches in chunks_of_prefixes([len(hidden) for hidden in prefixes], batch_tokens):
        cache = PrefixKVCache()
        for batch in batches:
            past: KVCache = {}
            if batch.length:
                outputs, past = stack.prefill(_pad([prefixes[index] for index in batch.members], batch))
                for row, index in enumerate(batch.members):
                    prefix_outputs[index] = outputs[row, : len(prefixes[index])]
            cache.add(batch, past)
        padded = {
            index: cache.padded_length[prefix]
            for index, (prefix, _) in enumerate(suffixes)
            if prefix in cache.padded_length
        }
        lengths = {index: len(suffixes[index][1]) for index in padded}
        for suffix_batch in batches_of_suffixes(lengths, padded, batch_tokens):
            outputs = _extend_batch(stack, prefixes, suffixes, suffix_batch, cache)
            for row, index in enumerate(suffix_batch.members):
                output = outputs[row]
                suffix_outputs[index] = output if output.ndim == 1 else output[: lengths[index]]
    return prefix_outputs, suffix_outputs


def _extend_batch(
    stack: LayerStack,
    prefixes: Sequence[Tensor],
    suffixes: Sequence[tuple[int, Tensor]],
    batch: SuffixBatch,
    cache: PrefixKVCache,
) -> Tensor:
    """Outputs of a batch of suffixes, dummies included; a dummy is one token behind the first suffix's prefix."""
    members = [suffixes[index] for index in batch.members]
    dummies = batch.rows - len(members)
    hidden = _pad([suffix for _, suffix in members], batch)
    before = [prefix for prefix, _ in members] + [members[0][0]] * dummies
    prefix_tokens = torch.tensor([len(prefixes[prefix]) for prefix in before], device=hidden.device)
    suffix_tokens = torch.tensor([len(suffix) for _, suffix in members] + [1] * dummies, device=hidden.device)
    return stack.extend(hidden, prefix_tokens, suffix_tokens, cache.take(before, batch.prefix_length))


def _pad(items: Sequence[Tensor], batch: Batch) -> Tensor:
    """Items [tokens, H] padded on the right to [B, length, H]; zeros stand for padding and dummies."""
    stacked = items[0].new_zeros(batch.rows, batch.length, items[0].shape[1])
    for row, item in enumerate(items):
        stacked[row, : len(item)] = item
    return stacked
