"""The frozen trunk, which reads each text once.

Shape legend: H = hidden size.
"""

import logging
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from flag_kedro.policy.attention import ATTENTION
from flag_kedro.policy.backbone import backbone_hash
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.packing import LAYOUT_VERSION, Ids, RowIds
from flag_kedro.policy.prefix_forward import Half, read_in_two_steps
from flag_kedro.policy.trunk_cache import TrunkCache, TrunkRow

logger = logging.getLogger(__name__)

MIB = 1 << 20
CPU_FACTS = Path("/proc/cpuinfo")


class Trunk(Half):
    """Embeddings and lower layers, without gradients; a cache may remember what they said."""

    def __init__(self, base: PreTrainedModel, config: PolicyConfig, cache: TrunkCache | None) -> None:
        super().__init__(base, 0, config.frozen_layers)
        self.embed: nn.Embedding = base.get_input_embeddings()
        self.batch_tokens = config.batch_tokens
        self.cache = cache
        self.complete: tuple[Ids, ...] = ()
        """Leaves that every row gets, asked for or not, so that later ones are there already."""
        self._full = False
        self._refuse_changing()
        if cache is not None and (cache.context["frozen_layers"], cache.context["dtype"]) != (
            config.frozen_layers,
            config.dtype,
        ):
            raise ValueError(f"the trunk cache is of another policy: {cache.context}")

    @torch.no_grad()
    def rows(self, asked: Sequence[RowIds], *, must_persist: bool = False) -> list[TrunkRow]:
        """What the trunk says of each stem and of the leaves behind it.

        Args:
            asked: stems and leaves.
            must_persist: whether complete rows that cannot be written are an error; else they stay in memory.

        Raises:
            OSError: with `must_persist`, when the cache's folder does not take a row.
        """
        self._refuse_changing()
        if self.cache is None:
            return self.compute(asked)
        wanted = [RowIds(ids.stem, self.complete) if set(ids.leaves) <= set(self.complete) else ids for ids in asked]
        found = [self.cache.get(ids.stem, ids.leaves) for ids in wanted]
        missing = [ids for ids, row in zip(wanted, found, strict=True) if row is None]
        computed = iter(self.compute(missing))
        rows = [next(computed) if row is None else row for row in found]
        for ids, row, known in zip(wanted, rows, found, strict=True):
            if known is None:
                kept = TrunkRow(row.stem.cpu(), {leaf: hidden.cpu() for leaf, hidden in row.leaves.items()})
                self._remember(ids, kept, must_persist)
        return rows

    def _remember(self, ids: RowIds, row: TrunkRow, must_persist: bool) -> None:
        assert self.cache is not None
        try:
            self.cache.put(ids.stem, row, persist=ids.leaves == self.complete)
        except OSError as error:
            if must_persist:
                raise
            if not self._full:
                logger.warning("the trunk's answers stay in memory, their folder does not take them: %s", error)
            self._full = True

    def lacking(self, stems: Sequence[Ids]) -> list[Ids]:
        """Those of `stems` whose complete rows the cache's folder does not have."""
        assert self.cache is not None
        return [stem for stem in stems if not self.cache.on_disk(stem, self.complete)]

    @torch.no_grad()
    def compute(self, asked: Sequence[RowIds]) -> list[TrunkRow]:
        """What `rows` says, without looking into the cache."""
        leaves = [(place, self._embed(leaf)) for place, ids in enumerate(asked) for leaf in ids.leaves]
        stems = [self._embed(ids.stem) for ids in asked]
        of_stems, of_leaves = read_in_two_steps(self, stems, leaves, self.batch_tokens)
        each = iter(of_leaves)
        return [
            TrunkRow(stem, {leaf: next(each) for leaf in ids.leaves}) for stem, ids in zip(of_stems, asked, strict=True)
        ]

    def _embed(self, ids: Ids) -> Tensor:
        embedded: Tensor = self.embed(torch.tensor(ids, dtype=torch.long, device=self.embed.weight.device))
        return embedded

    def _refuse_changing(self) -> None:
        """Refuse a trunk whose answers may change.

        Raises:
            ValueError: when weights below the split learn, dropout is active there, or attention is no longer ours.
        """
        self._refuse_changed()
        for module in (self.embed, *self.layers):
            for name, weight in module.named_parameters():
                if weight.requires_grad or "lora_" in name:
                    raise ValueError(
                        f"the trunk is read without gradients and may be remembered, but {name} below "
                        "policy.frozen_layers learns; keep what learns above the split"
                    )


def processor() -> str:
    """Name of the CPU, whose instructions decide over last bits."""
    lines = CPU_FACTS.read_text().splitlines() if CPU_FACTS.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{platform.machine()} {platform.processor()}".strip()


def open_trunk_cache(
    backbone: Path, config: PolicyConfig, device: torch.device, folder: Path | None = None
) -> TrunkCache | None:
    """The cache that `config` asks for, on all that hidden states depend on besides token ids.

    Args:
        backbone: its folder.
        config: kind and size of the cache, split and number format.
        device: where the trunk computes.
        folder: of the rows on disk, if `policy.trunk_cache` is `disk`.

    Returns:
        None where nothing should be kept, or nothing but embeddings could be.

    Raises:
        ValueError: when rows should go to disk and no folder is given.
    """
    if config.trunk_cache == "never" or config.frozen_layers == 0:
        return None
    if config.trunk_cache == "disk" and folder is None:
        raise ValueError("policy.trunk_cache is disk, but there is no folder for its rows")
    context: dict[str, str | int] = {
        "backbone": backbone_hash(backbone),
        "frozen_layers": config.frozen_layers,
        "dtype": config.dtype,
        "layout": LAYOUT_VERSION,
        "batch_tokens": config.batch_tokens,
        "attention": ATTENTION,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
    }
    if device.type == "cpu":
        context |= {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}
    cache = TrunkCache(context, config.trunk_cache_mb * MIB, folder if config.trunk_cache == "disk" else None)
    cache.sweep()
    return cache
