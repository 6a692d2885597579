"""The learnability certificate: does the learner find a signal that is there, and none that is not?

Source: SEMANTICS section 8.
"""

import os
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import active_children, get_context, parent_process
from statistics import median
from typing import Any

from flag_kedro.experiments.certificate_run import CertificateSettings, run_certificate_market
from flag_kedro.experiments.config import CENTRAL, MIN_SHARE

Row = dict[str, Any]
MIN_SEEDS = 5
MIN_CLEAN_TWINS = 0.8


def run_markets(settings: CertificateSettings, seeds: Sequence[int], processes: int) -> Generator[Row, None, None]:
    """Train and judge on every seed's market and its twin, yielding rows as they are done.

    Each training runs in a process of its own on one thread, so that results do not depend on `processes`. Closed or
    failed, the generator ends the processes; killed, they end by themselves.
    """
    before = set(active_children())
    alone = replace(settings, runtime=replace(settings.runtime, threads=1))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        jobs = [
            pool.submit(run_certificate_market, alone, seed, planted=planted)
            for planted in (True, False)
            for seed in seeds
        ]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BaseException:
            for child in set(active_children()) - before:
                child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Exit once the process that started this one is gone, however it went."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def certify(rows: Sequence[Row]) -> Row:
    """Judge the rows of all trials.

    Returns:
        `passed`, `oracle_share_median`, `clean_twins` (share of seeds), `reasons` (why not, in words), the seeds whose
        markets say nothing and so were not trained on, and the rows of all others, fit for JSON.
    """
    told = sorted((row for row in rows if row["informative"]), key=lambda row: row["seed"])
    signal, twins = ([row for row in told if row["planted"] is kind] for kind in (True, False))
    shares, clean = [row["share"] for row in signal], [_is_clean(row) for row in twins]
    share, clean_share = median(shares) if shares else None, sum(clean) / len(clean) if clean else None
    reasons = []
    if min(len(signal), len(twins)) < MIN_SEEDS:
        reasons.append(f"{min(len(signal), len(twins))} informative seeds, at least {MIN_SEEDS} are needed")
    if share is None or share < MIN_SHARE:
        reasons.append(f"median share of the oracle's log return {share or 0.0:.2f}, at least {MIN_SHARE} is asked for")
    if clean_share is None or clean_share < MIN_CLEAN_TWINS:
        reasons.append(
            f"{clean_share or 0.0:.0%} of the twins look like chance, at least {MIN_CLEAN_TWINS:.0%} are asked for"
        )
    return {
        "passed": not reasons,
        "reasons": reasons,
        "oracle_share_median": share,
        "oracle_shares": {str(row["seed"]): row["share"] for row in signal},
        "clean_twins": clean_share,
        "uninformative_seeds": sorted(row["seed"] for row in rows if row["planted"] and not row["informative"]),
        "signal": signal,
        "twins": [row | {"clean": ok} for row, ok in zip(twins, clean, strict=True)],
    }


def _is_clean(row: Row) -> bool:
    """Whether a twin's return lies among those of its shifts; a path that never changes does."""
    percentile = row["shift_percentile"]
    return percentile is None or CENTRAL[0] <= percentile <= CENTRAL[1]
