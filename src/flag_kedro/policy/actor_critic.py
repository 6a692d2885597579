"""The language model as actor and critic: prompts in, action probabilities and values out.

Shape legend: N = states asked about, R = prompts read, P = tokens of a prefix, S = tokens of a suffix, H = hidden
size.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

import torch
from peft import PeftModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedModel

from flag_kedro.data.streams import derived_seed
from flag_kedro.env.states import Decisions, States
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.policy.architecture import unknown_build
from flag_kedro.policy.attention import ATTENTION
from flag_kedro.policy.backbone import (
    load_backbone,
    load_tokenizer,
    longest_prompt,
    use_shared_prefix_attention,
)
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.interface import Evaluation, most_probable
from flag_kedro.policy.packing import Prompt, RowIds, TokenIds, group_by_prefix
from flag_kedro.policy.prefix_forward import Top, prefill_and_extend
from flag_kedro.policy.readout import Standardisation, headline_ends, sum_lines
from flag_kedro.policy.trainable import attach_trainable_top, lower_precision
from flag_kedro.policy.trunk import Trunk
from flag_kedro.policy.trunk_cache import TrunkCache, TrunkRow
from flag_kedro.policy.volatility_head import NAME as VOLATILITY
from flag_kedro.policy.volatility_head import VolatilityHead

logger = logging.getLogger(__name__)

NUM_ACTIONS = 3
HEAD_STD = 0.01
ENCODED_TOGETHER = 32
"""Prefixes whose complete rows are computed between two reports of `ActorCritic.encode`."""
STANDARDISED_ON = 256
"""Prompts, evenly spaced over the training window, on which last tokens are standardised."""
READ_TOGETHER = 256
"""Prefixes that `ActorCritic.read_ahead` reads at once."""
REMEMBERED_TEXTS = 1 << 14
"""Texts whose token ids are remembered; the paper's account texts never repeat."""
PROBE = "Market: 1d +0.4%, 5d -1.2%, RSI 51\nNews: none\nAccount:", " flat. Decision:"
"""Prefix and account on which a backbone is checked."""
PROBE_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
"""Relative difference up to which outputs of two ways of reading are the same."""


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
        width = hidden if config.readout == "last" else 2 * hidden
        policy, value = nn.Linear(width, NUM_ACTIONS), nn.Linear(width, 1)
        self.heads = nn.ModuleDict({"policy": policy, "value": value})
        generator = torch.Generator().manual_seed(derived_seed(seed, "heads"))
        for head in (policy, value):
            drawn = nn.init.normal_(torch.empty(head.out_features, hidden), std=HEAD_STD, generator=generator)
            nn.init.zeros_(head.weight)
            head.weight.data[:, :hidden] = drawn
            nn.init.zeros_(head.bias)
        self.standard = Standardisation(hidden) if config.readout == "lines" else None
        self.trunk = Trunk(base, config, cache)
        self.top = Top(base, config.frozen_layers, [policy, value], self.standard)
        self.tokens_read = 0
        # functions that do not hold this object, or nothing would free it and all that it keeps
        remember = lru_cache(REMEMBERED_TEXTS)
        self._tokenise_part = remember(partial(_encode, self.tokenizer))
        self._headline_ends = remember(partial(headline_ends, tokenizer=self.tokenizer))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.heads.parameters()).device

    def evaluate(self, states: States) -> Evaluation:
        """Evaluate N states, each distinct prompt once; gradients of equal states add up by autograd.

        Raises:
            DataError: when a prompt is longer than `policy.max_tokens` or the backbone can read.
            ValueError: when the trunk learns, dropout is active, or the backbone's attention was changed.
        """
        texts = list(zip(states.prefix, states.account, strict=True))
        distinct = list(dict.fromkeys(texts)) if self.config.distinct_states else texts
        outputs = self._read([self.tokenise(*pair) for pair in distinct])
        if self.config.distinct_states:
            row_index = {pair: row for row, pair in enumerate(distinct)}
            outputs = outputs[torch.tensor([row_index[pair] for pair in texts], device=self.device)]
        mask = torch.from_numpy(states.action_mask).to(self.device)
        logits = outputs[:, :NUM_ACTIONS].masked_fill(~mask, -torch.inf)
        return Evaluation(
            log_probs=torch.log_softmax(logits, dim=-1),
            values=outputs[:, NUM_ACTIONS],
            volatility=outputs[:, NUM_ACTIONS + 1] if VOLATILITY in self.heads else None,
        )

    @torch.no_grad()
    def decide(self, states: States) -> Decisions:
        """The most probable legal action of each state, with probabilities and values; ties go to the first.

        Raises:
            DataError: see `evaluate`.
            ValueError: see `evaluate`.
        """
        return most_probable(self.evaluate(states))

    def add_volatility_head(self, mean: float = 0.0, deviation: float = 1.0) -> None:
        """Let a third head read how much prices will move.

        Args:
            mean: of the logarithm of realised variance on the training window.
            deviation: of it there.
        """
        width = self.heads["value"].get_parameter("weight").shape[1]
        head = VolatilityHead(width, mean, deviation).to(self.device)
        self.heads[VOLATILITY] = head
        self.top.heads.append(head)

    @property
    def volatility_head(self) -> VolatilityHead | None:
        """The head that `add_volatility_head` has added."""
        head = dict(self.heads.items()).get(VOLATILITY)
        assert head is None or isinstance(head, VolatilityHead)
        return head

    @torch.no_grad()
    def log_variances(self, states: States) -> Tensor:
        """What the volatility head forecasts of each state: the logarithm of realised variance, [N].

        Raises:
            DataError: when there is no such head; see `evaluate` too.
        """
        head = self.volatility_head
        if head is None:
            raise DataError(
                "this policy has no head that forecasts volatility; train one with "
                "kedro run --pipelines=train --params=ppo.volatility_coef=0.5"
            )
        found = self.evaluate(states).volatility
        assert found is not None
        return head.log_variance(found)

    @torch.no_grad()
    def vectors(self, states: States) -> Tensor:
        """What the heads read of each state, [N, W]: the last token, and with `readout=lines` the headlines beside it.

        Raises:
            DataError: see `evaluate`.
        """
        prompts = [self.tokenise(*pair) for pair in zip(states.prefix, states.account, strict=True)]
        row_ids, row_of_prompt = group_by_prefix(prompts)
        top = Top(self.trunk.base, self.config.frozen_layers, [], self.standard)
        return self._read_rows(prompts, row_of_prompt, self.trunk.rows(row_ids), self.config.dtype, top)

    def tokenise(self, prefix: str, account: str) -> Prompt:
        """Token ids of a prompt: BOS once, then those of the prefix, then those of the account.

        Raises:
            DataError: when the prompt is longer than `policy.max_tokens` or the backbone can read.
        """
        prompt = self._prompt(prefix, self._tokenise_part(account))
        if self.config.packing:
            return prompt
        return Prompt((), prompt.prefix + prompt.suffix, prompt.headline_ends)

    def _prompt(self, prefix: str, suffix_ids: TokenIds) -> Prompt:
        prefix_ids = (*self.start_ids, *self._tokenise_part(prefix))
        num_tokens = len(prefix_ids) + len(suffix_ids)
        if num_tokens > self.max_tokens:
            raise DataError(
                f"a prompt has {num_tokens} tokens, the limit is {self.max_tokens} (policy.max_tokens, or "
                "what the backbone can look back on); lower features.digest_chars or features.digest_sessions"
            )
        ends = () if self.config.readout == "last" else self._headline_ends(prefix)
        return Prompt(prefix_ids, suffix_ids, tuple(len(self.start_ids) + end for end in ends))

    def check_lengths(self, prefixes: Iterable[str], accounts: Sequence[str]) -> None:
        """Refuse prompts that are too long before anything learns from the others.

        Args:
            prefixes: prompts without their accounts.
            accounts: account texts; the one of most tokens counts.

        Raises:
            DataError: when one is longer than `policy.max_tokens` or the backbone can read.
        """
        suffix_ids = max(map(self._tokenise_part, accounts), key=len)
        room = self.max_tokens - len(self.start_ids) - len(suffix_ids)
        for prefix in dict.fromkeys(prefixes):
            if len(prefix.encode()) > room:  # a token is a byte or more
                self._prompt(prefix, suffix_ids)

    def complete_rows(self, accounts: Sequence[str]) -> None:
        """Let every row of the trunk cache have all of `accounts` from now on, so that later ones are there already."""
        self.trunk.complete = tuple(dict.fromkeys(self._tokenise_part(text) for text in accounts))

    def encode(self, prefixes: Sequence[str]) -> Iterator[int]:
        """Fill the trunk cache's folder with complete rows; what is there already is not computed again.

        Args:
            prefixes: prompts without their accounts, distinct.

        Yields:
            How many of `prefixes` are done, each time a few more are.

        Raises:
            DataError: when a prompt is longer than `policy.max_tokens` or the backbone can read.
            OSError: when the folder does not take a row.
        """
        longest = max(self.trunk.complete, key=len)
        prefix_ids = [self._prompt(prefix, longest).prefix for prefix in prefixes]
        lacking = self.trunk.lacking(prefix_ids)
        num_done = len(prefix_ids) - len(lacking)
        yield num_done
        for start in range(0, len(lacking), ENCODED_TOGETHER):
            chunk = lacking[start : start + ENCODED_TOGETHER]
            self.trunk.rows([RowIds(ids, self.trunk.complete) for ids in chunk], must_persist=True)
            num_done += len(chunk)
            yield num_done

    def read_ahead(self, prefixes: Sequence[str]) -> None:
        """Read prompts that come next, without their accounts, in full batches; answers do not depend on it.

        Raises:
            DataError: when a prompt is longer than `policy.max_tokens` or the backbone can read.
        """
        cache = self.trunk.cache
        if cache is None or not self.config.packing or (self.trunk.complete and cache.folder is not None):
            return
        rows = [RowIds(self._prompt(prefix, ()).prefix, ()) for prefix in dict.fromkeys(prefixes)]
        unread = [row for row in rows if cache.find(row.prefix) is None]
        for start in range(0, len(unread), READ_TOGETHER):
            self.trunk.rows(unread[start : start + READ_TOGETHER])

    @torch.no_grad()
    def fit_readout(self, prefixes: Sequence[str]) -> None:
        """Standardise what the heads read of headlines on the prompts of the training window, all of which are read.

        Args:
            prefixes: prompts without their accounts. Nothing is done, or read, where the heads read last tokens alone.

        Raises:
            DataError: when a prompt is longer than `policy.max_tokens` or the backbone can read.
        """
        if self.standard is None:
            return
        account = self._tokenise_part(PROBE[1])
        prompts = [self._prompt(prefix, account) for prefix in dict.fromkeys(prefixes)]
        sums = []
        for start in range(0, len(prompts), READ_TOGETHER):
            logger.info("reading the prompts of the training window: %d of %d", start, len(prompts))
            chunk = prompts[start : start + READ_TOGETHER]
            rows = self.trunk.rows([RowIds(prompt.prefix, ()) for prompt in chunk])
            sums += [sum_lines(row.prefix, prompt.headline_ends) for row, prompt in zip(rows, chunk, strict=True)]
        counts = torch.tensor([len(prompt.headline_ends) for prompt in prompts], device=self.device)
        some = prompts[:: max(1, len(prompts) // STANDARDISED_ON)]
        self.standard.fit(torch.stack(sums).to(self.device), counts, self._last_tokens(some))

    def _last_tokens(self, prompts: Sequence[Prompt]) -> Tensor:
        """Last tokens after the final norm, which heads read, [N, H]."""
        row_ids, row_of_prompt = group_by_prefix(prompts)
        top = Top(self.trunk.base, self.config.frozen_layers, [])
        return self._read_rows(prompts, row_of_prompt, self.trunk.rows(row_ids), self.config.dtype, top)

    def _read(self, prompts: Sequence[Prompt]) -> Tensor:
        """Logits of the three actions and the value of each prompt, [R, 4]; with a volatility head [R, 5]."""
        row_ids, row_of_prompt = group_by_prefix(prompts)
        self.tokens_read += sum(len(ids.prefix) + sum(map(len, ids.suffixes)) for ids in row_ids)
        return self._read_rows(prompts, row_of_prompt, self.trunk.rows(row_ids), self.config.dtype)

    def _read_rows(
        self,
        prompts: Sequence[Prompt],
        row_of_prompt: Sequence[int],
        rows: Sequence[TrunkRow],
        dtype: str,
        top: Top | None = None,
    ) -> Tensor:
        """Outputs of the heads, [R, 4], from the trunk's outputs.

        Without autocast's cache of weights: their gradients would be summed over batches in bfloat16.

        Args:
            prompts: token ids.
            row_of_prompt: each prompt's index into `rows`.
            rows: the trunk's outputs, [P, H] and [S, H] each.
            dtype: number format in which the top computes.
            top: another one than the policy's.
        """
        device, top = self.device, top or self.top
        prefixes = [row.prefix.to(device) for row in rows]
        suffixes = [
            (row, rows[row].suffixes[prompt.suffix].to(device))
            for row, prompt in zip(row_of_prompt, prompts, strict=True)
        ]
        beside = None
        if top.standard is not None:
            beside = [
                top.standard.headlines(prefixes[row] if prompt.prefix else suffix, prompt.headline_ends)
                for prompt, (row, suffix) in zip(prompts, suffixes, strict=True)
            ]
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16", cache_enabled=False):
            _, outputs = prefill_and_extend(top, prefixes, suffixes, self.config.batch_tokens, beside=beside)
        return torch.stack(outputs)

    @torch.no_grad()
    def check_backbone(self, dtype: str) -> None:
        """Check on a few prompts that prefill and extend, in `dtype`, give what the backbone gives for whole prompts.

        Raises:
            ParameterError: when they do not (a model that looks ahead, or scales its inputs), since results would be
                silently wrong, or when its parts are others than those read here.
            ValueError: when the backbone's attention was changed, or dropout is active.
        """
        prefix, suffix = (*self.start_ids, *self._tokenise_part(PROBE[0])), self._tokenise_part(PROBE[1])
        prompts = [Prompt(prefix, suffix), Prompt(prefix, suffix * 2), Prompt(prefix[:-3], suffix), Prompt((), prefix)]
        base = self.trunk.base
        longest, readable = (
            max(len(prompt.prefix) + len(prompt.suffix) for prompt in prompts),
            longest_prompt(base.config),
        )
        if self.trunk.positions is not None and longest > readable:
            raise ParameterError(
                f"policy.backbone: {self.config.backbone} is checked on a prompt of {longest} tokens, but reads "
                f"{readable} at most (its n_positions); use a model that reads more"
            )
        try:
            row_ids, row_of_prompt = group_by_prefix(prompts)
            outputs = self._read_rows(prompts, row_of_prompt, self.trunk.compute(row_ids), dtype)
        except (AttributeError, TypeError) as error:  # layers or a rotary embedding with other parts or arguments
            raise unknown_build(base) from error
        base.set_attn_implementation("sdpa")
        expected = torch.stack([self._plain((*prompt.prefix, *prompt.suffix), dtype) for prompt in prompts])
        base.set_attn_implementation(ATTENTION)
        difference = float((outputs - expected).norm() / expected.norm())
        if not difference <= PROBE_TOLERANCE[dtype]:
            raise ParameterError(
                f"policy.backbone: {self.config.backbone} does not read prompts token by token as a plain decoder does "
                f"(outputs differ by {difference:.1g}); use a causal model such as Llama, Qwen, Mistral or GPT-2"
            )

    def _plain(self, ids: TokenIds, dtype: str) -> Tensor:
        """Outputs of the heads for one prompt after transformers' own forward pass, [4]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            hidden = self.trunk.base(
                input_ids=torch.tensor([ids], device=self.device), use_cache=False
            ).last_hidden_state
        read = hidden[0, -1].float()
        if self.config.readout == "lines":  # the probe has no headlines
            read = torch.cat([read, torch.zeros_like(read)])
        return torch.cat([head(read) for head in self.heads.values()])


def build_actor_critic(
    folder: Path, config: PolicyConfig, seed: int, device: torch.device, cache: TrunkCache | None = None
) -> ActorCritic:
    """A fresh actor-critic on the backbone in `folder`: LoRA and heads drawn from `seed`, all else frozen.

    Args:
        folder: the backbone's.
        config: split, what learns, number format.
        seed: of LoRA and heads.
        device: where to put it.
        cache: what may hold the trunk's outputs, from `open_trunk_cache`.

    Raises:
        ParameterError: when the backbone does not suit (see `load_backbone`, `attach_trainable_top`,
            `longest_prompt` and `ActorCritic.check_backbone`).
        ValueError: when the cache is of another policy.
    """
    top = attach_trainable_top(load_backbone(folder, device, config.num_layers), config, seed)
    return assemble_actor_critic(top, folder, config, seed, device, cache)


def assemble_actor_critic(
    backbone: PreTrainedModel | PeftModel,
    folder: Path,
    config: PolicyConfig,
    seed: int,
    device: torch.device,
    cache: TrunkCache | None,
) -> ActorCritic:
    """Put heads on a backbone whose top is ready, check it, and lower its precision where asked for.

    Args:
        backbone: on `device`, its trainable weights marked.
        folder: the backbone's, with its tokenizer.
        config: split, what learns, number format.
        seed: of the heads.
        device: where to put it.
        cache: what may hold the trunk's outputs, from `open_trunk_cache`.

    Raises:
        ParameterError: when the backbone does not suit (see `longest_prompt` and `ActorCritic.check_backbone`).
        ValueError: when the cache is of another policy.
    """
    if config.dtype == "auto":
        raise ParameterError(
            "policy.dtype is auto, which is settled once for a whole command; name float32 or bfloat16"
        )
    model = ActorCritic(backbone, folder, config, seed, cache).to(device)
    model.eval()  # dropout stays off: equal states must get equal answers
    model.check_backbone("float32")  # sharper than in bfloat16
    if config.dtype != "float32":
        lower_precision(backbone, config)
        model.check_backbone(config.dtype)
    return model


def _encode(tokenizer: Tokenizer, text: str) -> TokenIds:
    return tuple(tokenizer.encode(text, add_special_tokens=False).ids)
