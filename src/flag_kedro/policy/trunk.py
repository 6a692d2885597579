"""The frozen trunk, whose outputs for each text are computed once.

Shape legend: H = hidden size.
"""

import logging
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from flag_kedro.policy.attention import ATTENTION
from flag_kedro.policy.backbone import backbone_hash
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.packing import LAYOUT_VERSION, RowIds, TokenIds
from flag_kedro.policy.prefix_forward import LayerStack, prefill_and_extend
from flag_kedro.policy.prefix_kv_cache import KeysValues
from flag_kedro.policy.prefix_kv_store import PrefixKVStore
from flag_kedro.policy.trunk_cache import TrunkCache, TrunkRow

logger = logging.getLogger(__name__)

MIB = 1 << 20
CPU_FACTS = Path("/proc/cpuinfo")


class Trunk(LayerStack):
    """Embeddings and lower layers, without gradients; a cache may hold their outputs."""

    def __init__(self, base: PreTrainedModel, config: PolicyConfig, cache: TrunkCache | None) -> None:
        super().__init__(base, 0, config.frozen_layers)
        self.embed: nn.Embedding = base.get_input_embeddings()
        self.positions = self.architecture.part(base, self.architecture.positions)
        self.input_dropout = self.architecture.part(base, self.architecture.input_dropout)
        self.batch_tokens = config.batch_tokens
        self.cache = cache
        self.complete: tuple[TokenIds, ...] = ()
        """Suffixes that every row gets, asked for or not, so that later ones are there already."""
        self._folder_is_full = False
        self._refuse_changing()
        if cache is not None and (cache.context["frozen_layers"], cache.context["dtype"]) != (
            config.frozen_layers,
            config.dtype,
        ):
            raise ValueError(f"the trunk cache is of another policy: {cache.context}")

    @torch.no_grad()
    def rows(self, requested: Sequence[RowIds], *, must_persist: bool = False) -> list[TrunkRow]:
        """The trunk's outputs for each prefix and the suffixes behind it, from the cache where it has them.

        Args:
            requested: token ids of prefixes and suffixes.
            must_persist: whether complete rows that cannot be written are an error; else they stay in memory.

        Raises:
            OSError: with `must_persist`, when the cache's folder does not take a row.
            ValueError: when the trunk learns, dropout is active there, or its attention was changed.
        """
        self._refuse_changing()
        if self.cache is None:
            return self.compute(requested)
        completed = [self._completed(ids) for ids in requested]
        cached = [self.cache.get(ids.prefix, ids.suffixes) for ids in completed]
        missing = [ids for ids, row in zip(completed, cached, strict=True) if row is None]
        computed = self._read_missing(missing, self.cache)
        for ids, row in zip(missing, computed, strict=True):
            on_cpu = TrunkRow(row.prefix.cpu(), {suffix: hidden.cpu() for suffix, hidden in row.suffixes.items()})
            self._remember(ids, on_cpu, must_persist)
        remaining = iter(computed)
        return [next(remaining) if row is None else row for row in cached]

    def _read_missing(self, missing: Sequence[RowIds], cache: TrunkCache) -> list[TrunkRow]:
        """Rows of which the cache has a part at most; behind a prefix that is kept only new suffixes are read."""
        found = {index: row for index, ids in enumerate(missing) if (row := cache.find(ids.prefix)) is not None}
        known = {
            index: keys_values
            for index in found
            if (keys_values := cache.keys_values.get(missing[index].prefix)) is not None
        }
        present = [found[index].suffixes if index in found else {} for index in range(len(missing))]
        lacking = [
            RowIds(ids.prefix, tuple(suffix for suffix in ids.suffixes if suffix not in there))
            for ids, there in zip(missing, present, strict=True)
        ]
        prefixes, computed = self._read(lacking, known, None if self.complete else cache.keys_values)
        return [
            TrunkRow(
                prefixes[index] if index in prefixes else found[index].prefix,
                {suffix: (new if suffix in new else there)[suffix] for suffix in missing[index].suffixes},
            )
            for index, (new, there) in enumerate(zip(computed, present, strict=True))
        ]

    def _completed(self, ids: RowIds) -> RowIds:
        """The row with all of `complete`, unless it has a suffix that is none of them."""
        return RowIds(ids.prefix, self.complete) if set(ids.suffixes) <= set(self.complete) else ids

    def _remember(self, ids: RowIds, row: TrunkRow, must_persist: bool) -> None:
        assert self.cache is not None
        try:
            self.cache.put(ids.prefix, row, persist=ids.suffixes == self.complete)
        except OSError as error:
            if must_persist:
                raise
            if not self._folder_is_full:
                logger.warning("the trunk's answers stay in memory, their folder does not take them: %s", error)
            self._folder_is_full = True

    def lacking(self, prefixes: Sequence[TokenIds]) -> list[TokenIds]:
        """Those of `prefixes` whose complete rows the cache's folder does not have."""
        assert self.cache is not None
        return [prefix for prefix in prefixes if not self.cache.on_disk(prefix, self.complete)]

    @torch.no_grad()
    def compute(self, requested: Sequence[RowIds]) -> list[TrunkRow]:
        """The outputs that `rows` gives, without looking into the cache.

        Raises:
            ValueError: when dropout is active in the trunk, or its attention was changed.
        """
        prefixes, suffixes = self._read(requested, {}, None)
        return [TrunkRow(prefixes[index], outputs) for index, outputs in enumerate(suffixes)]

    def _read(
        self, requested: Sequence[RowIds], known: Mapping[int, KeysValues], store: PrefixKVStore | None
    ) -> tuple[dict[int, Tensor], list[dict[TokenIds, Tensor]]]:
        """Outputs of prefixes that are not `known`, [P, H] by index, and of each row's suffixes, [S, H].

        Args:
            requested: token ids.
            known: keys and values of prefixes that were read before.
            store: keeps those of the others.
        """
        prefixes = [known[index] if index in known else self._embed(ids.prefix) for index, ids in enumerate(requested)]
        suffixes = [
            (index, self._embed(suffix, len(ids.prefix)))
            for index, ids in enumerate(requested)
            for suffix in ids.suffixes
        ]
        keep = (
            None if store is None or store.max_bytes == 0 else lambda index, kv: store.put(requested[index].prefix, kv)
        )
        prefix_outputs, suffix_outputs = prefill_and_extend(self, prefixes, suffixes, self.batch_tokens, keep)
        remaining = iter(suffix_outputs)
        return prefix_outputs, [{suffix: next(remaining) for suffix in ids.suffixes} for ids in requested]

    def _embed(self, ids: TokenIds, first: int = 0) -> Tensor:
        """Embeddings [tokens, H], with those of positions from `first` on where the model learned some."""
        device = self.embed.weight.device
        embedded: Tensor = self.embed(torch.tensor(ids, dtype=torch.long, device=device))
        if self.positions is not None:
            embedded = embedded + self.positions(torch.arange(first, first + len(ids), device=device))
        return embedded

    @property
    def modules_read(self) -> list[nn.Module]:
        """See `LayerStack.modules_read`; behind the embeddings too."""
        return self.layers if self.input_dropout is None else [self.input_dropout, *self.layers]

    def _refuse_changing(self) -> None:
        """Refuse a trunk whose outputs may change.

        Raises:
            ValueError: when weights below the split learn, dropout is active there, or its attention was changed.
        """
        self.refuse_changed()
        learned = [] if self.positions is None else [self.positions]
        for module in (self.embed, *learned, *self.layers):
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
        None where nothing is to be cached, or nothing but embeddings could be.

    Raises:
        ValueError: when rows should go to disk and no folder is given.
        OSError: when a file of the backbone cannot be read.
    """
    if config.trunk_cache == "never" or config.frozen_layers == 0:
        return None
    if config.trunk_cache == "disk" and folder is None:
        raise ValueError("policy.trunk_cache is disk, but there is no folder for its rows")
    context: dict[str, str | int] = {
        "backbone": backbone_hash(backbone),
        "frozen_layers": config.frozen_layers,
        "num_layers": config.num_layers or "all",
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
    keys_values = PrefixKVStore(config.prefix_kv_mb * MIB)
    rows = folder if config.trunk_cache == "disk" else None
    cache = TrunkCache(context, config.trunk_cache_mb * MIB, rows, keys_values)
    cache.sweep()
    return cache
