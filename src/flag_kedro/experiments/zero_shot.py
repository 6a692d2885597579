"""What the backbone decides as the language model it is: the action whose word it finds likeliest behind a prompt.

Raw, or calibrated: less each word's mean log-likelihood on prompts of the training window, so that a word that the
model likes whatever it reads wins nothing by that (contextual calibration, Zhao et al. 2021, arXiv:2102.09690, with
real prompts in place of empty ones). Nothing is trained.

Shape legend: N = states.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flag_kedro.backtest.baselines import buy_and_hold, sticky_random
from flag_kedro.backtest.replay import replay
from flag_kedro.env.account import ACTION_NAMES, HOLD, SELL, Bools, Floats
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decide, Decisions, States, join_states, take_states
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.experiments.memorisation import open_language_model
from flag_kedro.policy.config import PolicyConfig

if TYPE_CHECKING:
    import torch

    from flag_kedro.policy.label_likelihood import LabelReader

CALIBRATION_STATES = 256
"""Prompts for each set of legal actions, evenly spaced over the training window and the symbols: the mean of 256 is
known to a sixteenth of its spread, and reading all sessions would cost more than the whole backtest."""
Means = Mapping[bytes, Floats]
"""By legal actions, mean log-likelihood of each label, [3]."""


def open_label_reader(folder: Path, config: PolicyConfig, device: "torch.device") -> "LabelReader":
    """The backbone in `folder` with its language-model head, tied to the embeddings or of its own.

    Raises:
        ParameterError: when the folder has no head.
    """
    reader = find_label_reader(folder, config, device)
    if reader is None:
        raise ParameterError(
            f"backtest.zero_shot: {folder} has no language-model head, and its embeddings are not tied, so it has no "
            "probabilities of words; set backtest.zero_shot to false, or train on a backbone that was saved with its "
            "head (AutoModelForCausalLM)"
        )
    return reader


def find_label_reader(folder: Path, config: PolicyConfig, device: "torch.device") -> "LabelReader | None":
    """The same; None where the folder has no head."""
    from flag_kedro.policy.label_likelihood import LabelReader

    opened = open_language_model(folder, device)
    if opened is None:
        return None
    return LabelReader(
        opened.model,
        opened.tokenizer,
        opened.beginning,
        max_tokens=config.max_tokens,
        batch_tokens=config.batch_tokens,
    )


def zero_shot(reader: "LabelReader") -> Decide:
    """The likeliest legal label of each state; ties go to the first."""

    def decide(states: States) -> Decisions:
        return _likeliest(reader.log_likelihoods(states), states.action_mask)

    return decide


def calibrated(reader: "LabelReader", means: Means) -> Decide:
    """The legal label of each state that is likeliest beside its mean; ties go to the first."""

    def decide(states: States) -> Decisions:
        return _likeliest(reader.log_likelihoods(states) - _rows(means, states.action_mask), states.action_mask)

    return decide


def measure_means(reader: "LabelReader", split: MarketSplit, seed: int) -> Means:
    """Mean log-likelihood of each label on the training window, for each set of two or more legal actions.

    Accounts are those of three rules that know nothing: one that trades at random but seldom, one that is always long,
    and one that is never.

    Args:
        reader: of the model.
        split: the market; only its training window is read.
        seed: of the random rule.
    """
    seen = calibration_states(split.train, split.env, seed)
    by_legal: dict[bytes, list[int]] = {}
    for row, mask in enumerate(seen.action_mask):
        if mask.sum() > 1:
            by_legal.setdefault(mask.tobytes(), []).append(row)
    means = {}
    for legal, rows in by_legal.items():
        spread = np.linspace(0, len(rows) - 1, min(len(rows), CALIBRATION_STATES)).round().astype(int)
        means[legal] = reader.log_likelihoods(take_states(seen, np.array(rows)[spread])).mean(axis=0)
    return means


def calibration_states(window: TradingWindow, env: EnvConfig, seed: int) -> States:
    """What the three rules saw in a window, distinct prompts in their order."""
    parts: list[States] = []

    def watched(rule: Decide) -> Decide:
        def decide(states: States) -> Decisions:
            parts.append(states)
            return rule(states)

        return decide

    for rule in (sticky_random(seed, window.symbols), buy_and_hold, _sell_and_hold):
        replay("calibration", window, env, watched(rule))
    seen = join_states(parts)
    first_rows: dict[tuple[str, str, bytes], int] = {}
    for row, key in enumerate(zip(seen.prefix, seen.account, map(bytes, seen.action_mask), strict=True)):
        first_rows.setdefault(key, row)
    return take_states(seen, list(first_rows.values()))


def _sell_and_hold(states: States) -> Decisions:
    """Sell as soon as it is legal, then hold."""
    return Decisions(np.where(states.action_mask[:, SELL], SELL, HOLD))


def _likeliest(scores: Floats, legal: Bools) -> Decisions:
    """Actions of the largest score among the legal ones, [N], and probabilities in proportion to exp(score), [N, 3]."""
    masked = np.where(legal, scores, -np.inf)
    odds = np.exp(masked - masked.max(axis=1, keepdims=True))
    return Decisions(masked.argmax(axis=1), odds / odds.sum(axis=1, keepdims=True))


def _rows(means: Means, legal: Bools) -> Floats:
    """The means that belong to each state, [N, 3]; zeros where a single action is legal, so nothing is chosen.

    Raises:
        DataError: for actions that were never legal together in the training window.
    """
    for mask in legal:
        if mask.sum() > 1 and mask.tobytes() not in means:
            names = " ".join(name for name, ok in zip(ACTION_NAMES, mask, strict=True) if ok)
            raise DataError(
                f"calibrated_lm: the legal actions are {names}, which no rule met in the training window, so there is "
                "nothing to calibrate by; lengthen data.windows.train, or set backtest.zero_shot to false"
            )
    nothing = np.zeros(len(ACTION_NAMES))
    return np.stack([means[mask.tobytes()] if mask.sum() > 1 else nothing for mask in legal])
