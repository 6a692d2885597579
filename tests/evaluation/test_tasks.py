"""Each task finds what was planted in the vectors, claims nothing of others, and says what it cannot ask."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from flag_kedro.data.realised import realised_variance
from flag_kedro.evaluation.samples import HAR_COLUMNS, INDICATORS, SAMPLES
from flag_kedro.evaluation.tasks import Inputs, TaskResult, evaluate_tasks
from flag_kedro.evaluation.volatility import ewma_variance, har_regressors

NUM = 700
WINDOWS = ["train"] * 400 + ["validation"] * 100 + ["test"] * 200


def planted_volatility(generator: np.random.Generator) -> np.ndarray:
    """Of each session, which jumps every five."""
    return np.repeat(0.01 * np.exp(0.7 * generator.standard_normal(NUM // 5 + 3)), 5)


def planted_variance(seed: int) -> np.ndarray:
    """Of the five sessions after each, [NUM]."""
    volatility = planted_volatility(np.random.default_rng(seed))
    return np.lib.stride_tricks.sliding_window_view(volatility[1:] ** 2, 5)[:NUM].sum(axis=1)


def symbol_samples(symbol: str, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Samples of a symbol whose volatility jumps, and the logarithm of what its coming week has, [NUM]."""
    generator = np.random.default_rng(seed)
    volatility = planted_volatility(generator)
    returns = volatility[:NUM] * generator.standard_normal(NUM)
    state = np.log(planted_variance(seed))
    state = (state - state.mean()) / state.std()
    regressors = har_regressors(returns)
    next_return = np.append(returns[1:], np.nan)
    columns = {
        "symbol": [symbol] * NUM,
        "session": [date(2020, 1, 1) + timedelta(days=day) for day in range(NUM)],
        "window": WINDOWS,
        "prefix": ["x"] * NUM,
        "next_return": next_return,
        "next_variance": next_return**2,
        "week_variance": realised_variance(returns),
        "ewma_next": ewma_variance(returns, 1),
        "ewma_week": ewma_variance(returns),
        "oracle_week": [None] * NUM,
        **{name: regressors[:, at] for at, name in enumerate(HAR_COLUMNS)},
        **{name: generator.standard_normal(NUM) for name in INDICATORS},
        "large_move": np.abs(next_return) > np.nanquantile(np.abs(next_return), 0.8),
        "news_sign": generator.integers(-1, 2, NUM),
        "level": generator.integers(1, 5, NUM),
    }
    table = pl.DataFrame(columns, schema=SAMPLES, nan_to_null=True)
    return table, state


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """`flag_trader` reads news, direction and the state; the others read nothing."""
    parts = [symbol_samples("A", 1), symbol_samples("B", 2)]
    samples = pl.concat(table for table, _ in parts)
    generator = np.random.default_rng(3)
    noise = {name: generator.standard_normal((2 * NUM, 20)) for name in ("flag_trader", "backbone", "random_weights")}
    rises = np.nan_to_num(np.sign(samples["next_return"].to_numpy()))
    news = samples["news_sign"].cast(pl.Float64).to_numpy()
    state = np.concatenate([state for _, state in parts])
    noise["flag_trader"][:, :3] += 3.0 * np.stack([news, rises, state], axis=1)
    return Inputs(samples, noise, label_odds=news + 2.0 * generator.standard_normal(2 * NUM))


@pytest.fixture(scope="module")
def results(inputs: Inputs) -> dict[str, TaskResult]:
    found = evaluate_tasks(inputs, inputs)
    assert found["headline_sentiment"] == found["news_sentiment"]
    assert all(isinstance(result, TaskResult) for result in found.values())
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("task", ["news_sentiment", "next_direction"])
def test_who_reads_what_happened_is_far_ahead_and_who_reads_nothing_is_at_chance(
    results: dict[str, TaskResult], task: str
):
    found = results[task]
    assert found.readers["flag_trader"].auc > 0.95  # type: ignore[operator]
    assert abs(found.readers["backbone"].auc - 0.5) < 0.1  # type: ignore[operator]
    difference = found.differences["backbone"]
    assert difference is not None
    assert difference.ci95[1] < 0.0
    assert difference.p_value < 1e-6


def test_labels_read_some_of_the_news_and_levels_are_told_apart(results: dict[str, TaskResult]):
    found = results["news_sentiment"]
    assert 0.6 < found.readers["label_likelihood"].auc < 0.9  # type: ignore[operator]
    assert set(found.readers["flag_trader"].accuracy_by_level) == {"plain", "reversed", "conflicting"}
    assert min(found.readers["flag_trader"].accuracy_by_level.values()) > 0.9
    assert found.readers["constant"].auc is None


def test_who_reads_the_state_of_volatility_beats_what_prices_say(results: dict[str, TaskResult]):
    found = results["week_volatility"]
    losses = {name: score.loss for name, score in found.readers.items()}
    assert losses["flag_trader"] < losses["har"] < losses["constant"]
    assert found.differences["har"].ci95[1] < 0.0  # type: ignore[union-attr]
    nothing = found.readers["backbone"].loss / found.readers["constant"].loss
    assert 0.9 < nothing < 1.2
    assert results["large_move"].readers["flag_trader"].auc > 0.6  # type: ignore[operator]


def test_a_policys_own_forecast_and_the_oracles_stand_beside_har_where_they_are_there(
    inputs: Inputs, results: dict[str, TaskResult]
):
    """The head says the logarithm of half the truth; made unbiased on the training window it is nearly as good."""
    assert results["week_volatility"].head_differences is None
    assert not {"oracle", "volatility_head"} & set(results["week_volatility"].readers)
    state = np.concatenate([np.log(planted_variance(seed)) for seed in (1, 2)])
    known = inputs.samples.with_columns(oracle_week=pl.Series(np.exp(state)))
    found = evaluate_tasks(replace(inputs, samples=known, log_variances=state - np.log(2.0)), inputs)["week_volatility"]
    assert isinstance(found, TaskResult)
    losses = {name: score.loss for name, score in found.readers.items()}
    assert losses["oracle"] < losses["volatility_head"] < 1.15 * losses["oracle"]
    assert losses["oracle"] < losses["flag_trader"] < losses["har"]
    assert found.head_differences is not None
    assert set(found.head_differences) == set(losses) - {"volatility_head"}
    assert found.head_differences["har"].ci95[1] < 0.0  # type: ignore[union-attr]
    assert found.head_differences["flag_trader"].value == pytest.approx(  # type: ignore[union-attr]
        -found.differences["volatility_head"].value  # type: ignore[union-attr]
    )
    same = {name: score for name, score in found.readers.items() if name not in ("oracle", "volatility_head")}
    assert same == results["week_volatility"].readers


def test_value_at_risk_is_crossed_about_as_often_as_said(results: dict[str, TaskResult]):
    for name, score in results["value_at_risk"].readers.items():
        assert score.share_crossed is not None
        assert 0.02 < score.share_crossed < 0.09, name
        assert {symbol: each.num for symbol, each in score.coverage.items()} == {"A": 199, "B": 199}
    readers = results["value_at_risk"].readers
    assert readers["flag_trader"].loss < readers["constant"].loss


def test_what_cannot_be_asked_is_said(inputs: Inputs):
    unknown = inputs.samples.with_columns(pl.lit(None, pl.Int64).alias("news_sign"))
    assert (
        evaluate_tasks(replace(inputs, samples=unknown), inputs)["news_sentiment"]
        == "nobody knows the truth of these headlines"
    )
    unsure = inputs.samples.with_columns(
        large_move=pl.when(pl.col("symbol") == "B").then(None).otherwise(pl.col("large_move"))
    )
    assert evaluate_tasks(replace(inputs, samples=unsure), inputs)["large_move"].num_test == 200  # type: ignore[union-attr]
    few = inputs.samples.with_columns(window=pl.when(pl.col("window") == "test").then(None).otherwise(pl.col("window")))
    nothing = Inputs(inputs.samples.clear(), {name: matrix[:0] for name, matrix in inputs.vectors.items()}, None)
    found = evaluate_tasks(replace(inputs, samples=few), nothing)
    assert found["headline_sentiment"] == "the source calls no headline positive or negative"
    assert str(found["next_direction"]).endswith("0 to judge by; 50 and 20 are needed")
