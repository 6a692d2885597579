"""What a policy loses without names, news or prices."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold, flat
from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.modalities import compare_ablations
from flag_kedro.features.ablation import Ablation


@pytest.fixture(scope="module")
def evaluation(small_window: TradingWindow) -> EvaluationWindow:
    return EvaluationWindow(small_window, EnvConfig(), ("2023-07-03", "2023-07-31"), {"ALDR": "XNYS", "BRIX": "XNYS"})


@pytest.fixture(scope="module")
def replays(small_window: TradingWindow) -> Mapping[Ablation, Replay]:
    play = partial(replay, window=small_window, config=EnvConfig())
    return {"none": play("none", decide=buy_and_hold), "no_news": play("no_news", decide=flat),
            "no_prices": play("no_prices", decide=buy_and_hold)}  # fmt: skip


def test_log_return_is_the_sum_over_symbols_and_the_difference_is_to_the_reference(
    evaluation: EvaluationWindow, replays: Mapping[Ablation, Replay]
):
    comparisons = compare_ablations(replays, evaluation, "none", 200, seed=0)
    ends = replays["none"].equity.group_by("symbol").agg(pl.col("equity").last() / pl.col("equity").first())
    earned = float(np.log(ends["equity"].to_numpy()).sum())
    assert comparisons["none"].log_return == pytest.approx(earned)
    assert comparisons["no_news"].log_return == 0.0
    assert comparisons["no_news"].difference.value == pytest.approx(-earned)
    low, high = comparisons["no_news"].difference.ci95
    assert low < -earned < high
    against = compare_ablations(replays, evaluation, "no_news", 200, seed=0)
    assert against["none"].difference.value == pytest.approx(earned)


def test_policy_that_uses_no_prices_decides_the_same_without(
    evaluation: EvaluationWindow, replays: Mapping[Ablation, Replay]
):
    without_prices = compare_ablations(replays, evaluation, "none", 200, seed=0)["no_prices"]
    assert without_prices.agreement == 1.0
    assert without_prices.difference == Difference(0.0, (0.0, 0.0), 1.0)


def test_agreement_is_the_share_of_equal_decisions(evaluation: EvaluationWindow, replays: Mapping[Ablation, Replay]):
    comparisons = compare_ablations(replays, evaluation, "none", 200, seed=0)
    actions = [replays[kind].decisions.sort("symbol", "session")["action"].to_list() for kind in ("none", "no_news")]
    equal = [held == flat_too for held, flat_too in zip(*actions, strict=True)]
    assert comparisons["no_news"].agreement == pytest.approx(sum(equal) / len(equal))
    assert comparisons["no_news"].median_sharpe_ratio is None
    assert comparisons["no_news"].mean_turnover == 0.0


def test_equal_actions_from_different_positions_are_not_the_same_position(
    evaluation: EvaluationWindow, replays: Mapping[Ablation, Replay]
):
    comparisons = compare_ablations(replays, evaluation, "none", 200, seed=0)
    assert comparisons["no_prices"].same_position == 1.0
    assert (
        comparisons["no_news"].same_position == 0.0
    )  # one buys at once and then holds, the other holds from the first
    assert comparisons["no_news"].agreement > 0.5


def test_agreement_is_of_decisions_with_a_choice_on_both(small_window: TradingWindow):
    """Five events a symbol: between them all must hold, which is no agreement."""
    events = np.zeros(small_window.mark_prices.shape, dtype=np.int64)
    events[:, :5] = 1
    window, env = replace(small_window, event_kinds=events), EnvConfig(decide_on="events")
    never, held = (replay(name, window, env, rule) for name, rule in (("none", flat), ("no_news", buy_and_hold)))
    seen = EvaluationWindow(window, env, ("2023-07-03", "2023-07-31"), {"ALDR": "XNYS", "BRIX": "XNYS"})
    found = compare_ablations({"none": never, "no_news": held}, seen, "none", 200, seed=0)["no_news"]
    assert found.agreement == pytest.approx(4 / 5)
    assert found.same_position == 0.0
