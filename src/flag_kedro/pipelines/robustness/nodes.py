"""Nodes of the robustness pipeline. torch is imported inside, so that listing pipelines stays quick."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.replay import replay
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import write_prefix
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.experiments.config import RobustnessConfig
from flag_kedro.experiments.headline_probes import plan_probes
from flag_kedro.experiments.robustness import ProbedPolicy, ask_round
from flag_kedro.experiments.robustness_report import summarise_probes
from flag_kedro.features.ablation import ablate_articles
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.digest import read_articles
from flag_kedro.features.market_state import build_market_states, data_hash
from flag_kedro.pipelines.backtest.judged import evaluation_window
from flag_kedro.pipelines.backtest.nodes import open_for
from flag_kedro.pipelines.facts import MarketFacts, check_market, market_facts
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.ppo.runtime import RuntimeConfig


def try_headlines(
    prices: pl.DataFrame,
    news_table: pl.DataFrame,
    company_names: dict[str, list[str]],
    universe: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    found_facts: MarketFacts,
    backbone: Path,
    policy: Path,
    text_baseline: Path,
    sb3_baseline: Path | None,
    trunk_cache: Path,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
    env: EnvConfig,
    robustness: RobustnessConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> dict[str, Any]:
    """Put hostile headlines into states of the test window and see what the trained policy makes of them.

    Raises:
        DataError: when the policy was trained on other data, or reads no news as they are.
    """
    check_market(found_facts, market_facts(data, news, simulated, features))
    if features.ablation in ("no_news", "shuffle_news"):
        raise ParameterError(
            f"features.ablation is {features.ablation}: this policy does not read headlines where they are told, so "
            "none can mislead it; robustness asks about a policy that does"
        )
    opened = open_for(
        market_states, backbone, policy, text_baseline, sb3_baseline, trunk_cache, data, env, runtime, seed
    )
    decide, judged = opened.readers["flag_trader"].answer, evaluation_window(market_states, data, env)

    def build(news: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
        return build_market_states(prices, news, names=company_names, universe=universe, **asdict(features))[0]

    def read(news: pl.DataFrame) -> pl.DataFrame:
        articles = read_articles(news, company_names)
        return ablate_articles(articles, list(market_states), company_names, features.ablation, features.ablation_seed)

    if data_hash(build(news_table)) != data_hash(market_states):
        raise DataError(
            "market states do not repeat from prices and news as they are now in 02_intermediate; run features "
            "and the training again (kedro run)"
        )
    with progress_bar("replaying", int(judged.window.num_sessions.max())) as advance:
        reference = replay("flag_trader", judged.window, judged.env, decide, advance)
    probed = ProbedPolicy(
        decide=decide,
        reference=reference,
        news=news_table,
        states=market_states,
        build=build,
        read=read,
        write_prefix=partial(write_prefix, positions=judged.env.positions),
        digest_chars=features.digest_chars,
        names=company_names,
    )
    rounds, rows = plan_probes(reference.decisions, robustness.headlines, features.digest_sessions, seed), []
    with progress_bar("trying headlines", robustness.headlines) as advance:
        for probes in rounds:
            rows += ask_round(probes, probed, seed)
            advance(len(probes))
    return asdict(summarise_probes(rows))


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
