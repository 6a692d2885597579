"""A linear actor-critic on a bag of words: the baseline that shows whether the language model helps.

It reads the same prompts as the language model and learns by the same PPO, but knows neither order nor
meaning of words.

Shape legend: N = states asked about, F = features: words, account texts and the intercept.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.feature_extraction.text import CountVectorizer
from torch import nn

from flag_kedro.env.account import ACTION_NAMES, Ints
from flag_kedro.env.states import Decisions, States
from flag_kedro.features.words import choose_words
from flag_kedro.policy.interface import Evaluation, most_probable
from flag_kedro.policy.manifest import verify_manifest

WORD = r"(?u)[+-]?\w[\w.]*%?"
"""A word, or a number with its sign and unit, as market lines have them."""
NGRAMS = (1, 2)
MIN_TEXTS, MAX_WORDS = 5, 2_000
WEIGHTS, VOCABULARY, FACTS = "heads.safetensors", "vocabulary.json", "facts.json"


class BagOfWordsPolicy(nn.Module):
    """Logits and value are sums of weights, one for each word in the prompt, one for the account, one always.

    Words are those of the vocabulary, counted once; an unknown word or account text counts for nothing. All
    weights start at 0, so the untrained policy is uniform over legal actions.
    """

    def __init__(self, words: Sequence[str], accounts: Sequence[str]) -> None:
        super().__init__()
        self.tokens_read = 0
        self.words = tuple(words)
        self.accounts = tuple(accounts)
        self._analyze = CountVectorizer(ngram_range=NGRAMS, token_pattern=WORD).build_analyzer()
        self._word_index = {word: index for index, word in enumerate(self.words)}
        self._account_index = {text: len(self.words) + index for index, text in enumerate(self.accounts)}
        self._words_of_prefix: dict[str, list[int]] = {}
        self._features: dict[tuple[str, int | None], Ints] = {}
        num_features = len(self.words) + len(self.accounts) + 1
        self.heads = nn.ModuleDict(
            {
                name: nn.EmbeddingBag(num_features, width, mode="sum")
                for name, width in (("policy", len(ACTION_NAMES)), ("value", 1))
            }
        )
        for weight in self.heads.parameters():
            nn.init.zeros_(weight)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.heads.parameters()).device

    def features(self, prefix: str, account: str) -> Ints:
        """Indices of the features that a prompt has, ascending; cached."""
        account_feature = self._account_index.get(account)
        key = prefix, account_feature
        if key not in self._features:
            if prefix not in self._words_of_prefix:
                word_features = {self._word_index[word] for word in self._analyze(prefix) if word in self._word_index}
                self._words_of_prefix[prefix] = sorted(word_features)
            account_features = [] if account_feature is None else [account_feature]
            intercept = len(self.words) + len(self.accounts)
            indices = [*self._words_of_prefix[prefix], *account_features, intercept]
            self._features[key] = np.array(indices, dtype=np.int64)
        return self._features[key]

    def evaluate(self, states: States) -> Evaluation:
        """Evaluate N states; each is summed on its own, so its bits do not depend on its neighbours."""
        bags = [self.features(*prompt) for prompt in zip(states.prefix, states.account, strict=True)]
        self.tokens_read += sum(map(len, bags))
        starts = np.cumsum([0, *(len(bag) for bag in bags[:-1])])
        flat = torch.from_numpy(np.concatenate(bags)).to(self.device)
        offsets = torch.from_numpy(starts).to(self.device)
        mask = torch.from_numpy(states.action_mask).to(self.device)
        logits = self.heads["policy"](flat, offsets).masked_fill(~mask, -torch.inf)
        values = self.heads["value"](flat, offsets).squeeze(-1)
        return Evaluation(log_probs=torch.log_softmax(logits, dim=-1), values=values)

    @torch.no_grad()
    def decide(self, states: States) -> Decisions:
        """The most probable legal action of each state, with probabilities and values; ties go to the first."""
        return most_probable(self.evaluate(states))

    def read_ahead(self, prefixes: Sequence[str]) -> None:
        """Nothing: words are looked up when they are asked for."""

    def write(self, folder: Path) -> None:
        """Write weights (safetensors) and vocabulary (JSON) into an existing empty `folder`."""
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.heads.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        vocabulary = {"words": self.words, "accounts": self.accounts}
        (folder / VOCABULARY).write_text(json.dumps(vocabulary, indent=2) + "\n")


@dataclass(frozen=True)
class TrainedBagOfWords:
    """A trained bag-of-words policy and the facts that a later reader must agree with."""

    model: BagOfWordsPolicy
    facts: dict[str, Any]
    """`data_hash`, `windows`, `env`, `symbols`, `seed`, as of the language model's bundle."""

    def write(self, folder: Path) -> None:
        """Write the policy and `facts.json` into an existing empty `folder`; the manifest comes after."""
        self.model.write(folder)
        (folder / FACTS).write_text(json.dumps(self.facts, indent=2, sort_keys=True) + "\n")


def build_bag_of_words(texts: Iterable[str], accounts: Sequence[str]) -> BagOfWordsPolicy:
    """An untrained policy whose vocabulary are the words (and pairs of words) of `texts`.

    Args:
        texts: prompt prefixes of the training window.
        accounts: account texts to tell apart, such as those of the compact view.
    """
    analyze = CountVectorizer(ngram_range=NGRAMS, token_pattern=WORD).build_analyzer()
    return BagOfWordsPolicy(choose_words(texts, analyze, min_texts=MIN_TEXTS, max_words=MAX_WORDS), accounts)


def load_bag_of_words(folder: Path) -> BagOfWordsPolicy:
    """Open a folder written by `BagOfWordsPolicy.write` or `TrainedBagOfWords.write`, on the CPU.

    Raises:
        DataError: when a file is absent, new or changed against the folder's manifest.
    """
    verify_manifest(folder)
    vocabulary = json.loads((folder / VOCABULARY).read_text())
    model = BagOfWordsPolicy(vocabulary["words"], vocabulary["accounts"])
    model.heads.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()
