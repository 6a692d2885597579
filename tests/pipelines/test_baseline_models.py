"""Baselines that are trained: what a run leaves in 06_models, and that it fits the policy beside it."""

import json
import shutil
import typing
from pathlib import Path

import pytest

from flag_kedro.pipeline_registry import register_pipelines
from flag_kedro.policy.bag_of_words import load_bag_of_words
from flag_kedro.policy.bundle import check_facts, read_description


def test_text_baseline_has_the_facts_of_the_policy_beside_it(finished_run: Path) -> None:
    models = finished_run / "06_models"
    facts = json.loads((models / "text_baseline" / "facts.json").read_text())
    assert {"data_hash", "windows", "env", "symbols", "seed"} <= facts.keys()
    check_facts(read_description(models / "policy"), facts)


def test_text_baseline_opens_and_has_learned(finished_run: Path) -> None:
    model = load_bag_of_words(finished_run / "06_models" / "text_baseline")
    assert len(model.words) > 100
    assert all(float(weight.detach().abs().max()) > 0 for weight in model.parameters())


def test_sb3_baseline_is_a_pipeline_of_its_own_whose_annotations_resolve() -> None:
    pipelines = register_pipelines()
    (node,) = (node for node in pipelines["sb3_baseline"].nodes if node.name == "sb3_baseline.train_sb3_baseline")
    assert typing.get_type_hints(node.func)
    assert node not in pipelines["__default__"].nodes


@pytest.mark.slow
def test_text_baseline_is_refused_beside_a_policy_of_another_seed(
    finished_run: Path, kedro: typing.Callable[..., typing.Any], small_run: str, tmp_path: Path
) -> None:
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "06_models" / "text_baseline" / "MANIFEST.json").read_bytes()
    done = kedro("run", "--nodes=train_text_baseline", data_dir=tmp_path, params=f"{small_run},seed=5", check=False)
    assert "seed: trained on 0, found 5" in done.stderr
    assert (tmp_path / "06_models" / "text_baseline" / "MANIFEST.json").read_bytes() == before


@pytest.mark.slow
def test_sb3_baseline_is_trained_beside_a_finished_run(
    kedro: typing.Callable[..., object], small_run: str, tmp_path: Path
) -> None:
    from flag_kedro.experiments.sb3_agent import load_sb3

    for pipeline in ("ingest", "features", "sb3_baseline"):
        kedro("run", f"--pipelines={pipeline}", data_dir=tmp_path, params=small_run)
    agent = load_sb3(tmp_path / "06_models" / "sb3_baseline")
    assert agent.facts["symbols"] == ["ALDR", "BRIX"]
