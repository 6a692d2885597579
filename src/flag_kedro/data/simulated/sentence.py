"""What a language of the simulated market says, and how hard it is to read."""

from typing import Literal, NamedTuple

Kind = Literal["good", "bad"]
PLAIN, REVERSED, RIVAL, CONFLICT = 1, 2, 3, 4
"""Levels of difficulty: said plainly; turned round (a denial, a loss that shrinks); of another company, so that it
moves nothing; one of two headlines that disagree. 0 is what is neither good nor bad for the company, or old."""


class Sentence(NamedTuple):
    """A headline and its level."""

    text: str
    level: int


def opposite(kind: Kind) -> Kind:
    """Bad for good, good for bad."""
    return "bad" if kind == "good" else "good"
