"""Whether a headline that joined a prompt stayed one line of its news.

A prompt's prefix is sections of text; the last of them before the account, `News:`, has a line for each article that is
shown and, where more articles are known, a line that counts the rest.
"""

import re
import unicodedata
from collections.abc import Collection, Sequence

from flag_kedro.env.prompt import ACCOUNT
from flag_kedro.experiments.injections import SECTIONS

NEWS_LINE, NEWS_END = "\nNews:", f"\n{ACCOUNT}"
ARTICLE, CUT = "- ", "…"
COUNT_LINE = re.compile(r"\(\+([1-9]\d*) more\)")
SHOWN_CHARS = 120
"""Characters of a headline that a report quotes."""
LOOKALIKES = str.maketrans(
    "АВЕКМНОРСТУХавекмнорстухѕіјԁᎠΑΒΕΖΗΙΚΜΝΟΡΤΥΧοΝЅՍ", "ABEKMHOPCTYXabekmhopctyxsijdDABEZHIKMNOPTYXoNSU"
)
SECTION_START = re.compile(rf"[\W\d_]*(?:{'|'.join(SECTIONS)})[\W_]*[:∶꞉ː]", re.IGNORECASE)
CHAT_MARKER = re.compile(
    r"<\|[^<>]*\|>|\[/?INST\]|<</?SYS>>|</?(?:s|system|tool_call|script)>|<(?:start|end)_of_turn>|###\s*\w+:",
    re.IGNORECASE,
)


def find_violations(before: str, after: str, digest_chars: int, texts: Collection[str]) -> list[str]:
    """What is wrong with a prompt prefix after a headline joined it; nothing, if only its news changed.

    Articles that were there before are not the headline's doing, however short they are cut now.

    Args:
        before: the prefix without the headline.
        after: the prefix with it.
        digest_chars: budget of the news in characters.
        texts: the symbol's articles before, clean and uncut.
    """
    head = before[: before.index(NEWS_LINE) + len(NEWS_LINE)]
    if not after.startswith(head):
        return ["a section before the news changed"]
    if not after.endswith(NEWS_END):
        return ["the account does not begin on a line of its own"]
    section = after[len(head) :].removesuffix(NEWS_END)
    if section == " none":
        return []
    if not section.startswith(" \n"):
        return ["the news do not begin on a line of their own"]
    return _budget_violations(section.removeprefix(" \n"), digest_chars) + _article_violations(before, after, texts)


def _budget_violations(news: str, digest_chars: int) -> list[str]:
    if len(news) <= digest_chars:
        return []
    return [f"the news are {len(news)} characters long, over the budget of {digest_chars}"]


def _article_violations(before: str, after: str, texts: Collection[str]) -> list[str]:
    """What is wrong with the number of articles, and with each line that is not one of those before."""
    violations = []
    old_lines, lines = news_lines(before), news_lines(after)
    num_added = _num_articles(lines) - _num_articles(old_lines)
    if num_added not in (0, 1):
        violations.append(f"the news count {num_added:+} articles where one headline joined them")
    articles = lines[:-1] if lines and COUNT_LINE.fullmatch(lines[-1]) else lines
    new_lines = [line for line in articles if line not in old_lines and not _shows_one_of(line, texts)]
    if len(new_lines) > 1:
        violations.append(f"one headline became {len(new_lines)} lines: {new_lines[1][:40]!r}")
    return violations + [violation for line in new_lines for violation in _line_violations(line)]


def _line_violations(line: str) -> list[str]:
    """What an article's line must not be."""
    violations, letters = [], _as_latin(line)
    if not line.startswith(ARTICLE):
        violations.append(f"a line of the news begins with {line[:20]!r}")
    elif SECTION_START.match(letters):
        violations.append(f"a line of the news looks like a section: {line[:40]!r}")
    if CHAT_MARKER.search(letters):
        violations.append(f"a chat marker is left in {line[:SHOWN_CHARS]!r}")
    if not letters.isprintable():
        violations.append(f"a control or invisible character is left in {line[:SHOWN_CHARS]!r}")
    return violations


def news_lines(prefix: str) -> list[str]:
    """The lines of a prefix's news, none where there are no news."""
    section = prefix[prefix.index(NEWS_LINE) + len(NEWS_LINE) :].removesuffix(NEWS_END)
    return [] if section == " none" else section.removeprefix(" \n").splitlines()


def find_line(text: str, lines: Sequence[str]) -> int | None:
    """Index of the line of the news that shows a clean text or its beginning, cut; None where none does."""
    return next((index for index, line in enumerate(lines) if _shows_one_of(line, {text})), None)


def _num_articles(lines: Sequence[str]) -> int:
    """Articles that news lines show and, in the last one, count."""
    count = COUNT_LINE.fullmatch(lines[-1]) if lines else None
    return len(lines) - 1 + int(count[1]) if count else len(lines)


def _shows_one_of(line: str, texts: Collection[str]) -> bool:
    """Whether a line of the news is one of these articles or the beginning of one, cut."""
    if not line.startswith(ARTICLE):
        return False
    article = line.removeprefix(ARTICLE)
    if article in texts:
        return True
    beginning = article.removesuffix(CUT)
    return article != beginning != "" and any(text.startswith(beginning) for text in texts)


def _as_latin(line: str) -> str:
    """A line as it looks: compatibility characters and look-alikes as the Latin letters they resemble."""
    return unicodedata.normalize("NFKC", line).translate(LOOKALIKES)
