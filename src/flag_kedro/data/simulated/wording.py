"""What articles of each kind say, in each language of the simulated market."""

from collections.abc import Callable
from functools import partial

import numpy as np

from flag_kedro.data.headlines import COMPANIES, fill_template
from flag_kedro.data.simulated.clauses import recombine
from flag_kedro.data.simulated.config import MarketRule
from flag_kedro.data.simulated.paraphrases import paraphrase
from flag_kedro.data.simulated.sentence import PLAIN, RIVAL, Kind, Sentence, opposite

Write = Callable[[str, str, int, np.random.Generator], Sentence]
"""A sentence of a kind (good, bad or neutral) about a company, in a window (`division.window_of_sessions`)."""
RIVAL_ENDINGS = ("{company} is a competitor", "{company} declines to comment", "{company} was not involved")
STALE_MARKS = ("Recap: ", "Looking back: ", "As reported last week, ", "As announced earlier, ")


def speak(rule: MarketRule) -> Write:
    """What writes the sentences of the rule's language."""
    match rule.language:
        case "templates":
            return _from_template
        case "recombined":
            return _recombined
        case "paraphrases":
            return partial(paraphrase, reversal_share=rule.reversal_share)


def _from_template(kind: str, company: str, window: int, rng: np.random.Generator) -> Sentence:
    """The same sentences in all windows."""
    return Sentence(fill_template(kind, company, rng), _level(kind))


def _recombined(kind: str, company: str, window: int, rng: np.random.Generator) -> Sentence:
    return Sentence(recombine(kind, company, window, rng), _level(kind))


def _level(kind: str) -> int:
    return 0 if kind == "neutral" else PLAIN


def write_rival(write: Write, symbol: str, window: int, rng: np.random.Generator) -> Sentence:
    """What is good or bad for another company, named first; the symbol's own company stands aside."""
    others = [company for other, company in COMPANIES.items() if other != symbol]
    text = write(draw_kind(rng), others[rng.integers(len(others))], window, rng).text
    ending = RIVAL_ENDINGS[rng.integers(len(RIVAL_ENDINGS))]
    return Sentence(f"{text}; {ending.format(company=COMPANIES[symbol])}", RIVAL)


def write_ambiguous(write: Write, symbol: str, window: int, rng: np.random.Generator) -> Sentence:
    """Something good and something bad in one sentence, in either order."""
    kind = draw_kind(rng)
    first = write(kind, COMPANIES[symbol], window, rng).text
    second = write(opposite(kind), "it", window, rng).text
    return Sentence(f"{first}, while {second}", 0)


def tell_again(headline: str, rng: np.random.Generator) -> str:
    """An earlier headline, marked as old."""
    return STALE_MARKS[rng.integers(len(STALE_MARKS))] + headline


def draw_kind(rng: np.random.Generator) -> Kind:
    """Good or bad, with the same chance."""
    return "good" if rng.random() < 0.5 else "bad"
