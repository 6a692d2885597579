"""Commands that errors and tags show."""

import shlex
from typing import Any

import pytest

from flag_kedro.hooks.command import run_command
from kedro_server import as_parameters

RUN: dict[str, Any] = {
    "env": "yahoo",
    "pipeline_names": ["backtest"],
    "from_nodes": ["score_backtest"],
    "to_nodes": [],
    "node_names": (),
    "tags": (),
    "runtime_params": {"data": {"symbols": "ALDR BRIX"}, "ppo": {"gamma": 0.9}, "data_dir": "data/x y"},
    "only_missing_outputs": False,
}


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({}, "kedro run"),
        ({"pipeline_names": ["__default__"]}, "kedro run"),
        (
            {"env": "yahoo", "pipeline_names": ["ingest", "features"]},
            "kedro run --env=yahoo --pipelines=ingest,features",
        ),
        (
            RUN,
            "kedro run --env=yahoo --pipelines=backtest --from-nodes=score_backtest "
            "'--params=data.symbols=ALDR BRIX,ppo.gamma=0.9,data_dir=data/x y'",
        ),
    ],
)
def test_a_run_is_written_as_it_would_be_typed(run: dict[str, Any], expected: str):
    assert run_command(run) == expected


def test_another_pipeline_is_run_whole_with_the_same_parameters():
    assert "--from-nodes" not in run_command(RUN, pipelines=["train"])
    assert run_command(RUN, pipelines=["upload"], only=("data_dir",)) == (
        "kedro run --env=yahoo --pipelines=upload '--params=data_dir=data/x y'"
    )


def test_parameters_that_are_given_besides_win_and_lists_are_written_with_blanks():
    params = {"data.symbols": ["ALDR"], "features.ablation": None, "data.quarantine": True}
    (given,) = [word for word in shlex.split(run_command(RUN, params=params)) if word.startswith("--params=")]
    assert as_parameters(given.removeprefix("--params=")) == {
        "data": {"symbols": "ALDR", "quarantine": "true"},
        "ppo": {"gamma": "0.9"},
        "data_dir": "data/x y",
        "features": {"ablation": "null"},
    }
