"""Every corrupt input gives its named error, quickly, and leaves what was there before as it was."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow
import pytest
from corrupt_inputs import CASES, Case, bench, days
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError
from kedro.runner import SequentialRunner

from flag_kedro.errors import DataError, ParameterError
from flag_kedro.hooks.parameters import check_parameters
from flag_kedro.pipelines.ingest.pipeline import GROUPS
from kedro_server import as_parameters

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5.0

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


def content(folder: Path) -> dict[str, str]:
    """A hash of every file below `folder`, but for locks and the MLflow store that the test puts there."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".run.lock", "mlflow.db")
    }


def merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what is given in its place, group by group."""
    groups = {name: merged(base[name], value) for name, value in given.items() if isinstance(value, dict)}
    return {**base, **given, **groups}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the outputs of a sound ingest, once `ingest` has been asked for."""
    return tmp_path_factory.mktemp("earlier")


@pytest.fixture(scope="module")
def ingest(
    empty_store: Path, earlier: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], None]]:
    """Check parameters and run the ingest pipeline in `earlier`, with the project's catalog; MLflow is left as found.

    Kedro reads its settings once for all, which takes it longer than an ingest.
    """
    bootstrap_project(ROOT)
    store = shutil.copy(empty_store, tmp_path_factory.mktemp("store"))
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
        patch.setenv("MLFLOW_EXPERIMENT_ID", "")
        patch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
        with KedroSession.create(project_path=ROOT, runtime_params={"data_dir": str(earlier)}) as session:
            context = session.load_context()
            catalog, base = context.catalog, context.config_loader["parameters"]

        def run(parameters: str) -> None:
            settings = check_parameters(merged(base, as_parameters(parameters)))
            for group in GROUPS:
                catalog[f"params:{group}"] = getattr(settings, group)
            SequentialRunner().run(pipelines["ingest"], catalog)

        run(bench(tmp_path_factory.mktemp("sound"), days()))
        yield run
    mlflow.set_tracking_uri(before)


def test_there_are_forty_kinds_and_more():
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_corrupt_input_is_named_and_loses_nothing(
    case: Case, ingest: Callable[[str], None], earlier: Path, tmp_path: Path
):
    before = content(earlier)
    assert "02_intermediate/prices.parquet" in before
    parameters = case.write(tmp_path)
    start = time.perf_counter()
    with pytest.raises((DataError, ParameterError, DatasetError)) as caught:
        ingest(parameters)
    assert time.perf_counter() - start < SECONDS
    error = caught.value if isinstance(caught.value, DataError | ParameterError) else caught.value.__cause__
    assert isinstance(error, DataError | ParameterError)
    message = str(error)
    assert [part for part in case.named if part not in message] == [], message
    assert len(message) < 5_000
    assert content(earlier) == before


def refused_by_the_command(kedro: Kedro, parameters: str, data_dir: Path, case: Case) -> None:
    before = content(data_dir)
    done = kedro("run", "--pipelines=ingest", data_dir=data_dir, params=parameters, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    assert [part for part in case.named if part not in done.stderr] == [], done.stderr
    assert content(data_dir) == before


def test_command_says_it_in_words_and_fails(kedro: Kedro, tmp_path: Path):
    case = next(case for case in CASES if case.name == "InvestorBench: a negative price")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (tmp_path / "source").mkdir()
    done = kedro("run", "--pipelines=ingest", data_dir=data_dir, params=bench(tmp_path / "source", days()))
    assert "Data let in" in done.stdout
    refused_by_the_command(kedro, case.write(tmp_path / "source"), data_dir, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_command_refuses_every_corrupt_input(kedro: Kedro, case: Case, tmp_path: Path):
    (tmp_path / "source").mkdir()
    (tmp_path / "data").mkdir()
    refused_by_the_command(kedro, case.write(tmp_path / "source"), tmp_path / "data", case)
