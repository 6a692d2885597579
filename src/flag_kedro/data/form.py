"""Parameters that `files.*` and `news.*` share: the form in which a tool wrote its tables."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import polars as pl
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

Mark = Literal["comma", "semicolon", "tab", "pipe", "blank", "point", "apostrophe"]
MARKS: dict[Mark, str] = {
    "comma": ",",
    "semicolon": ";",
    "tab": "\t",
    "pipe": "|",
    "blank": " ",
    "point": ".",
    "apostrophe": "'",
}
"""Marks by name: a command line can give neither a comma nor a tab."""
EPOCHS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Units of a count since 1970, as parts of a second."""
NO_TEXTS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
"""Words that YAML reads as something else."""
SAMPLE = datetime(2020, 12, 31)


def join_dots(value: Any) -> Any:
    """Names with dots as one key: `--params` makes {0700: {HK: XHKG}} of `0700.HK=XHKG`."""
    if not isinstance(value, Mapping):
        return value
    joined: dict[str, Any] = {}
    for name, inner in value.items():
        inside = join_dots(inner)
        nested = inside.items() if isinstance(inner, Mapping) else ()
        joined |= {f"{name}.{rest}": what for rest, what in nested} if nested else {str(name): inside}
    return joined


BySymbol = Annotated[dict[str, str], BeforeValidator(join_dots)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", coerce_numbers_to_str=True))
class TableForm:
    """How tables of one kind are written; nothing is guessed where two readings are possible."""

    KEY: ClassVar[str] = ""

    separator: Literal["comma", "semicolon", "tab", "pipe"] = "comma"
    """What stands between the fields of a CSV file."""
    header: bool = True
    """Whether a CSV file names its columns; without, they are column_1, column_2 and so on."""
    skip_rows: Annotated[int, Field(ge=0)] = 0
    """Lines of a CSV file before its header, or before its first row where there is none."""
    skip_footer: Annotated[int, Field(ge=0)] = 0
    """Lines at the end of a CSV file that are no rows."""
    date_format: str | None = None
    """How dates and times are written, in the codes of strptime: '%m/%d/%Y' for 12/31/2020, '%b %d %Y' for Dec 31, 2020
    (in these quotes also on the command line). Commas count on neither side. %z at the end stands for a zone (UTC, GMT,
    +0100). Null: the year first."""
    epoch: Literal["s", "ms", "us", "ns"] | None = None
    """Unit of times that are counts since 1970 (UTC)."""
    timezone: str | None = None
    """Time zone of times that do not say theirs, such as America/New_York. Without it such times are refused."""
    symbols: BySymbol = Field(default_factory=dict)
    """What the tables call a symbol that has another name here, ours to theirs: {BTC-USD: BTC/USD}."""

    def __post_init__(self) -> None:
        if self.epoch is not None and self.date_format is not None:
            raise ValueError(f"{self.KEY}.epoch and {self.KEY}.date_format exclude each other; leave one out")
        if self.date_format is not None and not _names_a_date(self.date_format):
            raise ValueError(
                f"{self.KEY}.date_format: {self.date_format!r} does not say year, month and day in the codes of "
                "strptime, such as %m/%d/%Y for 12/31/2020"
            )

    @property
    def csv_only(self) -> list[str]:
        """Those given that only CSV files have."""
        given = {
            "separator": self.separator != "comma",
            "header": not self.header,
            "skip_rows": self.skip_rows > 0,
            "skip_footer": self.skip_footer > 0,
        }
        return [f"{self.KEY}.{name}" for name, is_given in given.items() if is_given]

    @property
    def our_symbols(self) -> dict[str, str]:
        """Theirs in capitals, to ours in capitals."""
        return {theirs.strip().upper(): ours.strip().upper() for ours, theirs in self.symbols.items()}


def without_zone(date_format: str) -> str:
    """The format without commas and without %z at its end."""
    return date_format.replace(",", "").removesuffix("%z").strip()


def as_param(key: str, value: str) -> str:
    """How `--params` takes a text as it is: in quotes where it could be read as something else.

    One with a comma, at which the command line divides, belongs into a file of parameters.
    """
    quoted = "'" + value.replace("'", "''") + "'"
    if "," in value:
        nested = quoted
        for name in reversed(key.split(".")):
            nested = f"{{{name}: {nested}}}"
        return f"in conf/local/parameters.yml {nested[1:-1]}"
    plain = re.fullmatch(r"[A-Za-z<][\w<>/. -]*", value) and value.lower() not in NO_TEXTS
    return f"{key}={value if plain else quoted}"


def _names_a_date(date_format: str) -> bool:
    """Whether what is written in this format reads as the same day again."""
    bare = without_zone(date_format)
    try:
        written = pl.Series([SAMPLE]).dt.strftime(bare)
        return bool(written.str.to_datetime(bare, strict=False, time_unit="us")[0] == SAMPLE)
    except pl.exceptions.PolarsError:
        return False
