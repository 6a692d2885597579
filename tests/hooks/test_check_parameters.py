"""What becomes of `seed` and `seeds`, and of folders that parameters name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset

from flag_kedro.errors import ParameterError
from flag_kedro.hooks.check_parameters import CheckParameters

BASE = Path(__file__).resolve().parents[2] / "conf" / "base" / "parameters.yml"


class Loader(dict[str, Any]):
    """Kedro's config loader as the hook reads it."""

    def __init__(self, **runtime_params: Any) -> None:
        parameters = yaml.safe_load(BASE.read_text()) | runtime_params
        super().__init__(parameters=parameters, globals={"data_dir": "data"})
        self.runtime_params = runtime_params


def checked(**runtime_params: Any) -> CheckParameters:
    hooks = CheckParameters()
    hooks.after_context_created(SimpleNamespace(config_loader=Loader(**runtime_params), project_path=Path()))
    return hooks


@pytest.mark.parametrize(
    ("given", "expected"), [({}, 0), ({"seed": 5}, 5), ({"seeds": "3 1"}, 3), ({"seed": 3, "seeds": "3 1"}, 3)]
)
def test_the_first_of_seeds_is_the_seed_of_all_nodes(given: dict[str, Any], expected: int):
    catalog = DataCatalog({"params:seed": MemoryDataset(given.get("seed", 0))})
    checked(**given).after_catalog_created(catalog)
    assert catalog["params:seed"].load() == expected


def test_another_seed_together_with_seeds_is_refused():
    with pytest.raises(ParameterError, match=r"seed: 1 was asked for together with seeds, whose first, 3"):
        checked(seed=1, seeds="3 1")


@pytest.mark.parametrize("name", ["data_dir", "trunk_cache_dir"])
def test_folders_come_from_the_command_line_alone(name: str):
    assert checked(**{name: "elsewhere"})
    loader = Loader()
    loader["parameters"][name] = "elsewhere"  # as if conf/base had it
    with pytest.raises(ParameterError, match=f"{name}: set it .*with --params={name}=DIR"):
        CheckParameters().after_context_created(SimpleNamespace(config_loader=loader, project_path=Path()))
