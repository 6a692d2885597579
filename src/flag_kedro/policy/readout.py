"""What the heads read besides a prompt's last token: the last token of each headline, as the trunk leaves it.

A causal model has read a headline once it stands at the headline's end. What headlines do to a price adds up, so their
vectors are summed, each scaled to unit root mean square; whatever one linear map finds in a headline counts the same
wherever it stands. The last token would have to gather all of them through softmax attention, which averages.

Shape legend: P = tokens of a prompt's prefix, H = hidden size.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from tokenizers import Tokenizer
from torch import Tensor

HEADLINE = "- "
"""How a headline's line begins in a prompt (`features.digest`)."""


def headline_ends(text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Index of the token that holds the end of each headline's line, in a prefix without BOS."""
    lines = text.splitlines(keepends=True)
    ends = accumulate(map(len, lines))
    wanted = [end - 1 for line, end in zip(lines, ends, strict=True) if line.startswith(HEADLINE)]
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets if wanted else []
    return tuple(next(index for index, (first, last) in enumerate(offsets) if first <= end < last) for end in wanted)


def sum_lines(hidden: Tensor, ends: Sequence[int]) -> Tensor:
    """Sum of the hidden states [P, H] at `ends`, each scaled to unit root mean square, float32 [H]; 0 without any."""
    lines = hidden[list(ends)].float()
    return (lines / lines.square().mean(dim=1, keepdim=True).sqrt().clamp_min(torch.finfo().tiny)).sum(dim=0)
