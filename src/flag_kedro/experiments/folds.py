"""Folds: which sessions a training learns from, is chosen by and is judged on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from flag_kedro.errors import ParameterError

Span = tuple[date, date]


@dataclass(frozen=True)
class Fold:
    """First and last session date of each window, both included."""

    name: str
    train: Span
    validation: Span | None
    test: Span

    def as_text(self) -> dict[str, list[str] | None]:
        """ISO dates, for JSON."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: [day.isoformat() for day in span] if span else None for name, span in named.items()}


def common_sessions(states: Mapping[str, pl.DataFrame]) -> list[date]:
    """Sessions that every symbol has, ascending; where symbols join and leave a universe, those that any has."""
    each: list[set[date]] = [set(table["session"]) for table in states.values()]
    with_universe = any("member" in table.columns for table in states.values())
    return sorted(set.union(*each) if with_universe else set.intersection(*each))


def roll_folds(
    sessions: Sequence[date], *, train: int, validation: int, test: int, folds: int | None = None
) -> list[Fold]:
    """Folds from the first session on, each `test` sessions after the one before.

    So windows of one fold follow each other without a gap, test windows of successive folds too, and folds keep
    their borders when sessions are added. Sessions beyond the last whole fold are left over.

    Args:
        sessions: ascending.
        train: sessions of each training window.
        validation: of each validation window.
        test: of each test window.
        folds: how many; None is as many as fit.

    Raises:
        ParameterError: when there are fewer sessions than are needed.
    """
    before = train + validation
    fitting = max(0, (len(sessions) - before) // test)
    wanted = folds or max(1, fitting)
    if wanted > fitting:
        raise ParameterError(
            f"walk_forward: {wanted} fold(s) of {train} + {validation} + {test} sessions need {before + wanted * test} "
            f"sessions, but all symbols together have {len(sessions)}; lower walk_forward.train_sessions, "
            "validation_sessions, test_sessions or folds, or bring more prices"
        )

    def span(first: int, num: int) -> Span:
        return sessions[first], sessions[first + num - 1]

    return [
        Fold(
            name=str(k + 1),
            train=span(k * test, train),
            validation=span(k * test + train, validation),
            test=span(k * test + before, test),
        )
        for k in range(wanted)
    ]
