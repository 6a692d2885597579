"""A policy takes the place of another only where its lead on the validation window is no accident."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.errors import DataError
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.serving.promote import Comparison, compare


class Rule:
    """Long on some sessions, by a table of positions [S, T] of the validation window."""

    def __init__(self, targets: np.ndarray) -> None:
        self.targets, self.session = targets, 0

    def decide(self, states: States) -> Decisions:
        wanted = self.targets[:, min(self.session, self.targets.shape[1] - 1)]
        self.session += 1
        long = states.action_mask[:, 0]  # who may sell holds
        return Decisions(np.where(wanted > long, 2, np.where(wanted < long, 0, 1)))

    def read_ahead(self, prefixes: object) -> None:
        """Nothing."""


@pytest.fixture
def split(small_states: dict[str, pl.DataFrame]) -> MarketSplit:
    (fold,) = roll_folds(common_sessions(small_states), train=10, validation=42, test=10, folds=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    return MarketSplit.of(small_states, DataConfig(windows=windows), EnvConfig(cost_bps=0.0, slippage_bps=0.0))


def knowing(split: MarketSplit, sign: float = 1.0) -> Rule:
    """Holds over the sessions that rise, or over those that fall."""
    assert split.validation is not None
    opens = split.validation.fill_prices
    growth = np.log(np.roll(opens, -2, axis=1) / np.roll(opens, -1, axis=1))
    return Rule((sign * growth > 0.0).astype(int))


def drawn(split: MarketSplit, seed: int) -> Rule:
    assert split.validation is not None
    return Rule(np.random.default_rng(seed).integers(0, 2, split.validation.fill_prices.shape))


def compared(challenger: Rule, champion: Rule | None, split: MarketSplit) -> Comparison:
    return compare(challenger, champion, split, 500, 0)  # type: ignore[arg-type]


def test_the_first_is_promoted_if_it_earned_anything(split: MarketSplit):
    assert compared(knowing(split), None, split).promoted
    poor = compared(knowing(split, -1.0), None, split)
    assert not poor.promoted
    assert "earned nothing" in poor.reason
    assert poor.log_return < 0.0


def test_a_lead_that_is_no_accident_wins(split: MarketSplit):
    found = compared(knowing(split), drawn(split, 1), split)
    assert found.promoted
    assert found.interval is not None
    assert found.difference is not None
    assert found.champion_log_return is not None
    assert 0.0 < found.interval[0] < found.difference < found.interval[1]
    assert found.difference == pytest.approx(found.log_return - found.champion_log_return)


def test_chance_and_equals_do_not_win(split: MarketSplit):
    equal = compared(drawn(split, 1), drawn(split, 1), split)
    assert not equal.promoted
    assert equal.difference == 0.0
    assert "no more than the champion" in equal.reason
    won = sum(compared(drawn(split, seed), drawn(split, seed + 100), split).promoted for seed in range(40))
    assert won <= 4  # a lead in the upper 2.5 %
    assert not compared(drawn(split, 1), knowing(split), split).promoted


def test_only_the_validation_window_is_read(split: MarketSplit):
    """Prices of the test window may be anything."""
    first = split.windows.test[0]

    def changed(table: pl.DataFrame) -> pl.DataFrame:
        later = pl.col("session") >= first
        prices = [pl.when(later).then(7.0).otherwise(pl.col(name)).alias(name) for name in ("open_price", "mark_price")]
        return table.with_columns(prices)

    other = split.with_states({name: changed(table) for name, table in split.states.items()})
    assert compared(drawn(split, 1), drawn(split, 2), split) == compared(drawn(other, 1), drawn(other, 2), other)


def test_without_a_validation_window_nothing_is_chosen(split: MarketSplit):
    windows = replace(split.windows, validation=None)
    with pytest.raises(DataError, match=r"no validation window, .*set data\.windows\.validation"):
        compared(drawn(split, 1), None, replace(split, given=windows))
    assert isinstance(split.windows.test[0], date)
