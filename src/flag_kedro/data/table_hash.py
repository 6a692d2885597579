"""A hash of a table's content."""

from hashlib import sha256

import polars as pl


def hash_table(table: pl.DataFrame) -> bytes:
    """sha256 of a table's columns, their names, types, values and missing values; the same on every machine."""
    digest = sha256(repr([(name, str(dtype)) for name, dtype in table.schema.items()]).encode())
    for column in table:
        digest.update(column.is_null().to_numpy().tobytes())
        if column.dtype == pl.String:
            digest.update(column.str.len_bytes().fill_null(0).to_numpy().tobytes())
            digest.update((column.str.join("").item() or "").encode())
        else:
            digest.update(column.to_physical().fill_null(0).to_numpy().tobytes())
    return digest.digest()
