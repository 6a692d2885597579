"""`kedro run --pipelines=reproduce`, as a user makes it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from flag_kedro.data.config import DataConfig
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.pipelines.reproduce.nodes import read_published_prices

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def msft_alone(investorbench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MSFT's file and one that the published table does not know."""
    folder = tmp_path_factory.mktemp("investorbench")
    shutil.copy(investorbench / "msft.json", folder)
    (folder / "nflx.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def reproduced(kedro: Kedro, msft_alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder of a finished run with base parameters, whose source is the simulated market."""
    data_dir = tmp_path_factory.mktemp("reproduced")
    done = kedro("run", "--pipelines=reproduce", data_dir=data_dir, params=f"data.path={msft_alone}")
    (data_dir / "output.txt").write_text(done.stdout + done.stderr)
    return data_dir


def test_row_at_hand_is_rebuilt_and_the_others_are_named(reproduced: Path):
    rows = json.loads((reproduced / "08_reporting" / "published_rows.json").read_text())
    assert list(rows["rows"]) == ["MSFT"]
    assert all(rows["rows"]["MSFT"]["matches"].values())
    assert rows["rows"]["MSFT"]["printed"]["cumulative_return"] == 0.1534
    assert rows["rows"]["MSFT"]["recomputed"]["cumulative_return"] == pytest.approx(0.153402, abs=1e-6)
    assert list(rows["skipped"]) == ["JNJ", "UVV", "HON", "TSLA", "BTC"]


def test_audit_covers_the_whole_table(reproduced: Path):
    audit = json.loads((reproduced / "08_reporting" / "published_audit.json").read_text())
    assert len(audit["rows"]) == 90
    assert audit["symbols_with_prices"] == ["MSFT"]
    assert [one["symbol"] for one in audit["findings"] if one["kind"] == "long_flat"] == ["MSFT"]
    assert list(audit["skipped"]) == ["JNJ", "UVV", "HON", "TSLA", "BTC"]


def test_page_shows_rows_findings_and_what_was_skipped(reproduced: Path):
    page = (reproduced / "08_reporting" / "published.html").read_text(encoding="utf-8")
    audit = json.loads((reproduced / "08_reporting" / "published_audit.json").read_text())
    for text in ("15.340 ✓", "JNJ: no jnj.json", f"{len(audit['findings'])} findings", "GPT-4 is Buy &amp; Hold"):
        assert text in page, text


def test_summary_prints_both_rows_their_convention_and_where_the_page_is(reproduced: Path):
    output = " ".join((reproduced / "output.txt").read_text().split())
    assert output.count("15.340 │ 1.039 │ 24.980 │ 9.428") == 2
    assert "2020-10-01 to 2021-05-05, last day dropped, 149 prices" in output
    assert "TSLA skipped: no tsla.json, which InvestorBench never released" in output
    assert "findings on the 90 rows" in output
    assert "published.html" in output


def test_run_is_logged_with_metrics_and_reports(reproduced: Path):
    store = mlflow.MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("flag_kedro")
    assert experiment is not None
    (run,) = store.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("reproduce", "FINISHED")
    assert run.data.metrics["reproduce/MSFT/sharpe_ratio"] == pytest.approx(1.0386, abs=1e-4)
    assert len(run.data.metrics) == 4
    names = {file.path for file in store.list_artifacts(run.info.run_id, "reports")}
    assert names == {"reports/published_rows.json", "reports/published_audit.json", "reports/published.html"}


def test_without_a_folder_the_run_says_how_to_give_one(kedro: Kedro, tmp_path: Path):
    done = kedro("run", "--pipelines=reproduce", data_dir=tmp_path, check=False)
    assert done.returncode != 0
    assert 'kedro run --pipelines=reproduce --params="data.path=DIR"' in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "08_reporting").exists()


def test_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ParameterError, match=r"data\.path: .*nowhere is not a folder"):
        read_published_prices(DataConfig(path=str(tmp_path / "nowhere")))


def test_folder_without_any_published_symbol_is_refused(tmp_path: Path):
    (tmp_path / "nflx.json").write_text("{}")
    with pytest.raises(DataError, match=r"has the files of NFLX, but none of msft\.json jnj\.json"):
        read_published_prices(DataConfig(path=str(tmp_path)))


def test_symbol_that_is_not_in_the_table_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no row for NFLX"):
        read_published_prices(DataConfig(path=str(tmp_path), symbols=("NFLX",)))


def test_symbols_narrow_what_is_rebuilt(investorbench: Path):
    prices, skipped = read_published_prices(DataConfig(path=str(investorbench), symbols=("BTC", "UVV")))
    assert list(prices) == ["BTC"]
    assert list(skipped) == ["UVV"]


def test_calendar_of_the_parameters_does_not_matter(investorbench: Path):
    """Base parameters are the simulated market's, on the New York calendar; bitcoin has weekends."""
    prices, _ = read_published_prices(DataConfig(path=str(investorbench), symbols=("BTC",), calendar="XNYS"))
    assert 6 in prices["BTC"]["session"].dt.weekday()
