"""MLflow's tracking store as a run uses it: whoever logs, MLflow's own functions and kedro-mlflow included."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from mlflow.entities import DatasetInput, LifecycleStage, Metric, Param, Run, RunData, RunInfo, RunStatus, RunTag
from mlflow.tracking._tracking_service import utils

from flag_kedro.tracking.calls import batch, creation, inputs, update, upload
from flag_kedro.tracking.journal import Call
from flag_kedro.tracking.link import LOSSES, Link

logger = logging.getLogger(__name__)
LOCAL = ("flush_async_logging", "shut_down_async_logging")
"""Functions of MLflow's stores that only wait for what was sent already: in vain, if the store is lost."""


class KeepingStore:
    """Writes through a `Link`, so that the rest of the run need not care whether the store is there.

    Names are escaped on the way, and what the store refuses is a warning. Everything else is the store's own, with an
    end in time.
    """

    def __init__(self, store: Any) -> None:
        self.link = Link(store)
        self._unsent: dict[str, Run] = {}

    def keep_in(self, folder: Path | None) -> None:
        """Begin anew: take the store for reachable, and keep what cannot be sent in `folder`; without one, fail."""
        self.link = Link(self.link.store, folder)
        self._unsent = {}

    def __getattr__(self, name: str) -> Any:
        """What is not written below."""
        found = getattr(self.link.store, name)
        if not callable(found) or name.startswith("_"):
            return found
        ask = self.link.wait if name in LOCAL else self.link.read
        return lambda *args, **kwargs: ask(partial(found, *args, **kwargs))

    def get_run(self, run_id: str) -> Run:
        """A run; one that the store does not know yet is as it was made."""
        known = self.link.id_of(run_id)
        if known in self._unsent:
            return self._unsent[known]
        found: Run = self.link.read(lambda: self.link.store.get_run(known))
        return found

    def create_logged_model(self, *args: Any, source_run_id: str | None = None, **kwargs: Any) -> Any:
        """A new model of a run."""
        known = None if source_run_id is None else self.link.id_of(source_run_id)
        return self.link.read(lambda: self.link.store.create_logged_model(*args, source_run_id=known, **kwargs))

    def log_outputs(self, run_id: str, models: Any) -> None:
        """Note models that a run made."""
        self.link.read(lambda: self.link.store.log_outputs(self.link.id_of(run_id), models))

    def create_run(
        self, experiment_id: str, user_id: str, start_time: int, tags: Sequence[RunTag], run_name: str
    ) -> Run:
        """A new run; where the store is lost, one with an id that holds until it is sent."""
        run_id = uuid4().hex
        made = self.link.write(creation(run_id, experiment_id, user_id, start_time, tags, run_name))
        if made is None:
            info = RunInfo(
                run_id=run_id, experiment_id=experiment_id, user_id=user_id, run_name=run_name, end_time=None,
                status=RunStatus.to_string(RunStatus.RUNNING), start_time=start_time,
                lifecycle_stage=LifecycleStage.ACTIVE,
            )  # fmt: skip
            made = self._unsent[run_id] = Run(info, RunData(tags=list(tags)))
        return made

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
    ) -> None:
        """Log all of them."""
        self._write(batch(run_id, metrics, params, tags))

    def log_metric(self, run_id: str, metric: Metric) -> None:
        """Log one metric."""
        self._write(batch(run_id, metrics=[metric]))

    def log_param(self, run_id: str, param: Param) -> None:
        """Log one parameter."""
        self._write(batch(run_id, params=[param]))

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        """Set one tag."""
        self._write(batch(run_id, tags=[tag]))

    def log_inputs(self, run_id: str, datasets: Sequence[DatasetInput] | None = None, models: Any = None) -> None:
        """Note datasets that the run used; of models, which nothing here notes, at once or not at all."""
        if models:
            self.link.read(lambda: self.link.store.log_inputs(self.link.id_of(run_id), models=models))
        self._write(inputs(run_id, datasets or ()))

    def update_run_info(self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None) -> None:
        """Change the run's state, end or name."""
        status = None if run_status is None else RunStatus.to_string(run_status)
        self._write(update(run_id, status, end_time, run_name))

    def log_artifact(self, run_id: str, path: Path, folder: str | None) -> None:
        """Copy a file, or a folder with all that is in it, into `folder` of the run's artifacts."""
        self._write(upload(run_id, str(path.resolve()), folder))

    def _write(self, call: Call) -> None:
        try:
            self.link.write(call)
        except LOSSES as error:
            logger.warning("%s of run %s is not logged; MLflow said: %s", call["call"], call["run_id"], error)


def install() -> None:
    """Put a `KeepingStore` before MLflow's stores of all addresses, once."""
    registry: Any = utils._tracking_store_registry
    for scheme, builder in list(registry._registry.items()):
        if not isinstance(builder, partial):
            registry.register(scheme, partial(_build, builder))
            registry._get_store_with_resolved_uri.cache_clear()


def _build(builder: Any, **place: Any) -> KeepingStore:
    return KeepingStore(builder(**place))


def store_in_use() -> KeepingStore:
    """The store of the present tracking URI.

    Raises:
        MlflowException: when there is none for it; others as the store itself raises them.
    """
    install()
    store = utils._get_store()  # type: ignore[no-untyped-call]
    assert isinstance(store, KeepingStore), f"not installed before {store!r}"
    return store
