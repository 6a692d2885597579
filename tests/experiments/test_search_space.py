"""What a sampler may draw from, and what is refused before anything is trained."""

from typing import Any

import pytest

from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments.config import SweepConfig
from flag_kedro.experiments.search_space import open_space
from flag_kedro.experiments.sweep import combinations
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig

BASE = (EnvConfig(), PolicyConfig(), PPOConfig(total_timesteps=100))
RATE = {"ppo.learning_rate": "1e-4 1e-2 log"}


def sampled(**given: Any) -> SweepConfig:
    return SweepConfig(**{"sampler": "tpe", "trials": 2} | given)


@pytest.mark.parametrize(
    "ranges",
    [
        {"ppo.learning_rate": "1e-4 1e-2 log", "ppo.num_steps": "8 64"},
        {"ppo": {"learning_rate": [1e-4, 1e-2, "log"], "num_steps": [8, 64]}},
    ],
)
def test_ranges_are_read_however_they_are_written(ranges: dict[str, Any]):
    optuna = pytest.importorskip("optuna", reason="the extra `search` is not installed")
    space = open_space(sampled(ranges=ranges, grid={"policy.lora_rank": "8 16"}), *BASE)
    distributions = optuna.distributions
    assert space.distributions() == {
        "policy.lora_rank": distributions.CategoricalDistribution(["8", "16"]),
        "ppo.learning_rate": distributions.FloatDistribution(1e-4, 1e-2, log=True),
        "ppo.num_steps": distributions.IntDistribution(8, 64),
    }


def test_numbers_are_rounded_to_four_digits_within_their_range():
    space = open_space(sampled(ranges={"ppo.gamma": "0.123456 0.987654", "ppo.num_steps": "8 64"}), *BASE)
    drawn = [{"ppo.gamma": value, "ppo.num_steps": 17} for value in (0.5555555, 0.1234561, 0.9876539)]
    assert [space.rounded(each)["ppo.gamma"] for each in drawn] == [0.5556, 0.1235, 0.987654]
    assert space.rounded(drawn[0])["ppo.num_steps"] == 17


def test_a_point_is_the_combination_that_a_grid_makes_of_it():
    grid = {"env.reward": ["log_return"], "ppo.head_learning_rate": [None, 0.01], "ppo.gamma": [0.75]}
    space = open_space(
        sampled(grid={path: grid[path] for path in list(grid)[:2]}, ranges={"ppo.gamma": "0.5 0.9"}), *BASE
    )
    point = {"env.reward": "log_return", "ppo.head_learning_rate": "null", "ppo.gamma": 0.75}
    expected = combinations(SweepConfig(grid=grid).grid, *BASE)[0]
    found = space.combination(point)
    assert (found.name, found.as_params) == (expected.name, expected.as_params)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ranges": {"data.seed": "1 2"}}, r"sweep\.ranges\.data\.seed: only ppo"),
        ({"ranges": {"env.cost_bps": "1 2"}}, r"sweep\.ranges\.env\.cost_bps: cannot be tried; of env these can"),
        ({"ranges": {"ppo.gamma": "0.5"}}, r"sweep\.ranges\.ppo\.gamma is '0\.5'; give LOW HIGH, or LOW HIGH log"),
        ({"ranges": {"ppo.gamma": "0.5 0.9 lin"}}, r"ppo\.gamma is '0\.5 0\.9 lin'; give LOW HIGH"),
        ({"ranges": {"ppo.gamma": "0.9 0.5"}}, r"sweep\.ranges\.ppo\.gamma: the low end must come first"),
        ({"ranges": {"ppo.gamma": "0.5 1.5"}}, r"sweep\.ranges\.ppo\.gamma: .*less than or equal to 1; got '1\.5'"),
        ({"ranges": {"ppo.ent_coef": "0 1 log"}}, r"a logarithmic scale needs a low end above 0; got 0"),
        ({"ranges": {"env.reward": "log_return pnl"}}, r"sweep\.ranges\.env\.reward"),
        (
            {"ranges": {"ppo.anneal_lr": "false true"}},
            r"only numbers have a range, False is none; list values in sweep",
        ),
        ({"ranges": {"ppo.num_steps": "1.5 8"}}, r"sweep\.ranges\.ppo\.num_steps: .*integer"),
        ({"ranges": RATE, "grid": {"ppo.gamma": ["0.5", 0.5]}}, r"sweep\.grid\.ppo\.gamma holds a value twice"),
        ({"ranges": RATE, "grid": {"ppo.gamma": [2]}}, r"sweep\.grid\.ppo\.gamma: .*less than or equal to 1; got 2"),
        (
            {"ranges": {"ppo.minibatch_size": "8 64"}, "grid": {"ppo.num_envs": [16, 64]}},
            r"ppo\.minibatch_size \(8\) must be at least",
        ),
        (
            {"ranges": {"env.cvar_level": "0.05 0.2"}},
            r"sweep\.ranges\.env\.cvar_level has no effect without env\.cvar_penalty above 0",
        ),
        ({"grid": {"ppo.gamma": "0.5 0.9"}, "trials": 3}, r"sweep\.trials is 3, but sweep\.grid has 2 combination"),
    ],
)
def test_what_cannot_be_drawn_is_named(given: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        open_space(sampled(**given), *BASE)


def test_a_parameter_that_another_turns_on_may_be_drawn():
    space = open_space(sampled(ranges={"env.cvar_level": "0.05 0.2"}, grid={"env.cvar_penalty": "0 1"}), *BASE)
    assert len({corner.name for corner in space.corners()}) == 3  # without a penalty the level is nothing


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ranges": RATE}, r"sweep\.ranges is not read by a grid; set sweep\.sampler=tpe or random"),
        ({"trials": 4}, r"sweep\.trials is not read by a grid"),
        ({"prune": "median"}, r"sweep\.prune is not read by a grid"),
        ({"storage": "sqlite:///x.db"}, r"sweep\.storage is not read by a grid"),
        ({"sampler": "tpe", "ranges": RATE}, r"sweep\.sampler=tpe needs sweep\.trials"),
        (
            {"sampler": "tpe", "trials": 2, "ranges": RATE, "grid": {"ppo.learning_rate": [0.1]}},
            r"sweep\.grid and sweep\.ranges both have ppo\.learning_rate",
        ),
        (
            {"sampler": "tpe", "trials": 2, "storage": "postgresql://me:secret@host/db"},
            r"sweep\.storage has a password, .*PGPASSWORD",
        ),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(given: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        SweepConfig(**given)
