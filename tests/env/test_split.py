"""A market split: windows are cut when asked for, the fill is what the data allow, facts are those of the states."""

from dataclasses import replace

import polars as pl
import pytest

from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import FlagError
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.features.digest import NO_NEWS

States = dict[str, pl.DataFrame]


@pytest.fixture
def data(small_states: States) -> DataConfig:
    (fold,) = roll_folds(common_sessions(small_states), train=20, validation=10, test=12, folds=1)
    return DataConfig(windows=WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test))


def test_windows_follow_each_other_without_a_session_in_common(small_states: States, data: DataConfig):
    split = MarketSplit.of(small_states, data, EnvConfig())
    assert split.validation is not None
    sessions = [window.sessions[0] for window in (split.train, split.validation, split.test)]
    assert [len(dates) for dates in sessions] == [20, 10, 12]
    assert sessions[0][-1] < sessions[1][0]
    assert sessions[1][-1] < sessions[2][0]


def test_each_window_is_cut_once(small_states: States, data: DataConfig):
    split = MarketSplit.of(small_states, data, EnvConfig())
    assert split.test is split.test
    assert split.evaluation.window is split.test


def test_window_that_is_not_asked_for_cannot_be_wrong(small_states: States):
    """`walk_forward` rolls its own windows over the same states."""
    first = common_sessions(small_states)[0]
    beyond = DataConfig(windows=WindowsConfig(train=(first, first.replace(year=first.year + 9)), test=None))
    split = MarketSplit.of(small_states, beyond, EnvConfig())
    assert split.state_facts["symbols"] == list(small_states)
    with pytest.raises(FlagError):
        _ = split.train


def test_source_without_opens_fills_at_the_close_and_says_so_in_its_facts(small_states: States, data: DataConfig):
    closes_only = {s: table.with_columns(open_price=pl.lit(None, pl.Float64)) for s, table in small_states.items()}
    split = MarketSplit.of(closes_only, data, EnvConfig(fill="next_open"))
    assert split.env == replace(EnvConfig(), fill="next_close")
    assert split.facts["env"]["fill"] == split.test.fill == "next_close"


def test_other_states_get_the_windows_and_fill_of_the_split(small_states: States, data: DataConfig):
    split = MarketSplit.of(small_states, data, EnvConfig())
    shown = {s: table.with_columns(news_text=pl.lit("none")) for s, table in small_states.items()}
    other = split.with_states(shown)
    assert other.test.sessions == split.test.sessions
    assert other.test.prefixes != split.test.prefixes
    assert other.data_hash != split.data_hash


def test_what_an_ablation_hides_moves_no_event_of_the_test_window(small_states: States, data: DataConfig):
    split = MarketSplit.of(small_states, data, EnvConfig(decide_on="events", event_news_burst=1.0))
    hidden = {s: table.with_columns(news_text=pl.lit(NO_NEWS)) for s, table in small_states.items()}
    shown = split.test_on(hidden)
    assert shown.event_kinds is not None
    assert split.test.event_kinds is not None
    assert shown.event_kinds.any()
    assert shown.event_kinds.tolist() == split.test.event_kinds.tolist()
    assert shown.prefixes != split.test.prefixes
    assert split.test_on(small_states).prefixes == split.test.prefixes


def test_a_window_over_other_states_has_no_events_where_every_session_trades(small_states: States, data: DataConfig):
    assert MarketSplit.of(small_states, data, EnvConfig()).test_on(small_states).event_kinds is None
