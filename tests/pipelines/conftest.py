"""What tests of several trainings share."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
import polars as pl
import pytest

from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.experiments.folds import common_sessions, roll_folds


@pytest.fixture(scope="module")
def tracking_store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow logs to a store of the module's own."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('store'))}")
    yield
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def data(small_states: Mapping[str, pl.DataFrame]) -> DataConfig:
    """A run's own windows: 20, 10 and 12 sessions."""
    (fold,) = roll_folds(common_sessions(small_states), train=20, validation=10, test=12, folds=1)
    return DataConfig(windows=WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test))
