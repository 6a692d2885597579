"""The two halves of a backbone, each read in two steps: stems first, then the leaves behind them.

The trunk (embeddings and lower layers) is frozen; what it says of a prompt depends on the token ids alone. The
top (the layers above and the final norm) learns; only the last token of a prompt is read, so in its last layer
every other token gives keys and values and nothing else.

Shape legend: B = rows of a batch, P = tokens of stems, L = tokens of leaves, H = hidden size.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from flag_kedro.policy.attention import ATTENTION, KeepStep, KeysValues, LastStep, LeafStep, StemStep, Step
from flag_kedro.policy.backbone import FINAL_NORMS
from flag_kedro.policy.packing import Batch, LeafBatch, batches_of_leaves, chunks_of_stems, tree_mask

Past = dict[int, KeysValues]
"""Keys and values by layer."""


class Half:
    """Consecutive layers of a backbone."""

    def __init__(self, base: PreTrainedModel, first: int, last: int) -> None:
        self.base = base
        self.layers: list[nn.Module] = list(base.layers)[first:last]

    def read_stems(self, hidden: Tensor) -> tuple[Tensor, Past]:
        """Outputs of stems [B, P, H], and keys and values of every layer."""
        step = StemStep()
        return self._run(self.layers, hidden, self._positions(hidden), step), step.kept

    def read_leaves(self, hidden: Tensor, stem_tokens: Tensor, leaf_tokens: Tensor, past: Past) -> Tensor:
        """Outputs of leaves [B, L, H].

        Args:
            hidden: inputs of the leaves, [B, L, H].
            stem_tokens: real tokens of the stem before each leaf, [B].
            leaf_tokens: real tokens of each leaf, [B].
            past: of the stems, [B, G, P, D] each; empty where there are none.
        """
        step = LeafStep(past, tree_mask(stem_tokens, _stem_length(past), hidden.shape[1]))
        return self._run(self.layers, hidden, self._positions(hidden, stem_tokens), step)

    def _positions(self, hidden: Tensor, before: Tensor | None = None) -> Tensor:
        """Position ids [B, L] of tokens behind `before` [B] others."""
        positions = torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[:2])
        return positions if before is None else positions + before[:, None]

    def _run(self, layers: Sequence[nn.Module], hidden: Tensor, positions: Tensor, step: Step) -> Tensor:
        self._refuse_changed()
        rotary = self.base.rotary_emb(hidden, positions)
        for layer in layers:
            hidden = layer(hidden, attention_mask=None, position_ids=positions, position_embeddings=rotary, step=step)
        return hidden

    def _refuse_changed(self) -> None:
        """Refuse a backbone whose answers are no longer those of its prompts.

        Raises:
            ValueError: when its attention is not ours any more, or dropout is active.
        """
        attention = self.base.config._attn_implementation
        if attention != ATTENTION:
            raise ValueError(
                f"the backbone's attention was set to {attention}, which knows neither stems nor leaves; set it to "
                f"{ATTENTION} again"
            )
        if dropout := active_dropout(self.base, self.layers):
            raise ValueError(f"dropout of {dropout} is active; states share what is read: put the model in eval mode")


class Top(Half):
    """The layers that learn, the final norm and the heads, which read each leaf's last token in float32."""

    def __init__(self, base: PreTrainedModel, first: int, heads: Sequence[nn.Module]) -> None:
        super().__init__(base, first, len(base.layers))
        self.norm: nn.Module = next(getattr(base, name) for name in FINAL_NORMS if hasattr(base, name))
        self.heads = list(heads)

    def read_stems(self, hidden: Tensor) -> tuple[Tensor, Past]:
        """Keys and values of every layer; what stems would put out is not computed."""
        positions, step = self._positions(hidden), StemStep()
        hidden = self._run(self.layers[:-1], hidden, positions, step)
        return hidden, step.kept | self._keep(hidden, positions)

    def read_leaves(self, hidden: Tensor, stem_tokens: Tensor, leaf_tokens: Tensor, past: Past) -> Tensor:
        """What the heads say of each leaf's last token, side by side, [B, outputs]; see `Half.read_leaves`."""
        positions = self._positions(hidden, stem_tokens)
        mask = tree_mask(stem_tokens, _stem_length(past), hidden.shape[1])
        hidden = self._run(self.layers[:-1], hidden, positions, LeafStep(past, mask))
        rows, last = torch.arange(len(hidden), device=hidden.device), leaf_tokens - 1
        step = LastStep(_join(past, self._keep(hidden, positions)), mask[rows, :, last][:, :, None])
        seen = self._run(self.layers[-1:], hidden[rows, last][:, None], positions[rows, last][:, None], step)
        with torch.autocast(hidden.device.type, enabled=False):
            pooled = self.norm(seen[:, 0].float())
            return torch.cat([head(pooled) for head in self.heads], dim=1)

    def _keep(self, hidden: Tensor, positions: Tensor) -> Past:
        """Keys and values of the last layer."""
        step, layer = KeepStep(), self.layers[-1]
        attention = layer.get_submodule("self_attn" if hasattr(layer, "self_attn") else "attention")
        rotary = self.base.rotary_emb(hidden, positions)
        normed = layer.get_submodule("input_layernorm")(hidden)
        attention(normed, attention_mask=None, position_embeddings=rotary, step=step)
        return step.kept


def active_dropout(base: PreTrainedModel, layers: Sequence[nn.Module]) -> float:
    """The largest dropout probability in use in `layers`."""
    modules = [module for layer in layers for module in layer.modules() if module.training]
    rates = [float(module.p) for module in modules if isinstance(module, nn.Dropout)]
    attention = float(getattr(base.config, "attention_dropout", 0.0) or 0.0) if modules else 0.0
    return max([attention, *rates], default=0.0)


def read_in_two_steps(
    half: Half, stems: Sequence[Tensor], leaves: Sequence[tuple[int, Tensor]], batch_tokens: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Read every leaf behind its stem, in batches of canonical shapes.

    Args:
        half: trunk or top.
        stems: inputs of each stem, [tokens, H].
        leaves: number of the stem, and inputs, [tokens, H], of each leaf.
        batch_tokens: of a batch of stems.

    Returns:
        Outputs of each stem, [tokens, H] (of no use from a top), and of each leaf, [tokens, H] or [outputs].
    """
    of_stems, of_leaves = list(stems), [leaf for _, leaf in leaves]
    for batches in chunks_of_stems([len(stem) for stem in stems], batch_tokens):
        shelf = _Shelf()
        for batch in batches:
            kept: Past = {}
            if batch.length:
                hidden, kept = half.read_stems(_stack([stems[at] for at in batch.members], batch))
                for row, at in enumerate(batch.members):
                    of_stems[at] = hidden[row, : len(stems[at])]
            shelf.put(batch, kept)
        behind = {place: shelf.length[stem] for place, (stem, _) in enumerate(leaves) if stem in shelf.length}
        for leaf_batch in batches_of_leaves({at: len(leaves[at][1]) for at in behind}, behind, batch_tokens):
            outputs = _read_leaf_batch(half, stems, leaves, leaf_batch, shelf)
            for row, place in enumerate(leaf_batch.members):
                output = outputs[row]
                of_leaves[place] = output if output.ndim == 1 else output[: len(leaves[place][1])]
    return of_stems, of_leaves


class _Shelf:
    """Keys and values of some stems, by padded length."""

    def __init__(self) -> None:
        self.length: dict[int, int] = {}
        self._row: dict[int, int] = {}
        self._kept: dict[int, list[Past]] = {}
        self._rows: dict[int, int] = {}

    def put(self, batch: Batch, kept: Past) -> None:
        before = self._rows.get(batch.length, 0)
        for row, stem in enumerate(batch.members):
            self.length[stem], self._row[stem] = batch.length, before + row
        self._rows[batch.length] = before + batch.rows
        self._kept.setdefault(batch.length, []).append(kept)

    def take(self, stems: Sequence[int], length: int) -> Past:
        """Keys and values of each of `stems`, all of the padded `length`."""
        parts = self._kept[length]
        if len(parts) > 1:
            layers = parts[0]
            parts[:] = [
                {at: (_cat(part[at][0] for part in parts), _cat(part[at][1] for part in parts)) for at in layers}
            ]
        rows = torch.tensor([self._row[stem] for stem in stems])
        return {layer: (_take(key, rows), _take(value, rows)) for layer, (key, value) in parts[0].items()}


def _read_leaf_batch(
    half: Half, stems: Sequence[Tensor], leaves: Sequence[tuple[int, Tensor]], batch: LeafBatch, shelf: _Shelf
) -> Tensor:
    own = [leaves[place] for place in batch.members]
    dummies = batch.rows - len(own)
    hidden = _stack([leaf for _, leaf in own], batch)
    before = [stem for stem, _ in own] + [own[0][0]] * dummies
    stem_tokens = torch.tensor([len(stems[stem]) for stem in before], device=hidden.device)
    leaf_tokens = torch.tensor([len(leaf) for _, leaf in own] + [1] * dummies, device=hidden.device)
    return half.read_leaves(hidden, stem_tokens, leaf_tokens, shelf.take(before, batch.stem_length))


def _stack(items: Sequence[Tensor], batch: Batch) -> Tensor:
    """Items [tokens, H] padded on the right to [B, length, H]; zeros stand for padding and dummies."""
    stacked = items[0].new_zeros(batch.rows, batch.length, items[0].shape[1])
    for row, item in enumerate(items):
        stacked[row, : len(item)] = item
    return stacked


def _take(rows_of: Tensor, rows: Tensor) -> Tensor:
    return rows_of.index_select(0, rows.to(rows_of.device))


def _cat(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat(list(parts))


def _stem_length(past: Past) -> int:
    return next(iter(past.values()))[0].shape[2] if past else 0


def _join(past: Past, own: Past) -> Past:
    """The last layer's past with its own keys and values behind it."""
    return {
        layer: (torch.cat([past[layer][0], key], 2), torch.cat([past[layer][1], value], 2)) if past else (key, value)
        for layer, (key, value) in own.items()
    }
