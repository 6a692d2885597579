"""The nodes of the backtest pipeline that doubt it."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

import polars as pl

from flag_kedro.backtest.audit import audit_causality, audit_levels, auditable, choose_cuts
from flag_kedro.backtest.audit_results import CausalityAudit, refuse_differences
from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.corruptions import CORRUPTIONS
from flag_kedro.backtest.fill_check import check_fills
from flag_kedro.backtest.replay import Replay
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError
from flag_kedro.experiments.config import AUDITED_CODE
from flag_kedro.experiments.strategies import FRESH_SESSIONS, Strategies, join_replays
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.names import CALIBRATED_LM, ENDPOINT_LM, UNTRAINED_LM, ZERO_SHOT_LM
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.ppo.code_hash import code_hash

UNAUDITED = (UNTRAINED_LM, ZERO_SHOT_LM, CALIBRATED_LM, ENDPOINT_LM)
"""They decide from the same prompts as the trained one and nothing else; replaying them as often would double the
audit's time, or cost money."""


def audit_backtest(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    tables: MarketTables,
    split: MarketSplit,
    strategies: Strategies,
    full_audit: dict[str, Any] | None,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Repeat the backtest on tables whose future is changed, compare all that was decided before, and check fills."""
    decided_at = pl.concat(table.select("symbol", "session", "decided_at") for table in split.states.values())
    decided_at = decided_at.join(decisions.select("symbol", "session").unique(), on=["symbol", "session"], how="semi")
    cuts = choose_cuts(auditable(decided_at), backtest.audit_times, seed)

    def play(changed: MarketTables, until: datetime | None) -> dict[str, Replay]:
        return strategies.play(changed.prices, changed.build_states(), until=until, leave_out=UNAUDITED)

    with progress_bar("causality audit", 1 + len(cuts) * len(CORRUPTIONS)) as advance:
        reference = play(tables, None)
        audited = ~pl.col("strategy").is_in(UNAUDITED)
        _check_repeats(reference, decisions.filter(audited), equity.filter(audited))
        advance()
        checks = audit_causality(tables, decided_at, reference, play, cuts, seed, advance)
    fills = check_fills(tables.prices, decisions, equity, split.env)
    audit = asdict(CausalityAudit.of(checks, audit_levels(tables), fills))
    return audit | {"asked_anew": FRESH_SESSIONS, "full_audit": state_of(full_audit, split.facts | {"seed": seed})}


def state_of(full_audit: dict[str, Any] | None, facts: dict[str, Any]) -> str:
    """`passed`, `failed`, `not run`, or `outdated` where it was of other facts or code than those of this backtest."""
    if full_audit is None:
        return "not run"
    as_saved = json.loads(json.dumps(facts))
    if (full_audit["facts"], full_audit["code_hash"]) != (as_saved, code_hash(AUDITED_CODE)):
        return "outdated"
    return "passed" if full_audit["passed"] else "failed"


def refuse_leaks(causality_audit: dict[str, Any], backtest_report: str) -> None:
    """Fail the run whose decisions depend on the future, once its report is written.

    Raises:
        LookAheadError: when the audit found a difference.
    """
    checks = [*causality_audit["checks"], causality_audit["levels"], causality_audit["fills"]]
    refuse_differences("causality audit", checks, "08_reporting/causality_audit.json")


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
