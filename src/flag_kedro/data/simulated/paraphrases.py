"""Headlines whose words are new in each window, so that only who knows the language can read them.

`paraphrases.csv` holds pairs of predicates, one good and one bad for a company, that share their nouns. Each pair
belongs to one window, and the words that tell its two apart occur in no other window, or as often on either side. What
counts of words can learn in the training window is worth nothing later; what a pretrained model knows of English is.

Level 1 says it plainly. Level 2 turns it round: a denial, a loss that shrinks, a plan that is dropped. Level 4 are two
headlines that disagree, each with a word for its size.
"""

import csv
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np

from flag_kedro.data.simulated.sentence import CONFLICT, PLAIN, REVERSED, Kind, Sentence, opposite

TABLES = ("paraphrases.csv", "paraphrases_neutral.csv")
WINDOWS = ("train", "validation", "test", "second")
"""Names of windows 0 to 2 in the tables, and of a second set of wordings for the test window."""
TEST, SECOND = 2, 3
LARGE = ("sharply", "markedly", "substantially", "considerably", "dramatically")
SMALL = ("slightly", "a touch", "marginally", "a little", "fractionally")
"""How much, for either direction and in all windows."""
LARGE_SIZE, SMALL_SIZE = 1.5, 0.5
"""Mean sizes of the two headlines of a conflict; their difference is 1, the mean size of any other headline."""


@dataclass(frozen=True)
class Pair:
    """Two predicates that follow the name of a company."""

    window: int
    """0 to 2, see `division.window_of_sessions`; or `SECOND`."""
    level: int
    """1 plain, 2 reversed."""
    scales: bool
    """Whether an adverb of degree can follow."""
    good: str
    bad: str

    def say(self, kind: Kind) -> str:
        """The good or the bad one."""
        return self.good if kind == "good" else self.bad


@lru_cache
def load_pairs() -> tuple[Pair, ...]:
    """All pairs of the package, in the order of its table."""
    return tuple(
        Pair(WINDOWS.index(row["window"]), int(row["level"]), row["scales"] == "yes", row["good"], row["bad"])
        for row in _read("paraphrases.csv")
    )


@lru_cache
def load_neutral() -> tuple[tuple[str, ...], ...]:
    """Predicates that are neither good nor bad, by window; the second set has those of the test window."""
    rows = _read("paraphrases_neutral.csv")
    texts = [tuple(row["neutral"] for row in rows if row["window"] == window) for window in WINDOWS[:SECOND]]
    return (*texts, texts[TEST])


def paraphrase(kind: str, company: str, window: int, rng: np.random.Generator, *, reversal_share: float) -> Sentence:
    """Draw a sentence of `kind` (good, bad or neutral), all of the window's wordings of a level being as likely.

    Args:
        kind: good, bad or neutral.
        company: whom it is about.
        window: of `WINDOWS`.
        rng: of the draw.
        reversal_share: probability of level 2 where it is good or bad.
    """
    if kind == "neutral":
        predicates = load_neutral()[window]
        return Sentence(f"{company} {predicates[rng.integers(len(predicates))]}", 0)
    level = REVERSED if rng.random() < reversal_share else PLAIN
    pairs = _pairs_of(window, level)
    pair = pairs[rng.integers(len(pairs))]
    return Sentence(f"{company} {pair.say('good' if kind == 'good' else 'bad')}", level)


def contradict(company: str, window: int, larger: Kind, rng: np.random.Generator) -> tuple[str, str]:
    """Two headlines that disagree, of different pairs: first the one that outweighs the other, then that one.

    Args:
        company: whom they are about.
        window: of `WINDOWS`.
        larger: good or bad, whichever weighs more.
        rng: of the draw.
    """
    pairs = _scaling_pairs(window)
    one, other = (pairs[place] for place in rng.choice(len(pairs), size=2, replace=False))
    much, little = LARGE[rng.integers(len(LARGE))], SMALL[rng.integers(len(SMALL))]
    return f"{company} {one.say(larger)} {much}", f"{company} {other.say(opposite(larger))} {little}"


def restate(
    company: str, window: int, kind: Kind, level: int, num_reports: int, rng: np.random.Generator
) -> tuple[str, ...]:
    """What other outlets write of an event: headlines of its level and side, each of another pair.

    They are drawn without regard to the event's own headline, whose pair can be among them: in a test window, of 44
    plain and 24 reversed pairs, one event in eight has a report of its own pair.

    Args:
        company: whom they are about.
        window: of `WINDOWS`.
        kind: good or bad.
        level: of the event; of a conflict, the larger side's headlines.
        num_reports: how many.
        rng: of the draw.
    """
    pairs = _scaling_pairs(window) if level == CONFLICT else _pairs_of(window, level)
    chosen = [pairs[place] for place in rng.choice(len(pairs), size=num_reports, replace=False)]
    endings = [f" {LARGE[rng.integers(len(LARGE))]}" if level == CONFLICT else "" for _ in chosen]
    return tuple(f"{company} {pair.say(kind)}{ending}" for pair, ending in zip(chosen, endings, strict=True))


@lru_cache
def _pairs_of(window: int, level: int) -> tuple[Pair, ...]:
    return tuple(pair for pair in load_pairs() if (pair.window, pair.level) == (window, level))


@lru_cache
def _scaling_pairs(window: int) -> tuple[Pair, ...]:
    return tuple(pair for pair in load_pairs() if pair.window == window and pair.scales)


def wordings_hash() -> str:
    """SHA-256 of both tables."""
    tables = [(files("flag_kedro.data.simulated") / name).read_bytes() for name in TABLES]
    return hashlib.sha256(b"".join(tables)).hexdigest()


def _read(name: str) -> list[dict[str, str]]:
    table = files("flag_kedro.data.simulated") / name
    return list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
