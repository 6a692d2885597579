"""What articles of each kind say, in each language of the simulated market."""

from collections.abc import Callable

import numpy as np

from flag_kedro.data.headlines import COMPANIES, fill_template
from flag_kedro.data.simulated.clauses import recombine
from flag_kedro.data.simulated.config import Language

Write = Callable[[str, str, int, np.random.Generator], str]
"""A sentence of a kind (good, bad or neutral) about a company, in a window (`division.window_of_sessions`)."""
RIVAL_ENDINGS = ("{company} is a competitor", "{company} declines to comment", "{company} was not involved")
STALE_MARKS = ("Recap: ", "Looking back: ", "As reported last week, ", "As announced earlier, ")


def _from_template(kind: str, company: str, window: int, rng: np.random.Generator) -> str:
    """The same sentences in all windows."""
    return fill_template(kind, company, rng)


LANGUAGES: dict[Language, Write] = {"templates": _from_template, "recombined": recombine}
"""Another language is one more function here, and its name in `config.Language`."""


def write_rival(write: Write, symbol: str, window: int, rng: np.random.Generator) -> str:
    """What is good or bad for another company, named first; the symbol's own company stands aside."""
    others = [company for other, company in COMPANIES.items() if other != symbol]
    sentence = write(_good_or_bad(rng), others[rng.integers(len(others))], window, rng)
    ending = RIVAL_ENDINGS[rng.integers(len(RIVAL_ENDINGS))]
    return f"{sentence}; {ending.format(company=COMPANIES[symbol])}"


def write_ambiguous(write: Write, symbol: str, window: int, rng: np.random.Generator) -> str:
    """Something good and something bad in one sentence, in either order."""
    first = _good_or_bad(rng)
    second = "bad" if first == "good" else "good"
    return f"{write(first, COMPANIES[symbol], window, rng)}, while {write(second, 'it', window, rng)}"


def tell_again(headline: str, rng: np.random.Generator) -> str:
    """An earlier headline, marked as old."""
    return STALE_MARKS[rng.integers(len(STALE_MARKS))] + headline


def _good_or_bad(rng: np.random.Generator) -> str:
    return "good" if rng.random() < 0.5 else "bad"
