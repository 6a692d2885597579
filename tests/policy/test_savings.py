"""Each saving, alone and with the others, equals the plain way: one unpadded prompt after the other.

The plain way is written with transformers and PEFT alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModel

from flag_kedro.env.prompt import paper_account_text
from flag_kedro.env.states import States
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trunk import open_trunk_cache
from flag_kedro.ppo import losses

TOLERANCE = 1e-5
ROUNDING = 1.2e-7
"""Of a float32 sum whose terms are of order one, however small what is left of them."""
LINEAR = "(_proj|query_key_value|dense|dense_h_to_4h|dense_4h_to_h|c_attn|c_fc)"
BLOCKS = ("layers.", "h.")
COMBINATIONS = [
    {"packing": packing, "distinct_states": distinct, "trunk_cache": cache}
    for packing, distinct, cache in product((False, True), (False, True), ("never", "ram"))
]
ROWS = [(0, 0), (0, 5), (1, 5), (0, 0), (2, 9), (3, 0), (4, 30), (2, 9), (5, 1), (6, 14), (2, 0), (7, 22), (0, 0)]
"""Prefix and account: eight sessions, repeated states, and one prefix with up to two suffixes."""
StatesOf = Callable[[Sequence[tuple[int, int]]], States]


class Plain(nn.Module):
    """transformers' own forward pass over one prompt at a time, and the two heads on its last hidden state."""

    def __init__(self, folder: Path, config: PolicyConfig) -> None:
        super().__init__()
        backbone = AutoModel.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)
        for name, weight in backbone.named_parameters():
            weight.requires_grad_(name.startswith(BLOCKS) and int(name.split(".")[1]) >= config.frozen_layers)
        if config.trainable == "lora":
            lora = LoraConfig(
                task_type=TaskType.FEATURE_EXTRACTION,
                r=config.lora_rank,
                lora_alpha=config.lora_alpha,
                target_modules=rf"(layers|h)\.[{config.frozen_layers}-9]\..*{LINEAR}",
            )
            backbone = get_peft_model(backbone, lora)
        self.backbone = backbone.eval()
        self.heads = nn.ModuleDict({"policy": nn.Linear(32, 3), "value": nn.Linear(32, 1)})
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.requires_grad and ("lora_" in name or name.startswith("heads.")):
                    weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))

    def forward(self, states: States) -> tuple[Tensor, Tensor]:
        """Log-probabilities [N, 3] and values [N]."""
        hidden = []
        for prefix, account in zip(states.prefix, states.account, strict=True):
            ids = [0, *self.tokenizer.encode(prefix).ids, *self.tokenizer.encode(account).ids]
            hidden.append(self.backbone(input_ids=torch.tensor([ids])).last_hidden_state[0, -1])
        last = torch.stack(hidden)
        logits = self.heads["policy"](last).masked_fill(~torch.from_numpy(states.action_mask), -torch.inf)
        return logits.log_softmax(-1), self.heads["value"](last).squeeze(-1)


def ppo_terms(log_probs: Tensor, values: Tensor) -> Tensor:
    """PPO's objective by state, on fixed experience that is not the model's own, so that some ratios are clipped.

    Targets lie above the values on average, lest the gradient of the value's bias be what cancels of its terms.
    """
    generator = torch.Generator().manual_seed(11)
    num = len(values)
    actions = torch.where(torch.rand(num, generator=generator) < 0.5, 1, log_probs[:, 0].isinf().long() * 2)
    old_log_probs = torch.log(torch.rand(num, generator=generator))
    advantages, targets, noise = torch.randn(3, num, generator=generator)
    log_ratio = log_probs.gather(1, actions[:, None]).squeeze(1) - old_log_probs
    terms = losses.policy_loss(log_ratio, advantages, 0.2) - 0.05 * losses.entropy(log_probs)
    return terms + 0.5 * losses.value_loss(values, values.detach() + 0.3 * noise, targets + 0.5, 0.2)


def everything(model: nn.Module, log_probs: Tensor, values: Tensor) -> dict[str, Tensor]:
    """What must be equal: outputs, the loss's terms (their mean cancels), the gradient of every weight that learns."""
    model.zero_grad()
    terms = ppo_terms(log_probs, values)
    terms.mean().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    assert all(gradient is not None for gradient in gradients.values())
    finite = log_probs.masked_fill(log_probs.isinf(), 0.0)
    return {"log_probs": finite.detach(), "values": values.detach(), "loss": terms.detach(), **gradients}


def assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """To 1e-5, in norm and in the largest deviation, tensor by tensor; the whole gradient too."""
    assert actual.keys() == expected.keys()
    for name, truth in expected.items():
        difference = actual[name] - truth
        assert float(difference.norm()) <= TOLERANCE * float(truth.norm()) + ROUNDING, name
        assert float(difference.abs().max()) <= TOLERANCE * float(truth.abs().max()) + ROUNDING, name


def compare(folder: Path, config: PolicyConfig, states: States, combinations: Sequence[dict[str, object]]) -> None:
    plain = Plain(folder, config)
    expected = everything(plain, *plain(states))
    assert_not_vacuous(expected)
    for combination in combinations:
        asked = replace(config, **combination)
        cache = open_trunk_cache(folder, asked, torch.device("cpu"))
        model = build_actor_critic(folder, asked, 0, torch.device("cpu"), cache)
        model.load_state_dict(plain.state_dict())
        for _ in range(1 if cache is None else 2):  # the second time from the cache
            evaluation = model.evaluate(states)
            assert (evaluation.log_probs.isinf().numpy() == ~states.action_mask).all()
            assert_equal(everything(model, evaluation.log_probs, evaluation.values), expected)
        assert cache is None or cache.hits > 0


def assert_not_vacuous(expected: dict[str, Tensor]) -> None:
    """Outputs differ from state to state, and every weight has a gradient."""
    assert float(expected["values"].std()) > 0.1
    assert float(expected["log_probs"].std()) > 0.1
    for name, truth in expected.items():
        assert float(truth.norm()) > 1e-4, name


@pytest.mark.parametrize("trainable", ["lora", "layers"])
def test_every_combination_of_savings_equals_the_plain_way(family_backbone: Path, trainable: str, states_of: StatesOf):
    config = PolicyConfig(frozen_layers=1, trainable=trainable, lora_rank=4, lora_alpha=4.0)
    compare(family_backbone, config, states_of(ROWS), COMBINATIONS)


@pytest.mark.parametrize("trainable", ["lora", "layers"])
@pytest.mark.parametrize("frozen_layers", [0, 2])
def test_trunk_of_no_layer_and_top_of_one_layer_are_exact(
    family_backbone: Path, frozen_layers: int, trainable: str, states_of: StatesOf
):
    config = PolicyConfig(frozen_layers=frozen_layers, trainable=trainable, lora_rank=4, lora_alpha=4.0)
    compare(family_backbone, config, states_of(ROWS), [COMBINATIONS[0], COMBINATIONS[-1]])


@pytest.mark.parametrize("batch_tokens", [64, 192, 2048])
def test_size_of_batches_does_not_matter(llama_backbone: Path, batch_tokens: int, states_of: StatesOf):
    """From a dozen batches of one prefix each, in two chunks, to one batch of all."""
    rows = [(prefix, account) for prefix in range(14) for account in (0, prefix + 1)]
    config = PolicyConfig(frozen_layers=1, lora_rank=4, lora_alpha=4.0, batch_tokens=batch_tokens)
    compare(llama_backbone, config, states_of(rows), [COMBINATIONS[-1]])


def paper_states(states: States) -> States:
    """The same prefixes with accounts as the paper tells them: long, and every one another."""
    random = np.random.default_rng(5)

    def account() -> str:
        rewards, net_values = random.normal(0, 0.01, 10), 1 + random.normal(0, 0.02, 10).cumsum()
        return paper_account_text(
            *random.uniform(0, 1e5, 3).tolist(), rewards.tolist(), net_values.tolist(), ["buy", "hold"] * 5
        )

    return replace(states, account=[account() for _ in states.account])


@pytest.mark.parametrize("trainable", ["lora", "layers"])
def test_accounts_that_are_all_different_are_exact(llama_backbone: Path, trainable: str, states_of: StatesOf):
    states = paper_states(states_of(ROWS[:8]))
    assert len(set(states.account)) == 8
    combinations = [*COMBINATIONS[::3], COMBINATIONS[-1]]
    compare(llama_backbone, PolicyConfig(trainable=trainable, lora_rank=4, lora_alpha=4.0), states, combinations)
