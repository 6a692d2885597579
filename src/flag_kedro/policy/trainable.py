"""Which weights of a backbone learn."""

import copy
import re

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from flag_kedro.data.streams import derived_seed
from flag_kedro.policy.architecture import architecture_of
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.interface import Policy

LAYER = re.compile(r"(?:^|\.)(?:layers|h)\.(\d+)\.")
"""In names of weights, as `architecture.Architecture.layers` has it."""
EMBEDDINGS = ("embed", "wte", "wpe")
"""What names of embeddings have in them."""


def attach_trainable_top(backbone: PreTrainedModel, config: PolicyConfig, seed: int) -> PreTrainedModel | PeftModel:
    """Freeze `backbone` and let the layers from `config.frozen_layers` on learn.

    `lora` adds rank-r updates to every linear map of those layers (arXiv:2106.09685); at first they are
    zero, so the backbone computes what it did. `layers` trains those layers whole, as the paper does. The
    embeddings and the final norm stay frozen in both.

    Args:
        backbone: a model of a known architecture.
        config: which layers, and how.
        seed: of the random half of each LoRA update.

    Raises:
        ParameterError: when the backbone is of another one.
    """
    architecture = architecture_of(backbone)
    backbone.requires_grad_(False)
    if config.trainable == "layers":
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(is_top(name, config.frozen_layers))
        return backbone
    num_layers = int(backbone.config.num_hidden_layers)
    lora = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules=_linear_names(backbone),
        layers_to_transform=list(range(config.frozen_layers, num_layers)),
        layers_pattern=architecture.layers,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in backbone.modules()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "lora"))
        return get_peft_model(backbone, lora)


def lower_precision(backbone: nn.Module, config: PolicyConfig) -> None:
    """Turn embeddings and frozen layers into `config.dtype`.

    What learns (LoRA's weights, or whole top layers) stays float32, and so do the final norm and buffers
    (rotary frequencies).
    """
    for name, weight in backbone.named_parameters():
        learns = "lora_" in name if config.trainable == "lora" else is_top(name, config.frozen_layers)
        if not learns and (LAYER.search(name) or any(part in name for part in EMBEDDINGS)):
            weight.data = weight.data.to(getattr(torch, config.dtype))


def frozen_copy(model: Policy) -> Policy:
    """A copy that never learns; frozen weights of `model`, and caches of their outputs, are shared with it."""
    shared: dict[int, object] = {id(weight): weight for weight in model.parameters() if not weight.requires_grad}
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            shared[id(module)] = module
    return copy.deepcopy(model, memo=shared).requires_grad_(False)


def is_top(name: str, frozen_layers: int) -> bool:
    """Whether a parameter called `name` belongs to a layer above the trunk."""
    layer = LAYER.search(name)
    return layer is not None and int(layer.group(1)) >= frozen_layers


def _linear_names(backbone: nn.Module) -> list[str]:
    """Last parts of the names of all linear maps inside layers, such as q_proj and down_proj, or c_attn."""
    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in backbone.named_modules()
            if isinstance(module, (nn.Linear, Conv1D)) and LAYER.search(name)
        }
    )


def trainable_state(model: Policy) -> dict[str, torch.Tensor]:
    """Copies of all weights that learn, by name."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def load_trainable_state(model: Policy, state: dict[str, torch.Tensor]) -> None:
    """Put the weights of `trainable_state` back."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert not {name for name, weight in model.named_parameters() if weight.requires_grad} & set(missing)
