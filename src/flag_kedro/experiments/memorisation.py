"""Does a language model recall the market? Its own probability of what happened against what did not.

The test is of recall, not of understanding: a model that passes may still know the time in other words. P-values are
of one test on one window; no correction is made for several windows and tests, of which some are small by chance.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from flag_kedro.env.account import Floats
from flag_kedro.experiments.statements import DIRECTIONS, CloseStatement

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

NO_HEAD = "not applicable: no language-model head (the backbone's folder has none, and its embeddings are not tied)"
MIN_STATEMENTS = 5
"""Fewer say nothing."""
LEVEL = 0.95

Score = Callable[[Sequence[tuple[str, str]]], Floats]
"""From (context, continuation) to the mean log-likelihood of the continuation's tokens, [n]."""


@dataclass(frozen=True)
class CloseRecall:
    """How likely a model finds true closes among false ones of the same symbol; saved as JSON in this order."""

    mean_percentile: float
    """Of the true close's score among the false ones', ties split, in [0, 1]; 0.5 by chance."""
    ci95: tuple[float, float]
    """Student's t interval of the mean."""
    p_value: float
    """Of percentiles no higher than chance: Wilcoxon's signed-rank test, one-sided."""
    ranked_first: float
    """Share of true closes above all false ones; one in `num_candidates` by chance."""
    num_candidates: int
    """Closes compared in each statement, the true one included."""


@dataclass(frozen=True)
class DirectionRecall:
    """Whether a model's odds of "rose" against "fell" tell sessions that rose from those that fell.

    Each session counts once, since symbols move together. Saved as JSON in this order.
    """

    auc: float
    """Area under the ROC curve of the odds; 0.5 by chance."""
    p_value: float
    """Of odds no higher where the close rose: Mann and Whitney's test, one-sided."""
    num_sessions: int
    share_rose: float


@dataclass(frozen=True)
class WindowRecall:
    """What a model recalls of one window; None where there are too few statements to say."""

    num_statements: int
    closes: CloseRecall | None
    direction: DirectionRecall | None


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model and its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "Tokenizer"
    beginning: list[int]
    """Token ids that every text begins with."""

    def score(self, texts: Sequence[tuple[str, str]], on_read: Callable[[int], None] = lambda num: None) -> Floats:
        """Mean log-likelihood of the tokens of each continuation, given the context before it, [n].

        Args:
            texts: (context, continuation); equal ones get equal scores.
            on_read: called with the number of texts read, for a progress bar.
        """
        continuations_of: dict[str, list[str]] = {}
        for context, continuation in dict.fromkeys(texts):
            continuations_of.setdefault(context, []).append(continuation)
        scores: dict[tuple[str, str], float] = {}
        for context, continuations in continuations_of.items():
            pairs = [(context, continuation) for continuation in continuations]
            scores |= zip(pairs, self._score_continuations(context, continuations), strict=True)
            on_read(len(continuations))
        return np.array([scores[text] for text in texts])

    def _score_continuations(self, context: str, continuations: Sequence[str]) -> list[float]:
        """Read what all texts share once, then each continuation behind it; padding stands last, where none looks."""
        import torch
        from torch.nn.functional import cross_entropy

        encodings = [self.tokenizer.encode(context + each, add_special_tokens=False) for each in continuations]
        ids = [self.beginning + encoding.ids for encoding in encodings]
        starts = [
            len(row) - sum(end > len(context) for _, end in encoding.offsets)
            for row, encoding in zip(ids, encodings, strict=True)
        ]
        num_equal = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*ids, strict=False)))
        num_shared = min(num_equal, *starts) - 1  # the last token before a continuation predicts it
        longest = max(map(len, ids)) - num_shared
        suffixes = torch.tensor([row[num_shared:] + [0] * (longest - len(row) + num_shared) for row in ids])
        device = self.model.device
        with torch.no_grad():
            past = None
            if num_shared > 0:
                shared = torch.tensor([ids[0][:num_shared]], device=device)
                past = self.model(shared, use_cache=True).past_key_values
                past.batch_repeat_interleave(len(ids))
            output = self.model(suffixes.to(device), past_key_values=past, use_cache=num_shared > 0)
            logits = output.logits[:, :-1].float()
            losses = cross_entropy(logits.transpose(1, 2), suffixes[:, 1:].to(device), reduction="none").cpu()
        return [
            -float(loss[start - num_shared - 1 : len(row) - num_shared - 1].double().mean())
            for loss, row, start in zip(losses, ids, starts, strict=True)
        ]


def open_language_model(folder: Path, device: "torch.device") -> LanguageModel | None:
    """The backbone in `folder` with its language-model head; None where it has none of its own.

    Its weights come from safetensors on this machine, and no code comes with them.

    Args:
        folder: of weights, configuration and tokenizer.
        device: that gets the model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from flag_kedro.policy.backbone import load_tokenizer
    from flag_kedro.policy.pretrained import without_load_report

    with without_load_report():  # a missing head is answered below
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    if loading["missing_keys"]:
        return None
    return LanguageModel(model.to(device).eval(), *load_tokenizer(folder))


@dataclass(frozen=True)
class Answers:
    """What a model said to the statements about one window; empty where there are none."""

    num_statements: int
    num_candidates: int
    """Closes compared in each statement, the true one included."""
    percentiles: pl.DataFrame
    """`session`, `percentile` of the true close among the false ones, `first` (above all of them), by statement."""
    odds: pl.DataFrame
    """`session`, `odds` of "rose" against "fell", `rose` (what happened), one row a session."""


def ask(statements: Sequence[CloseStatement], score: Score) -> Answers:
    """Ask a model about the statements of one window.

    Args:
        statements: from `draw_statements`.
        score: of the model.
    """
    closes = len(statements[0].closes) if statements else 0
    return Answers(len(statements), closes, _ask_closes(statements, score), _ask_directions(statements, score))


def probe_recall(answers: Answers) -> WindowRecall:
    """Test whether a model finds true closes and directions of a window more likely than false ones."""
    return WindowRecall(answers.num_statements, _probe_closes(answers), _probe_directions(answers))


def num_texts(statements: Sequence[CloseStatement]) -> int:
    """Distinct texts that `probe_recall` asks about, for a progress bar."""
    return len(set(_close_texts(statements))) + len(DIRECTIONS) * len(_one_each_session(statements))


def _close_texts(statements: Sequence[CloseStatement]) -> list[tuple[str, str]]:
    return [(statement.context, f" {close}") for statement in statements for close in statement.closes]


def _ask_closes(statements: Sequence[CloseStatement], score: Score) -> pl.DataFrame:
    if not statements:
        return pl.DataFrame(schema={"session": pl.Date, "percentile": pl.Float64, "first": pl.Boolean})
    by_statement = score(_close_texts(statements)).reshape(len(statements), -1)
    truths = np.array([statement.truth for statement in statements])
    true = by_statement[np.arange(len(statements)), truths][:, None]
    num_false = by_statement.shape[1] - 1
    below, equal = (by_statement < true).sum(1), (by_statement == true).sum(1) - 1
    sessions = [statement.session for statement in statements]
    percentiles, first = (below + 0.5 * equal) / num_false, (below == num_false) & (equal == 0)
    return pl.DataFrame({"session": sessions, "percentile": percentiles, "first": first})


def _probe_closes(answers: Answers) -> CloseRecall | None:
    if answers.percentiles.height < MIN_STATEMENTS:
        return None
    percentiles = answers.percentiles["percentile"].to_numpy()
    return CloseRecall(
        mean_percentile=float(percentiles.mean()),
        ci95=_mean_interval(percentiles),
        p_value=_above_half(percentiles),
        ranked_first=float(answers.percentiles["first"].to_numpy().mean()),
        num_candidates=answers.num_candidates,
    )


def _ask_directions(statements: Sequence[CloseStatement], score: Score) -> pl.DataFrame:
    asked = _one_each_session(statements)
    if not asked:
        return pl.DataFrame(schema={"session": pl.Date, "odds": pl.Float64, "rose": pl.Boolean})
    scores = score([(statement.subject, direction) for statement in asked for direction in DIRECTIONS])
    sessions, rose = [statement.session for statement in asked], [bool(statement.rose) for statement in asked]
    return pl.DataFrame({"session": sessions, "odds": scores[1::2] - scores[::2], "rose": rose})


def _probe_directions(answers: Answers) -> DirectionRecall | None:
    from scipy import stats  # takes long to import

    if answers.odds.height < MIN_STATEMENTS or answers.odds["rose"].n_unique() < 2:
        return None
    odds, rose = answers.odds["odds"].to_numpy(), answers.odds["rose"].to_numpy()
    test = stats.mannwhitneyu(odds[rose], odds[~rose], alternative="greater")
    return DirectionRecall(
        auc=float(test.statistic) / (int(rose.sum()) * int((~rose).sum())),
        p_value=float(test.pvalue),
        num_sessions=len(rose),
        share_rose=float(rose.mean()),
    )


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


def _mean_interval(values: Floats) -> tuple[float, float]:
    """Student's interval of the mean at the level `LEVEL`."""
    from scipy import stats  # takes long to import

    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    width = float(stats.t.ppf(0.5 + LEVEL / 2.0, len(values) - 1)) * error
    return float(values.mean()) - width, float(values.mean()) + width
