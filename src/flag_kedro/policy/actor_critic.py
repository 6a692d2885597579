"""The language model as actor and critic: prompts in, action probabilities and values out.

Shape legend: N = states asked about, R = distinct prompts among them, B = rows of one forward pass,
L = tokens of a row after padding, H = hidden size.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from flag_kedro.backtest.replay import Decisions
from flag_kedro.data.schema import DataError
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.prompt import States
from flag_kedro.policy.backbone import load_backbone, load_tokenizer
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.interface import Evaluation, most_probable
from flag_kedro.policy.trainable import attach_trainable_top

NUM_ACTIONS = 3
BUCKET_TOKENS = 32
"""Rows are padded to multiples of this, so a row's shape depends on its own length only."""
HEAD_STD = 0.01
PROBE_TOLERANCE = 1e-4


class ActorCritic(nn.Module):
    """A causal backbone whose last real token feeds a policy head and a value head (arXiv:2502.11433, section 4).

    The trunk below `frozen_layers` is frozen, the layers above learn. Both heads are linear, float32 and
    start near zero, so the untrained policy is close to uniform over legal actions.
    """

    def __init__(self, backbone: nn.Module, folder: Path, config: PolicyConfig, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.tokenizer, self.start_ids = load_tokenizer(folder)
        geometry = backbone.config
        self.max_tokens = min(config.max_tokens, int(geometry.max_position_embeddings))  # type: ignore[union-attr, arg-type]
        hidden = int(geometry.hidden_size)  # type: ignore[union-attr, arg-type]
        self.heads = nn.ModuleDict({"policy": nn.Linear(hidden, NUM_ACTIONS), "value": nn.Linear(hidden, 1)})
        generator = torch.Generator().manual_seed(derived_seed(seed, "heads"))
        for head in self.heads.values():
            assert isinstance(head, nn.Linear)
            nn.init.normal_(head.weight, std=HEAD_STD, generator=generator)
            nn.init.zeros_(head.bias)
        self._ids: dict[str, list[int]] = {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.heads.parameters()).device

    def forward(self, input_ids: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, 3] and values [B] of right-padded rows.

        No attention mask is needed: under causal attention a real token never sees the padding behind it,
        and only the last real token is read. `check_backbone` proves this for the backbone at hand.

        Args:
            input_ids: [B, L].
            last: index of each row's last real token, [B].
        """
        hidden = self.backbone(input_ids=input_ids, use_cache=False).last_hidden_state
        pooled = hidden[torch.arange(len(last), device=last.device), last].float()
        return self.heads["policy"](pooled), self.heads["value"](pooled).squeeze(-1)

    def evaluate(self, states: States) -> Evaluation:
        """Evaluate N states, each distinct prompt once; gradients of equal states add up by autograd."""
        row_of: dict[tuple[str, str], int] = {}
        rows = [row_of.setdefault(key, len(row_of)) for key in zip(states.prefix, states.account, strict=True)]
        logits, values = self._evaluate_rows(list(row_of))
        index = torch.tensor(rows, device=self.device)
        mask = torch.from_numpy(states.action_mask).to(self.device)
        masked = logits[index].masked_fill(~mask, -torch.inf)
        return Evaluation(log_probs=torch.log_softmax(masked, dim=-1), values=values[index])

    @torch.no_grad()
    def decide(self, states: States) -> Decisions:
        """The most probable legal action of each state, with probabilities and values; ties go to the first."""
        return most_probable(self.evaluate(states))

    def encode(self, prefix: str, account: str) -> list[int]:
        """Token ids of a prompt: BOS once, then those of the prefix, then those of the account.

        Raises:
            DataError: when the prompt is longer than `policy.max_tokens` or the backbone's positions.
        """
        ids = [*self.start_ids, *self._encode_part(prefix), *self._encode_part(account)]
        if len(ids) > self.max_tokens:
            raise DataError(
                f"a prompt has {len(ids)} tokens, the limit is {self.max_tokens} (policy.max_tokens, or the "
                "backbone's positions); lower features.digest_chars or features.digest_sessions"
            )
        return ids

    def _encode_part(self, text: str) -> list[int]:
        if text not in self._ids:
            self._ids[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return self._ids[text]

    def _evaluate_rows(self, prompts: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
        """Logits [R, 3] and values [R] of distinct prompts, in batches of one canonical shape per length."""
        encoded = [self.encode(prefix, account) for prefix, account in prompts]
        buckets: dict[int, list[int]] = {}
        for row, ids in enumerate(encoded):
            buckets.setdefault(-(-len(ids) // BUCKET_TOKENS) * BUCKET_TOKENS, []).append(row)
        order: list[int] = []
        logits, values = [], []
        size = self.config.batch_rows
        for length, members in sorted(buckets.items()):
            for start in range(0, len(members), size):
                batch = members[start : start + size]
                batch_logits, batch_values = self(*self._pad([encoded[row] for row in batch], length))
                logits.append(batch_logits[: len(batch)])
                values.append(batch_values[: len(batch)])
                order += batch
        back = torch.from_numpy(np.argsort(order)).to(self.device)
        return torch.cat(logits)[back], torch.cat(values)[back]

    def _pad(self, rows: Sequence[list[int]], length: int) -> tuple[Tensor, Tensor]:
        """Right-padded ids [batch_rows, L], dummy rows included, and the index of each last real token."""
        ids = np.zeros((self.config.batch_rows, length), dtype=np.int64)
        last = np.zeros(self.config.batch_rows, dtype=np.int64)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            last[row] = len(tokens) - 1
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(last).to(self.device)

    @torch.no_grad()
    def check_backbone(self) -> None:
        """Prove that the last real token does not see padding or its row's neighbours.

        Raises:
            DataError: when it does (a bidirectional backbone, say), since results would be silently wrong.
        """
        ids = self._encode_part("Market: 1d +0.4%, 5d -1.2%. Account: flat")
        padded, last = self._pad([ids], len(ids) + BUCKET_TOKENS)
        other = padded.clone()
        other[:, len(ids) :] = ids[-1]
        first, second = self(padded, last)[1][0], self(other, last)[1][0]
        scale = self.heads["value"].weight.norm().item()  # type: ignore[operator]
        if abs(first - second).item() > PROBE_TOLERANCE * scale:
            raise DataError(
                f"policy.backbone: {self.config.backbone} looks at tokens behind the one it reads; "
                "use a causal (decoder-only) model"
            )


def build_actor_critic(folder: Path, config: PolicyConfig, seed: int, device: torch.device) -> ActorCritic:
    """A fresh actor-critic on the backbone in `folder`: LoRA and heads drawn from `seed`, all else frozen.

    Raises:
        DataError: when the backbone does not suit (see `check_backbone`).
    """
    backbone: PreTrainedModel = load_backbone(folder, device)
    model = ActorCritic(attach_trainable_top(backbone, config, seed), folder, config, seed).to(device)
    model.eval()  # dropout stays off: equal states must get equal answers
    model.check_backbone()
    return model
