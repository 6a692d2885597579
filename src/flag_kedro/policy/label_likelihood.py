"""How likely a causal language model finds each action's word behind a prompt, by its own language-model head.

Shape legend: N = states asked about, B = rows of a batch, K = positions whose logits are computed, V = vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from flag_kedro.env.account import ACTION_NAMES, Floats
from flag_kedro.env.states import States
from flag_kedro.errors import DataError
from flag_kedro.policy.backbone import longest_prompt
from flag_kedro.policy.packing import TokenIds

LABELS = tuple(f" {name}" for name in ACTION_NAMES)
"""What may follow "Decision:", in the order of actions. One token each for SmolLM2; for a tokenizer that takes several,
log-probabilities are summed over them."""
Text = tuple[str, str]
"""Prefix and account of a prompt."""


@dataclass(frozen=True)
class _Row:
    """What is read at once: a prompt, and of a label of several tokens all but the last."""

    text: Text
    ids: TokenIds
    start: int
    """Position whose logits are of a label's first token."""
    labels: tuple[int, ...]
    """Labels (indices into `LABELS`) that these ids tell of."""


class LabelReader:
    """Reads prompts and remembers what they said, so that whoever asks again pays nothing.

    A prompt's token ids are those that the policy reads: BOS, the prefix, the account. Numbers depend on the prompt
    alone; those beside it in a batch change them by rounding only.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        beginning: Sequence[int],
        *,
        max_tokens: int,
        batch_tokens: int,
    ) -> None:
        """Read with `model`.

        Args:
            model: with its language-model head.
            tokenizer: the model's.
            beginning: token ids that every prompt begins with.
            max_tokens: longest prompt.
            batch_tokens: tokens of a forward pass, of one prompt at least.

        Raises:
            ParameterError: when the model's layers look at prompts in an unknown way.
        """
        self.model = model
        self._tokenizer, self._beginning = tokenizer, tuple(beginning)
        self._labels = [self._encode(label) for label in LABELS]
        self._max_tokens = min(max_tokens, longest_prompt(model.config))
        self._batch_tokens = batch_tokens
        self._remembered: dict[Text, Floats] = {}

    @property
    def num_read(self) -> int:
        """Distinct prompts that were read so far."""
        return len(self._remembered)

    def log_likelihoods(self, states: States) -> Floats:
        """Log-likelihood of each label behind each prompt, whether or not the action is legal, [N, 3].

        Raises:
            DataError: when a prompt is longer than the model can read.
        """
        texts = list(zip(states.prefix, states.account, strict=True))
        self._read([text for text in dict.fromkeys(texts) if text not in self._remembered])
        return np.stack([self._remembered[text] for text in texts])

    def _read(self, texts: Sequence[Text]) -> None:
        """Read prompts that are not remembered, those of like lengths together."""
        rows = sorted((row for text in texts for row in self._rows(text)), key=lambda row: len(row.ids))
        found = {text: np.full(len(LABELS), np.nan) for text in texts}
        for batch in _batches(rows, self._batch_tokens):
            for row, log_probs in zip(batch, self._log_probs(batch), strict=True):
                for label in row.labels:
                    ids = self._labels[label]
                    found[row.text][label] = float(log_probs[range(len(ids)), ids].double().sum())
        self._remembered |= found

    def _rows(self, text: Text) -> Iterator[_Row]:
        """Labels that are one token, or differ in their last token only, are read together."""
        prompt = (*self._beginning, *self._encode(text[0]), *self._encode(text[1]))
        longest = len(prompt) + max(map(len, self._labels)) - 1
        if longest > self._max_tokens:
            raise DataError(
                f"a prompt and the words of the actions have {longest} tokens, the limit is {self._max_tokens} "
                "(policy.max_tokens, or what the backbone can look back on); lower features.digest_chars or "
                "features.digest_sessions"
            )
        behind: dict[TokenIds, list[int]] = {}
        for label, ids in enumerate(self._labels):
            behind.setdefault(ids[:-1], []).append(label)
        for ids, labels in behind.items():
            yield _Row(text, prompt + ids, len(prompt) - 1, tuple(labels))

    @torch.no_grad()
    def _log_probs(self, batch: Sequence[_Row]) -> list[Tensor]:
        """Log-probabilities of the next token, from each row's `start` to its end, [tokens, V] for each row.

        Shorter rows are padded at their end, where no earlier token looks.
        """
        longest = max(len(row.ids) for row in batch)
        padded = torch.tensor([row.ids + (0,) * (longest - len(row.ids)) for row in batch])
        wanted = sorted({position for row in batch for position in range(row.start, len(row.ids))})
        device = self.model.device
        kept = torch.tensor(wanted, device=device)
        logits = self.model(padded.to(device), use_cache=False, logits_to_keep=kept).logits  # [B, K, V]
        log_probs = torch.log_softmax(logits.float(), dim=-1).cpu()
        at = {position: k for k, position in enumerate(wanted)}
        return [log_probs[b, [at[t] for t in range(row.start, len(row.ids))]] for b, row in enumerate(batch)]

    def _encode(self, text: str) -> TokenIds:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)


def _batches(rows: Sequence[_Row], batch_tokens: int) -> Iterator[list[_Row]]:
    """Rows in their order, shortest first, as many at once as fit when padded to the longest."""
    batch: list[_Row] = []
    for row in rows:
        if batch and (len(batch) + 1) * len(row.ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
