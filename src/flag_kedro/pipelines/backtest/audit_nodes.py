"""The nodes of the backtest pipeline that doubt it."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import polars as pl

from flag_kedro.backtest.audit import CORRUPTIONS, audit_causality, choose_cuts
from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.replay import Replay
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError, LookAheadError
from flag_kedro.experiments.strategies import FRESH_SESSIONS, Strategies, join_replays
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.names import UNTRAINED_LM
from flag_kedro.pipelines.progress import progress_bar

UNAUDITED = (UNTRAINED_LM,)
"""It decides as the trained one does, from the same prompts; replaying it as often would double the audit's time."""


def audit_backtest(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    tables: MarketTables,
    split: MarketSplit,
    strategies: Strategies,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Repeat the backtest on tables whose future is corrupted, and compare all that was decided before."""
    decided_at = pl.concat(table.select("symbol", "session", "decided_at") for table in split.states.values())
    decided_at = decided_at.join(decisions.select("symbol", "session").unique(), on=["symbol", "session"], how="semi")
    cuts = choose_cuts(_auditable(decided_at), backtest.audit_times, seed)

    def play(prices: pl.DataFrame, news: pl.DataFrame, until: datetime | None) -> dict[str, Replay]:
        return strategies.play(prices, tables.build_states(prices, news), until=until, leave_out=UNAUDITED)

    with progress_bar("causality audit", 1 + len(cuts) * len(CORRUPTIONS)) as advance:
        reference = play(tables.prices, tables.news, None)
        audited = ~pl.col("strategy").is_in(UNAUDITED)
        _check_repeats(reference, decisions.filter(audited), equity.filter(audited))
        advance()
        audit = audit_causality(tables.prices, tables.news, decided_at, reference, play, cuts, seed, advance)
    return asdict(audit) | {"asked_anew": FRESH_SESSIONS}


def refuse_leaks(causality_audit: dict[str, Any], backtest_report: str) -> None:
    """Fail the run whose decisions depend on the future, once its report is written.

    Raises:
        LookAheadError: when the audit found a difference.
    """
    if not causality_audit["passed"]:
        differences = [difference for check in causality_audit["checks"] for difference in check["differences"]]
        first = ", ".join(f"{name} {value}" for name, value in differences[0].items())
        raise LookAheadError(
            f"the causality audit failed: {sum(check['num_differences'] for check in causality_audit['checks'])} "
            f"difference(s), the first in {first}. The scores of this backtest mean nothing; look at "
            "08_reporting/causality_audit.json"
        )


def _auditable(decided_at: pl.DataFrame) -> pl.Series:
    """Decision times by which every symbol has decided at least twice, so that each has a window to trade."""
    second = decided_at.group_by("symbol").agg(pl.col("decided_at").sort().get(1))["decided_at"].max()
    return decided_at.filter(pl.col("decided_at") >= second)["decided_at"]


def _check_repeats(reference: dict[str, Replay], decisions: pl.DataFrame, equity: pl.DataFrame) -> None:
    """Refuse to audit a backtest that does not come out the same a second time.

    Raises:
        DataError: when it does not.
    """
    for name, before, after in zip(("decisions", "equity"), (decisions, equity), join_replays(reference), strict=True):
        if not before.equals(after):
            raise DataError(
                f"the backtest's {name} do not repeat from prices and news as they are now in 02_intermediate; "
                "run ingest and features again (kedro run), or the whole backtest"
            )
