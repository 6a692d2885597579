"""A run whose data folder is a working copy of an object store: fetched before it begins, sent while it goes on."""

import atexit
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline

from flag_kedro.datasets.folders import CacheFolder, GrowingFolder, KeptFile
from flag_kedro.hooks.check_inputs import files_behind
from flag_kedro.hooks.data_folder import data_folder, store_url
from flag_kedro.hooks.profile import FILE as PROFILE
from flag_kedro.hooks.tracking import UNSENT
from flag_kedro.stores.config import StoreConfig
from flag_kedro.stores.mirror import Mirror, Units
from flag_kedro.tracking.interrupts import ask_to_stop

logger = logging.getLogger(__name__)


class MirrorToStore:
    """Holds the store of `store_url` for a run, gets what the run reads, and sends what it writes as it is written."""

    def __init__(self) -> None:
        self._folder = Path("data")
        self._url: str | None = None
        self._config = StoreConfig()
        self._catalog: Any = None
        self._mirror: Mirror | None = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Note where folder and store are.

        Raises:
            ParameterError: when there should be a store and none is named.
        """
        self._folder, self._url = data_folder(context).path, store_url(context)
        self._config = StoreConfig(**context.config_loader["parameters"]["store"])

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: Any) -> None:
        """Take the store, and bring the data folder up to date.

        Raises:
            BusyError: when another run has the store.
            StoreError: when it does not answer.
        """
        self._end(failed=True)  # a run that failed before it began may have left the store held
        self._catalog = catalog
        if self._url is not None:
            mirror = Mirror(self._folder, self._url, self._config, ask_to_stop)
            looks_at_all = bool(run_params.get("only_missing_outputs"))
            mirror.begin(units_of(pipeline, catalog, self._folder, looks_at_all=looks_at_all))
            self._mirror = mirror
            atexit.register(self._end, failed=True)

    @hook_impl(tryfirst=True)
    def before_node_run(self) -> None:
        """Stop between nodes where the store was lost.

        Raises:
            StoreError: then.
        """
        if self._mirror is not None:
            self._mirror.check()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Send what was saved; the run is told once the store has it.

        Raises:
            StoreError: when it does not answer, or another run has taken it over.
        """
        if self._mirror is not None:
            unit = unit_of(self._catalog[dataset_name], self._folder)
            self._mirror.send(*([] if unit is None else [unit]))

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Give the store back once MLflow's run has ended."""
        self._end(failed=False)

    @hook_impl(wrapper=True)
    def on_pipeline_error(self) -> Generator[None, Any, Any]:
        """Send what the run could save and give the store back, once every other hook is done with the error."""
        try:
            return (yield)
        finally:
            self._end(failed=True)

    def _end(self, *, failed: bool) -> None:
        mirror, self._mirror = self._mirror, None
        if mirror is not None:
            atexit.unregister(self._end)
            mirror.end(failed=failed)


def units_of(pipeline: Pipeline, catalog: Any, folder: Path, *, looks_at_all: bool = False) -> Units:
    """What a run reads and writes below its data folder.

    Args:
        pipeline: of the run.
        catalog: of the run.
        folder: the data folder.
        looks_at_all: whether the run leaves out nodes whose outputs are there: then it reads those, too.
    """
    datasets = {name: catalog[name] for name in sorted(pipeline.datasets() - {UNSENT}) if name in catalog}
    for name, each in datasets.items():
        if hasattr(each, "_filepath") and not isinstance(each, CacheFolder) and unit_of(each, folder) is None:
            logger.warning("%s is not below %s, so it is not in the store: %s", name, folder, each._filepath)
    rows = {name: Path(each._filepath) for name, each in datasets.items() if isinstance(each, CacheFolder)}
    growing = [each for each in datasets.values() if isinstance(each, GrowingFolder) and not _is_special(each)]
    kept = [each for each in datasets.values() if isinstance(each, KeptFile)]
    looked_at = [*files_behind(pipeline.inputs(), catalog), *(sorted(pipeline.datasets()) if looks_at_all else ())]
    read = [catalog[name] for name in looked_at if name in catalog and name != UNSENT]
    return Units(
        read=_units(read, folder), growing=_units(growing, folder), kept=[*_units(kept, folder), PROFILE], rows=rows
    )


def unit_of(dataset: Any, folder: Path) -> str | None:
    """Path below the data folder of what is sent whole; None for what is not, or is elsewhere."""
    path = getattr(dataset, "_filepath", None)
    if path is None or isinstance(dataset, CacheFolder):
        return None
    absolute = Path(path).absolute()
    return absolute.relative_to(folder.absolute()).as_posix() if absolute.is_relative_to(folder.absolute()) else None


def _units(datasets: list[Any], folder: Path) -> list[str]:
    units = [unit_of(dataset, folder) for dataset in datasets]
    return list(dict.fromkeys(unit for unit in units if unit is not None))


def _is_special(dataset: Any) -> bool:
    return isinstance(dataset, (CacheFolder, KeptFile))
