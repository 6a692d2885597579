"""Does a language model recall the market? Its own probability of what happened against what did not.

The test is of recall, not of understanding: a model that passes may still know the time in other words. P-values are
of one test on one window; no correction is made for several windows and tests, of which some are small by chance.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flag_kedro.env.account import Floats
from flag_kedro.experiments.statements import DIRECTIONS, CloseStatement

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import device
    from transformers import PreTrainedModel

NO_HEAD = "not applicable: no language-model head (the backbone's folder has none, and its embeddings are not tied)"
MIN_STATEMENTS = 5
"""Fewer say nothing."""
LEVEL = 0.95

Score = Callable[[Sequence[tuple[str, str]]], Floats]
"""From (stem, ending) to the mean log-likelihood of the ending's tokens, [n]."""


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model and its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "Tokenizer"
    beginning: list[int]
    """Token ids that every text begins with."""

    def score(self, texts: Sequence[tuple[str, str]], on_read: Callable[[int], None] = lambda num: None) -> Floats:
        """Mean log-likelihood of the tokens of each ending, given the stem before it, [n].

        Args:
            texts: (stem, ending); equal ones get equal scores.
            on_read: called with the number of texts read, for a progress bar.
        """
        endings: dict[str, list[str]] = {}
        for stem, ending in dict.fromkeys(texts):
            endings.setdefault(stem, []).append(ending)
        scores: dict[tuple[str, str], float] = {}
        for stem, own in endings.items():
            scores |= zip(((stem, ending) for ending in own), self._score_endings(stem, own), strict=True)
            on_read(len(own))
        return np.array([scores[text] for text in texts])

    def _score_endings(self, stem: str, endings: Sequence[str]) -> list[float]:
        """Read what all endings share once, then each ending behind it; padding stands last, where none looks."""
        import torch
        from torch.nn.functional import cross_entropy

        encoded = [self.tokenizer.encode(stem + ending, add_special_tokens=False) for ending in endings]
        ids = [self.beginning + found.ids for found in encoded]
        begins = [
            len(own) - sum(end > len(stem) for _, end in found.offsets) for own, found in zip(ids, encoded, strict=True)
        ]
        alike = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*ids, strict=False)))
        shared = min(alike, *begins) - 1  # the last token before an ending predicts it
        longest = max(map(len, ids)) - shared
        read = torch.tensor([own[shared:] + [0] * (longest - len(own) + shared) for own in ids])
        place = self.model.device
        with torch.no_grad():
            past = None
            if shared > 0:
                past = self.model(torch.tensor([ids[0][:shared]], device=place), use_cache=True).past_key_values
                past.batch_repeat_interleave(len(ids))
            logits = self.model(read.to(place), past_key_values=past, use_cache=shared > 0).logits[:, :-1].float()
            lost = cross_entropy(logits.transpose(1, 2), read[:, 1:].to(place), reduction="none").cpu()
        return [
            -float(row[begin - shared - 1 : len(own) - shared - 1].double().mean())
            for row, own, begin in zip(lost, ids, begins, strict=True)
        ]


def open_language_model(folder: Path, place: "device") -> LanguageModel | None:
    """The backbone in `folder` with its language-model head; None where it has none of its own.

    Its weights come from safetensors on this machine, and no code comes with them.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from flag_kedro.policy.backbone import load_tokenizer

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # a missing head is told below
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(level)
    if loading["missing_keys"]:
        return None
    return LanguageModel(model.to(place).eval(), *load_tokenizer(folder))


def probe_recall(statements: Sequence[CloseStatement], score: Score) -> dict[str, Any]:
    """Test whether a model finds true closes and directions more likely than false ones.

    Args:
        statements: of one window, from `draw_statements`.
        score: of the model.

    Returns:
        `closes`: `mean_percentile` of the true close among the false ones (0.5 by chance, ties split), its
        `ci95` (Student's t), `p_value` (Wilcoxon's signed-rank test, one-sided) and the share `ranked_first` (by
        chance one in `num_candidates`). `direction`: `auc` with which the model's odds of "rose" against "fell" tell
        sessions that rose from those that fell, and its `p_value` (Mann and Whitney, one-sided), each session once,
        since symbols move together. Null where there are too few statements.
    """
    return {"num_statements": len(statements)} | {
        "closes": _probe_closes(statements, score),
        "direction": _probe_directions(statements, score),
    }


def num_texts(statements: Sequence[CloseStatement]) -> int:
    """Distinct texts that `probe_recall` asks about, for a progress bar."""
    return len(set(_close_texts(statements))) + len(DIRECTIONS) * len(_one_each_session(statements))


def _close_texts(statements: Sequence[CloseStatement]) -> list[tuple[str, str]]:
    return [(statement.stem, f" {close}") for statement in statements for close in statement.closes]


def _probe_closes(statements: Sequence[CloseStatement], score: Score) -> dict[str, Any] | None:
    if len(statements) < MIN_STATEMENTS:
        return None
    by_statement = score(_close_texts(statements)).reshape(len(statements), -1)
    truths = np.array([statement.truth for statement in statements])
    rows = np.arange(len(statements))
    true = by_statement[rows, truths][:, None]
    num_false = by_statement.shape[1] - 1
    below, equal = (by_statement < true).sum(1), (by_statement == true).sum(1) - 1
    percentiles = (below + 0.5 * equal) / num_false
    return {
        "mean_percentile": float(percentiles.mean()),
        "ci95": _mean_interval(percentiles),
        "p_value": _above_half(percentiles),
        "ranked_first": float(((below == num_false) & (equal == 0)).mean()),
        "num_candidates": num_false + 1,
    }


def _probe_directions(statements: Sequence[CloseStatement], score: Score) -> dict[str, Any] | None:
    from scipy import stats  # takes long to import

    asked = _one_each_session(statements)
    rose = np.array([bool(statement.rose) for statement in asked])
    if len(asked) < MIN_STATEMENTS or rose.all() or not rose.any():
        return None
    scores = score([(statement.subject, ending) for statement in asked for ending in DIRECTIONS])
    odds = scores[1::2] - scores[::2]
    found = stats.mannwhitneyu(odds[rose], odds[~rose], alternative="greater")
    auc = float(found.statistic) / (int(rose.sum()) * int((~rose).sum()))
    return {"auc": auc, "p_value": float(found.pvalue), "num_sessions": len(asked), "share_rose": float(rose.mean())}


def _one_each_session(statements: Iterable[CloseStatement]) -> list[CloseStatement]:
    """The first statement about each session on which the close changed."""
    first: dict[object, CloseStatement] = {}
    for statement in statements:
        if statement.rose is not None:
            first.setdefault(statement.session, statement)
    return list(first.values())


def _above_half(percentiles: Floats) -> float:
    """One-sided p-value of percentiles no higher than chance, 1 where all of them are tied."""
    from scipy import stats  # takes long to import

    if np.all(percentiles == 0.5):
        return 1.0
    return float(stats.wilcoxon(percentiles - 0.5, alternative="greater").pvalue)


def _mean_interval(values: Floats) -> list[float]:
    from scipy import stats  # takes long to import

    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    width = float(stats.t.ppf(0.5 + LEVEL / 2.0, len(values) - 1)) * error
    return [float(values.mean()) - width, float(values.mean()) + width]
