"""Which sessions a language model may have read about while it learned to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from flag_kedro.names import TINY
from flag_kedro.policy.origin import BackboneOrigin

KNOWN_CUTOFFS: Mapping[str, tuple[date, str]] = {
    "HuggingFaceTB/SmolLM2-": (date(2024, 11, 30), "released in November 2024, an upper bound of its training text"),
    "HuggingFaceTB/SmolLM-": (date(2024, 7, 31), "released in July 2024, an upper bound of its training text"),
    "openai-community/gpt2": (date(2019, 2, 28), "released in February 2019, an upper bound of its training text"),
    "EleutherAI/pythia-": (date(2020, 12, 31), "learned from the Pile, published in December 2020"),
    "mistralai/Mistral-7B-v0.1": (date(2023, 9, 30), "released in September 2023, an upper bound of its training text"),
    "Qwen/Qwen2.5-0.5B": (date(2024, 9, 30), "released in September 2024, an upper bound of its training text"),
    "Qwen/Qwen2.5-1.5B": (date(2024, 9, 30), "released in September 2024, an upper bound of its training text"),
    "meta-llama/Llama-3.1-": (date(2023, 12, 31), "knowledge cutoff December 2023 by its model card"),
    "meta-llama/Llama-3.2-": (date(2023, 12, 31), "knowledge cutoff December 2023 by its model card"),
}
"""By how a hub id begins: the last day that its training text can be of, and why. Later training on instructions or
preferences may know more than the model card says."""

Verdict = Literal["seen", "partly seen", "unseen", "unknown"]


@dataclass(frozen=True)
class Cutoff:
    """The last day of a model's training text."""

    day: date | None
    """None where it is not known, or where there was nothing to read (`unread`)."""
    unread: bool
    """Whether no training text can have told of this market at all."""
    reason: str


def find_cutoff(backbone: str, given: date | None, *, simulated: bool, origin: BackboneOrigin | None = None) -> Cutoff:
    """The cutoff of a backbone by its name.

    Args:
        backbone: `tiny`, `smollm2`, a hub id or the name of a local folder or file.
        given: `contamination.model_cutoff`, which wins.
        simulated: whether the market was made up, so that nobody has written about it.
        origin: where it came from, which tells what model it is. What a GGUF file calls its model is believed, and said
            to be.

    Returns:
        The cutoff and why; its day is None for a model that is not known, all of whose sessions count as seen.
    """
    if simulated:
        return Cutoff(None, True, "the market is simulated: no text tells of it")
    if backbone == TINY:
        return Cutoff(None, True, "random weights; its tokenizer knows the training window's text and nothing else")
    if origin is not None and origin.source == "built here":
        return Cutoff(None, True, origin.name)
    if given is not None:
        return Cutoff(given, False, "given as contamination.model_cutoff")
    name, claimed = (backbone, None) if origin is None else (origin.model or backbone, origin.claimed)
    for prefix, (day, reason) in KNOWN_CUTOFFS.items():
        if name.startswith(prefix):
            return Cutoff(day, False, reason)
        if claimed is not None and _as_hub_name(claimed).startswith(_as_hub_name(prefix.partition("/")[2])):
            return Cutoff(day, False, f"{reason}; which model it is says its file alone, which calls it {claimed!r}")
    return Cutoff(None, False, "unknown, counts as seen; set contamination.model_cutoff if it is known")


def _as_hub_name(name: str) -> str:
    """A model's name as hub ids write it, without case."""
    return name.replace(" ", "-").lower()


@dataclass(frozen=True)
class WindowKnowledge:
    """How much of a window a model may have read about; saved as JSON in this order."""

    first: str
    """ISO date."""
    last: str
    num_sessions: int
    """Of all symbols together."""
    share_seen: float | None
    """Share of sessions up to the cutoff; None where it is not known."""
    verdict: Verdict


def compare_windows(cutoff: Cutoff, sessions: Mapping[str, Sequence[date]]) -> dict[str, WindowKnowledge]:
    """For each window its first and last session, the share of them up to the cutoff, and a verdict.

    Args:
        cutoff: of the model.
        sessions: session dates of each window, all symbols together.
    """
    knowledge = {}
    for name, days in sessions.items():
        share = 0.0 if cutoff.unread else None
        if cutoff.day is not None:
            share = sum(day <= cutoff.day for day in days) / len(days)
        knowledge[name] = WindowKnowledge(
            min(days).isoformat(), max(days).isoformat(), len(days), share, _verdict(share)
        )
    return knowledge


def _verdict(share: float | None) -> Verdict:
    if share is None:
        return "unknown"
    return "unseen" if share == 0.0 else "seen" if share == 1.0 else "partly seen"
