"""Nodes of the robustness pipeline."""

import time
from dataclasses import asdict
from functools import partial
from typing import Any

from flag_kedro.backtest.replay import replay
from flag_kedro.env.prompt import write_prefix
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.experiments.config import RobustnessConfig
from flag_kedro.experiments.headline_probes import plan_probes
from flag_kedro.experiments.robustness import ProbedPolicy, ask_round
from flag_kedro.experiments.robustness_report import summarise_probes
from flag_kedro.experiments.strategies import Strategies
from flag_kedro.features.market_state import data_hash
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.names import POLICY
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.tracking.log import log_metrics
from flag_kedro.tracking.scores import flatten_robustness


def try_headlines(
    tables: MarketTables, split: MarketSplit, strategies: Strategies, robustness: RobustnessConfig, seed: int
) -> dict[str, Any]:
    """Put hostile headlines into states of the test window and see what the trained policy makes of them.

    Raises:
        ParameterError: when the policy reads no news as they are.
        DataError: when market states are not those of the tables.
    """
    features = tables.features
    if features.ablation in ("no_news", "shuffle_news"):
        raise ParameterError(
            f"features.ablation is {features.ablation}: this policy does not read headlines where they are told, so "
            "none can mislead it; robustness asks about a policy that does"
        )
    if data_hash(tables.build_states()) != split.data_hash:
        raise DataError(
            "market states do not repeat from prices and news as they are now in 02_intermediate; run features "
            "and the training again (kedro run)"
        )
    policy = strategies.policy(POLICY)
    with progress_bar("replaying", int(split.test.num_sessions.max())) as advance:
        reference = replay(POLICY, split.test, split.env, policy.answer, advance, policy.read_ahead)
    probed = ProbedPolicy(
        decide=policy.answer,
        reference=reference,
        news=tables.news,
        states=split.states,
        build=lambda news: tables.build_states(news=news),
        read=partial(tables.read_articles, symbols=list(split.states)),
        write_prefix=partial(write_prefix, positions=split.env.positions),
        digest_chars=features.digest_chars,
        names=tables.names,
    )
    rounds, rows = plan_probes(reference.choices, robustness.headlines, features.digest_sessions, seed), []
    with progress_bar("trying headlines", robustness.headlines) as advance:
        for probes in rounds:
            rows += ask_round(probes, probed, seed)
            advance(len(probes))
    report = asdict(summarise_probes(rows))
    log_metrics(flatten_robustness(report), 0, int(time.time() * 1000))
    return report


def refuse_forgeries(robustness: dict[str, Any]) -> None:
    """Fail the run in which a headline was more than news, once its report is written.

    Raises:
        DataError: when a headline changed another section, went over the budget or passed for a part of the prompt.
    """
    if not robustness["passed"]:
        first = robustness["violations"][0]
        raise DataError(
            f"{len(robustness['violations'])} of {robustness['num_headlines']} headlines were more than news, the "
            f"first of them ({first['family']}: {first['headline']}): {first['violations'][0]}. "
            "Look at 08_reporting/robustness.json; features/digest.py is what should have stopped it"
        )
