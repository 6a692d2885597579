"""The forward pass of a stack of layers over prompts that share prefixes: prefill the prefixes, extend by suffixes.

A backbone is two stacks. The trunk (embeddings and lower layers) is frozen; its outputs depend on the token ids
alone. The top (the layers above and the final norm) learns; only the last token of a prompt is read, so in its
last layer every other token gives keys and values and nothing else.

Shape legend: B = rows of a batch, P = tokens of prefixes, L = tokens of suffixes, H = hidden size,
G = key-value heads, D = head size.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.mistral.modeling_mistral import MistralAttention
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from flag_kedro.policy.architecture import architecture_of
from flag_kedro.policy.attention import (
    ATTENTION,
    KeysValuesStep,
    KVCache,
    LastTokenStep,
    PrefixStep,
    Step,
    SuffixStep,
)
from flag_kedro.policy.packing import (
    TOP_KEYS_BUCKET,
    TRUNK_KEYS_BUCKET,
    Batch,
    SuffixBatch,
    batches_of_suffixes,
    chunks_of_prefixes,
    suffix_mask,
)
from flag_kedro.policy.prefix_kv_cache import (
    KeysValues,
    PrefixKVCache,
    TakenRows,
    append_suffixes,
    row_of,
    stack_rows,
)
from flag_kedro.policy.readout import Standardisation

OUTPUTS = 4
"""Of a matrix product of heads."""
PLAIN_KEYS_VALUES = (LlamaAttention, MistralAttention, Qwen2Attention)
"""Attentions whose keys are a linear map and a rotation, and whose values are a linear map."""


class LayerStack:
    """Consecutive layers of a backbone."""

    keys_bucket = TRUNK_KEYS_BUCKET
    recomputes = False
    """Whether what happens inside a layer is computed again in the backward pass instead of kept (arXiv:1604.06174)."""

    def __init__(self, base: PreTrainedModel, first: int, last: int) -> None:
        self.base = base
        self.architecture = architecture_of(base)
        self.layers: list[nn.Module] = list(self.architecture.layers_of(base))[first:last]
        self.layer_indices = range(first, last)

    def prefill(self, hidden: Tensor) -> tuple[Tensor, KVCache]:
        """Read prefixes.

        Args:
            hidden: inputs, [B, P, H].

        Returns:
            Outputs [B, P, H], and keys and values [B, G, P, D] of every layer.
        """
        step = PrefixStep()
        return self._run(self.layers, hidden, self._positions(hidden), step), step.cache

    def extend(
        self,
        hidden: Tensor,
        prefix_tokens: Tensor,
        suffix_tokens: Tensor,
        past: TakenRows,
        beside: Tensor | None = None,
    ) -> Tensor:
        """Read suffixes behind prefixes that were read before; outputs [B, L, H].

        Args:
            hidden: inputs of the suffixes, [B, L, H].
            prefix_tokens: real tokens of the prefix before each suffix, [B].
            suffix_tokens: real tokens of each suffix, [B].
            past: of the prefixes, [B, G, P, D] by layer; empty where there are none.
            beside: of no use here.
        """
        step = SuffixStep(past, suffix_mask(prefix_tokens, past.length, hidden.shape[1]))
        return self._run(self.layers, hidden, self._positions(hidden, prefix_tokens), step)

    def _positions(self, hidden: Tensor, before: Tensor | None = None) -> Tensor:
        """Position ids [B, L] of tokens behind `before` [B] others."""
        positions = torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[:2])
        return positions if before is None else positions + before[:, None]

    def _run(self, layers: Sequence[nn.Module], hidden: Tensor, positions: Tensor, step: Step) -> Tensor:
        rotary = self._rotary(hidden, positions)
        for layer in layers:
            compute = partial(layer, attention_mask=None, position_ids=positions, position_embeddings=rotary, step=step)
            if self.recomputes and torch.is_grad_enabled():  # no layer draws anything: dropout is refused
                hidden = checkpoint(compute, hidden, use_reentrant=False, preserve_rng_state=False)
            else:
                hidden = compute(hidden)
        return hidden

    def _rotary(self, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosine and sine [B, L, D] of positions; None where these were added to the embeddings."""
        rotary = self.architecture.part(self.base, self.architecture.rotary)
        return None if rotary is None else rotary(hidden, positions)

    @property
    def modules_read(self) -> list[nn.Module]:
        """Whose dropout would show in the outputs."""
        return self.layers

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
        if dropout := active_dropout(self.base, self.modules_read):
            raise ValueError(f"dropout of {dropout} is active; states share what is read: put the model in eval mode")


class Top(LayerStack):
    """The layers that learn, the final norm and the heads, which read each suffix's last token in float32.

    The heads are matrix products of four outputs each: of one with three outputs MKL adds the rows of a batch
    differently on some CPUs (an Intel Xeon with AMX), and bits would depend on a row's place; with four it does not.
    Policy and value are the first; a further head changes none of their bits.
    """

    keys_bucket = TOP_KEYS_BUCKET

    def __init__(
        self, base: PreTrainedModel, first: int, heads: Sequence[nn.Linear], standard: Standardisation | None = None
    ) -> None:
        super().__init__(base, first, len(architecture_of(base).layers_of(base)))
        self.standard = standard
        self.norm = base.get_submodule(self.architecture.final_norm)
        self.heads = list(heads)

    def prefill(self, hidden: Tensor) -> tuple[Tensor, KVCache]:
        """Keys and values of every layer; the outputs of prefixes are not computed (those returned mean nothing)."""
        positions, step = self._positions(hidden), PrefixStep()
        hidden = self._run(self.layers[:-1], hidden, positions, step)
        return hidden, step.cache | self._last_keys_values(hidden, positions)

    def extend(
        self,
        hidden: Tensor,
        prefix_tokens: Tensor,
        suffix_tokens: Tensor,
        past: TakenRows,
        beside: Tensor | None = None,
    ) -> Tensor:
        """Outputs of the heads on each suffix's last token, side by side, [B, outputs]; see `LayerStack.extend`.

        With `beside`, [B, H], heads read the standardised last token and that. Without heads: what they would read.
        """
        positions = self._positions(hidden, prefix_tokens)
        mask = suffix_mask(prefix_tokens, past.length, hidden.shape[1])
        hidden = self._run(self.layers[:-1], hidden, positions, SuffixStep(past, mask))
        rows, last = torch.arange(len(hidden), device=hidden.device), suffix_tokens - 1
        past_and_suffixes = append_suffixes(past, self._last_keys_values(hidden, positions))
        step = LastTokenStep(past_and_suffixes, mask[rows, :, last][:, :, None])
        outputs = self._run(self.layers[-1:], hidden[rows, last][:, None], positions[rows, last][:, None], step)
        with torch.autocast(hidden.device.type, enabled=False):
            read: Tensor = self.norm(outputs[:, 0].float())
            if self.standard is not None and beside is not None:
                read = torch.cat([self.standard.last(read), beside], dim=1)
            if not self.heads:
                return read
            weight, bias = (torch.cat([getattr(head, part) for head in self.heads]) for part in ("weight", "bias"))
            parts = [slice(first, first + OUTPUTS) for first in range(0, len(weight), OUTPUTS)]
            return torch.cat([_product(read, weight[part], bias[part]) for part in parts], dim=1)

    def _last_keys_values(self, hidden: Tensor, positions: Tensor) -> KVCache:
        """Keys and values of the last layer, from its inputs; in known builds without its query and output maps."""
        layer = self.layers[-1]
        attention = layer.get_submodule(self.architecture.attention)
        rotary = self._rotary(hidden, positions)
        normed = layer.get_submodule(self.architecture.input_norm)(hidden)
        if rotary is not None and isinstance(attention, PLAIN_KEYS_VALUES):
            heads = (*hidden.shape[:2], -1, attention.head_dim)
            key, value = (maps(normed).view(heads).transpose(1, 2) for maps in (attention.k_proj, attention.v_proj))
            return {self.layer_indices[-1]: (rotate(key, *rotary), value)}
        step = KeysValuesStep()
        attention(normed, attention_mask=None, position_embeddings=rotary, step=step)
        return step.cache


def _product(read: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Outputs of up to four rows of weights, [B, outputs], as part of four."""
    lacking = OUTPUTS - len(weight)
    if not lacking:
        return nn.functional.linear(read, weight, bias)
    padded = nn.functional.pad(weight, (0, 0, 0, lacking)), nn.functional.pad(bias, (0, lacking))
    return nn.functional.linear(read, *padded)[:, : len(weight)]


def rotate(key: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding of keys [B, G, L, D] by cosine and sine [B, L, D] (arXiv:2104.09864)."""
    first, second = key.chunk(2, dim=-1)
    return key * cosine[:, None] + torch.cat((-second, first), dim=-1) * sine[:, None]


def active_dropout(base: PreTrainedModel, layers: Sequence[nn.Module]) -> float:
    """The largest dropout probability in use in `layers`."""
    modules = [module for layer in layers for module in layer.modules() if module.training]
    rates = [float(module.p) for module in modules if isinstance(module, nn.Dropout)]
    attention = float(getattr(base.config, "attention_dropout", 0.0) or 0.0) if modules else 0.0
    return max([attention, *rates], default=0.0)


Prefix = Tensor | KeysValues
"""Inputs of a prefix, [tokens, H]; or its keys and values, if it was read before."""


def prefill_and_extend(
    stack: LayerStack,
    prefixes: Sequence[Prefix],
    suffixes: Sequence[tuple[int, Tensor]],
    batch_tokens: int,
    keep: Callable[[int, KeysValues], None] | None = None,
    beside: Sequence[Tensor] | None = None,
) -> tuple[dict[int, Tensor], list[Tensor]]:
    """Read every suffix behind its prefix, in batches of canonical shapes.

    Args:
        stack: trunk or top.
        prefixes: those to read, and those that were read before.
        suffixes: index of the prefix, and inputs, [tokens, H], of each suffix.
        batch_tokens: of a batch of prefixes.
        keep: gets the index and the keys and values of each prefix that is read.
        beside: what the heads of a top read besides each suffix, [H] each.

    Returns:
        Outputs of each prefix that was read, [tokens, H] (of no use from a top), by its index, and of each suffix,
        [tokens, H] or [outputs].

    Raises:
        ValueError: when the backbone's attention was changed, or dropout is active.
    """
    stack.refuse_changed()
    prefix_outputs: dict[int, Tensor] = {}
    suffix_outputs = [hidden for _, hidden in suffixes]
    for cache in _caches_of_prefixes(stack, prefixes, batch_tokens, prefix_outputs, keep):
        padded = {
            index: cache.padded_length[prefix]
            for index, (prefix, _) in enumerate(suffixes)
            if prefix in cache.padded_length
        }
        lengths = {index: len(suffixes[index][1]) for index in padded}
        for suffix_batch in batches_of_suffixes(lengths, padded, batch_tokens):
            outputs = _extend_batch(stack, prefixes, suffixes, suffix_batch, cache, beside)
            for row, index in enumerate(suffix_batch.members):
                output = outputs[row]
                suffix_outputs[index] = output if output.ndim == 1 else output[: lengths[index]]
    return prefix_outputs, suffix_outputs


def _caches_of_prefixes(
    stack: LayerStack,
    prefixes: Sequence[Prefix],
    batch_tokens: int,
    prefix_outputs: dict[int, Tensor],
    keep: Callable[[int, KeysValues], None] | None,
) -> Iterator[PrefixKVCache]:
    """Keys and values of all prefixes, a few at a time; outputs of those that are read go into `prefix_outputs`."""
    known = {index: prefix for index, prefix in enumerate(prefixes) if isinstance(prefix, KeysValues)}
    for batches in chunks_of_prefixes({index: len(prefix) for index, prefix in known.items()}, batch_tokens):
        cache = PrefixKVCache()
        for batch in batches:
            rows = [known[index] for index in batch.members]
            cache.add(batch, stack_rows(rows, stack.layer_indices, batch), stack.keys_bucket)
        yield cache
    unread = {index: prefix for index, prefix in enumerate(prefixes) if isinstance(prefix, Tensor)}
    for batches in chunks_of_prefixes({index: len(prefix) for index, prefix in unread.items()}, batch_tokens):
        cache = PrefixKVCache()
        for batch in batches:
            if not batch.length:
                cache.add(batch, {})
                prefix_outputs |= {index: unread[index] for index in batch.members}
                continue
            outputs, past = stack.prefill(_pad([unread[index] for index in batch.members], batch))
            cache.add(batch, past, stack.keys_bucket)
            for row, index in enumerate(batch.members):
                num_tokens = len(unread[index])
                prefix_outputs[index] = outputs[row, :num_tokens]
                if keep is not None:
                    keep(index, row_of(past, row, num_tokens))
        yield cache


def _extend_batch(
    stack: LayerStack,
    prefixes: Sequence[Prefix],
    suffixes: Sequence[tuple[int, Tensor]],
    batch: SuffixBatch,
    cache: PrefixKVCache,
    beside: Sequence[Tensor] | None,
) -> Tensor:
    """Outputs of a batch of suffixes, dummies included; a dummy is one token behind the first suffix's prefix."""
    members = [suffixes[index] for index in batch.members]
    dummies = batch.rows - len(members)
    hidden = _pad([suffix for _, suffix in members], batch)
    before = [prefix for prefix, _ in members] + [members[0][0]] * dummies
    prefix_tokens = torch.tensor([len(prefixes[prefix]) for prefix in before], device=hidden.device)
    suffix_tokens = torch.tensor([len(suffix) for _, suffix in members] + [1] * dummies, device=hidden.device)
    past = cache.take(before, batch.prefix_length)
    if beside is None:
        return stack.extend(hidden, prefix_tokens, suffix_tokens, past)
    also = [beside[index] for index in batch.members]
    padded = torch.stack(also + [torch.zeros_like(also[0])] * dummies)
    return stack.extend(hidden, prefix_tokens, suffix_tokens, past, padded)


def _pad(items: Sequence[Tensor], batch: Batch) -> Tensor:
    """Items [tokens, H] padded on the right to [B, length, H]; zeros stand for padding and dummies."""
    stacked = items[0].new_zeros(batch.rows, batch.length, items[0].shape[1])
    for row, item in enumerate(items):
        stacked[row, : len(item)] = item
    return stacked
