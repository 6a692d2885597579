"""Other processes train on the same events, and stop at the same floors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import cut_window
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed.spec_folder import read_spec, write_spec
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.training_spec import TrainingSpec


@pytest.mark.parametrize("decide_on", ["every_session", "events"])
def test_a_windows_events_are_those_that_were_written(
    decide_on: str, small_states: dict[str, pl.DataFrame], tmp_path: Path
):
    env = EnvConfig(decide_on=decide_on, event_news_burst=2.0)
    days = small_states["ALDR"]["session"]
    states = small_states | {"BRIX": small_states["BRIX"].head(40)}  # a shorter symbol is padded
    window = cut_window(states, (days[0], days[-1]), "next_open", events=env.event_rule)
    spec = TrainingSpec(
        tmp_path, None, window, None, env, PolicyConfig(), PPOConfig(total_timesteps=64), RuntimeConfig(), 0,
        floors={64: -0.25, 128: 0.1},
    )  # fmt: skip
    write_spec(spec, tmp_path)
    read, _ = read_spec(tmp_path)
    assert (read.env, read.floors) == (env, spec.floors)
    if decide_on == "every_session":
        assert read.window.event_kinds is None
    else:
        np.testing.assert_array_equal(read.window.event_kinds, window.event_kinds)
        assert window.event_kinds.any()
    assert replace(read.window, event_kinds=None).sessions == window.sessions
