"""Log-likelihoods of the actions' words: those of transformers' own loss, whatever is read beside a prompt."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from flag_kedro.env.states import States, take_states
from flag_kedro.errors import DataError
from flag_kedro.policy.backbone import load_tokenizer
from flag_kedro.policy.label_likelihood import LABELS, LabelReader

SIZES = {"vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "max_position_embeddings": 512, "bos_token_id": 0, "initializer_range": 0.3}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama, tied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES)),
    "gpt2, tied": lambda: GPT2LMHeadModel(GPT2Config(**SIZES)),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return MODELS[request.param]().eval()


@pytest.fixture
def open_reader(model: PreTrainedModel, tiny_backbone: Path) -> Callable[..., LabelReader]:
    tokenizer, beginning = load_tokenizer(tiny_backbone)

    def make(max_tokens: int = 512, batch_tokens: int = 256) -> LabelReader:
        return LabelReader(model, tokenizer, beginning, max_tokens=max_tokens, batch_tokens=batch_tokens)

    return make


@pytest.fixture
def states(states_of: Callable[..., States]) -> States:
    return states_of([(0, 0), (1, 7), (2, 0), (0, 12), (1, 7)])


def transformers_loss(model: PreTrainedModel, folder: Path, prefix: str, account: str, label: str) -> float:
    """Summed log-likelihood of a label's tokens by the model's own loss, alone in its batch."""
    tokenizer, beginning = load_tokenizer(folder)
    prefix_ids, account_ids, label_ids = (
        tokenizer.encode(text, add_special_tokens=False).ids for text in (prefix, account, label)
    )
    ids = torch.tensor([[*beginning, *prefix_ids, *account_ids, *label_ids]])
    targets = ids.clone()
    targets[0, : -len(label_ids)] = -100
    with torch.no_grad():
        return -float(model(ids, labels=targets).loss) * len(label_ids)


def test_log_likelihoods_are_those_of_transformers_own_loss(model, tiny_backbone, open_reader, states):
    """The tiny tokenizer takes several tokens for a label: they are summed."""
    expected = [
        [transformers_loss(model, tiny_backbone, prefix, account, label) for label in LABELS]
        for prefix, account in zip(states.prefix, states.account, strict=True)
    ]
    assert np.allclose(open_reader().log_likelihoods(states), expected, atol=1e-4)


def test_batches_change_nothing_beyond_rounding(open_reader, states):
    together = open_reader(batch_tokens=100_000).log_likelihoods(states)
    alone = open_reader(batch_tokens=1).log_likelihoods(states)
    assert np.abs(together - alone).max() < 1e-4


def test_labels_are_the_words_of_the_prompt_in_the_order_of_the_actions():
    assert LABELS == (" sell", " hold", " buy")


def test_each_distinct_prompt_is_read_once(open_reader, states):
    reader = open_reader()
    first = reader.log_likelihoods(states)
    assert reader.num_read == 4
    reader.model = None  # whoever asks now is answered from memory
    again = reader.log_likelihoods(take_states(states, [3, 1, 0]))
    assert np.array_equal(again, first[[3, 1, 0]])


def test_a_prompt_that_is_too_long_is_refused(open_reader, states):
    with pytest.raises(DataError, match=r"the limit is 20 \(policy\.max_tokens"):
        open_reader(max_tokens=20).log_likelihoods(states)


def test_labels_are_one_token_each_for_smollm2(smollm2: Path):
    tokenizer, _ = load_tokenizer(smollm2)
    assert [len(tokenizer.encode(label, add_special_tokens=False).ids) for label in LABELS] == [1, 1, 1]
