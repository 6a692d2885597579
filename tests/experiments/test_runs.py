"""Trainings on folds: what they may read, and what they give back."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.scores import account_scores
from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments import runs
from flag_kedro.experiments.finished import FinishedRows, experiment_key
from flag_kedro.experiments.folds import Fold, common_sessions, roll_folds
from flag_kedro.experiments.runs import RunSettings, Shared, run_fold, run_validation
from flag_kedro.experiments.scoring import ScoredRun
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

PPO = PPOConfig(
    total_timesteps=64, num_envs=1, num_steps=16, minibatch_size=None, validation_interval=1, kl_coef=0.0,
    learning_rate=5e-4, gamma=0.95, gae_lambda=0.98, update_epochs=1, clip_vloss=True, ent_coef=0.05,
    gradient_accumulation_steps=8, stagger_starts=False, reward_scale=1.0,
)  # fmt: skip
States = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def settings() -> RunSettings:
    calendars = {"ALDR": "XNYS", "BRIX": "XNYS"}
    return RunSettings(EnvConfig(), PolicyConfig(), PPO, RuntimeConfig(device="cpu", threads=1), calendars)


@pytest.fixture(scope="module")
def fold(small_states: States) -> Fold:
    return roll_folds(common_sessions(small_states), train=20, validation=10, test=12)[0]


@pytest.fixture(scope="module")
def row(small_states: States, fold: Fold, settings: RunSettings) -> ScoredRun:
    return run_fold(small_states, fold, 3, settings, Shared())


def changed_after(states: States, fold: Fold) -> States:
    """Other prices and texts from the first test session on."""
    late = pl.col("session") >= fold.test[0]
    changes = {name: pl.when(late).then(pl.col(name) * 3).otherwise(name) for name in ("open_price", "mark_price")}
    texts = {
        name: pl.when(late).then(pl.lit("other") + pl.col(name)).otherwise(name)
        for name in ("market_text", "news_text")
    }
    return {symbol: table.with_columns(**changes, **texts) for symbol, table in states.items()}


def test_what_comes_after_validation_changes_nothing_that_is_learned(
    small_states: States, fold: Fold, settings: RunSettings, row: ScoredRun
):
    other = run_fold(changed_after(small_states, fold), fold, 3, settings, Shared())
    assert other.history == row.history
    assert other.validation_log_return == row.validation_log_return
    assert other.scores != row.scores


def test_a_run_without_the_test_window_learns_the_same(
    small_states: States, fold: Fold, settings: RunSettings, row: ScoredRun
):
    assert fold.validation is not None
    known = {symbol: table.filter(pl.col("session") < fold.test[0]) for symbol, table in small_states.items()}
    found = run_validation(known, fold, 3, settings, Shared(), facts={})
    assert found.history == row.history
    own = found.validation_scores
    earned = sum(scores["flag_trader"]["cumulative_return"] for scores in own.values())
    assert earned == pytest.approx(found.validation_log_return)  # of the weights that were kept
    sharpe = {symbol: scores["flag_trader"]["sharpe_ratio"] for symbol, scores in own.items()}
    together = found.validation_sharpes.pop("all")
    assert {s: value * 252**0.5 for s, value in found.validation_sharpes.items()} == pytest.approx(
        {s: value or 0.0 for s, value in sharpe.items()}
    )
    assert min(0.0, *found.validation_sharpes.values()) <= together <= 2 * max(0.0, *found.validation_sharpes.values())


def test_row_is_plain_json_and_scores_are_those_of_its_returns(
    small_states: States, fold: Fold, settings: RunSettings, row: ScoredRun
):
    assert json.loads(json.dumps(asdict(row))) == asdict(row)
    window = runs.cut(small_states, fold.test, settings.env)
    held = replay("buy_and_hold", window, settings.env, buy_and_hold).equity.filter(symbol="ALDR")
    expected = account_scores(*(held[name].to_numpy() for name in ("equity", "position", "traded_value")), 252)
    assert row.scores["ALDR"]["buy_and_hold"] == expected
    assert row.sessions["ALDR"] == [str(day) for day in window.sessions[0][1:]]
    assert row.log_returns["buy_and_hold"]["ALDR"] == held["log_return"][1:].to_list()
    for symbol in ("ALDR", "BRIX"):
        own = sum(row.log_returns["flag_trader"][symbol])
        assert row.scores[symbol]["flag_trader"]["cumulative_return"] == pytest.approx(own)
    assert not any("second" in name for update in row.history for name in update)
    assert len(row.history) == 2


def test_another_seed_is_another_training(small_states: States, fold: Fold, settings: RunSettings, row: ScoredRun):
    assert run_fold(small_states, fold, 4, settings, Shared()).history != row.history


def test_tiny_is_built_from_training_prompts_alone(small_states: States, fold: Fold, settings: RunSettings):
    """Texts of validation and test leave its tokenizer as it is; those of training do not."""

    def tokenizer(states: States) -> str:
        window = runs.cut(states, fold.train, settings.env)
        with runs._backbone(window, 3, settings, Shared()) as folder:
            return (folder / "tokenizer.json").read_text()

    first = fold.validation[0] if fold.validation else fold.test[0]
    late = {
        symbol: table.with_columns(
            news_text=pl.when(pl.col("session") >= first).then(pl.lit("zzz " * 50)).otherwise("news_text")
        )
        for symbol, table in small_states.items()
    }
    early = {s: table.with_columns(news_text=pl.lit("zzz " * 50)) for s, table in small_states.items()}
    assert tokenizer(late) == tokenizer(small_states) != tokenizer(early)


def test_trainings_on_a_given_backbone_share_it_and_what_its_trunk_said(
    small_states: States, fold: Fold, settings: RunSettings, tmp_path: Path
):
    window = runs.cut(small_states, fold.train, settings.env)
    with runs._backbone(window, 0, settings, Shared()) as tiny:
        given = replace(settings, policy=replace(settings.policy, backbone=str(tiny)))
        shared = Shared(backbone=tiny)
        first = run_fold(small_states, fold, 3, given, shared)
        cache = shared.trunk_cache(tiny, given.policy, given.runtime)
        assert cache is not None
        before = cache.misses
        assert run_fold(small_states, fold, 3, given, shared).history == first.history
        assert before > 0
        assert cache.misses == before  # the second one read every prompt from memory
    assert shared.trunk_cache(tiny, settings.policy, settings.runtime) is None  # tiny shares nothing


def test_a_stopped_training_goes_on(
    small_states: States, fold: Fold, settings: RunSettings, row: ScoredRun, tmp_path: Path
):
    class StoppedError(Exception):
        pass

    seen: list[float] = []

    def stop(update: dict[str, float]) -> None:
        seen.append(update["step"])
        if len(seen) == 1:
            raise StoppedError

    shared = Shared(checkpoints=tmp_path)
    with pytest.raises(StoppedError):
        run_fold(small_states, fold, 3, settings, shared, on_update=stop)
    assert len(list(tmp_path.glob("*/update-*"))) == 1
    assert run_fold(small_states, fold, 3, settings, shared, on_update=stop) == row
    assert seen == [32, 32, 64]  # a resumed training tells of its earlier updates, too


def test_rows_of_an_experiment_are_known_by_all_they_depend_on(settings: RunSettings, tmp_path: Path):
    key = experiment_key({"a": 1}, settings.policy, settings.ppo, settings.runtime)
    assert experiment_key({"a": 1}, settings.policy, replace(PPO, resume="never"), settings.runtime) == key
    others = [
        experiment_key({"a": 2}, settings.policy, settings.ppo, settings.runtime),
        experiment_key({"a": 1}, replace(settings.policy, lora_rank=4), settings.ppo, settings.runtime),
        experiment_key({"a": 1}, settings.policy, replace(PPO, gamma=0.1), settings.runtime),
        experiment_key({"a": 1}, settings.policy, settings.ppo, replace(settings.runtime, threads=2)),
    ]
    assert len({key, *others}) == 5
    rows = FinishedRows(tmp_path, key)
    assert rows.get("1-1") is None
    assert rows.put("1-1", {"seed": 1}) == {"seed": 1}
    assert FinishedRows(tmp_path, key).get("1-1") == {"seed": 1}
    assert FinishedRows(tmp_path, others[0]).get("1-1") is None
    assert FinishedRows(tmp_path, key, resume=False).get("1-1") is None


def test_a_damaged_row_is_named(tmp_path: Path):
    rows = FinishedRows(tmp_path, "k")
    rows.put("1-1", {})
    (tmp_path / "k" / "1-1.json").write_text("{")
    with pytest.raises(ValueError, match=r"1-1\.json is damaged .*; remove it"):
        rows.get("1-1")
