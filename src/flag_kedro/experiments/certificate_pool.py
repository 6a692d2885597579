"""The trainings of a certificate side by side, each in a process of its own."""

import os
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import active_children, get_context, parent_process

from flag_kedro.experiments.certificate import CertificateRun
from flag_kedro.experiments.certificate_run import CertificateSettings, run_certificate_market


def run_markets(
    settings: CertificateSettings, seeds: Sequence[int], processes: int
) -> Generator[CertificateRun, None, None]:
    """Train and replay on every seed's market and on its twin, yielding each run as it is done.

    Each training runs in a process of its own on one thread, so that results do not depend on `processes`. Closed or
    failed, the generator ends the processes; killed, they end by themselves.

    Args:
        settings: the parameters.
        seeds: of markets and trainings.
        processes: trainings side by side.
    """
    children_before = set(active_children())
    single_threaded = replace(settings, runtime=replace(settings.runtime, threads=1))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        jobs = [
            pool.submit(run_certificate_market, single_threaded, seed, planted=planted)
            for planted in (True, False)
            for seed in seeds
        ]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BaseException:
            for child in set(active_children()) - children_before:
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
