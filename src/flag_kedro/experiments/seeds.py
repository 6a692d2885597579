"""Scores of several seeds of one configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flag_kedro.backtest.inference import SeedSummary, summarise_seeds
from flag_kedro.backtest.scores import Scores
from flag_kedro.names import BENCHMARK, POLICY


@dataclass(frozen=True)
class SeedScores:
    """Scores on one symbol over seeds; fields are strategies, saved as JSON in this order."""

    flag_trader: dict[str, SeedSummary | None]
    """By metric, over the seeds for which it is defined; None where that is none."""
    buy_and_hold: Scores
    """By metric; no seed changes them."""


def summarise_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, SeedScores]:
    """Scores over seeds, by symbol.

    Args:
        rows: of `runs.run_fold` on the same windows, one for each seed; only `scores` is read.

    Raises:
        DataError: where a score is not finite.
    """
    scores: list[Mapping[str, Mapping[str, Scores]]] = [row["scores"] for row in rows]
    return {
        symbol: SeedScores(
            flag_trader={
                metric: summarise_defined([by_symbol[symbol][POLICY][metric] for by_symbol in scores])
                for metric in by_strategy[POLICY]
            },
            buy_and_hold=by_strategy[BENCHMARK],
        )
        for symbol, by_strategy in scores[0].items()
    }


def summarise_defined(values: Sequence[float | None]) -> SeedSummary | None:
    """Statistics of one score over the seeds for which it is defined; None where that is none.

    Raises:
        DataError: where a value is not finite.
    """
    defined = [value for value in values if value is not None]
    return summarise_seeds(defined) if defined else None
