"""Characters that pass for ASCII to the eye: Unicode's table of confusables (UTS 39), and what follows from it."""

import json
import unicodedata
from functools import cache
from importlib.resources import files

import confusable_homoglyphs

SMALL_CAPITAL = "LATIN LETTER SMALL CAPITAL "
OTHERS = {
    "зпцηωμςɛƨȷү": "znunwucesju",
    "׃፡ⵆ": ":::",
    "∣ǀ￨│": "||||",
}
"""What the table lacks, or has for another character than the one that a prompt's section would be forged with."""


@cache
def ascii_of_lookalikes() -> dict[str, str]:
    """One ASCII character for each that looks like it, whatever its script.

    Of Unicode's table, as the package confusable-homoglyphs carries it, those that look like one ASCII character; small
    letters whose capitals do; small capitals by their names; Latin letters with marks look like their base.
    """
    table = json.loads((files(confusable_homoglyphs) / "confusables.json").read_text(encoding="utf-8"))
    alike = {
        char: other["c"]
        for char, others in table.items()
        for other in others
        if len(char) == len(other["c"]) == 1 and not char.isascii() and other["c"].isascii()
    }
    small = {char.lower(): plain.lower() for char, plain in alike.items() if len(char.lower()) == 1}
    marked = {char: _base(char) for char in map(chr, [*range(0x00C0, 0x0250), *range(0x1E00, 0x1F00)])}
    others = {char: plain for pair in OTHERS.items() for char, plain in zip(*pair, strict=True)}
    return small | alike | _small_capitals() | {char: base for char, base in marked.items() if base} | others


def _base(char: str) -> str:
    """The ASCII letter below a letter's marks, empty where there is none."""
    base = unicodedata.normalize("NFD", char)[0]
    return base if base != char and base.isascii() else ""


def _small_capitals() -> dict[str, str]:
    names = {chr(code): unicodedata.name(chr(code), "") for code in range(0x0250, 0xAB70)}
    letters = {char: name.removeprefix(SMALL_CAPITAL) for char, name in names.items() if name.startswith(SMALL_CAPITAL)}
    return {char: letter.lower() for char, letter in letters.items() if len(letter) == 1}
