"""A project folder that was moved or copied takes its runs' artifacts along: its store is told where they are now.

MLflow writes whole paths into its database, of an experiment, of every run, every model and every version of a
registered one, and has no function that changes them.
"""

import logging
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

logger = logging.getLogger(__name__)


def follow_the_project(store: SqlAlchemyStore, experiment: str, artifacts: str) -> None:
    """Let the experiment's next runs write below `artifacts`, and its earlier ones be read there if they are there.

    Args:
        store: MLflow's own, of a file.
        experiment: its name.
        artifacts: address of the folder of all its runs.
    """
    with store.ManagedSessionMaker(read_only=False) as session:
        row = session.query(SqlExperiment).filter(SqlExperiment.name == experiment).one()
        before = row.artifact_location.rstrip("/")
        if before == artifacts.rstrip("/"):
            return
        row.artifact_location = artifacts
        runs = session.query(SqlRun).filter(SqlRun.experiment_id == row.experiment_id).all()
        moved = [run for run in runs if _lies_below(run.artifact_uri, before, artifacts)]
        for run in moved:
            run.artifact_uri = artifacts.rstrip("/") + run.artifact_uri.removeprefix(before)
        models = session.query(SqlLoggedModel).filter(SqlLoggedModel.experiment_id == row.experiment_id).all()
        rows = [(model, "artifact_location") for model in models]
        rows += [(version, "storage_location") for version in session.query(SqlModelVersion).all()]
        for owner, column in rows:
            place = getattr(owner, column) or ""
            if _lies_below(place, before, artifacts):
                setattr(owner, column, artifacts.rstrip("/") + place.removeprefix(before))
    logger.warning(
        "artifacts of experiment %s were at %s and are at %s from now on; those of %d earlier run(s) were found there",
        experiment, before, artifacts, len(moved),
    )  # fmt: skip


def _lies_below(uri: str, before: str, artifacts: str) -> bool:
    """Whether a run's files are below the new place now."""
    if not uri.startswith(f"{before}/"):
        return False
    return Path(unquote(urlsplit(artifacts.rstrip("/") + uri.removeprefix(before)).path)).is_dir()
