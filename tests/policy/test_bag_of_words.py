"""The linear policy: sums of weights, bit for bit the same alone or in company, and after reopening."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from flag_kedro.backtest.replay import replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import compact_account_texts, write_prefix
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError
from flag_kedro.policy.bag_of_words import (
    BagOfWordsPolicy,
    TrainedBagOfWords,
    build_bag_of_words,
    load_bag_of_words,
)
from flag_kedro.policy.manifest import write_manifest

FLAT, LONG = [False, True, True], [True, True, False]
ACCOUNTS = (" flat. Decision:", " long. Decision:")
WORDS = ("+0.4%", "1d +0.4%", "beats", "profit", "profit beats")
PREFIX = write_prefix("1d +0.4%, RSI 51", "- Alder profit BEATS the profit of 2019")


def states(prefixes: Sequence[str], accounts: Sequence[str], masks: Sequence[list[bool]]) -> States:
    return States(list(prefixes), list(accounts), np.array(masks))


def disturb(model: BagOfWordsPolicy) -> BagOfWordsPolicy:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return model


@pytest.fixture
def window_policy(small_window: TradingWindow) -> BagOfWordsPolicy:
    texts = [text for texts in small_window.prefixes for text in texts]
    return disturb(build_bag_of_words(texts, compact_account_texts()))


def window_states(window: TradingWindow) -> States:
    prefixes = [text for texts in window.prefixes for text in texts]
    accounts = (compact_account_texts() * len(prefixes))[: len(prefixes)]
    return states(prefixes, accounts, [FLAT if text == ACCOUNTS[0] else LONG for text in accounts])


def test_features_are_the_known_words_once_the_account_and_the_intercept() -> None:
    model = BagOfWordsPolicy(WORDS, ACCOUNTS)
    assert model.features(PREFIX, ACCOUNTS[1]).tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert model.features(write_prefix("RSI 51", "none"), ACCOUNTS[0]).tolist() == [5, 7]
    assert model.features(write_prefix("1d -0.4%", "- profit"), "Account: unknown").tolist() == [3, 7]


def test_answers_are_dot_products_with_a_row_of_ones_and_zeros(
    window_policy: BagOfWordsPolicy, small_window: TradingWindow
) -> None:
    asked = window_states(small_window)
    num_features = len(window_policy.words) + len(window_policy.accounts) + 1
    rows = np.zeros((len(asked), num_features))
    for row, prompt in enumerate(zip(asked.prefix, asked.account, strict=True)):
        rows[row, window_policy.features(*prompt)] = 1.0
    weights = {name: weight.double().numpy() for name, weight in window_policy.heads.state_dict().items()}
    scores = np.where(asked.action_mask, np.exp(rows @ weights["policy.weight"]), 0.0)
    with torch.no_grad():
        evaluation = window_policy.evaluate(asked)
    np.testing.assert_allclose(
        evaluation.log_probs.exp(), scores / scores.sum(axis=1, keepdims=True), rtol=2e-5, atol=1e-7
    )
    np.testing.assert_allclose(evaluation.values, (rows @ weights["value.weight"])[:, 0], rtol=1e-5, atol=1e-5)


def test_bits_of_a_state_do_not_depend_on_its_neighbours(
    window_policy: BagOfWordsPolicy, small_window: TradingWindow
) -> None:
    asked = window_states(small_window)
    with torch.no_grad():
        together = window_policy.evaluate(asked)
        for row in range(len(asked)):
            one = states([asked.prefix[row]] * 2, [asked.account[row]] * 2, [asked.action_mask[row]] * 2)
            alone = window_policy.evaluate(one)
            for copy in range(2):
                assert torch.equal(alone.log_probs[copy], together.log_probs[row])
                assert torch.equal(alone.values[copy], together.values[row])


def test_gradients_of_repeated_states_add_up() -> None:
    model = disturb(BagOfWordsPolicy(WORDS, ACCOUNTS))
    gradients = []
    for copies in (1, 3):
        model.zero_grad()
        model.evaluate(states([PREFIX] * copies, [ACCOUNTS[0]] * copies, [FLAT] * copies)).values.sum().backward()
        gradients.append(model.heads["value"].weight.grad.squeeze().tolist())
    assert gradients[0] == [1, 1, 1, 1, 1, 1, 0, 1]
    assert gradients[1] == [3, 3, 3, 3, 3, 3, 0, 3]


def test_untrained_policy_is_uniform_over_legal_actions() -> None:
    decided = BagOfWordsPolicy(WORDS, ACCOUNTS).decide(states([PREFIX] * 2, ACCOUNTS, [FLAT, LONG]))
    assert decided.probabilities is not None
    assert decided.probabilities.tolist() == [[0, 0.5, 0.5], [0.5, 0.5, 0]]


def test_vocabulary_has_signed_numbers_and_pairs_but_nothing_that_every_prompt_says() -> None:
    prefixes = [write_prefix(f"1d {move}, RSI 51", "- profit beats") for move in ["+0.4%", "-0.4%"] * 5]
    words = build_bag_of_words(prefixes, ACCOUNTS).words
    assert set(words) == {"+0.4%", "-0.4%", "1d +0.4%", "1d -0.4%", "+0.4% rsi", "-0.4% rsi"}


def test_reopened_policy_decides_bit_for_bit(
    window_policy: BagOfWordsPolicy, small_window: TradingWindow, tmp_path: Path
) -> None:
    TrainedBagOfWords(window_policy, {"seed": 3, "symbols": ["ALDR"]}).write(tmp_path)
    write_manifest(tmp_path)
    opened = load_bag_of_words(tmp_path)
    first, again = (replay("rule", small_window, EnvConfig(), model.decide) for model in (window_policy, opened))
    assert first.decisions.equals(again.decisions)
    assert first.decisions["action"].n_unique() > 1
    assert json.loads((tmp_path / "facts.json").read_text()) == {"seed": 3, "symbols": ["ALDR"]}
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_changed_vocabulary_is_refused(tmp_path: Path) -> None:
    BagOfWordsPolicy(WORDS, ACCOUNTS).write(tmp_path)
    with pytest.raises(DataError, match="not whole"):
        load_bag_of_words(tmp_path)
    write_manifest(tmp_path)
    (tmp_path / "vocabulary.json").write_text(json.dumps({"words": WORDS[::-1], "accounts": ACCOUNTS}))
    with pytest.raises(DataError, match=r"vocabulary\.json"):
        load_bag_of_words(tmp_path)
