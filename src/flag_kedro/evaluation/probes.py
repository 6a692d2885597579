"""Linear probes: what a regression can read from vectors that were not made for it (Alain and Bengio 2016).

All that is learned is learned on the training window; the penalty is what does best on the validation window. Where
there is none, `split_training` keeps the last quarter of the training window's sessions for that.

Shape legend: n = samples, W = entries of a vector.
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Protocol

import numpy as np

from flag_kedro.env.account import Bools, Floats

PENALTIES = tuple(10.0**power for power in range(-1, 6))
"""Of squared weights, for standardised entries."""
HELD_OUT = 0.25
SMALLEST_ODDS = 1e-6


class Fitted(Protocol):
    """A fitted model."""

    def __call__(self, inputs: Floats, /) -> Floats:
        """Predictions for standardised inputs, [n, W] -> [n]."""


Fit = Callable[[Floats, Floats, float], Fitted]
Loss = Callable[[Floats, Floats], Floats]


def split_training(train: Bools, validation: Bools, sessions: Sequence[date], horizon: int) -> tuple[Bools, Bools]:
    """Samples to learn from and samples that choose: as they are, or, without a validation window, `train` cut in time.

    Args:
        train: samples of the training window, [n].
        validation: samples of the validation window, [n]; maybe none.
        sessions: of each sample, [n].
        horizon: sessions that a target looks ahead; as many are left out before the cut.
    """
    if validation.any():
        return train, validation
    days = np.array(sessions, dtype="datetime64[D]")
    distinct = np.unique(days[train])
    cut = int(len(distinct) * (1.0 - HELD_OUT))
    if cut - horizon < 1:
        return train, train
    return train & (days < distinct[cut - horizon]), train & (days >= distinct[cut])


def ridge_probe(inputs: Floats, targets: Floats, train: Bools, validation: Bools) -> Floats:
    """Predictions of `targets` by ridge regression for all samples, [n].

    Args:
        inputs: [n, W].
        targets: [n]; only those of `train` and `validation` are read.
        train: samples to learn from, [n].
        validation: samples that choose the penalty, [n].
    """
    return _probe(inputs, targets, train, validation, _fit_ridge, lambda actual, said: (actual - said) ** 2)


def logistic_probe(inputs: Floats, targets: Bools, train: Bools, validation: Bools) -> Floats:
    """Probabilities of `targets` by logistic regression for all samples, [n]; arguments as `ridge_probe`."""
    return _probe(inputs, targets.astype(np.float64), train, validation, _fit_logistic, log_loss)


def log_loss(actual: Floats, probability: Floats) -> Floats:
    """Minus the logarithm of what was said of what happened, in nats, [n]."""
    kept = np.clip(probability, SMALLEST_ODDS, 1.0 - SMALLEST_ODDS)
    loss: Floats = -np.where(actual > 0.5, np.log(kept), np.log(1.0 - kept))
    return loss


def _probe(inputs: Floats, targets: Floats, train: Bools, validation: Bools, fit: Fit, loss: Loss) -> Floats:
    standard = _standardise(inputs, train)
    learned = [fit(standard[train], targets[train], penalty) for penalty in PENALTIES]
    losses = [loss(targets[validation], each(standard[validation])).mean() for each in learned]
    return learned[int(np.argmin(losses))](standard)


def _standardise(inputs: Floats, learn: Bools) -> Floats:
    """Mean 0 and deviation 1 on `learn`; entries that never vary there are 0."""
    centred = inputs - inputs[learn].mean(axis=0)
    deviation = inputs[learn].std(axis=0)
    standard: Floats = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0.0)
    return standard


def _fit_ridge(inputs: Floats, targets: Floats, penalty: float) -> Fitted:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=penalty).fit(inputs, targets)
    return lambda unseen: np.asarray(model.predict(unseen), dtype=np.float64)


def _fit_logistic(inputs: Floats, targets: Floats, penalty: float) -> Fitted:
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(targets)) == 1:
        constant = float(targets[0])
        return lambda unseen: np.full(len(unseen), constant)
    model = LogisticRegression(C=1.0 / penalty, max_iter=2000).fit(inputs, targets > 0.5)
    return lambda unseen: np.asarray(model.predict_proba(unseen)[:, 1], dtype=np.float64)


def mean_by_session(losses: Floats, sessions: Sequence[object]) -> Floats:
    """Mean loss of all symbols on each session, in the order of time: symbols move together, so a session counts once.

    Args:
        losses: [n].
        sessions: comparable and hashable, [n].
    """
    days, at = np.unique(np.array(sessions), return_inverse=True)
    sums: Floats = np.bincount(at, weights=losses, minlength=len(days)) / np.bincount(at, minlength=len(days))
    return sums
