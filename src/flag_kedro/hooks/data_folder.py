"""The data folder of a run, and its lock."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from kedro.framework.hooks import hook_impl

from flag_kedro.errors import BusyError, ParameterError

LOCK = ".run.lock"


@dataclass(frozen=True)
class DataFolder:
    """Where a run reads and writes."""

    project: Path
    path: Path

    @property
    def shown(self) -> Path:
        """As a user in the project's folder would write it."""
        return self.path.relative_to(self.project) if self.path.is_relative_to(self.project) else self.path


def data_folder(context: Any) -> DataFolder:
    """The folder of the command line, else that of the environment."""
    project, loader = Path(context.project_path), context.config_loader
    given = (loader.runtime_params or {}).get("data_dir")
    return DataFolder(project, project / (given or loader["globals"]["data_dir"]))


def store_url(context: Any) -> str | None:
    """Address of the store that the folder is a working copy of: of the command line, else of the environment.

    Raises:
        ParameterError: when the environment wants one and has none.
    """
    loader = context.config_loader
    url = (loader.runtime_params or {}).get("store_url", loader["globals"].get("store_url"))
    if url == "":
        raise ParameterError(
            "store_url: this profile keeps its data in an object store, and none is named; export "
            "FLAG_KEDRO_STORE=s3://BUCKET/PREFIX, or give --params=store_url=s3://BUCKET/PREFIX"
        )
    return None if url is None else str(url)


class LockDataFolder:
    """Lets one run at a time use a data folder."""

    def __init__(self) -> None:
        self._path = Path("data")
        self._lock: FileLock | None = None

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Note where the folder is."""
        self._path = data_folder(context).path

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self) -> None:
        """Take the folder.

        Raises:
            BusyError: when another run has it.
        """
        self._release()  # a run that failed before it began may have left the folder locked
        self._path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(
                f"another run is using {self._path}; wait for it, "
                "or use a folder of your own with --params=data_dir=DIR"
            ) from error
        self._lock = lock

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Give the folder back once MLflow's run has ended."""
        self._release()

    @hook_impl(wrapper=True)
    def on_pipeline_error(self) -> Generator[None, Any, Any]:
        """Give the folder back once every other hook is done with the error, or has failed."""
        try:
            return (yield)
        finally:
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
