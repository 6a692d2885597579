"""Parameters `files.*`: how a user's tables of prices are to be read."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.data.form import BySymbol, TableForm

Decimal = Literal["point", "comma"]
Thousands = Literal["comma", "point", "blank", "apostrophe"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", coerce_numbers_to_str=True))
class FilesConfig(TableForm):
    """How the tables of prices that `data.path` names are to be read."""

    KEY: ClassVar[str] = "files"

    columns: dict[str, str] = Field(default_factory=dict)
    """Which columns of the files are ours: {session: Date, close: Close, adj_close: Adj Close}. A name that is the same
    needs no entry. Without a symbol column a file's name is its symbol."""
    adjusted: bool = False
    """Whether `close` is adjusted for splits and dividends already, so that there is no `adj_close` to read."""
    names: BySymbol = Field(default_factory=dict)
    """What articles call each symbol: {MSFT: Microsoft}. Articles that mention it come first in a prompt."""
    decimal: Decimal = "point"
    """What stands before the fraction of a number in a text."""
    thousands: Thousands | None = None
    """What stands between the groups of digits of a number in a text; null: nothing does."""
    stamps: Literal["session", "date"] = "session"
    """What a time with zone is. `session`: the open or the close of a session, or midnight at the exchange, and all
    else is refused, for such a bar is not the session. `date`: midnight in whatever zone is the date as written."""
    duplicates: Literal["refuse", "first", "last"] = "refuse"
    """Which row of a session counts where several differ, in the order of the files' names and of their rows. Rows that
    are equal count once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decimal == self.thousands:
            raise ValueError(f"files.decimal and files.thousands cannot both be {self.decimal}")
