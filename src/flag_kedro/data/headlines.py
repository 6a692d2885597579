"""Headline templates of the simulated market, written for this project.

Good and bad ones move the simulated price (see `simulated/market.py`), neutral ones never do. Every slot is
filled at random; there are few enough sentences that most recur within a year (`simulated/clauses.py` has others).
"""

import numpy as np

COMPANIES = {
    "ALDR": "Alder Foods",
    "BRIX": "Brixton Steel",
    "CORV": "Corvid Software",
    "DUNE": "Dune Energy",
    "ELMS": "Elms Pharma",
    "FJRD": "Fjord Shipping",
    "GLNT": "Glint Optics",
    "HVEN": "Haven Homes",
    "IRIS": "Iris Media",
    "JUNO": "Juno Motors",
    "KELP": "Kelp Organics",
    "LYNX": "Lynx Airlines",
}

TEMPLATES = {
    "good": (
        "{company} raises its {period} guidance on strong {line} orders",
        "{company} beats {period} profit estimates by a wide margin",
        "{company} wins a record {line} contract in {place}",
        "Regulator in {place} approves the new {line} of {company}",
        "{company} lifts its dividend and announces a buyback",
        "Analysts upgrade {company} after a surge in {line} demand",
    ),
    "bad": (
        "{company} cuts its {period} outlook on weak {line} orders",
        "{company} misses {period} profit estimates by a wide margin",
        "{company} loses a key {line} contract in {place}",
        "Regulator in {place} opens a probe into the {line} of {company}",
        "{company} suspends its dividend and plans a writedown",
        "Analysts downgrade {company} after a slump in {line} demand",
    ),
    "neutral": (
        "{company} will present its {line} at a fair in {place}",
        "{company} names a new head of its {line} division",
        "{company} moves its {place} office to a larger building",
        "{company} publishes the agenda of its annual meeting",
        "{company} schedules its {period} results",
        "A profile of {company}: forty years of {line}",
    ),
}
SLOTS = {
    "line": ("core", "export", "service", "premium", "retail"),
    "place": ("Norway", "Brazil", "Texas", "Japan", "Spain"),
    "period": ("first quarter", "half year", "third quarter", "full year"),
}


def write_headline(kind: str, symbol: str, rng: np.random.Generator) -> str:
    """Draw a headline of `kind` (good, bad or neutral) about `symbol`'s company."""
    return fill_template(kind, COMPANIES[symbol], rng)


def fill_template(kind: str, company: str, rng: np.random.Generator) -> str:
    """Draw a headline of `kind` about a company of any name."""
    template = TEMPLATES[kind][rng.integers(len(TEMPLATES[kind]))]
    slots = {name: words[rng.integers(len(words))] for name, words in SLOTS.items()}
    return template.format(company=company, **slots)
