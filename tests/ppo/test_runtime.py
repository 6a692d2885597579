"""What runs trainings changes nothing that is computed, and so no name of a result."""

from dataclasses import replace

import pytest

from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments.finished import experiment_key
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

PLAIN = RuntimeConfig(device="cpu", threads=2)
RAY = RuntimeConfig(device="cpu", threads=2, engine="ray", ray_address="auto", task_cpus=3, task_gpus=0.5)


def key(runtime: RuntimeConfig) -> str:
    ppo = PPOConfig(total_timesteps=32)
    return experiment_key({"env": EnvConfig().facts()}, PolicyConfig(), ppo, runtime)


def test_what_runs_trainings_is_in_no_key():
    assert RAY.computing() == {"device": "cpu", "threads": 2}  # all that there was before there were engines
    assert key(RAY) == key(PLAIN)
    assert key(replace(RAY, threads=3)) != key(PLAIN)


@pytest.mark.parametrize("wrong", [{"ray_address": "auto"}, {"engine": "spark"}, {"task_cpus": 0}, {"task_gpus": -1}])
def test_engines_and_resources_that_cannot_be_are_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match=r"ray_address|engine|task_"):
        RuntimeConfig(**wrong)
