"""Leaks in ingest, and in what is fitted, trained and chosen: each replaces one function of the project."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from backtest_leaks import Leak, Plant

from flag_kedro.backtest.replay import replay
from flag_kedro.data import market, universe
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments import training
from flag_kedro.ppo.training_spec import TrainingSpec


def in_tables(change: Callable[[pl.DataFrame, pl.DataFrame], tuple[pl.DataFrame, pl.DataFrame]]) -> Plant:
    """Change prices and news once they are validated."""
    merge = market._merge_duplicates

    def leaky(validated: Any, raw: Any, config: Any) -> Any:
        tables, facts = merge(validated, raw, config)
        prices, news = change(tables.prices, tables.news)
        return replace(tables, prices=prices, news=news), facts

    return lambda patch: patch.setattr(market, "_merge_duplicates", leaky)


def tags_by_what_followed(prices: pl.DataFrame, news: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A sentiment tag in each headline, from the return of the five sessions after it."""
    ahead = pl.col("adj_close").shift(-5).over("symbol") > pl.col("adj_close")
    signs = prices.sort("available_at").select("symbol", "available_at", good=ahead)
    tagged = news.sort("available_at").join_asof(
        signs, on="available_at", by="symbol", strategy="backward", check_sortedness=False
    )
    tag = pl.when(pl.col("good")).then(pl.lit("(positive) ")).otherwise(pl.lit("(negative) "))
    return prices, tagged.with_columns(tag + pl.col("headline")).drop("good").sort("symbol", "available_at")


def clips_volume(prices: pl.DataFrame, news: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Volumes cut at a quantile of the whole sample."""
    most = pl.col("volume").quantile(0.5).over("symbol")
    return prices.with_columns(pl.min_horizontal("volume", most).alias("volume")), news


def keeps_the_last_of_duplicates(patch: pytest.MonkeyPatch) -> None:
    def leaky(news: pl.DataFrame, calendar_of: Any, sessions: int) -> tuple[pl.DataFrame, dict[str, int]]:
        return news.unique(["symbol", "headline"], keep="last", maintain_order=True), {}

    patch.setattr(market, "merge_duplicates", leaky)


def survivors_only(patch: pytest.MonkeyPatch) -> None:
    def leaky(table: pl.DataFrame) -> tuple[str, ...]:
        return universe.universe_symbols(table.filter(pl.col("delisted").is_null()))

    patch.setattr(market, "universe_symbols", leaky)


def in_spec(change: Callable[[MarketSplit, TrainingSpec], TrainingSpec]) -> Plant:
    """Train on other windows."""
    spec = training.training_spec
    return lambda patch: patch.setattr(
        training, "training_spec", lambda split, *rest: change(split, spec(split, *rest))
    )


def validates_into_the_test_window(split: MarketSplit, spec: TrainingSpec) -> TrainingSpec:
    first, last = split.windows.validation[0], split.windows.test[1]
    return replace(spec, validation=split.cut((first, last)))


def tokenizer_reads_the_test_window(patch: pytest.MonkeyPatch) -> None:
    read = training.tokenizer_texts
    patch.setattr(
        training,
        "tokenizer_prompts",
        lambda split: read(split.train.prefixes + split.test.prefixes, split.env.positions),
    )


def baseline_learns_from_the_test_window(patch: pytest.MonkeyPatch) -> None:
    start = training.start_bag_of_words
    patch.setattr(
        training,
        "text_baseline_training",
        lambda split, settings, seed: start(
            split.test, split.validation, split.env, settings.ppo, settings.runtime, seed
        ),
    )


def seed_is_chosen_by_the_test_window(patch: pytest.MonkeyPatch) -> None:
    spec_of, run, seen = training.training_spec, training.run_training, []

    def remembering(split: MarketSplit, *rest: Any) -> TrainingSpec:
        seen[:] = [split.test]
        return spec_of(split, *rest)

    def leaky(spec: TrainingSpec, **options: Any) -> Any:
        tried = [run(replace(spec, seed=seed), **options) for seed in range(4)]
        scores = [replay("tried", seen[0], spec.env, model.decide).equity["log_return"].sum() for model, _ in tried]
        return tried[scores.index(max(scores))]

    patch.setattr(training, "training_spec", remembering)
    patch.setattr(training, "run_training", leaky)


LEAKS = [
    Leak("headlines tagged by what followed", "ingest", in_tables(tags_by_what_followed), "prompts"),
    Leak("the last of several duplicates is kept", "ingest", keeps_the_last_of_duplicates, "prompts"),
    Leak("volumes cut at a quantile of the whole sample", "ingest", in_tables(clips_volume), "prompts"),
    Leak("symbols that are delisted later are left out", "ingest", survivors_only, "prompts"),
    Leak("tokenizer that has read the test window", "tokenizer", tokenizer_reads_the_test_window, "backbone"),
    Leak(
        "training on the test window",
        "training",
        in_spec(lambda split, spec: replace(spec, window=split.test)),
        "policy",
    ),
    Leak("text baseline trained on the test window", "training", baseline_learns_from_the_test_window, "text_baseline"),
    Leak(
        "weights chosen on the test window",
        "selection",
        in_spec(lambda split, spec: replace(spec, validation=split.test)),
        "training_windows",
    ),
    Leak(
        "validation window that reaches into the test window",
        "selection",
        in_spec(validates_into_the_test_window),
        "training_windows",
    ),
    Leak("seed chosen by the test window", "selection", seed_is_chosen_by_the_test_window, "policy"),
]
