"""The backbone as the language model it is: raw, and beside its means on the training window."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

from flag_kedro.backtest.replay import replay
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import States
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.experiments import zero_shot as module
from flag_kedro.experiments.zero_shot import (
    calibrated,
    calibration_states,
    measure_means,
    open_label_reader,
    zero_shot,
)
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.label_likelihood import LabelReader

CPU = torch.device("cpu")
CONFIG = PolicyConfig()
FLAT, LONG, SHORT, ANY = ([False, True, True], [True, True, False], [False, True, True], [True, True, True])
GEOMETRY = {"vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
GEOMETRY |= {"num_attention_heads": 4, "bos_token_id": 0, "initializer_range": 0.3}


class Fixed:
    """Log-likelihoods by prompt, written out."""

    def __init__(self, by_account: Mapping[str, list[float]]) -> None:
        self.by_account = by_account

    def log_likelihoods(self, states: States) -> np.ndarray:
        return np.array([self.by_account[account] for account in states.account])


def states(*accounts: str, legal: list[bool]) -> States:
    return States(["market"] * len(accounts), list(accounts), np.array([legal] * len(accounts)))


@pytest.fixture
def windows() -> WindowsConfig:
    return WindowsConfig(
        train=(date(2023, 7, 3), date(2023, 7, 31)),
        validation=(date(2023, 8, 1), date(2023, 8, 15)),
        test=(date(2023, 8, 16), date(2023, 9, 29)),
    )


def split_of(tables: dict[str, pl.DataFrame], windows: WindowsConfig, **env: object) -> MarketSplit:
    return MarketSplit.of(tables, DataConfig(windows=windows), EnvConfig(**env))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_window) -> Path:
    """A causal language model with a head of its own, behind the tiny tokenizer."""
    folder = tmp_path_factory.mktemp("causal")
    write_backbone(CONFIG, [text for texts in small_window.prefixes for text in texts], 0, folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        LlamaForCausalLM(LlamaConfig(**GEOMETRY, tie_word_embeddings=False)).save_pretrained(folder)
    return folder


@pytest.fixture
def reader(folder: Path) -> LabelReader:
    return open_label_reader(folder, CONFIG, CPU)


def test_likeliest_legal_word_is_chosen():
    """Sell is the likeliest of all, but a flat account has nothing to sell; 3 : 1 between buy and hold."""
    rule = zero_shot(Fixed({"flat": [-0.1, np.log(0.1), np.log(0.3)]}))  # type: ignore[arg-type]
    decisions = rule(states("flat", legal=FLAT))
    assert decisions.actions.tolist() == [2]
    assert decisions.probabilities == pytest.approx(np.array([[0.0, 0.25, 0.75]]))
    assert decisions.values is None


def test_word_that_is_liked_anyway_wins_nothing():
    """Hold is likelier than buy by 2 in the mean, here by 1 only: less than usual, so buy."""
    given = Fixed({"flat": [-9.0, -1.0, -2.0]})
    means = {np.array(FLAT).tobytes(): np.array([-9.0, -1.0, -3.0])}
    assert zero_shot(given)(states("flat", legal=FLAT)).actions.tolist() == [1]  # type: ignore[arg-type]
    assert calibrated(given, means)(states("flat", legal=FLAT)).actions.tolist() == [2]  # type: ignore[arg-type]


def test_means_belong_to_sets_of_legal_actions():
    given = Fixed({"flat": [0.0, -1.0, -1.0], "long": [-1.0, -1.0, 0.0]})
    means = {np.array(FLAT).tobytes(): np.array([0.0, -2.0, 0.0]), np.array(LONG).tobytes(): np.array([-2.0, 0.0, 0.0])}
    rule = calibrated(given, means)  # type: ignore[arg-type]
    assert rule(states("flat", legal=FLAT)).actions.tolist() == [1]
    assert rule(states("long", legal=LONG)).actions.tolist() == [0]


def test_actions_that_were_never_legal_together_are_refused_by_name():
    rule = calibrated(Fixed({"flat": [0.0, 0.0, 0.0]}), {})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="calibrated_lm: the legal actions are hold buy, which no rule met"):
        rule(states("flat", legal=FLAT))


def test_where_nothing_but_hold_is_legal_no_mean_is_asked_for():
    """A stop or a session without an event leaves hold alone, and the training window may not have met that."""
    given = Fixed({"flat": [0.0, -1.0, -1.0]})
    both = states("flat", "flat", legal=FLAT)
    both = replace(both, action_mask=np.array([FLAT, [False, True, False]]))
    means = {np.array(FLAT).tobytes(): np.array([0.0, 0.0, -2.0])}
    decisions = calibrated(given, means)(both)  # type: ignore[arg-type]
    assert decisions.actions.tolist() == [2, 1]
    assert decisions.probabilities is not None
    assert decisions.probabilities[1].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(("positions", "num_sets"), [("long_flat", 2), ("long_short", 3)])
def test_every_set_of_legal_actions_is_met_in_training(small_states, windows, positions, num_sets):
    split = split_of(small_states, windows, positions=positions)
    seen = calibration_states(split.train, split.env, seed=0)
    assert len({mask.tobytes() for mask in seen.action_mask}) == num_sets
    assert set(seen.prefix) <= {prefix for prefixes in split.train.prefixes for prefix in prefixes}
    assert len(set(zip(seen.prefix, seen.account, map(bytes, seen.action_mask), strict=True))) == len(seen)


def test_means_are_of_the_training_window_only(small_states, windows, reader):
    later = pl.col("session") > windows.train[1]
    other = {
        symbol: table.with_columns(news_text=pl.when(later).then(pl.lit("- rumours")).otherwise(pl.col("news_text")))
        for symbol, table in small_states.items()
    }
    means, others = (measure_means(reader, split_of(tables, windows), 0) for tables in (small_states, other))
    assert means.keys() == others.keys()
    assert all(np.array_equal(means[legal], others[legal]) for legal in means)
    earlier = {name: table.with_columns(news_text=pl.lit("- rumours")) for name, table in small_states.items()}
    changed = measure_means(reader, split_of(earlier, windows), 0)
    assert not any(np.array_equal(means[legal], changed[legal]) for legal in means)


def test_means_are_of_a_spread_over_the_window_where_it_is_long(small_states, windows, reader, monkeypatch):
    monkeypatch.setattr(module, "CALIBRATION_STATES", 5)
    means = measure_means(reader, split_of(small_states, windows), 0)
    assert len(means) == 2
    assert reader.num_read == 10


def test_calibrated_scores_have_mean_zero_on_the_prompts_they_were_measured_on(small_states, windows, reader):
    split = split_of(small_states, windows)
    means = measure_means(reader, split, 0)
    seen = calibration_states(split.train, split.env, 0)
    for legal, mean in means.items():
        rows = [row for row, mask in enumerate(seen.action_mask) if mask.tobytes() == legal]
        assert reader.log_likelihoods(seen)[rows].mean(axis=0) == pytest.approx(mean)


def test_both_strategies_read_a_prompt_that_both_see_once(small_states, windows, reader):
    split = split_of(small_states, windows)
    replay("raw", split.test, split.env, zero_shot(reader))
    num_read = reader.num_read
    again = replay("again", split.test, split.env, zero_shot(reader))
    assert reader.num_read == num_read
    probabilities = again.decisions.select("prob_sell", "prob_hold", "prob_buy").to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1.0)
    assert again.decisions["value"].null_count() == again.decisions.height


def test_folder_without_a_head_is_refused_with_a_way_out(tmp_path, folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    LlamaModel(LlamaConfig(**GEOMETRY, tie_word_embeddings=False)).save_pretrained(tmp_path)
    with pytest.raises(ParameterError, match=r"no language-model head.*set backtest\.zero_shot to false"):
        open_label_reader(tmp_path, CONFIG, CPU)


def test_tied_embeddings_are_the_head_where_none_was_saved(tmp_path, folder):
    """A folder of the bare model, whose config says that the head is the embeddings."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    bare = LlamaModel(LlamaConfig(**GEOMETRY, tie_word_embeddings=True))
    bare.save_pretrained(tmp_path)
    head = open_label_reader(tmp_path, CONFIG, CPU).model.get_output_embeddings()
    assert torch.equal(head.weight, bare.get_input_embeddings().weight)
