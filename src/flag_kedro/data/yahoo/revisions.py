"""Revisions of stored prices by Yahoo, and whether a split or a dividend explains them."""

from dataclasses import dataclass

import polars as pl

from flag_kedro.data.yahoo.checks import is_sound

PRICES = ("open", "high", "low", "close")
COMPARED = (*PRICES, "adj_close", "volume", "dividends", "splits")
TOLERANCE = 1e-5
"""Relative; below it lies the noise of Yahoo's own arithmetic in single precision."""
EXPLAINED = 1e-4
"""Relative; how well a split or dividend must account for the new prices."""
SETTLING = 2
"""Newest stored sessions whose volume Yahoo may still mend: it counts late trades for a day or two."""


@dataclass(frozen=True)
class Revision:
    """A difference between the stored prices and Yahoo's newest answer."""

    old_rows: pl.DataFrame
    """The stored rows that changed or are no longer in the answer, as they were."""
    num_lost: int
    """How many of them are no longer in the answer, or without sound prices."""
    largest_change: dict[str, float]
    """By column the largest |new - old| / max(|new|, |old|), columns without a change left out; 1 where one of both is
    null."""
    explained_by: str | None
    """`split`, `dividend` or `split and dividend` when these account for all that changed; else None."""


@dataclass(frozen=True)
class RevisionReport:
    """A revision as `store.json` and the data report have it; its fields in this order are their JSON."""

    seen_at: str
    """ISO time (UTC)."""
    rows_changed: int
    rows_lost: int
    largest_change: dict[str, float]
    explained_by: str | None
    file: str
    """Where the old rows are, relative to the store."""


def find_revision(old: pl.DataFrame, new: pl.DataFrame) -> Revision | None:
    """Compare the stored rows of the span that was asked for with the answer; None when all are as they were.

    The volume of the last `SETTLING` of `old` may differ.

    Args:
        old: rows as stored, ascending, the newest among them.
        new: rows as Yahoo has them now, ascending, rows without prices among them; sessions that `old` lacks bring new
            splits and dividends.
    """
    both = old.join(new.filter(is_sound()), on="session", how="inner", suffix="_new", maintain_order="left")
    lost = old.join(both, on="session", how="anti", maintain_order="left")
    settling = pl.col("session").is_in(old["session"].tail(SETTLING).implode())
    changes = both.select("session", *(_change(name) for name in COMPARED))
    others = pl.max_horizontal(name for name in COMPARED if name != "volume")
    changed = changes.filter((others > TOLERANCE) | ((pl.col("volume") > TOLERANCE) & ~settling))
    if changed.is_empty() and lost.is_empty():
        return None
    largest = {} if changed.is_empty() else changed.select(pl.col(COMPARED).max()).row(0, named=True)
    gone = pl.concat([changed.select("session"), lost.select("session")])
    return Revision(
        old_rows=old.join(gone, on="session", how="semi", maintain_order="left"),
        num_lost=lost.height,
        largest_change={name: value for name, value in largest.items() if value > TOLERANCE},
        explained_by=None if changed.is_empty() else _explanation(old, new),
    )


def settle_volumes(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """The rows of `old`, the last `SETTLING` of them with the volume of `new`."""
    later = new.join(old.tail(SETTLING), on="session", how="semi").select("session", "volume").drop_nulls()
    return old.update(later, on="session")


def _change(name: str) -> pl.Expr:
    old, new = pl.col(name), pl.col(f"{name}_new")
    larger = pl.max_horizontal(old.abs(), new.abs())
    relative = pl.when(larger > 0).then((new - old).abs() / larger).otherwise(0.0)
    return pl.when(old.is_null() != new.is_null()).then(1.0).otherwise(relative).alias(name)


def _explanation(old: pl.DataFrame, new: pl.DataFrame) -> str | None:
    """The events that `old` lacks, if undoing them in `new` gives the prices of `old`."""
    stored = old.select("session", stored_splits="splits", stored_dividends="dividends")
    events = new.join(stored, on="session", how="left", maintain_order="left").with_columns(
        split=_ratio("splits") / _ratio("stored_splits"),
        dividend=pl.col("dividends") - pl.col("stored_dividends").fill_null(0.0),
    )
    events = events.with_columns(payout=(1.0 - pl.col("dividend") / pl.col("close").shift(1)).fill_null(1.0))
    later = events.select(
        "session",
        splits_later=pl.col("split").cum_prod(reverse=True) / pl.col("split"),
        payouts_later=pl.col("payout").cum_prod(reverse=True) / pl.col("payout"),
    )
    both = old.join(new.filter(is_sound()), on="session", suffix="_new").join(later, on="session")
    undone = [
        *(pl.col(f"{name}_new") * pl.col("splits_later") / pl.col(name) for name in PRICES),
        pl.col("adj_close_new") * pl.col("splits_later") / pl.col("payouts_later") / pl.col("adj_close"),
    ]
    settling = pl.col("session").is_in(old["session"].tail(SETTLING).implode())
    shares = (pl.col("volume_new") / pl.col("splits_later") - pl.col("volume")).abs()
    rounding = 1.0 + 1.0 / pl.col("splits_later")  # both are whole numbers of their day's shares
    volume = settling | (shares <= EXPLAINED * pl.col("volume") + rounding).fill_null(
        pl.col("volume").is_null() & pl.col("volume_new").is_null()
    )
    prices = [(ratio - 1.0).abs() < EXPLAINED for ratio in undone]
    if not both.select(pl.all_horizontal(*prices, volume).all()).item():
        return None
    causes = [
        name
        for name, seen in (("split", events["split"] != 1.0), ("dividend", events["dividend"] != 0.0))
        if seen.any()
    ]
    return " and ".join(causes) or None


def _ratio(name: str) -> pl.Expr:
    """Shares after a session's split for one before; Yahoo writes 0 where there is none."""
    return pl.when(pl.col(name).fill_null(0.0) == 0.0).then(1.0).otherwise(pl.col(name))
