"""The language model as actor and critic: prompts in, action probabilities and values out.

Shape legend: N = states asked about, R = prompts evaluated.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from flag_kedro.data.streams import derived_seed
from flag_kedro.env.states import Decisions, States
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.policy.attention import ATTENTION
from flag_kedro.policy.backbone import (
    load_backbone,
    load_tokenizer,
    longest_prompt,
    unknown_build,
    use_shared_prefix_attention,
)
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.interface import Evaluation, most_probable
from flag_kedro.policy.packing import Ids, Prompt, RowIds, rows_of
from flag_kedro.policy.prefix_forward import Top, read_in_two_steps
from flag_kedro.policy.trainable import attach_trainable_top, lower_precision
from flag_kedro.policy.trunk import Trunk
from flag_kedro.policy.trunk_cache import TrunkCache, TrunkRow

NUM_ACTIONS = 3
HEAD_STD = 0.01
ENCODED_TOGETHER = 32
REMEMBERED_TEXTS = 1 << 14
"""Texts whose token ids are remembered; the paper's account texts never repeat."""
PROBE = "Market: 1d +0.4%, 5d -1.2%, RSI 51\nNews: none\n", "Account: flat\nDecision:"
PROBE_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
"""Relative difference up to which two ways of reading are the same."""


class ActorCritic(nn.Module):
    """A causal backbone whose last token feeds a policy head and a value head (arXiv:2502.11433, section 4).

    The trunk below `frozen_layers` is frozen, the layers above learn. Both heads are linear, float32 and
    start near zero, so the untrained policy is close to uniform over legal actions.
    """

    def __init__(
        self,
        backbone: PreTrainedModel | PeftModel,
        folder: Path,
        config: PolicyConfig,
        seed: int,
        cache: TrunkCache | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = config
        self.tokenizer, self.start_ids = load_tokenizer(folder)
        base = backbone.get_base_model() if isinstance(backbone, PeftModel) else backbone
        use_shared_prefix_attention(base)
        self.max_tokens = min(config.max_tokens, longest_prompt(base.config))
        hidden = int(base.config.hidden_size)
        self.heads = nn.ModuleDict({"policy": nn.Linear(hidden, NUM_ACTIONS), "value": nn.Linear(hidden, 1)})
        generator = torch.Generator().manual_seed(derived_seed(seed, "heads"))
        for head in self.heads.values():
            assert isinstance(head, nn.Linear)
            nn.init.normal_(head.weight, std=HEAD_STD, generator=generator)
            nn.init.zeros_(head.bias)
        self.trunk = Trunk(base, config, cache)
        self.top = Top(base, config.frozen_layers, [self.heads["policy"], self.heads["value"]])
        self.tokens_read = 0
        self._tokenise_part = lru_cache(REMEMBERED_TEXTS)(self._encode_part)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.heads.parameters()).device

    def evaluate(self, states: States) -> Evaluation:
        """Evaluate N states, each distinct prompt once; gradients of equal states add up by autograd."""
        keys = list(zip(states.prefix, states.account, strict=True))
        distinct = list(dict.fromkeys(keys)) if self.config.distinct_states else keys
        said = self._read([self.tokenise(*texts) for texts in distinct])
        if self.config.distinct_states:
            place = {key: row for row, key in enumerate(distinct)}
            said = said[torch.tensor([place[key] for key in keys], device=self.device)]
        mask = torch.from_numpy(states.action_mask).to(self.device)
        masked = said[:, :NUM_ACTIONS].masked_fill(~mask, -torch.inf)
        return Evaluation(log_probs=torch.log_softmax(masked, dim=-1), values=said[:, NUM_ACTIONS])

    @torch.no_grad()
    def decide(self, states: States) -> Decisions:
        """The most probable legal action of each state, with probabilities and values; ties go to the first."""
        return most_probable(self.evaluate(states))

    def tokenise(self, prefix: str, account: str) -> Prompt:
        """Token ids of a prompt: BOS once, then those of the prefix, then those of the account.

        Raises:
            DataError: when the prompt is longer than `policy.max_tokens` or the backbone can read.
        """
        prompt = self._prompt(prefix, self._tokenise_part(account))
        return prompt if self.config.packing else Prompt((), prompt.stem + prompt.leaf)

    def _prompt(self, prefix: str, leaf: Ids) -> Prompt:
        stem = (*self.start_ids, *self._tokenise_part(prefix))
        if len(stem) + len(leaf) > self.max_tokens:
            raise DataError(
                f"a prompt has {len(stem) + len(leaf)} tokens, the limit is {self.max_tokens} (policy.max_tokens, or "
                "what the backbone can look back on); lower features.digest_chars or features.digest_sessions"
            )
        return Prompt(stem, leaf)

    def complete_rows(self, accounts: Sequence[str]) -> None:
        """From now on read every prefix with all of `accounts` at once, so that later ones are in the cache."""
        self.trunk.complete = tuple(dict.fromkeys(self._tokenise_part(text) for text in accounts))

    def encode(self, prefixes: Sequence[str]) -> Iterator[int]:
        """Fill the trunk cache's folder with complete rows; what is there already is not computed again.

        Args:
            prefixes: prompts without their accounts, distinct.

        Yields:
            How many of `prefixes` are done, each time a few more are.
        """
        longest = max(self.trunk.complete, key=len)
        stems = [self._prompt(prefix, longest).stem for prefix in prefixes]
        lacking = self.trunk.lacking(stems)
        done = len(stems) - len(lacking)
        yield done
        for start in range(0, len(lacking), ENCODED_TOGETHER):
            some = lacking[start : start + ENCODED_TOGETHER]
            self.trunk.rows([RowIds(stem, self.trunk.complete) for stem in some], must_persist=True)
            done += len(some)
            yield done

    def _encode_part(self, text: str) -> Ids:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _read(self, prompts: Sequence[Prompt]) -> Tensor:
        """Logits of the three actions and the value of each prompt, [R, 4]."""
        ids, places = rows_of(prompts)
        self.tokens_read += sum(len(row.stem) + sum(map(len, row.leaves)) for row in ids)
        return self._read_rows(prompts, places, self.trunk.rows(ids), self.config.dtype)

    def _read_rows(
        self, prompts: Sequence[Prompt], places: Sequence[int], rows: Sequence[TrunkRow], dtype: str
    ) -> Tensor:
        """What the top and the heads make of what the trunk said, [R, 4]; `places` are the prompts' rows.

        Without autocast's cache of weights: their gradients would be summed over batches in bfloat16.
        """
        device = self.device
        stems = [row.stem.to(device) for row in rows]
        leaves = [
            (place, rows[place].leaves[prompt.leaf].to(device)) for place, prompt in zip(places, prompts, strict=True)
        ]
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16", cache_enabled=False):
            _, said = read_in_two_steps(self.top, stems, leaves, self.config.batch_tokens)
        return torch.stack(said)

    @torch.no_grad()
    def check_backbone(self, dtype: str) -> None:
        """Prove on a few prompts that reading in two steps, in `dtype`, is what the backbone does with whole prompts.

        Raises:
            DataError: when it is not (a model that looks ahead, or scales its inputs), since results would be
                silently wrong, or when its parts are others than those read here.
        """
        stem, leaf = (*self.start_ids, *self._tokenise_part(PROBE[0])), self._tokenise_part(PROBE[1])
        prompts = [Prompt(stem, leaf), Prompt(stem, leaf[:-1]), Prompt(stem[:-3], leaf), Prompt((), stem)]
        base = self.trunk.base
        try:
            ids, places = rows_of(prompts)
            found = self._read_rows(prompts, places, self.trunk.compute(ids), dtype)
        except (AttributeError, TypeError) as error:  # layers or a rotary embedding with other parts or arguments
            raise unknown_build(base) from error
        base.set_attn_implementation("sdpa")
        expected = torch.stack([self._plain((*prompt.stem, *prompt.leaf), dtype) for prompt in prompts])
        base.set_attn_implementation(ATTENTION)
        difference = float((found - expected).norm() / expected.norm())
        if not difference <= PROBE_TOLERANCE[dtype]:
            raise ParameterError(
                f"policy.backbone: {self.config.backbone} does not read prompts token by token as a plain decoder does "
                f"(outputs differ by {difference:.1g}); use a causal model such as Llama, Qwen, Mistral or GPT-NeoX"
            )

    def _plain(self, ids: Ids, dtype: str) -> Tensor:
        """What the heads say of one prompt after transformers' own forward pass, [4]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            hidden = self.trunk.base(
                input_ids=torch.tensor([ids], device=self.device), use_cache=False
            ).last_hidden_state
        last = hidden[0, -1].float()
        return torch.cat([head(last) for head in self.heads.values()])


def build_actor_critic(
    folder: Path, config: PolicyConfig, seed: int, device: torch.device, cache: TrunkCache | None = None
) -> ActorCritic:
    """A fresh actor-critic on the backbone in `folder`: LoRA and heads drawn from `seed`, all else frozen.

    Args:
        folder: the backbone's.
        config: split, what learns, number format.
        seed: of LoRA and heads.
        device: where to put it.
        cache: what may remember the trunk's answers, from `open_trunk_cache`.

    Raises:
        DataError: when the backbone does not suit (see `check_backbone`).
    """
    top = attach_trainable_top(load_backbone(folder, device), config, seed)
    return assemble_actor_critic(top, folder, config, seed, device, cache)


def assemble_actor_critic(
    backbone: PreTrainedModel | PeftModel,
    folder: Path,
    config: PolicyConfig,
    seed: int,
    device: torch.device,
    cache: TrunkCache | None,
) -> ActorCritic:
    """Put heads on a backbone whose top is ready, check it, and lower its precision where asked for."""
    model = ActorCritic(backbone, folder, config, seed, cache).to(device)
    model.eval()  # dropout stays off: equal states must get equal answers
    model.check_backbone("float32")  # sharper than in bfloat16
    if config.dtype != "float32":
        lower_precision(backbone, config)
        model.check_backbone(config.dtype)
    return model
