"""Parameters `policy.*`: which language model, and which part of it learns."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

TINY = "tiny"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PolicyConfig:
    """The backbone and its split into a frozen trunk and a trainable top."""

    backbone: str = TINY
    """`tiny` (built here, random weights), a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct, or a
    local folder in Hugging Face's layout."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    frozen_layers: int = Field(1, ge=0)
    """Layers of the trunk, counted from the embeddings; those above learn."""
    trainable: Literal["lora", "layers"] = "lora"
    """Train the layers above the trunk through LoRA, or (the paper's way) whole."""
    lora_rank: int = Field(16, ge=1)
    """Rank of each LoRA update."""
    lora_alpha: float = Field(32.0, gt=0)
    """Scale of LoRA updates: they are multiplied by lora_alpha / lora_rank."""
    dtype: Literal["float32"] = "float32"
    """Number format of the weights."""
    max_tokens: int = Field(2048, ge=16)
    """Longest prompt; a longer one is an error that names features.digest_chars, never a silent cut."""
    batch_rows: int = Field(8, ge=1)
    """Prompts per forward pass; fixed, so that a state's bits do not depend on its neighbours."""

    def __post_init__(self) -> None:
        if self.revision is not None and self.backbone == TINY:
            raise ValueError("policy.revision names a version of a hub id; tiny is built here and has none")
