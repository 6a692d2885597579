"""`kedro run` refuses what cannot work here before anything starts, with what to write instead."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.project import configure_project

from flag_kedro.cli import run


@pytest.fixture(autouse=True, scope="module")
def _configured() -> None:
    configure_project("flag_kedro")


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(run, arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    return done.output


@pytest.mark.parametrize(
    "option",
    ["--async", "--runner-params=is_async=True", "--runner=ParallelRunner", "--runner=kedro.runner.ThreadRunner"],
)
def test_whatever_runs_nodes_elsewhere_is_refused_by_name(option: str):
    assert f"{option}: nodes run one after the other in one thread" in refused(option)


def test_unknown_runner_is_named():
    assert "--runner=QuickRunner: there is no such runner" in refused("--runner=QuickRunner")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env=smolm2"], "--env=smolm2: there is no folder conf/smolm2; did you mean smollm2?"),
        (["--env=zzz"], "known are base, cluster, local, paper, paper_fast, smollm2, yahoo"),
        (["--pipelines=trainn"], "--pipelines=trainn: there is no such pipeline; did you mean train?"),
        (["--pipeline=xyz"], "known are __default__, audit, backtest"),
        (["--tags=slow"], "--tags=slow: no node has such a tag; nodes of this project have no tags"),
        (["--nodes=train"], "--nodes=train: "),
        (["--from-nodes=train_polizy"], "train_policy"),
        (["--pipelines=training", "--to-outputs=polizy"], "--to-outputs=polizy: "),
    ],
)
def test_what_is_not_there_is_named_with_what_is(arguments: list[str], said: str):
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("params", "better"),
    [
        ("seeds=1,2,3", "seeds=1 2 3"),
        ("data.symbols=ALDR,BRIX,seed=1", "data.symbols=ALDR BRIX,seed=1"),
        ("seed=1,data.symbols=ALDR, BRIX", "seed=1,data.symbols=ALDR BRIX"),
    ],
)
def test_a_list_with_commas_is_told_how_it_is_written(params: str, better: str):
    assert f'--params="{better}"' in refused(f"--params={params}")


def test_other_mistakes_in_params_are_kedros_own():
    assert "cannot be an empty string" in refused("--params==3")


def test_help_is_kedros(tmp_path: Path):
    assert "--from-nodes" in CliRunner().invoke(run, ["--help"]).output
