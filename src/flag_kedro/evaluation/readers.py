"""The language models whose vectors are probed: a trained policy, its backbone before training, and random weights."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flag_kedro.env.account import BUY, NUM_ACTIONS, SELL, Floats
from flag_kedro.env.prompt import account_texts, position_account_texts
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import States
from flag_kedro.evaluation.tasks import BACKBONE
from flag_kedro.experiments.zero_shot import find_label_reader
from flag_kedro.names import POLICY, RANDOM_WEIGHTS, TINY
from flag_kedro.policy.config import PolicyConfig

if TYPE_CHECKING:
    import torch

    from flag_kedro.policy.actor_critic import ActorCritic
    from flag_kedro.policy.trunk_cache import TrunkCache

READ_AT_ONCE = 256


@dataclass(frozen=True)
class Readers:
    """Opens the readers, one at a time.

    The policy and its backbone before training have the same frozen layers, which read each prompt once for both.
    """

    policy: Path
    """Bundle of the trained policy."""
    backbone: Path
    """Folder of its backbone, unless the bundle brings its own."""
    description: Mapping[str, Any]
    """`policy.json` of the bundle."""
    split: MarketSplit
    device: "torch.device"
    seed: int
    """Of random weights."""

    def openers(self) -> "dict[str, Callable[[], ActorCritic]]":
        """By name; `tiny` has random weights from the start, so they are not there twice."""
        openers: dict[str, Callable[[], ActorCritic]] = {POLICY: self._trained, BACKBONE: self._untrained}
        policy = self.description["policy"]
        if policy["backbone"] != TINY and policy["weights"] == "pretrained":
            openers[RANDOM_WEIGHTS] = self._random
        return openers

    @cached_property
    def folder(self) -> Path:
        """Folder of the backbone."""
        own = self.policy / "backbone"
        return own if own.is_dir() else self.backbone

    @cached_property
    def config(self) -> PolicyConfig:
        """The policy's parameters; what its trunk says is kept in memory alone, as rows on disk have other accounts."""
        config = PolicyConfig(**self.description["policy"])
        return replace(config, trunk_cache="ram") if config.trunk_cache == "disk" else config

    @cached_property
    def _shared_rows(self) -> "TrunkCache | None":
        from flag_kedro.policy.trunk import open_trunk_cache

        return open_trunk_cache(self.folder, self.config, self.device)

    def _trained(self) -> "ActorCritic":
        from flag_kedro.policy.bundle import load_policy

        return self._behind_flat(load_policy(self.policy, self.backbone, self.device, self._shared_rows))

    def _untrained(self) -> "ActorCritic":
        return self._fresh(self.folder, self._shared_rows)

    def _random(self) -> "ActorCritic":
        from flag_kedro.policy.backbone import write_random_copy
        from flag_kedro.policy.trunk import open_trunk_cache

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_random_copy(self.folder, self.seed, folder)
            return self._fresh(folder, open_trunk_cache(folder, self.config, self.device))

    def _fresh(self, folder: Path, rows: "TrunkCache | None") -> "ActorCritic":
        """A policy before training, its readout standardised on the training window."""
        from flag_kedro.policy.actor_critic import build_actor_critic

        model = self._behind_flat(build_actor_critic(folder, self.config, self.seed, self.device, rows))
        model.fit_readout([text for texts in self.split.train.prefixes for text in texts])
        return model

    def _behind_flat(self, model: "ActorCritic") -> "ActorCritic":
        """Let each prompt be read with the one account text that is asked about, and with the one of standardising."""
        from flag_kedro.policy.actor_critic import PROBE

        model.complete_rows([_flat_account(self.split), PROBE[1]])
        return model


def read_vectors(
    model: "ActorCritic", prefixes: Sequence[str], split: MarketSplit, on_read: Callable[[int], None] | None = None
) -> Floats:
    """What the heads of a policy read of each prompt behind a flat account, [N, W].

    Args:
        model: the policy.
        prefixes: prompts without their accounts, [N].
        split: whose environment says how an account is told; where that is endless (the paper's view), its position
            alone is.
        on_read: told how many prompts were read, time and again.
    """
    parts = []
    for states in _behind_flat_accounts(prefixes, split):
        parts.append(model.vectors(states).double().cpu().numpy())
        if on_read is not None:
            on_read(len(states))
    return np.concatenate(parts)


def read_log_variances(model: "ActorCritic", prefixes: Sequence[str], split: MarketSplit) -> Floats | None:
    """What a policy's volatility head says of each prompt: the logarithm of a week's variance, [N]; None without one.

    Args:
        model: the policy.
        prefixes: prompts without their accounts, [N].
        split: as for `read_vectors`.
    """
    if model.volatility_head is None:
        return None
    parts = [model.log_variances(states).double().cpu().numpy() for states in _behind_flat_accounts(prefixes, split)]
    return np.concatenate(parts)


def _behind_flat_accounts(prefixes: Sequence[str], split: MarketSplit) -> Iterator[States]:
    """Prompts with a flat account, a few hundred at a time."""
    flat = _flat_account(split)
    for start in range(0, len(prefixes), READ_AT_ONCE):
        chunk = list(prefixes[start : start + READ_AT_ONCE])
        yield States(chunk, [flat] * len(chunk), np.ones((len(chunk), NUM_ACTIONS), dtype=bool))


def _flat_account(split: MarketSplit) -> str:
    view, positions = split.env.account_view, split.env.positions
    return (account_texts(view, positions) or position_account_texts(positions))[0]


def read_label_odds(
    folder: Path, config: PolicyConfig, device: "torch.device", prefixes: Sequence[str], split: MarketSplit
) -> Floats | None:
    """Log-likelihood of " buy" less that of " sell" behind each prompt, [N]; None where the backbone has no head.

    Args:
        folder: the backbone's.
        config: parameters of the policy.
        device: that gets the model.
        prefixes: prompts without their accounts, [N].
        split: as for `read_vectors`.
    """
    reader = find_label_reader(folder, config, device)
    if reader is None:
        return None
    flat = position_account_texts(split.env.positions)[0]
    states = States(list(prefixes), [flat] * len(prefixes), np.ones((len(prefixes), NUM_ACTIONS), dtype=bool))
    scores = reader.log_likelihoods(states)
    odds: Floats = scores[:, BUY] - scores[:, SELL]
    return odds
