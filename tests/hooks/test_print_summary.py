"""Which summary a run ends with."""

import inspect
from dataclasses import asdict
from pathlib import Path

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node

from flag_kedro.errors import VerdictError
from flag_kedro.experiments.certificate import certify
from flag_kedro.hooks.print_summary import APPENDED, SUMMARIES, PrintSummary, summaries_of
from flag_kedro.hooks.summaries.backtest import print_next
from flag_kedro.pipeline_registry import register_pipelines


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        ("ingest", ["print_data"]),
        ("features", []),
        ("stream", ["print_streamed"]),
        ("select", ["print_data"]),
        ("training", ["print_trained", "print_seeds"]),
        ("train", ["print_trained", "print_seeds"]),
        ("backtest", ["print_backtest", "print_next"]),
        ("audit", ["print_full_audit"]),
        ("certify", ["print_certificate"]),
        ("contamination", ["print_contamination"]),
        ("robustness", ["print_robustness"]),
        ("evaluate", ["print_tasks"]),
        ("portfolio", ["print_portfolio"]),
        ("events", ["print_events"]),
        ("reproduce", ["print_reproduced"]),
        ("sb3_baseline", []),
        ("sweep", ["print_sweep"]),
        ("walk_forward", ["print_walk_forward"]),
        ("__default__", ["print_backtest", "print_seeds", "print_next"]),
    ],
)
def test_each_pipeline_ends_with_its_own(pipeline: str, expected: list[str]):
    made = register_pipelines()[pipeline].all_outputs()
    assert [summary.printer.__name__ for summary in summaries_of(made)] == expected


def test_a_part_of_a_backtest_is_not_summed_up():
    assert summaries_of({"backtest_metrics", "backtest_inference", "equity_plot"}) == []


@pytest.mark.parametrize("summary", [*SUMMARIES.values(), *APPENDED.values()], ids=lambda summary: summary.printer)
def test_printers_take_what_is_read_for_them_and_the_folder(summary):
    assert len(inspect.signature(summary.printer).parameters) == len(summary.reads) + 1


def end(output: str, content: object) -> None:
    """What is printed after a run that made one dataset."""
    pipeline = Pipeline([node(lambda: content, None, output, name="make")])
    PrintSummary().after_pipeline_run({}, pipeline, DataCatalog({output: MemoryDataset(content)}))


def test_failed_certificate_is_printed_and_fails_the_command(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(VerdictError, match=r"the certificate failed; data/08_reporting/certificate\.json"):
        end("certificate", asdict(certify([])))
    assert "Failed" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["market_states", "equity", "sb3_baseline"])
def test_every_run_ends_with_a_result(output: str, capsys: pytest.CaptureFixture[str]):
    end(output, None)
    assert f"Made {output}" in capsys.readouterr().out


def test_commands_that_follow_have_the_profile_and_parameters_of_this_one(capsys: pytest.CaptureFixture[str]):
    run_params = {"env": "smollm2", "pipeline_names": ["training"], "runtime_params": {"data_dir": "data/second"}}
    pipeline = Pipeline([node(lambda: None, None, "policy", name="make")])
    PrintSummary().after_pipeline_run(run_params, pipeline, DataCatalog({"policy": MemoryDataset("x")}))
    assert "kedro run --env=smollm2 --pipelines=backtest --params=data_dir=data/second\n" in capsys.readouterr().out
    run_params["runtime_params"]["seeds"] = [1, 2]
    PrintSummary().after_pipeline_run(run_params, pipeline, DataCatalog({"policy": MemoryDataset("x")}))
    print_next(Path("data/second"))
    command = "kedro run --env=smollm2 --params=data_dir=data/second,seed=1,env.cost_bps=2"
    assert f"{command}\n" in capsys.readouterr().out
