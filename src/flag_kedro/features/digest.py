"""News as text a prompt can trust: cleaned, cut to a budget, newest first."""

import re
import unicodedata

SECTIONS = ("task", "actions", "market", "news", "account", "decision", "system", "user", "assistant")
_SECTION_START = re.compile(rf"^\W*(?:{'|'.join(SECTIONS)})\s*:", re.IGNORECASE)
_CHAT_TURN = re.compile(r"<\|[^|<>]*\|>|\[/?INST\]|</?s>", re.IGNORECASE)
NO_NEWS = "none"


def clean_text(text: str, max_chars: int) -> str:
    """One line of plain text that cannot pass for a part of the prompt.

    NFKC; control, bidi and zero-width characters removed (Unicode categories C*); white space folded;
    chat-turn markers and a leading section name (`Account:`) removed; cut at `max_chars` with an
    ellipsis.
    """
    text = unicodedata.normalize("NFKC", text)
    text = "".join(
        " " if char.isspace() else char for char in text if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    text = " ".join(_CHAT_TURN.sub(" ", text).split())
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
    used = 0
    cleaned = [line for headline in headlines if (line := clean_text(headline, article_chars))]
    for line in cleaned:
        used += len(line) + 3
        if lines and used > max_chars:
            break
        lines.append(f"- {line}")
    return "\n".join(lines) or NO_NEWS, len(cleaned) - len(lines)
