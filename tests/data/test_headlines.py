"""The templates: what a headline of each kind says, and that the kinds cannot be mistaken for each other."""

import re
from string import Formatter

import numpy as np
import pytest

from flag_kedro.data.headlines import COMPANIES, SLOTS, TEMPLATES, write_headline

GOOD_OR_BAD_WORDS = re.compile(r"raise|beat|win|approve|lift|upgrade|cut|miss|lose|probe|suspend|downgrade")


def draw(kind: str, num: int = 400) -> set[str]:
    rng = np.random.default_rng(7)
    return {write_headline(kind, "ALDR", rng) for _ in range(num)}


@pytest.mark.parametrize("kind", list(TEMPLATES))
def test_every_headline_names_the_company_and_leaves_no_slot_open(kind):
    for headline in draw(kind):
        assert "Alder Foods" in headline
        assert "{" not in headline


def test_no_headline_belongs_to_two_kinds():
    good, bad, neutral = (draw(kind) for kind in ("good", "bad", "neutral"))
    assert not good & bad
    assert not (good | bad) & neutral


def test_neutral_headlines_use_none_of_the_words_of_the_others():
    assert not [headline for headline in draw("neutral") if GOOD_OR_BAD_WORDS.search(headline)]
    assert all(GOOD_OR_BAD_WORDS.search(headline) for headline in draw("good") | draw("bad"))


def test_every_template_and_every_slot_word_is_drawn():
    for kind, templates in TEMPLATES.items():
        headlines = " ".join(draw(kind))
        slots = {name for template in templates for _, name, _, _ in Formatter().parse(template) if name}
        assert all(word in headlines for name in slots - {"company"} for word in SLOTS[name])


def test_same_generator_state_writes_the_same_headline():
    first, second = (write_headline("bad", "LYNX", np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_twelve_companies_have_names_of_their_own():
    assert len(COMPANIES) == 12
    assert len(set(COMPANIES.values())) == 12
