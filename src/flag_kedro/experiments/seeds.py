"""What several seeds of one configuration say together."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flag_kedro.backtest.inference import summarise_seeds

POLICY, BENCHMARK = "flag_trader", "buy_and_hold"
Row = dict[str, Any]


def summarise_rows(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Scores over seeds, by symbol, from rows of `runs.run_fold` on the same windows.

    Returns:
        By symbol `flag_trader` (metric -> median, interquartile mean, extremes, std and number of the seeds for which
        it is defined; None where that is none) and `buy_and_hold` (its scores, which no seed changes).
    """
    return {
        symbol: {
            POLICY: {metric: _over([row["scores"][symbol][POLICY][metric] for row in rows]) for metric in own[POLICY]},
            BENCHMARK: own[BENCHMARK],
        }
        for symbol, own in rows[0]["scores"].items()
    }


def _over(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    return asdict(summarise_seeds(known)) if known else None
