"""Headlines recombined from clause parts, each combination in one window only.

A sentence is a company, a verb phrase, an object and a tail. The verb phrase alone says whether it is good, bad or
neutral; all kinds share objects and tails. The sum of the three indices modulo 3 is the window that a combination
belongs to, so every part occurs in every window, and no sentence in two.
"""

from collections.abc import Sequence

import numpy as np

from flag_kedro.data.simulated.division import NUM_WINDOWS

VERBS = {
    "good": (
        "raises",
        "lifts",
        "boosts",
        "strengthens",
        "restores",
        "secures more",
        "posts record",
        "reports a surge in",
        "announces growth in",
        "sees a jump in",
        "beats forecasts for",
        "exceeds targets for",
    ),
    "bad": (
        "cuts",
        "lowers",
        "shrinks",
        "weakens",
        "loses",
        "warns of weaker",
        "posts shrinking",
        "reports a slump in",
        "announces a decline in",
        "sees a plunge in",
        "misses forecasts for",
        "falls short of targets for",
    ),
    "neutral": (
        "reviews",
        "describes",
        "explains",
        "compares",
        "audits",
        "discusses",
        "publishes figures on",
        "hosts a briefing on",
        "answers questions on",
        "schedules a talk on",
        "names a head of",
        "updates its page on",
    ),
}
OBJECTS = (
    "export orders",
    "premium sales",
    "service revenue",
    "retail demand",
    "operating margins",
    "quarterly output",
    "contract income",
    "customer numbers",
    "plant capacity",
    "licence fees",
    "cash flow",
    "order books",
)
TAILS = (
    "in Norway",
    "in Brazil",
    "in Texas",
    "in Japan",
    "in Spain",
    "in Canada",
    "for the half year",
    "for the third quarter",
    "for the full year",
    "at its main site",
    "across all regions",
    "after a review",
    "under a new plan",
    "in its core unit",
    "with a partner",
    "at the annual meeting",
    "since spring",
    "on short notice",
)
"""As many as make each remainder modulo 3 equally frequent."""


def recombine(kind: str, company: str, window: int, rng: np.random.Generator) -> str:
    """Draw a sentence of `kind` (good, bad or neutral), all of the window's combinations being as likely.

    Args:
        kind: key of `VERBS`.
        company: whom it is about.
        window: 0 to 2, see `division.window_of_sessions`.
        rng: of the draw.
    """
    return combine(VERBS[kind], OBJECTS, company, window, rng)


def combine(verbs: Sequence[str], nouns: Sequence[str], company: str, window: int, rng: np.random.Generator) -> str:
    """Draw a verb phrase, an object and one of `TAILS` whose indices sum to the window modulo 3."""
    verb, noun = int(rng.integers(len(verbs))), int(rng.integers(len(nouns)))
    remainder = (window - verb - noun) % NUM_WINDOWS
    tail = remainder + NUM_WINDOWS * int(rng.integers(len(TAILS) // NUM_WINDOWS))
    return f"{company} {verbs[verb]} {nouns[noun]} {TAILS[tail]}"
