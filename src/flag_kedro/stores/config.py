"""Parameters `store.*`: how a run holds the object store that `store_url` names."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class StoreConfig:
    """The lease on a store, and how often a run's growing folders are written to it."""

    lease_seconds: float = Field(default=60.0, gt=0)
    """After so many seconds without a sign of life a run has lost the store to whoever asks next. It renews its lease
    every third of them."""
    sync_seconds: float = Field(default=5.0, gt=0)
    """Pause between two looks at folders that grow while a node runs (checkpoints, rows, cached states): a machine that
    vanishes takes the work of this time with it."""
