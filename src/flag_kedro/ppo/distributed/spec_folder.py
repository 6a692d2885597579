"""One training as a folder: all that other processes need to do it, and what they leave there.

Configs are JSON, windows parquet, weights safetensors; nothing is pickled.
"""

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.backbone import backbone_hash
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig, versions
from flag_kedro.ppo.training_spec import SavedAt, TrainingSpec

SPEC, WINDOW, VALIDATION = "job.json", "window.parquet", "validation.parquet"
ROWS, LOG, WEIGHTS, RESUMED = "metrics.jsonl", "log.jsonl", "weights.safetensors", "resumed_from"
PER_SESSION = ("fill_prices", "mark_prices", "years", "fill_volumes")
EVENTS = "event_kinds"


def write_spec(spec: TrainingSpec, folder: Path) -> None:
    """Write the training into an existing empty folder."""
    _table(spec.window).write_parquet(folder / WINDOW)
    if spec.validation is not None:
        _table(spec.validation).write_parquet(folder / VALIDATION)
    content = _settings(spec) | {
        "world": spec.ppo.world_size,
        "fill": spec.window.fill,
        "backbone": str(spec.backbone.resolve()),
        "trunk_cache": None if spec.trunk_cache is None else str(spec.trunk_cache.resolve()),
        "ppo": asdict(spec.ppo),
        "saved_at": None if spec.saved_at is None else asdict(spec.saved_at),
    }
    (folder / SPEC).write_text(json.dumps(content, indent=2))


def read_spec(folder: Path) -> tuple[TrainingSpec, int]:
    """The training in a folder, and in how many processes it is to be done."""
    content = json.loads((folder / SPEC).read_text())
    env = EnvConfig(**content["env"])
    tables = [pl.read_parquet(folder / name) if (folder / name).exists() else None for name in (WINDOW, VALIDATION)]
    window, validation = (None if table is None else _window(table, content["fill"], env) for table in tables)
    assert window is not None
    return TrainingSpec(
        backbone=Path(content["backbone"]),
        trunk_cache=None if content["trunk_cache"] is None else Path(content["trunk_cache"]),
        window=window,
        validation=validation,
        env=env,
        policy=PolicyConfig(**content["policy"]),
        ppo=PPOConfig(**content["ppo"]),
        runtime=RuntimeConfig(**content["runtime"]),
        seed=content["seed"],
        portfolio=None if content["portfolio"] is None else PortfolioConfig(**content["portfolio"]),
        saved_at=None if content["saved_at"] is None else SavedAt(**content["saved_at"]),
        floors={int(step): floor for step, floor in content["floors"].items()},
    ), content["world"]


def fingerprint(spec: TrainingSpec) -> int:
    """63 bits that differ where what is learned, from which windows or on which backbone differs.

    Folders do not count; versions of packages do.
    """
    facts = _settings(spec) | {"backbone": backbone_hash(spec.backbone), "versions": versions()}
    digest = sha256(json.dumps(facts, sort_keys=True).encode())
    for window in (spec.window, spec.validation):
        if window is not None:
            digest.update(json.dumps([window.symbols, window.prefixes, window.fill]).encode())
            for values in _per_session(window).values():
                digest.update(np.concatenate(values).tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def _settings(spec: TrainingSpec) -> dict[str, Any]:
    return {
        "env": asdict(spec.env),
        "portfolio": None if spec.portfolio is None else asdict(spec.portfolio),
        "policy": asdict(spec.policy),
        "ppo": spec.ppo.learning(),
        "runtime": spec.runtime.computing(),
        "seed": spec.seed,
        "floors": {str(step): floor for step, floor in spec.floors.items()},
    }


def _table(window: TradingWindow) -> pl.DataFrame:
    """One row per symbol and session, without the padding."""
    values, tables = _per_session(window), []
    for s, symbol in enumerate(window.symbols):
        columns: dict[str, Any] = {"session": window.sessions[s], "prefix": window.prefixes[s]}
        columns |= {name: by_symbol[s] for name, by_symbol in values.items()}
        tables.append(pl.DataFrame(columns).select(pl.lit(symbol).alias("symbol"), pl.all()))
    return pl.concat(tables)


def _per_session(window: TradingWindow) -> dict[str, list[Floats | Ints]]:
    """Each array of numbers by symbol, without what stands behind a symbol's last session."""
    names = PER_SESSION if window.event_kinds is None else (*PER_SESSION, EVENTS)
    return {
        name: [row[:length] for row, length in zip(getattr(window, name), window.num_sessions, strict=True)]
        for name in names
    }


def _window(table: pl.DataFrame, fill: Any, env: EnvConfig) -> TradingWindow:
    """The window that `_table` was made of."""
    tables = table.partition_by("symbol", maintain_order=True)
    lengths = np.array([rows.height for rows in tables], dtype=np.int64)
    padded = {name: np.full((len(tables), lengths.max()), np.nan) for name in PER_SESSION}
    events = np.zeros((len(tables), lengths.max()), dtype=np.int64) if EVENTS in table.columns else None
    for s, rows in enumerate(tables):
        for name, values in padded.items():
            values[s, : rows.height] = rows[name].to_numpy()
        if events is not None:
            events[s, : rows.height] = rows[EVENTS].to_numpy()
    return TradingWindow(
        fill=fill,
        positions=env.positions,
        symbols=tuple(str(rows["symbol"][0]) for rows in tables),
        sessions=tuple(tuple(rows["session"]) for rows in tables),
        prefixes=tuple(tuple(rows["prefix"]) for rows in tables),
        num_sessions=lengths,
        event_kinds=events,
        **padded,
    )
