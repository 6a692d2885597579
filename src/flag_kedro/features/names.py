"""How texts spell the name of a company."""

import re

APOSTROPHES = "'’‘ʼ"


def name_pattern(name: str) -> str:
    """Regular expression of a name in any case, with any kind of apostrophe, without the bounds of a word.

    A name of one word that begins with a capital is found with one only: a price target is not Target.

    Args:
        name: clean and not empty.
    """
    escaped = re.sub(f"[{APOSTROPHES}]", f"[{APOSTROPHES}]", re.escape(name))
    if " " in name or not name[0].isupper():
        return f"(?i:{escaped})"
    return f"{escaped[0]}(?i:{escaped[1:]})"
