"""The reference: the same actor-critic as one would write it with transformers alone, a row for every account.

All rows are equally long, so nothing is padded; the frozen trunk stores nothing for the backward pass.

Shape legend: N = states asked about, H = hidden size.
"""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from flag_kedro.env.states import States
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.interface import Evaluation


class PlainActorCritic(nn.Module):
    """AutoModel, the last token's hidden state, two linear heads; its weights are named as ActorCritic's."""

    def __init__(self, folder: Path, config: PolicyConfig, device: torch.device) -> None:
        super().__init__()
        base = AutoModel.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)
        hidden, last = base.config.hidden_size, base.config.num_hidden_layers
        self.backbone: nn.Module = make_trainable(base, range(config.frozen_layers, last), config)
        if config.dtype == "bfloat16":
            lower_frozen(self.backbone)
        self.heads = nn.ModuleDict({"policy": nn.Linear(hidden, 3), "value": nn.Linear(hidden, 1)})
        self.to(device).eval()
        self.device, self.autocast = device, config.dtype == "bfloat16"
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.ids: dict[str, list[int]] = {}

    def evaluate(self, states: States) -> Evaluation:
        """Log-probabilities and values of N states, each on a row of its own."""
        outputs = self.read(list(zip(states.prefix, states.account, strict=True)))
        mask = torch.from_numpy(states.action_mask).to(self.device)
        return Evaluation(torch.log_softmax(outputs[:, :3].masked_fill(~mask, -torch.inf), dim=-1), outputs[:, 3])

    def read(self, prompts: list[tuple[str, str]]) -> Tensor:
        """Three logits and the value of each prompt, [N, 4]."""
        ids = torch.tensor([self.tokenise(prefix) + self.tokenise(account) for prefix, account in prompts])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            hidden = self.backbone(input_ids=ids.to(self.device), use_cache=False).last_hidden_state
        pooled = hidden[:, -1].float()
        return torch.cat([head(pooled) for head in self.heads.values()], dim=1)

    def tokenise(self, text: str) -> list[int]:
        """Token ids of a text, remembered."""
        if text not in self.ids:
            self.ids[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return self.ids[text]


def make_trainable(base: PreTrainedModel, top: range, config: PolicyConfig) -> nn.Module:
    """Freeze everything but the layers of `top`, or their LoRA updates."""
    base.requires_grad_(False)
    if config.trainable == "layers":
        for layer in top:
            base.layers[layer].requires_grad_(True)
        backbone: nn.Module = base
        return backbone
    layers = "|".join(map(str, top))
    pattern = rf"layers\.({layers})\.(self_attn|mlp)\.\w+_proj"
    lora = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=pattern)
    adapted: nn.Module = get_peft_model(base, lora)
    return adapted


def lower_frozen(backbone: nn.Module) -> None:
    """Keep frozen embeddings and layers in bfloat16; the final norm stays in float32, and so do weights that learn."""
    for name, weight in backbone.named_parameters():
        if not weight.requires_grad and ("layers." in name or "embed_tokens" in name):
            weight.data = weight.data.bfloat16()
