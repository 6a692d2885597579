"""Grids, and the ranking of what they hold."""

import pytest

from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments.config import SweepConfig, chosen_seeds
from flag_kedro.experiments.sweep import combinations, rank
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig

BASE = (EnvConfig(), PolicyConfig(), PPOConfig(total_timesteps=100))


@pytest.mark.parametrize(
    "grid",
    [
        {"ppo.learning_rate": [0.001, 0.003], "policy.lora_rank": [8, 16]},
        {"ppo": {"learning_rate": [0.001, 0.003]}, "policy": {"lora_rank": [8, 16]}},
        {"ppo": {"learning_rate": "0.001 0.003"}, "policy": {"lora_rank": "8 16"}},
    ],
)
def test_every_value_is_combined_with_every_other_however_it_is_written(grid: dict[str, object]):
    grid_points = combinations(SweepConfig(grid=grid).grid, *BASE)
    assert [dict(each.values) for each in grid_points] == [
        {"ppo.learning_rate": rate, "policy.lora_rank": size} for rate in (0.001, 0.003) for size in (8, 16)
    ]
    assert [(each.ppo.learning_rate, each.policy.lora_rank) for each in grid_points] == [
        (0.001, 8), (0.001, 16), (0.003, 8), (0.003, 16),
    ]  # fmt: skip
    assert grid_points[1].as_params == "ppo.learning_rate=0.001,policy.lora_rank=16"
    assert len({each.name for each in grid_points}) == 4


def test_single_values_null_and_words_are_understood():
    grid = SweepConfig(
        grid={"ppo": {"head_learning_rate": "null 0.01", "anneal_lr": False}, "env.reward": "log_return"}
    )
    first, second = combinations(grid.grid, *BASE)
    assert (first.ppo.head_learning_rate, second.ppo.head_learning_rate) == (None, 0.01)
    assert first.as_params == "ppo.head_learning_rate=null,ppo.anneal_lr=false,env.reward=log_return"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"data.seed": [1]}, r"sweep\.grid\.data\.seed: only ppo"),
        ({"ppo.learning_rte": [1]}, r"sweep\.grid\.ppo\.learning_rte: cannot be tried; of ppo these can: algorithm"),
        ({"env.cost_bps": [1]}, r"sweep\.grid\.env\.cost_bps: cannot be tried"),
        ({"policy.backbone": ["tiny"]}, r"sweep\.grid\.policy\.backbone: cannot be tried"),
        ({"ppo.gamma": [0.5, 2]}, r"sweep\.grid\.ppo\.gamma: .*less than or equal to 1; got 2"),
        ({"ppo.num_envs": [64], "ppo.minibatch_size": [32]}, r"ppo\.minibatch_size \(32\) must be at least"),
        ({"ppo.gamma": []}, r"sweep\.grid\.ppo\.gamma has no values"),
        ({"ppo.gamma": [0.5, "0.5"]}, r"sweep\.grid holds ppo\.gamma=0\.5 twice"),
        (
            {"env.cvar_level": [0.05, 0.1]},
            r"env\.cvar_level=0\.05 and env\.cvar_level=0\.1, which are the same: .* without env\.cvar_penalty above 0",
        ),
        (
            {"env.decide_on": ["events", "every_session"], "env.event_news_burst": [1, 2]},
            r"env\.event_news_burst has no effect without env\.decide_on=events; turn that on, or leave",
        ),
    ],
)
def test_what_cannot_be_tried_is_named(grid: dict[str, list[object]], message: str):
    with pytest.raises(ValueError, match=message):
        combinations(SweepConfig(grid=grid).grid, *BASE)


def test_an_empty_grid_is_the_run_itself():
    (only,) = combinations({}, *BASE)
    assert (only.env, only.policy, only.ppo) == BASE


def test_best_median_over_seeds_comes_first_and_equals_keep_their_order():
    """One lucky seed does not win: medians are 0.2, 0.3, 0.3."""
    tried = combinations({"ppo.gamma": (0.1, 0.2, 0.3)}, *BASE)
    scores = [(0.1, 0.2, 9.0), (0.3, 0.2, 0.4), (0.3, 0.3, 0.3)]
    rows = [
        [
            {"seed": seed, "validation_log_return": score, "collapsed_to": None, "validation_log_returns": [score]}
            for seed, score in enumerate(by_seed)
        ]
        for by_seed in scores
    ]
    rows[1][2]["collapsed_to"] = "flat"
    ranked = rank(list(zip(tried, rows, strict=True)))
    assert [each.params for each in ranked] == ["ppo.gamma=0.2", "ppo.gamma=0.3", "ppo.gamma=0.1"]
    assert ranked[2].validation_log_return.median == 0.2
    assert ranked[2].by_seed == {"0": 0.1, "1": 0.2, "2": 9.0}
    assert [each.collapsed for each in ranked] == [{"2": "flat"}, {}, {}]
    assert ranked[2].validation_log_returns == [[0.1], [0.2], [9.0]]
    assert [each.is_base for each in ranked] == [False] * 3


def test_the_run_s_own_parameters_are_known_in_a_grid():
    tried = combinations({"env.drawdown_penalty": (0.0, 1.0), "env.max_drawdown_stop": (None, 0.1)}, *BASE)
    assert [each.is_base for each in tried] == [True, False, False, False]


def test_seeds_are_those_given_or_the_one():
    assert chosen_seeds(None, 4) == (4,)
    assert chosen_seeds("3 1 2", 4) == (3, 1, 2)
    assert chosen_seeds(2, 4) == (2,)
    with pytest.raises(ValueError, match="twice"):
        chosen_seeds("1 1", 4)
