"""Indicators against pandas, Wilder's and Appel's definitions, and under changes that must not matter."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.features.indicators import WARM_UP, adjusted_prices, compute_indicators

NAMES = ["return_1", "return_5", "return_20", "volatility_20", "rsi_14", "macd", "range_60", "volume_ratio"]
PRICE_COLUMNS = ["open", "high", "low", "close", "adj_close"]


def table_of(close: np.ndarray, volume: np.ndarray | None = None) -> pl.DataFrame:
    """Prices with an open 1 % below the close and a range of 2 % round both."""
    num = len(close)
    return pl.DataFrame(
        {
            "session": [date(2021, 1, 1) + timedelta(days=n) for n in range(num)],
            "open": 0.99 * close,
            "high": 1.02 * close,
            "low": 0.97 * close,
            "close": close,
            "volume": volume if volume is not None else np.linspace(1e6, 2e6, num),
            "adj_close": close,
        },
        schema_overrides={name: pl.Float64 for name in [*PRICE_COLUMNS, "volume"]},
    )


def random_walk(num: int, seed: int = 0) -> np.ndarray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.02, num)))


WALK = table_of(random_walk(140), np.random.default_rng(1).uniform(5e5, 2e6, 140))


def complete(prices: pl.DataFrame) -> pl.DataFrame:
    return compute_indicators(prices).slice(WARM_UP - 1).select(NAMES)


def close_to(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    return np.allclose(one.to_numpy(), other.to_numpy(), rtol=1e-9, atol=1e-12)


def test_first_59_rows_are_null_and_the_60th_is_complete():
    indicators = compute_indicators(WALK).select(NAMES)
    assert indicators.head(59).null_count().row(0) == (59,) * len(NAMES)
    assert indicators.slice(59).null_count().row(0) == (0,) * len(NAMES)


def test_one_row_per_session_in_order():
    assert compute_indicators(WALK)["session"].to_list() == WALK["session"].to_list()


def test_returns_over_one_five_and_twenty_sessions_by_hand():
    close = np.full(61, 100.0) + np.arange(61) % 2  # not constant, so that every indicator exists
    close[[60, 59, 55, 40]] = 110.0, 100.0, 88.0, 80.0
    last = compute_indicators(table_of(close)).row(-1, named=True)
    assert last["return_1"] == pytest.approx(0.10)  # 110 / 100
    assert last["return_5"] == pytest.approx(0.25)  # 110 / 88
    assert last["return_20"] == pytest.approx(0.375)  # 110 / 80


def test_volatility_is_the_sample_deviation_of_twenty_returns():
    expected = WALK["close"].to_pandas().pct_change().rolling(20).std(ddof=1)[WARM_UP - 1 :]
    np.testing.assert_allclose(complete(WALK)["volatility_20"], expected, rtol=1e-9)


def test_rsi_is_wilders():
    """Wilder (1978): averages of the first 14 gains and losses, then (13 x average + today's) / 14."""
    change = np.diff(WALK["close"].to_numpy())
    gain, loss = np.maximum(change, 0), np.maximum(-change, 0)
    average_gain, average_loss = gain[:14].mean(), loss[:14].mean()
    expected = []
    for today_gain, today_loss in zip(gain[14:], loss[14:], strict=True):
        average_gain = (13 * average_gain + today_gain) / 14
        average_loss = (13 * average_loss + today_loss) / 14
        expected.append(100 - 100 / (1 + average_gain / average_loss))
    np.testing.assert_allclose(complete(WALK)["rsi_14"], expected[-complete(WALK).height :], rtol=1e-9)


@pytest.mark.parametrize(("step", "rsi", "position"), [(1.0, 100.0, 1.0), (-1.0, 0.0, 0.0)])
def test_prices_that_only_rise_or_fall_have_the_extreme_rsi_and_place_in_their_range(step, rsi, position):
    last = compute_indicators(table_of(200 + step * np.arange(70.0))).row(-1, named=True)
    assert last["rsi_14"] == rsi
    assert last["range_60"] == position


def test_macd_is_the_histogram_over_the_price():
    """Appel's 12, 26 and 9, by pandas; after 400 sessions the different starts of the averages are forgotten."""
    prices = table_of(random_walk(400))
    close = prices["close"].to_pandas()
    line = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    histogram = line - line.ewm(span=9, adjust=False).mean()
    np.testing.assert_allclose(complete(prices)["macd"][-50:], (histogram / close)[-50:], atol=1e-9)


def test_macd_rises_above_zero_when_a_flat_price_jumps():
    close = np.r_[np.full(69, 100.0), 110.0]
    assert compute_indicators(table_of(close))["macd"][-1] > 0


def test_place_in_the_range_of_sixty_closes_by_hand():
    close = np.r_[500.0, np.linspace(100, 140, 59), 110.0]  # the 500 is 61 sessions old
    assert compute_indicators(table_of(close))["range_60"][-1] == pytest.approx(0.25)  # (110 - 100) / (140 - 100)


def test_volume_ratio_is_to_the_mean_of_twenty_sessions_by_hand():
    volume = np.r_[np.full(60, 1000.0), 4000.0]
    last = compute_indicators(table_of(random_walk(61), volume))["volume_ratio"][-1]
    assert last == pytest.approx(4000 / 1150)  # mean of 19 x 1000 and 4000


def test_split_is_no_surge_of_volume():
    """Four for one after 70 sessions: raw closes fall to a quarter, four times as many shares change hands."""
    split = np.arange(90) >= 70
    table = table_of(random_walk(90), np.where(split, 4000.0, 1000.0))
    raw = table.with_columns(close=pl.col("adj_close") * np.where(split, 0.25, 1.0))
    assert compute_indicators(raw)["volume_ratio"].drop_nulls().to_list() == pytest.approx([1.0] * 31)


def test_without_volume_only_the_volume_ratio_is_null():
    bare = WALK.with_columns(pl.lit(None, dtype=pl.Float64).alias(c) for c in ("open", "high", "low", "volume"))
    assert complete(bare).null_count().row(0, named=True) == {name: 0 for name in NAMES} | {"volume_ratio": 81}
    assert complete(bare).drop("volume_ratio").equals(complete(WALK).drop("volume_ratio"))


def test_prices_that_do_not_move_are_in_the_middle_of_their_range_and_have_a_neutral_rsi():
    last = compute_indicators(table_of(np.full(70, 50.0))).row(-1, named=True)
    assert (last["range_60"], last["rsi_14"]) == (0.5, 50.0)


def test_halt_of_sixty_sessions_has_every_indicator():
    halted = np.concatenate([random_walk(80), np.full(61, random_walk(80)[-1]), random_walk(20)])
    table = compute_indicators(table_of(halted)).drop("volume_ratio")[59:]
    assert table.null_count().sum_horizontal().item() == 0
    assert table["range_60"][80] == 0.5


@pytest.mark.parametrize("scale", [7.0, 1e-5, 1e6])
def test_indicators_do_not_depend_on_the_level_of_prices(scale):
    scaled = WALK.with_columns(pl.col(PRICE_COLUMNS) * scale)
    assert close_to(complete(scaled), complete(WALK))


def test_indicators_do_not_depend_on_the_unit_of_volume():
    assert close_to(complete(WALK.with_columns(pl.col("volume") / 1000)), complete(WALK))


def test_split_leaves_no_trace_through_the_adjusted_close():
    """Before a 4:1 split raw prices were four times higher and a fourth of the shares traded; one series, adjusted."""
    before = pl.int_range(pl.len()) < 100
    split = WALK.with_columns(
        *(pl.when(before).then(pl.col(name) * 4).otherwise(pl.col(name)).alias(name) for name in PRICE_COLUMNS[:-1]),
        pl.when(before).then(pl.col("volume") / 4).otherwise(pl.col("volume")).alias("volume"),
    )
    assert complete(split).equals(complete(WALK))
    adjusted = ["adj_open", "adj_high", "adj_low"]
    assert adjusted_prices(split).select(adjusted).equals(adjusted_prices(WALK).select(adjusted))


def test_adjusted_prices_by_hand():
    prices = table_of(np.array([10.0])).with_columns(open=pl.lit(8.0), high=pl.lit(12.0), adj_close=pl.lit(5.0))
    row = adjusted_prices(prices).row(0, named=True)
    assert (row["adj_open"], row["adj_high"]) == (4.0, 6.0)


def test_adjusted_prices_are_null_where_the_source_has_none():
    bare = WALK.with_columns(pl.lit(None, dtype=pl.Float64).alias(c) for c in ("open", "high", "low"))
    assert adjusted_prices(bare)["adj_open"].null_count() == WALK.height


@given(t=st.integers(0, 138), factor=st.sampled_from([10.0, 0.1, 3.7]), flip=st.booleans())
def test_changing_prices_after_a_session_leaves_its_indicators_byte_identical(t, factor, flip):
    later = WALK.slice(t + 1).with_columns(pl.col([*PRICE_COLUMNS, "volume"]) * factor)
    values = later.drop("session").reverse() if flip else later.drop("session")
    changed = pl.concat([WALK.head(t + 1), pl.concat([later.select("session"), values], how="horizontal")])
    honest, corrupted = compute_indicators(WALK), compute_indicators(changed)
    assert corrupted.head(t + 1).equals(honest.head(t + 1))
    assert t < WARM_UP - 1 or not corrupted.equals(honest)


@given(num=st.integers(61, 139))
def test_indicators_are_the_same_when_the_future_is_absent(num):
    assert compute_indicators(WALK.head(num)).equals(compute_indicators(WALK).head(num))
