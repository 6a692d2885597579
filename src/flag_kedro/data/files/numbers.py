"""Numbers from raw columns; what cannot be read is null, never guessed."""

import re

import polars as pl

from flag_kedro.data.files.config import Decimal, FilesConfig, Thousands
from flag_kedro.data.form import MARKS
from flag_kedro.errors import DataError

CURRENCIES = "$€£¥"
SUFFIX = {"K": "e3", "M": "e6", "B": "e9"}
"""Thousands, millions and billions, as in a volume of 1.64M."""
BLANKS = "[\u00a0\u202f ]"
FORMS: tuple[tuple[Decimal, Thousands | None], ...] = (
    *(("point", "comma"), ("comma", None), ("comma", "point"), ("point", "blank"), ("comma", "blank")),
    ("point", "apostrophe"),
)
"""Forms of numbers that tools write, for hints; one without groups before those that have some beside it."""


def read_numbers(
    raw: pl.Series, table_name: str, decimal: Decimal = "point", thousands: Thousands | None = None
) -> pl.Series:
    """Floats; null where the raw value is null or, in text, no number.

    A sign of a currency before or after a number means nothing; K, M or B behind it is thousands, millions, billions.

    Args:
        raw: the column.
        table_name: for messages.
        decimal: what stands before fractions in a text.
        thousands: what stands between groups of digits in a text, if anything does.

    Raises:
        DataError: when the column's type holds no numbers.
    """
    if raw.dtype == pl.String:
        return _from_texts(raw, MARKS[decimal], thousands)
    if raw.dtype.is_numeric() or raw.dtype == pl.Null:
        return raw.cast(pl.Float64, strict=False)
    raise DataError(f"{table_name}: {raw.name} is of type {raw.dtype}, where numbers belong")


def _from_texts(raw: pl.Series, decimal: str, thousands: Thousands | None) -> pl.Series:
    text = pl.col("raw").str.strip_chars().str.replace(rf"^([+-]?)[{CURRENCIES}]\s*|\s*[{CURRENCIES}]$", "${1}")
    if thousands is not None:
        group = BLANKS if thousands == "blank" else re.escape(MARKS[thousands])
        grouped = text.str.contains(rf"^[+-]?\d{{1,3}}(?:{group}\d{{2,3}})*{group}\d{{3}}(?:\D|$)")
        text = pl.when(grouped).then(text.str.replace_all(group, "")).otherwise(text)
    if decimal != ".":
        plain = text.str.contains(r"^[^.]*$")
        text = pl.when(plain).then(text.str.replace(decimal, ".", literal=True))
    for letter, power in SUFFIX.items():
        text = text.str.replace(rf"(?i)^([+-]?[\d.]+)\s*{letter}$", f"${{1}}{power}")
    return raw.alias("raw").to_frame().select(text.cast(pl.Float64, strict=False)).to_series().alias(raw.name)


def number_hint(values: pl.Series, files: FilesConfig) -> str:
    """What to set so that most values of a column are read, in every way that is possible.

    Args:
        values: those that are not null, of which one at least cannot be read.
        files: how they are read now.
    """
    texts = values.cast(pl.String)
    counts = {form: len(texts) - _from_texts(texts, MARKS[form[0]], form[1]).null_count() for form in FORMS}
    most = max(counts.values())
    likely = [form for form, count in counts.items() if count == most and 2 * count > len(texts)]
    if not likely or most <= len(texts) - _from_texts(texts, MARKS[files.decimal], files.thousands).null_count():
        return "write 1234.5 without units, leave unknown values empty"
    said = []
    for decimal, thousands in likely:
        if thousands is None or (decimal, None) not in likely:
            parts = ["files.decimal=comma"] if decimal == "comma" else []
            said.append(",".join([*parts, *([f"files.thousands={thousands}"] if thousands else [])]))
    return "say how numbers are written: " + " or ".join(said) + (", whichever is right" if len(said) > 1 else "")
