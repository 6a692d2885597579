"""What a trained policy uses: its decisions on the test window without names, news or prices.

The policy stays as it was trained. What could be learned without them is another question, which a training under
`features.ablation` answers.

Shape legend: n = sessions, B = bootstrap draws.
"""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.intervals import Difference, studentised_difference
from flag_kedro.backtest.replay import Replay
from flag_kedro.backtest.sharpe_tests import hac_error
from flag_kedro.env.account import LOWEST, Floats, Ints
from flag_kedro.env.config import Positions
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.experiments.scoring import score_replays
from flag_kedro.features.ablation import Ablation


def compare_ablations(
    replays: Mapping[Ablation, Replay], evaluation: EvaluationWindow, reference: Ablation, num_draws: int, seed: int
) -> dict[str, dict[str, Any]]:
    """What the policy earned on each kind of states, and how alike it decided.

    Args:
        replays: of the policy over the same window, each named as its ablation.
        evaluation: the window; prompts in it are not read.
        reference: the ablation that the policy was trained on.
        num_draws: B.
        seed: of the draws.

    Returns:
        For each ablation `log_return` (summed over symbols; null where one was ruined), `median_sharpe_ratio` (of
        those that are defined), `mean_turnover`, `agreement` (share of actions that are those on the reference; where
        positions differ, equal actions do not mean the same), `same_position` (share of decisions that ask for the
        same position as on the reference) and `difference` (log return less that of the reference, with a paired
        stationary bootstrap over sessions).
    """
    scores = score_replays({str(kind): played for kind, played in replays.items()}, evaluation)
    earned = {kind: _by_session(played) for kind, played in replays.items()}
    indices, _ = draw_sessions(np.stack(list(earned.values())), num_draws, seed)
    found = {}
    for kind, played in replays.items():
        own = [rows[kind] for rows in scores.values()]
        log_returns, turnover = [row["cumulative_return"] for row in own], [row["turnover"] for row in own]
        sharpes = [row["sharpe_ratio"] for row in own if row["sharpe_ratio"] is not None]
        known_turnover = [value for value in turnover if value is not None]
        found[str(kind)] = {
            "log_return": None if None in log_returns else sum(value for value in log_returns if value is not None),
            "median_sharpe_ratio": median(sharpes) if sharpes else None,
            "mean_turnover": float(np.mean(known_turnover)) if known_turnover else None,
            **_likeness(played, replays[reference], evaluation.env.positions),
            "difference": asdict(_difference(earned[kind], earned[reference], indices)),
        }
    return found


def _by_session(played: Replay) -> Floats:
    """Log returns of every session, summed over symbols, [n]."""
    summed = played.equity.drop_nulls("log_return").group_by("session").agg(pl.col("log_return").sum())
    return summed.sort("session")["log_return"].to_numpy()


def _likeness(played: Replay, reference: Replay, positions: Positions) -> dict[str, float]:
    """Share of decisions with the same action, and with the same position after it."""
    keys = ["symbol", "session"]
    target = (
        pl.when(pl.col("action") == "sell")
        .then(pl.lit(LOWEST[positions]))
        .when(pl.col("action") == "buy")
        .then(pl.lit(1))
        .otherwise("position")
    )
    own, other = (replay.decisions.select(*keys, "action", target=target) for replay in (played, reference))
    both = own.join(other, on=keys, suffix="_reference")
    same = both.select(
        agreement=(pl.col("action") == pl.col("action_reference")).mean(),
        same_position=(pl.col("target") == pl.col("target_reference")).mean(),
    )
    return same.row(0, named=True)


def _difference(returns: Floats, reference: Floats, indices: Ints) -> Difference:
    """Sum of the differences, [n] each; equal paths have interval [0, 0] and p-value 1."""
    differences = returns - reference
    if not differences.any():
        return Difference(0.0, (0.0, 0.0), 1.0)
    drawn = differences[indices]
    error, drawn_error = float(hac_error(differences)), hac_error(drawn)
    return studentised_difference(float(differences.sum()), drawn.sum(-1), error, drawn_error)
