"""News as text a prompt can trust: cleaned, cut to a budget, newest first."""

import re
import unicodedata

SECTIONS = ("task", "actions", "market", "news", "account", "decision", "system", "user", "assistant")
_SECTION_START = re.compile(rf"^[\W_]*(?:{'|'.join(SECTIONS)})[\W_]*[:∶꞉]", re.IGNORECASE)
_CHAT_TURN = re.compile(r"<\|[^|<>]*\|>|\[/?INST\]|<</?SYS>>|</?\w+>", re.IGNORECASE)
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Zero-width characters outside the categories C*: joiners, fillers and variation selectors."""
NO_NEWS = "none"


def clean_text(text: str, max_chars: int) -> str:
    """One line of plain text that cannot pass for a part of the prompt.

    NFKC; control, bidi and zero-width characters removed; white space folded; chat-turn markers and
    leading section names (`Account:`) removed, also when nested; cut at `max_chars` with an ellipsis.
    """
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    text = "".join(
        " " if char.isspace() else char for char in text if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    while _CHAT_TURN.search(text):
        text = _CHAT_TURN.sub(" ", text)
    text = " ".join(text.split())
    while match := _SECTION_START.match(text):
        text = text[match.end() :].strip()
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"


def write_digest(headlines: list[str], *, max_chars: int, article_chars: int) -> tuple[str, int]:
    """List headlines within a budget of characters.

    Args:
        headlines: newest first.
        max_chars: budget of the whole text; whole articles beyond it are left out.
        article_chars: where one article is cut.

    Returns:
        The text, one article a line (`none` without any), and how many articles were left out.
    """
    lines: list[str] = []
    used = -1  # the first line has no line break before it
    longest = min(article_chars, max_chars - len("- "))
    cleaned = [line for headline in headlines if (line := clean_text(headline, longest))]
    for line in cleaned:
        used += len(line) + 3
        if used > max_chars:
            break
        lines.append(f"- {line}")
    return "\n".join(lines) or NO_NEWS, len(cleaned) - len(lines)
