"""Headlines that announce how much a symbol's price will move, not where to, and what they do to its noise.

A headline of turbulence multiplies the noise's standard deviation by `volatility_effect` in the session after the first
decision that may use it; one that a matter is settled divides it by as much. In each further session the factor's
logarithm is `volatility_decay` of the one before, until the next such headline. Sentences are recombined as in
`clauses.py`: each belongs to one window, and each part occurs in all.

Shape legend: T = sessions, warm-up included.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flag_kedro.data.simulated.articles import Article
from flag_kedro.data.simulated.clauses import combine
from flag_kedro.data.simulated.config import MarketRule

Floats = NDArray[np.float64]
TURBULENT, SETTLED = "turbulent", "settled"
STATES = {TURBULENT: 1.0, SETTLED: -1.0}
PHRASES = {
    TURBULENT: (
        "awaits a verdict on",
        "faces a hearing on",
        "prepares for a ruling on",
        "is uncertain about",
        "sees no end to",
        "expects a surprise vote on",
        "postpones a decision on",
        "breaks off talks on",
        "leaves open the fate of",
        "cannot say what becomes of",
        "goes to arbitration over",
        "gives no guidance on",
    ),
    SETTLED: (
        "settles",
        "closes the file on",
        "signs a final accord on",
        "has certainty about",
        "sees an end to",
        "completes the vote on",
        "confirms the decision on",
        "concludes talks on",
        "makes binding the terms of",
        "has nothing to add on",
        "drops arbitration over",
        "keeps its guidance on",
    ),
}
"""Verb phrases, which alone tell the two apart."""
MATTERS = (
    "the patent case",
    "the licence renewal",
    "the merger review",
    "the tax inquiry",
    "the wage dispute",
    "the leadership question",
    "the refinancing",
    "the product trial",
    "the tariff question",
    "the site permit",
    "the supply contract",
    "the accounting review",
)


def announce(kind: str, company: str, window: int, rng: np.random.Generator) -> str:
    """Draw a headline.

    Args:
        kind: `TURBULENT` or `SETTLED`.
        company: whom it is about.
        window: 0 to 2, see `division.window_of_sessions`.
        rng: of the draw.
    """
    return combine(PHRASES[kind], MATTERS, company, window, rng)


def plant_volatility(articles: Sequence[Article], rule: MarketRule, num_sessions: int) -> dict[str, Floats]:
    """What headlines make of a symbol's noise.

    Returns:
        `turbulence`, the state that each close knows: 1 with a new headline of turbulence, -1 with one that it is over,
        decaying since, 0 before the first, [T]; `volatility`, what multiplies each session's noise, by the state at the
        close before, [T].
    """
    said = {article.known: STATES[article.kind] for article in articles if article.kind in STATES}
    turbulence, state = np.empty(num_sessions), 0.0
    for day in range(num_sessions):
        state = said.get(day, state * rule.volatility_decay)
        turbulence[day] = state
    before = np.concatenate([[0.0], turbulence[:-1]])
    return {"turbulence": turbulence, "volatility": rule.volatility_effect**before}
