"""Tables of a source before validation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from flag_kedro.data.validation import REJECTED

Names = Mapping[str, tuple[str, ...]]
"""What articles call a symbol: its company, without legal form."""


@dataclass(frozen=True)
class Raw:
    """Tables of a source in our columns and types, not validated."""

    prices: pl.DataFrame
    """Columns of `schema.PRICES`, any order."""
    news: pl.DataFrame
    """Columns of `schema.NEWS`, any order, texts as they came."""
    names: Names = field(default_factory=dict)
    """Names of the companies, for those symbols where the source knows them."""
    report: dict[str, Any] = field(default_factory=dict)
    """Facts for the data report, fit for JSON."""
    rejected: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REJECTED))
    """Rows that cannot be put into our columns, where the user asked to leave such out (`data.quarantine`): columns of
    `validation.REJECTED`; `row` as the file counts, values and records as they came."""
    warnings: list[str] = field(default_factory=list)
    """What a user should know of the reading, a line each."""
