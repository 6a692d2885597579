"""What runs are called in MLflow."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from flag_kedro.hooks.parameters import check_parameters
from flag_kedro.hooks.run_names import run_name

BASE = Path(__file__).resolve().parents[2] / "conf" / "base" / "parameters.yml"


@pytest.mark.parametrize(
    ("pipelines", "data", "given", "expected"),
    [
        (["__default__"], {}, {}, "run ALDR+5 seed 0"),
        (["training"], {}, {"seed": 3}, "train ALDR+5 seed 3"),
        (["train"], {"symbols": "BRIX"}, {"seeds": "2 1"}, "train BRIX seeds 2 1"),
        (["ingest", "features"], {"symbols": "A B"}, {}, "ingest+features A+1 seed 0"),
        (["backtest"], {"source": "files", "path": "prices.csv"}, {}, "backtest files seed 0"),
        (["certify"], {}, {}, "certify"),
    ],
)
def test_a_run_is_called_by_what_it_does_to_what(
    pipelines: list[str], data: dict[str, Any], given: dict[str, Any], expected: str
):
    parameters = yaml.safe_load(BASE.read_text())
    parameters["data"] = (parameters.get("data") or {}) | data
    assert run_name(pipelines, check_parameters(parameters | given)) == expected


def test_runs_of_one_profile_are_told_apart_by_what_the_command_line_gave():
    settings = check_parameters(yaml.safe_load(BASE.read_text()))
    given = {"data_dir": "data/other", "env.reward": "sharpe_increment", "env.cost_bps": 2, "seed": 0}
    assert run_name(["train"], settings, given) == "train ALDR+5 seed 0 env.reward=sharpe_increment env.cost_bps=2"
    long = {f"group.field_{number}": "x" * 50 for number in range(100)}
    assert len(run_name(["train"], settings, long)) == 200
