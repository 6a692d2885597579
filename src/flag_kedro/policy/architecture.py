"""How the parts of a backbone are called, and how it tells its tokens where they stand."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from flag_kedro.errors import ParameterError


@dataclass(frozen=True)
class Architecture:
    """Names of the parts that are read here: those of the model, and those of each of its layers."""

    layers: str
    final_norm: str
    attention: str
    """Of a layer."""
    input_norm: str
    """Of a layer, before its attention."""
    rotary: str | None = None
    """Gives every layer's attention the cosine and sine of positions."""
    positions: str | None = None
    """Embedding of positions, which is added to that of tokens; the longest prompt has a row for each token."""
    input_dropout: str | None = None
    """Behind the embeddings."""

    @property
    def parts(self) -> list[str]:
        """Parts of the model without which it is of another architecture."""
        named = (self.layers, self.final_norm, self.rotary, self.positions)
        return [name for name in named if name is not None]

    def layers_of(self, base: PreTrainedModel) -> nn.ModuleList:
        """The layers of a model, lowest first."""
        layers: nn.ModuleList = getattr(base, self.layers)
        return layers

    def part(self, base: PreTrainedModel, name: str | None) -> nn.Module | None:
        """A part of a model by one of the names above, None where the architecture has none."""
        return None if name is None else base.get_submodule(name)


ARCHITECTURES = (
    Architecture("layers", "norm", "self_attn", "input_layernorm", rotary="rotary_emb"),
    Architecture(
        "layers", "final_layer_norm", "attention", "input_layernorm", rotary="rotary_emb", input_dropout="emb_dropout"
    ),
    Architecture("h", "ln_f", "attn", "ln_1", positions="wpe", input_dropout="drop"),
)
"""Of Llama (also Qwen and Mistral), GPT-NeoX and GPT-2 models."""


def architecture_of(base: PreTrainedModel) -> Architecture:
    """The architecture whose parts a model has.

    Raises:
        ParameterError: when it has those of none.
    """
    for architecture in ARCHITECTURES:
        if all(hasattr(base, part) for part in architecture.parts):
            return architecture
    raise unknown_build(base)


def unknown_build(base: PreTrainedModel) -> ParameterError:
    """The error for a model of another build."""
    return ParameterError(
        f"policy.backbone: {type(base).__name__} is not built as Llama, Qwen, Mistral, GPT-NeoX and GPT-2 models are "
        "(layers, rotary or learned positions, a final norm, transformers' attention interface); use one of those"
    )
