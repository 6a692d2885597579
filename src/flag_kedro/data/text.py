"""Cleaning of text from outside for a prompt: one visible line without markup that cannot pass for the prompt's own.

Everything but rare cuts is done by polars, whose regular expressions take linear time and know one version of
Unicode, so that a text comes out the same under every Python. HTML is cut by expressions for that reason too: what
html.parser makes of broken markup changes with Python's patch releases.
"""

import re
from collections.abc import Callable
from html import unescape

import ftfy
import polars as pl

from flag_kedro.data.lookalikes import ascii_of_lookalikes

SECTIONS = ("task", "actions", "market", "news", "account", "decision", "system", "user", "assistant", "human")
MAX_CHARS = 4000
"""A text is cut here before anything else is done to it."""
MAX_ROUNDS = 8
"""Layers of markup within markup that are taken off; what has more is hostile and loses its brackets."""

_SPACE = r"[[\s\x1c-\x1f]&&[^ ]]"
"""White space other than a blank."""
_INVISIBLE = (
    r"[\p{C}\P{Age:14.0}\x{034f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}\x{2800}\x{3164}\x{fe00}-\x{fe0f}"
    r"\x{ffa0}\x{fffc}\x{1d173}-\x{1d17a}\x{e0100}-\x{e01ef}]"
)
"""Control, format, private and unassigned characters, those too new for some Pythons to know, and what else takes no
ink: joiners, fillers and variation selectors."""
_ELLIPSIS, _PLACEHOLDER = "…", "\ue000"
"""NFKC would make three dots of the sign of a cut; a private character, of which none is left by then, stands in."""

_ATTRIBUTES = r"""(?:\s[^<>=]*=(?:[^<>"']|"[^"]*"|'[^']*')*|\s[^<>=]*=[^<>]*|\s*/?)"""
_INLINE = rf"(?i)</?(?:abbr|a|big|b|code|del|em|font|ins|i|mark|q|small|span|strong|sub|sup|s|tt|u|wbr){_ATTRIBUTES}>"
_HIDDEN = r"(?is)<script\b[^>]*>.*?(?:</script\s*>|$)|<style\b[^>]*>.*?(?:</style\s*>|$)|<!--.*?(?:-->|$)"
_TAG = (
    r"(?i)<!\[CDATA\[|\]\]>|<\|[^|<>]*\|>"
    rf"|<[\p{{L}}_][\w:.-]*{_ATTRIBUTES}>|</[\p{{L}}_][^<>]*>|<[!?][^<>]*>"
)
_SURE_TAG = (
    r"<<\s*/?\s*\w+\s*>>"
    r"|<(?:P|BR|HR|DIV|H[1-6]|UL|OL|LI|DL|DT|DD|TABLE|THEAD|TBODY|TFOOT|TR|TH|TD|COL|IMG|PRE|HTML|HEAD|BODY|TITLE|META"
    r"|LINK|STYLE|FORM|INPUT|LABEL|VIDEO|AUDIO|ASIDE|MAIN|NAV|INST|SYS|BOS|EOS|UNK|PAD)>"
)
"""Tags and marks that would pass for the tickers below."""
_CODE = r"<([A-Z]{1,5}(?:\.[A-Z]{1,2})?)>"
"""A ticker as Reuters writes it, which is no tag: <AAPL.O>."""
_NUMBER = r"(\p{Decimal_Number})(\p{Other_Number})"
"""A fraction or a power behind a digit, of which NFKC would make one number: 5½, 10²."""
_AMPERSAND = r"(?i)&(?:(?:amp|#0*38|#x0*26);)+"
_ENTITY = r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});"
_TURN = (
    r"(?i:\[\s*/?\s*(?:inst|sys|system_prompt|available_tools|tool_calls|tool_results)\s*\])"
    r"|(?i:#{2,8}\s*(?:instructions?|responses?|inputs?|outputs?|prompt|system|user|assistant|human)\b\s*:?)"
    r"|(?:Human|Assistant|\b(?:HUMAN|ASSISTANT|USER|SYSTEM))\s*:"
    r"|(?i:\baccount\s*[:=]\s*)((?i:long|short)\s+(?:\d|over)|(?i:flat)\s*(?:$|[.,;:!?|()])|\{)"
)
"""What separates the turns of a chat, and an account line amid a text; a group is what may stay of a match."""

_GAP = r"[^\p{L}\p{N}]*"
_LOOKS_LIKE = {"a": "a@4", "e": "e3", "i": "il1", "o": "o0", "s": "s$5", "t": "t7"}
_NAMES = "|".join(_GAP.join(f"[{_LOOKS_LIKE.get(char, char)}]" for char in name) for name in SECTIONS)
_SECTION = rf"(?i)^(?:(?:{_GAP}\d{{1,3}}\s*[.)])?{_GAP}(?:{_NAMES})(?:{_GAP}[:=|]|\s*[-–]+(?:\s|$)|\s*—))+\s*"
_UNCLEAN = "|".join([r"[^\x20-\x7e]|[<&\[]| {2}|^ | $", f"(?:{_TURN})", _SECTION.replace(r"\p{L}\p{N}", "a-zA-Z0-9")])
"""Whether a text needs any of this; most do not."""


def clean_texts(texts: pl.Series) -> pl.Series:
    """Each text as one plain line that cannot pass for a part of the prompt; cleaning it again changes nothing.

    UTF-8 read as another encoding is mended; NFKC, but for the ellipsis; control, bidi and zero-width characters
    gone; HTML's tags, comments, scripts, styles and entities taken out; white space collapsed; marks of chat turns
    removed, also when nested; names of the prompt's sections (`Account:`, `Market -`) removed from the beginning, also
    when repeated or spelled with look-alikes.

    Args:
        texts: any strings; of each the first `MAX_CHARS` characters are read.
    """
    texts = texts.str.head(MAX_CHARS)  # a copy, which scatter may change in place
    rows = texts.str.contains(_UNCLEAN).arg_true()
    num_rounds = 0
    while len(rows):
        before = texts.gather(rows)
        if num_rounds == MAX_ROUNDS:
            before = before.str.replace_all(r"[<>\[\]&|#]", " ")
        after = _take_off_a_layer(before)
        texts = texts.scatter(rows, after)
        rows = rows.filter(after != before)
        num_rounds += 1
    return texts


def cut_text(text: pl.Expr, num_chars: pl.Expr) -> pl.Expr:
    """`text`, or where it is longer than `num_chars` its beginning with an ellipsis, no longer than that."""
    beginning = text.str.head(num_chars - 1).str.strip_chars_end(" ")
    return pl.when(text.str.len_chars() > num_chars).then(beginning + _ELLIPSIS).otherwise(text)


def _take_off_a_layer(texts: pl.Series) -> pl.Series:
    """`texts` after every rule once."""
    texts = _unescape(_normalise(texts).str.replace_all(_AMPERSAND, "&"))
    texts = texts.str.replace_all(_HIDDEN, " ").str.replace_all(_INLINE, "").str.replace_all(_SURE_TAG, " ")
    texts = texts.str.replace_all(rf"{_CODE}\b", " ${1} ").str.replace_all(_CODE, " ${1}")
    texts = texts.str.replace_all(_TAG, " ")
    texts = _cut_turns(_cut_sections(_collapse_spaces(texts)))
    return _collapse_spaces(texts)


def _collapse_spaces(texts: pl.Series) -> pl.Series:
    """`texts` with one blank for each white space, and none at their ends."""
    return texts.str.replace_all(rf"{_SPACE}\s*|\s{{2,}}", " ").str.strip_chars(" ")


def _normalise(texts: pl.Series) -> pl.Series:
    """Visible characters in their NFKC form, after text that was decoded wrongly (`â€™`) has been mended."""
    texts = _where(_has_other_than_ascii(texts), texts, _mend)
    texts = texts.str.replace_all(_SPACE, " ").str.replace_all(_INVISIBLE, "")
    return _where(_has_other_than_ascii(texts), texts, _nfkc)


def _mend(texts: pl.Series) -> pl.Series:
    return pl.Series([ftfy.fix_encoding(text) for text in texts], dtype=pl.String)


def _nfkc(texts: pl.Series) -> pl.Series:
    """`texts` in NFKC, but for the ellipsis, and no number made of two."""
    texts = texts.str.replace_all(_NUMBER, "${1} ${2}").str.replace_all(_ELLIPSIS, _PLACEHOLDER, literal=True)
    texts = texts.str.normalize("NFKC")
    return texts.str.replace_all(_PLACEHOLDER, _ELLIPSIS, literal=True).str.head(MAX_CHARS)


def _unescape(texts: pl.Series) -> pl.Series:
    """`texts` with HTML's entities replaced by what they stand for; those without a semicolon stay (`R&D`)."""

    def read(texts: pl.Series) -> pl.Series:
        return pl.Series([re.sub(_ENTITY, lambda match: unescape(match[0]), text) for text in texts])

    return _where(texts.str.contains(_ENTITY), texts, read)


def _cut_sections(texts: pl.Series) -> pl.Series:
    """`texts` without names of sections at their beginning, matched on their skeletons."""
    num_chars = _skeleton(texts).str.extract(f"({_SECTION})").fill_null("").str.len_chars()
    return texts.to_frame("text").select(pl.col("text").str.slice(num_chars)).to_series()


def _cut_turns(texts: pl.Series) -> pl.Series:
    """`texts` without marks of chat turns, matched on their skeletons."""

    def cut(texts: pl.Series) -> pl.Series:
        without_turns = []
        for text, skeleton in zip(texts, _skeleton(texts), strict=True):
            parts, last = [], 0
            for match in re.finditer(_TURN, skeleton):
                parts.append(text[last : match.start()])
                last = match.start(1) if match[1] else match.end()
            without_turns.append(" ".join([*parts, text[last:]]))
        return pl.Series(without_turns)

    return _where(_skeleton(texts).str.contains(_TURN), texts, cut)


def _skeleton(texts: pl.Series) -> pl.Series:
    """What `texts` look like in ASCII letters, character by character."""
    return _where(_has_other_than_ascii(texts), texts, lambda texts: texts.str.replace_many(ascii_of_lookalikes()))


def _has_other_than_ascii(texts: pl.Series) -> pl.Series:
    return texts.str.len_bytes() != texts.str.len_chars()


def _where(chosen: pl.Series, texts: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """`texts` with the `chosen` ones changed, at no cost where there are none."""
    rows = chosen.arg_true()
    return texts.clone().scatter(rows, change(texts.gather(rows))) if len(rows) else texts  # scatter works in place
