"""One training as a folder: all that other processes need to do it, and what they leave there.

Configs are JSON, windows parquet, weights safetensors; nothing is pickled.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.env.account import Floats
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.backbone import backbone_hash
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig, versions

JOB, WINDOW, VALIDATION = "job.json", "window.parquet", "validation.parquet"
ROWS, LOG, WEIGHTS, RESUMED = "metrics.jsonl", "log.jsonl", "weights.safetensors", "resumed_from"
PER_SESSION = ("fill_prices", "mark_prices", "years", "fill_volumes")


@dataclass(frozen=True)
class SavedAt:
    """Where a training's checkpoints are; the launcher holds their lock."""

    root: str
    key: str
    label: str | None


@dataclass(frozen=True)
class TrainingSpec:
    """A training still to be done."""

    backbone: Path
    trunk_cache: Path | None
    window: TradingWindow
    validation: TradingWindow | None
    env: EnvConfig
    policy: PolicyConfig
    ppo: PPOConfig
    runtime: RuntimeConfig
    seed: int
    saved_at: SavedAt | None

    def write(self, folder: Path) -> None:
        """Write the job into an existing empty folder."""
        _table(self.window).write_parquet(folder / WINDOW)
        if self.validation is not None:
            _table(self.validation).write_parquet(folder / VALIDATION)
        job = self._settings() | {
            "world": self.ppo.world_size,
            "fill": self.window.fill,
            "backbone": str(self.backbone.resolve()),
            "trunk_cache": None if self.trunk_cache is None else str(self.trunk_cache.resolve()),
            "ppo": asdict(self.ppo),
            "saved_at": None if self.saved_at is None else asdict(self.saved_at),
        }
        (folder / JOB).write_text(json.dumps(job, indent=2))

    def fingerprint(self) -> int:
        """63 bits that differ where what is learned, from which windows or on which backbone differs.

        Folders do not count; versions of packages do.
        """
        known = self._settings() | {"backbone": backbone_hash(self.backbone), "versions": versions()}
        digest = sha256(json.dumps(known, sort_keys=True).encode())
        for window in (self.window, self.validation):
            if window is not None:
                digest.update(json.dumps([window.symbols, window.prefixes, window.fill]).encode())
                for values in _per_session(window).values():
                    digest.update(np.concatenate(values).tobytes())
        return int.from_bytes(digest.digest()[:8], "big") >> 1

    def _settings(self) -> dict[str, Any]:
        return {
            "env": asdict(self.env),
            "policy": asdict(self.policy),
            "ppo": self.ppo.learning(),
            "runtime": asdict(self.runtime),
            "seed": self.seed,
        }


def read_spec(folder: Path) -> tuple[TrainingSpec, int]:
    """The job in a folder, and in how many processes it is to be done."""
    job = json.loads((folder / JOB).read_text())
    env = EnvConfig(**job["env"])
    tables = [pl.read_parquet(folder / name) if (folder / name).exists() else None for name in (WINDOW, VALIDATION)]
    window, validation = (None if table is None else _window(table, job["fill"], env) for table in tables)
    assert window is not None
    return TrainingSpec(
        backbone=Path(job["backbone"]),
        trunk_cache=None if job["trunk_cache"] is None else Path(job["trunk_cache"]),
        window=window,
        validation=validation,
        env=env,
        policy=PolicyConfig(**job["policy"]),
        ppo=PPOConfig(**job["ppo"]),
        runtime=RuntimeConfig(**job["runtime"]),
        seed=job["seed"],
        saved_at=None if job["saved_at"] is None else SavedAt(**job["saved_at"]),
    ), job["world"]


def _table(window: TradingWindow) -> pl.DataFrame:
    """One row per symbol and session, without the padding."""
    values, tables = _per_session(window), []
    for s, symbol in enumerate(window.symbols):
        own: dict[str, Any] = {"session": window.sessions[s], "prefix": window.prefixes[s]}
        own |= {name: by_symbol[s] for name, by_symbol in values.items()}
        tables.append(pl.DataFrame(own).select(pl.lit(symbol).alias("symbol"), pl.all()))
    return pl.concat(tables)


def _per_session(window: TradingWindow) -> dict[str, list[Floats]]:
    """Each array of numbers by symbol, without what stands behind a symbol's last session."""
    return {
        name: [row[:length] for row, length in zip(getattr(window, name), window.num_sessions, strict=True)]
        for name in PER_SESSION
    }


def _window(table: pl.DataFrame, fill: Any, env: EnvConfig) -> TradingWindow:
    """The window that `_table` was made of."""
    tables = table.partition_by("symbol", maintain_order=True)
    lengths = np.array([own.height for own in tables], dtype=np.int64)
    padded = {name: np.full((len(tables), lengths.max()), np.nan) for name in PER_SESSION}
    for s, own in enumerate(tables):
        for name, values in padded.items():
            values[s, : own.height] = own[name].to_numpy()
    return TradingWindow(
        fill=fill,
        positions=env.positions,
        symbols=tuple(str(own["symbol"][0]) for own in tables),
        sessions=tuple(tuple(own["session"]) for own in tables),
        prefixes=tuple(tuple(own["prefix"]) for own in tables),
        num_sessions=lengths,
        **padded,
    )
