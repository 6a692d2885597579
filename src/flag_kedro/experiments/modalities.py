"""What a trained policy uses: its decisions on the test window without names, news or prices.

The policy stays as it was trained. What could be learned without them is another question, which a training under
`features.ablation` answers.

Shape legend: n = sessions, B = bootstrap draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
import polars as pl

from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.intervals import Difference, studentised_difference
from flag_kedro.backtest.replay import Replay
from flag_kedro.backtest.standard_errors import hac_error
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import Positions
from flag_kedro.env.evaluation import EvaluationWindow, target_positions
from flag_kedro.experiments.scoring import score_replays
from flag_kedro.features.ablation import Ablation


@dataclass(frozen=True)
class AblationComparison:
    """What a policy earned on one kind of states, and how alike it decided; saved as JSON in this order."""

    log_return: float | None
    """Summed over symbols; None where one was ruined."""
    median_sharpe_ratio: float | None
    """Annualised, over the symbols for which it is defined; None where that is none."""
    mean_turnover: float | None
    """Per year, over the symbols for which it is defined."""
    agreement: float
    """Share of actions that are those on the reference, of decisions with more than one legal action on both; where
    positions differ, equal actions do not mean the same."""
    same_position: float
    """Share of decisions that ask for the same position as on the reference."""
    difference: Difference
    """Log return less that of the reference."""


def compare_ablations(
    replays: Mapping[Ablation, Replay], evaluation: EvaluationWindow, reference: Ablation, num_draws: int, seed: int
) -> dict[str, AblationComparison]:
    """What the policy earned on each kind of states, and how alike it decided, by ablation.

    Differences have intervals from a paired stationary bootstrap over sessions.

    Args:
        replays: of the policy over the same window, each named as its ablation.
        evaluation: the window; prompts in it are not read.
        reference: the ablation that the policy was trained on.
        num_draws: B.
        seed: of the draws.
    """
    scores = score_replays({str(kind): replayed for kind, replayed in replays.items()}, evaluation)
    returns = {kind: _by_session(replayed) for kind, replayed in replays.items()}
    indices, _ = draw_sessions(np.stack(list(returns.values())), num_draws, seed)
    comparisons = {}
    for kind, replayed in replays.items():
        by_symbol = [rows[kind] for rows in scores.values()]
        log_returns = [row["cumulative_return"] for row in by_symbol]
        sharpe_ratios = [row["sharpe_ratio"] for row in by_symbol if row["sharpe_ratio"] is not None]
        turnovers = [row["turnover"] for row in by_symbol if row["turnover"] is not None]
        agreement, same_position = _likeness(replayed, replays[reference], evaluation.env.positions)
        comparisons[str(kind)] = AblationComparison(
            log_return=None if None in log_returns else sum(value for value in log_returns if value is not None),
            median_sharpe_ratio=median(sharpe_ratios) if sharpe_ratios else None,
            mean_turnover=float(np.mean(turnovers)) if turnovers else None,
            agreement=agreement,
            same_position=same_position,
            difference=_difference(returns[kind], returns[reference], indices),
        )
    return comparisons


def _by_session(replayed: Replay) -> Floats:
    """Log returns of every session, summed over symbols, [n]."""
    summed = replayed.equity.drop_nulls("log_return").group_by("session").agg(pl.col("log_return").sum())
    return summed.sort("session")["log_return"].to_numpy()


def _likeness(replayed: Replay, reference: Replay, positions: Positions) -> tuple[float, float]:
    """Share of decisions with the same action, where there was a choice, and of all with the same position after it."""
    keys = ["symbol", "session"]
    decisions, others = (
        replay.decisions.select(*keys, "action").with_columns(
            target=pl.Series(target_positions(replay.decisions, long_short=positions == "long_short"))
        )
        for replay in (replayed, reference)
    )
    both = decisions.join(others, on=keys, suffix="_reference")
    chosen = both.join(replayed.choices, on=keys, how="semi").join(reference.choices, on=keys, how="semi")
    agreement = chosen.select((pl.col("action") == pl.col("action_reference")).mean()).item()
    return agreement, both.select((pl.col("target") == pl.col("target_reference")).mean()).item()


def _difference(returns: Floats, reference: Floats, indices: Ints) -> Difference:
    """Sum of `returns` less that of `reference`, [n] each, by draws [B, n]; equal paths have interval [0, 0], p 1."""
    differences = returns - reference
    if not differences.any():
        return Difference(0.0, (0.0, 0.0), 1.0)
    drawn = differences[indices]
    error, drawn_error = float(hac_error(differences)), hac_error(drawn)
    return studentised_difference(float(differences.sum()), drawn.sum(-1), error, drawn_error)
