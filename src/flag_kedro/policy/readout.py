"""What the heads read besides a prompt's last token: the last token of each headline, as the trunk leaves it.

A causal model has read a headline once it stands at the headline's end. What headlines do to a price adds up, so their
vectors are summed, each scaled to unit root mean square; whatever one linear map finds in a headline counts the same
wherever it stands. The last token would have to gather all of them through softmax attention, which averages.

All headlines, and all last tokens, have most of their vector in common. Along that direction a step of Adam moves the
logits of all prompts at once, so that a policy learns what trades cost, and stops trading, before it learns to read
(docs/experiments.md). So what they have in common on the training window is taken off, and the rest scaled to unit
deviation: headlines entry by entry, the last token, which changes while the top learns, as a whole. The last token then
counts a tenth: it tells the account, but also gathers all else that a prompt says, which a policy would learn by heart.

Shape legend: P = tokens of a prompt's prefix, H = hidden size, N = prompts.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from flag_kedro.features.digest import BULLET

LAST_WEIGHT = 0.1
"""Deviation of the last token's vector beside headlines of unit deviation (docs/experiments.md)."""

ROUNDING = 1e-5
"""Deviation of an entry, beside vectors of unit root mean square, below which it is float32's rounding."""


def headline_ends(text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Index of the token that holds the end of each headline's line, in a prefix without BOS."""
    lines = text.splitlines(keepends=True)
    ends = accumulate(map(len, lines))
    wanted = [end - 1 for line, end in zip(lines, ends, strict=True) if line.startswith(BULLET)]
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets if wanted else []
    return tuple(next(index for index, (first, last) in enumerate(offsets) if first <= end < last) for end in wanted)


def sum_lines(hidden: Tensor, ends: Sequence[int]) -> Tensor:
    """Sum of the hidden states [P, H] at `ends`, each scaled to unit root mean square, float32 [H]; 0 without any."""
    lines = hidden[list(ends)].float()
    return (lines / lines.square().mean(dim=1, keepdim=True).sqrt().clamp_min(torch.finfo().tiny)).sum(dim=0)


class Standardisation(nn.Module):
    """What prompts of the training window have in common, and by how much they differ; nothing before `fit`."""

    mean: Tensor
    """Of a headline's vector, [H]."""
    scale: Tensor
    """Factor of each entry of the sum of headlines, [H]."""
    last_mean: Tensor
    """Of the last token's vector before training, [H]."""
    last_scale: Tensor
    """Factor of all its entries, []."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        for name, value in (("mean", 0.0), ("scale", 1.0), ("last_mean", 0.0)):
            self.register_buffer(name, torch.full((hidden_size,), value))
        self.register_buffer("last_scale", torch.tensor(1.0))

    def headlines(self, hidden: Tensor, ends: Sequence[int]) -> Tensor:
        """The standardised sum of the headlines at `ends` of hidden states [P, H], float32 [H]; 0 without any."""
        return (sum_lines(hidden, ends) - len(ends) * self.mean) * self.scale

    def last(self, hidden: Tensor) -> Tensor:
        """Standardised last tokens, [N, H] from [N, H]."""
        return (hidden - self.last_mean) * self.last_scale

    @torch.no_grad()
    def fit(self, sums: Tensor, counts: Tensor, last: Tensor) -> None:
        """Take means and deviations from prompts.

        Args:
            sums: `sum_lines` of each, [N, H].
            counts: headlines of each, [N]; without any headline at all their part stays as it is.
            last: last tokens of some, [M, H].
        """
        num_headlines = counts.sum()
        if num_headlines > 0:
            self.mean.copy_(sums.double().sum(dim=0) / num_headlines)
            self.scale.copy_(_factor((sums - counts[:, None] * self.mean).double().std(dim=0, correction=0)))
        self.last_mean.copy_(last.double().mean(dim=0))
        self.last_scale.copy_(LAST_WEIGHT * _factor((last - self.last_mean).double().std(correction=0)))


def _factor(deviation: Tensor) -> Tensor:
    """One over the deviation, 1 where nothing differs by more than rounding."""
    return torch.where(deviation > ROUNDING, 1.0 / deviation, 1.0)
