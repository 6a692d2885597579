"""Tasks besides trading, asked of the same vectors before and after a training: news, volatility, moves, value at risk.

Shape legend: N = samples, n = those that a task can ask of, W = entries of a vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from flag_kedro.data.realised import HORIZON
from flag_kedro.env.account import Bools, Floats
from flag_kedro.evaluation.forecast_scores import LossDifference, compare_losses, qlike, squared_error
from flag_kedro.evaluation.probes import log_loss, logistic_probe, mean_by_session, ridge_probe, split_training
from flag_kedro.evaluation.samples import HAR_COLUMNS, INDICATORS
from flag_kedro.evaluation.value_at_risk import LEVEL, Coverage, assess_coverage, filtered_quantile
from flag_kedro.evaluation.volatility import fit_har
from flag_kedro.experiments.reading import MOVING_LEVELS
from flag_kedro.names import POLICY

BACKBONE = "backbone"
"""The language model before training."""
CONSTANT, INDICATOR_MODEL, LABELS, EWMA, HAR_MODEL = "constant", "indicators", "label_likelihood", "ewma", "har"
VOLATILITY_HEAD, ORACLE = "volatility_head", "oracle"
"""The policy's own forecast of a week's variance, not a probe; and who knows the simulation."""
SMALLEST = 1e-12
"""Variance below which a week did not move."""
MIN_TRAIN, MIN_TEST = 50, 20
"""Samples without which a task is left out."""


@dataclass(frozen=True, kw_only=True)
class ReaderScore:
    """What one reader did on the test window; saved as JSON in this order, None for what a task does not have."""

    loss: float
    """Mean over sessions of the mean over symbols."""
    auc: float | None = None
    accuracy: float | None = None
    accuracy_by_level: dict[str, float] = field(default_factory=dict)
    mean_squared_error: float | None = None
    share_crossed: float | None = None
    """Of all returns, those below the value at risk."""
    coverage: dict[str, Coverage] = field(default_factory=dict)
    """By symbol."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One task; saved as JSON in this order."""

    loss: str
    """What is compared: `log loss`, `QLIKE` or `pinball`."""
    num_train: int
    num_test: int
    readers: dict[str, ReaderScore]
    differences: dict[str, LossDifference | None]
    """The trained policy's loss less each other reader's, by session: below 0 it is better."""
    head_differences: dict[str, LossDifference | None] | None = None
    """The same of the volatility head; None without one."""


@dataclass(frozen=True)
class Inputs:
    """What all tasks read."""

    samples: pl.DataFrame
    """Columns of `samples.SAMPLES`, [N]."""
    vectors: Mapping[str, Floats]
    """By reader, [N, W]."""
    label_odds: Floats | None
    """Log-likelihood of " buy" less that of " sell" behind each prompt, by the backbone's head, [N]; None without."""
    log_variances: Floats | None = None
    """Of the policy's volatility head, [N]; None without."""

    def column(self, name: str) -> Floats:
        """A column of the samples as numbers, NaN for null, [N]."""
        values: Floats = self.samples[name].cast(pl.Float64).to_numpy()
        return values

    def window(self, name: str) -> Bools:
        """Samples of a window, [N]."""
        return (self.samples["window"].fill_null("") == name).to_numpy()


def evaluate_tasks(inputs: Inputs, headlines: Inputs) -> dict[str, TaskResult | str]:
    """All tasks that the samples allow, by name; of the others, why not.

    Args:
        inputs: samples and vectors of the trained policy, of its backbone, and maybe of random weights.
        headlines: the same of tagged headlines, columns `samples.TAGGED`.
    """
    variance = inputs.column("week_variance")
    return {
        "news_sentiment": _news(inputs, "nobody knows the truth of these headlines"),
        "headline_sentiment": _news(headlines, "the source calls no headline positive or negative"),
        "week_volatility": _volatility(inputs, variance),
        "next_direction": _moves(inputs, inputs.column("next_return")),
        "large_move": _moves(inputs, inputs.column("large_move")),
        "value_at_risk": _value_at_risk(inputs),
    }


def _news(inputs: Inputs, unknown: str) -> TaskResult | str:
    """Whether the news of a session, or a headline, is good or bad, where it is one of both."""
    if inputs.samples["news_sign"].null_count() == inputs.samples.height:
        return unknown
    sign, level = inputs.column("news_sign"), inputs.column("level")
    usable, good = np.abs(sign) == 1.0, sign > 0.0
    extra = {} if inputs.label_odds is None else {LABELS: inputs.label_odds[:, None]}
    return _classify(inputs, usable, good, {**inputs.vectors, **extra}, levels=level)


def _moves(inputs: Inputs, outcome: Floats) -> TaskResult | str:
    """Whether the next session rises, or moves much: whether `outcome` [N] is above 0, where it is known."""
    known, happened = ~np.isnan(outcome), outcome > 0.0
    table = inputs.samples.select(
        name for name in INDICATORS if inputs.samples[name].null_count() < inputs.samples.height
    )
    indicators = table.fill_null(0.0).to_numpy()
    return _classify(inputs, known, happened, {**inputs.vectors, INDICATOR_MODEL: indicators})


def _classify(
    inputs: Inputs, usable: Bools, truth: Bools, readers: Mapping[str, Floats], levels: Floats | None = None
) -> TaskResult | str:
    """Logistic probes of each reader, and the share of the training window as the constant."""
    train, validation, test = (inputs.window(name) & usable for name in ("train", "validation", "test"))
    learn, choose = split_training(train, validation, inputs.samples["session"].to_list(), horizon=1)
    if (reason := _too_few(train, test)) is not None:
        return reason
    if len(np.unique(truth[test])) < 2:
        return "only one of both happened in the test window"
    said = {name: logistic_probe(matrix, truth, learn, choose) for name, matrix in readers.items()}
    said[CONSTANT] = np.full(len(truth), truth[train].mean())
    losses = {name: log_loss(truth.astype(np.float64), probability) for name, probability in said.items()}

    def score(name: str) -> ReaderScore:
        right = (said[name] > 0.5) == truth
        by_level = {}
        if levels is not None:
            rows = {word: test & (levels == level) for level, word in MOVING_LEVELS.items()}
            by_level = {word: float(right[kept].mean()) for word, kept in rows.items() if kept.any()}
        return ReaderScore(
            loss=_mean(losses[name], inputs, test),
            auc=None if name == CONSTANT else float(roc_auc_score(truth[test], said[name][test])),
            accuracy=float(right[test].mean()),
            accuracy_by_level=by_level,
        )

    return _result("log loss", inputs, train, test, losses, {name: score(name) for name in said}, horizon=1)


def _volatility(inputs: Inputs, variance: Floats) -> TaskResult | str:
    """Realised variance of the next five sessions: probes of its logarithm beside EWMA and HAR.

    Where they are there, also the forecast of the policy's own head and that of who knows the simulation.
    """
    regressors = inputs.samples.select(HAR_COLUMNS).cast(pl.Float64).to_numpy()
    usable, oracle = (variance > SMALLEST) & ~np.isnan(regressors).any(axis=1), inputs.column("oracle_week")
    train, validation, test = (inputs.window(name) & usable for name in ("train", "validation", "test"))
    if (reason := _too_few(train, test)) is not None:
        return reason
    learn, choose = split_training(train, validation, inputs.samples["session"].to_list(), HORIZON)
    said = {name: _variance_probe(matrix, variance, learn, choose) for name, matrix in inputs.vectors.items()}
    said[HAR_MODEL] = fit_har(regressors, variance, train).forecast(regressors)
    said[EWMA] = np.maximum(inputs.column("ewma_week"), SMALLEST)
    said[CONSTANT] = np.full(len(variance), variance[train].mean())
    if inputs.log_variances is not None:
        said[VOLATILITY_HEAD] = _unbiased(np.exp(inputs.log_variances), variance, learn)
    if not np.isnan(oracle[test]).any():
        said[ORACLE] = oracle
    losses = {name: qlike(variance, forecast) for name, forecast in said.items()}
    scores = {
        name: ReaderScore(
            loss=_mean(losses[name], inputs, test),
            mean_squared_error=_mean(squared_error(variance, forecast), inputs, test),
        )
        for name, forecast in said.items()
    }
    return _result("QLIKE", inputs, train, test, losses, scores, horizon=HORIZON)


def _value_at_risk(inputs: Inputs) -> TaskResult | str:
    """Whether the next return is below the value at risk that forecasts of its variance give, as often as said.

    Sessions that did not move teach nothing of a variance's logarithm, but are judged like any other. Crossings are
    tested symbol by symbol, for symbols move together.
    """
    returns, variance = inputs.column("next_return"), inputs.column("next_variance")
    regressors = inputs.samples.select(HAR_COLUMNS).cast(pl.Float64).to_numpy()
    usable = ~np.isnan(returns) & ~np.isnan(regressors).any(axis=1)
    train, validation, test = (inputs.window(name) & usable for name in ("train", "validation", "test"))
    moved = variance > SMALLEST
    if (reason := _too_few(train & moved, test)) is not None:
        return reason
    learn, choose = split_training(train & moved, validation & moved, inputs.samples["session"].to_list(), horizon=1)
    said = {name: _variance_probe(matrix, variance, learn, choose) for name, matrix in inputs.vectors.items()}
    said[HAR_MODEL] = np.maximum(fit_har(regressors, variance, train & moved).forecast(regressors), SMALLEST)
    said[EWMA] = np.maximum(inputs.column("ewma_next"), SMALLEST)
    said[CONSTANT] = np.full(len(variance), variance[train].mean())
    losses, scores = {}, {}
    for name, forecast in said.items():
        at_risk = filtered_quantile(returns[train], forecast[train]) * np.sqrt(forecast)
        below = returns < at_risk
        losses[name] = (LEVEL - below) * (returns - at_risk)
        coverage = {symbol: assess_coverage(below[rows]) for symbol, rows in _by_symbol(inputs, test).items()}
        scores[name] = ReaderScore(
            loss=_mean(losses[name], inputs, test), share_crossed=float(below[test].mean()), coverage=coverage
        )
    return _result("pinball", inputs, train, test, losses, scores, horizon=1)


def _by_symbol(inputs: Inputs, rows: Bools) -> dict[str, Bools]:
    """Those of `rows` [N] that are of each symbol, in the order of time."""
    symbols = inputs.samples["symbol"].to_numpy()
    return {str(symbol): rows & (symbols == symbol) for symbol in dict.fromkeys(symbols[rows])}


def _variance_probe(matrix: Floats, variance: Floats, train: Bools, validation: Bools) -> Floats:
    """Forecast of a variance by a ridge regression of its logarithm, made unbiased on the training window, [N]."""
    said = np.exp(ridge_probe(matrix, np.log(np.maximum(variance, SMALLEST)), train, validation))
    return _unbiased(said, variance, train)


def _unbiased(said: Floats, variance: Floats, train: Bools) -> Floats:
    """Forecasts [N], scaled to the mean of the training window and kept within what that had, as those of HAR are."""
    scaled = said * variance[train].mean() / said[train].mean()
    kept: Floats = np.clip(scaled, variance[train].min(), variance[train].max())
    return kept


def _too_few(train: Bools, test: Bools) -> str | None:
    if train.sum() >= MIN_TRAIN and test.sum() >= MIN_TEST:
        return None
    return f"{train.sum()} samples to learn from and {test.sum()} to judge by; {MIN_TRAIN} and {MIN_TEST} are needed"


def _mean(losses: Floats, inputs: Inputs, test: Bools) -> float:
    return float(_by_session(losses, inputs, test).mean())


def _by_session(losses: Floats, inputs: Inputs, test: Bools) -> Floats:
    return mean_by_session(losses[test], inputs.samples["session"].filter(pl.Series(test)).to_list())


def _result(
    loss: str,
    inputs: Inputs,
    train: Bools,
    test: Bools,
    losses: Mapping[str, Floats],
    scores: dict[str, ReaderScore],
    horizon: int,
) -> TaskResult:
    by_session = {name: _by_session(losses[name], inputs, test) for name in scores}

    def differences(own: str) -> dict[str, LossDifference | None]:
        others = [name for name in scores if name != own]
        return {name: compare_losses(by_session[own], by_session[name], horizon) for name in others}

    return TaskResult(
        loss=loss,
        num_train=int(train.sum()),
        num_test=int(test.sum()),
        readers=scores,
        differences=differences(POLICY),
        head_differences=differences(VOLATILITY_HEAD) if VOLATILITY_HEAD in scores else None,
    )
