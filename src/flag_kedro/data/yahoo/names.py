"""What articles call a company, from the names that Yahoo gives it."""

LEGAL_FORMS = {
    "ab", "ag", "asa", "bhd", "co", "company", "corp", "corporation", "gmbh", "inc", "incorporated", "kgaa", "limited",
    "llc", "lp", "ltd", "nv", "oyj", "plc", "sa", "sab", "se", "spa", "tbk",
}  # fmt: skip
"""Last words of a company's name that no headline repeats, without full stops."""
CURRENCY = "USD"
"""Last word of a crypto pair's name."""


def company_names(*given: str | None) -> list[str]:
    """The names without legal form, each once: `Apple Inc.` is Apple, `The Coca-Cola Company` Coca-Cola."""
    names = (_without_legal_form(name) for name in given if name)
    return [name for name in dict.fromkeys(names) if name]


def _without_legal_form(name: str) -> str:
    words = name.split()
    while words and (_is_legal_form(words[-1]) or words[-1] in ("&", "and", "(The)", CURRENCY)):
        words.pop()
    if len(words) > 1 and words[0] == "The":
        words.pop(0)
    return " ".join(words).rstrip(" ,.&") if words else ""


def _is_legal_form(word: str) -> bool:
    return word.strip(",()").replace(".", "").lower() in LEGAL_FORMS
