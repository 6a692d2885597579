"""Checkpoints: the whole state of a training, written whole, verified when read.

A training has a folder of its own, named by a hash of all that its bits depend on. An unfinished one goes on where
it was when the same command is given again.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor

from flag_kedro.data.atomic import atomic_folder, atomic_write
from flag_kedro.errors import CheckpointError, DataError
from flag_kedro.policy.manifest import verify_manifest, write_manifest

logger = logging.getLogger(__name__)

FORMAT = 1
"""To be raised whenever a state has other parts."""
NUM_KEPT = 2
"""Checkpoints of a training on disk: the newest, and one to fall back to."""
TENSORS, FACTS, LOCK = "state.safetensors", "facts.json", ".lock"
FINISHED, GONE = ".finished", ".gone"
NAME = "update-"


@dataclass(frozen=True)
class TrainingState:
    """What a training is after so many updates as `history` has rows."""

    tensors: Mapping[str, Tensor]
    """Weights that learn, best weights, optimizer, environment and rollout by prefixed names, on any device."""
    history: list[dict[str, float]]
    """Metrics of every update."""
    selection: dict[str, Any]
    """What model selection remembers besides weights."""
    finished: bool
    """Whether nothing is left to learn."""

    def facts(self) -> dict[str, Any]:
        """All but the tensors, fit for JSON."""
        return {"history": self.history, "selection": self.selection, "finished": self.finished}

    def to_bytes(self) -> bytes:
        """The state as one safetensors file."""
        facts = torch.frombuffer(bytearray(json.dumps(self.facts()), "utf-8"), dtype=torch.uint8)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        return save({**tensors, FACTS: facts})

    @classmethod
    def from_bytes(cls, content: bytes) -> "TrainingState":
        """The state of `to_bytes`."""
        tensors = load(content)
        facts = json.loads(tensors.pop(FACTS).numpy().tobytes())
        return cls(tensors, facts["history"], facts["selection"], facts["finished"])


def training_key(facts: Mapping[str, Any]) -> str:
    """The name of a training: a hash of all that its bits depend on."""
    text = json.dumps({"format": FORMAT, **facts}, sort_keys=True)
    return sha256(text.encode()).hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one training; a lock keeps a second process out until `close`."""

    def __init__(
        self, root: Path, key: str, label: str | None = None, *, resume: bool = True, locked: bool = False
    ) -> None:
        """Take hold of the training's folder.

        Args:
            root: where all trainings have their folders.
            key: of this training, see `training_key`.
            label: kept with every checkpoint, such as the name of the run that writes it.
            resume: whether earlier checkpoints count; else they are removed.
            locked: whether the process that started this one holds the lock already.

        Raises:
            CheckpointError: when another process is at the same training.
        """
        self.root, self.key, self.label = root, key, label
        self.folder = root / key
        self.resumed_from: str | None = None
        """Label of the checkpoint that was read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / LOCK, timeout=0)
        if locked:
            return
        try:
            self._lock.acquire()
        except Timeout as error:
            raise CheckpointError(f"another process is at the training in {self.folder}; wait for it") from error
        for gone in root.glob(f".*{GONE}"):
            shutil.rmtree(gone, ignore_errors=True)
        others = [other for other in root.iterdir() if other.is_dir() and other.name != key]
        if others:
            logger.info("%d unfinished trainings with other settings in %s stay as they are", len(others), root)
        if not resume:
            for path in _checkpoints_in(self.folder):
                shutil.rmtree(path)

    def newest(self) -> TrainingState | None:
        """The newest sound state, None where nothing was saved.

        Raises:
            CheckpointError: when there are checkpoints and none is sound.
        """
        saved = _checkpoints_in(self.folder)
        for path in saved:
            try:
                verify_manifest(path)
                facts = json.loads((path / FACTS).read_text())
                tensors = load_file(path / TENSORS)
            except (DataError, OSError, ValueError) as error:
                logger.warning("checkpoint %s is damaged and passed over: %s", path.name, error)
                continue
            self.resumed_from = facts["label"]
            self._mark_finished(finished=facts["finished"])
            return TrainingState(tensors, facts["history"], facts["selection"], facts["finished"])
        if saved:
            raise CheckpointError(
                f"none of the {len(saved)} checkpoints in {self.folder} is sound; remove that folder, or give "
                "ppo.resume=never, to train from the beginning"
            )
        return None

    def save(self, state: TrainingState) -> None:
        """Write a state whole and remove the oldest ones."""
        path = self.folder / f"{NAME}{len(state.history):08d}"
        with atomic_folder(path) as temporary:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
            save_file(tensors, temporary / TENSORS)
            (temporary / FACTS).write_text(json.dumps({"label": self.label} | state.facts()))
            write_manifest(temporary)
        self._mark_finished(finished=state.finished)
        for old in _checkpoints_in(self.folder)[NUM_KEPT:]:
            shutil.rmtree(old)

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.release()

    def _mark_finished(self, *, finished: bool) -> None:
        """Say that this is the training whose outputs are saved next."""
        if finished:
            with atomic_write(self.root / FINISHED) as temporary:
                temporary.write_text(self.key)


def remove_finished(root: Path) -> None:
    """Remove the training that finished last, whose outputs the caller has saved: the same command trains anew.

    Others stay, also finished ones whose outputs were never saved. A kill leaves the folder whole or out of the way.
    """
    finished = root / FINISHED
    if not finished.is_file():
        return
    folder = root / finished.read_text()
    gone = root / f".{folder.name}{GONE}"
    if folder.is_dir():
        os.rename(folder, gone)
    finished.unlink()
    shutil.rmtree(gone, ignore_errors=True)


def _checkpoints_in(folder: Path) -> list[Path]:
    """Folders of checkpoints, the newest first."""
    return sorted(folder.glob(f"{NAME}*"), reverse=True)


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, named `prefix/name`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors named `prefix/name`, by name."""
    return {
        name.removeprefix(f"{prefix}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")
    }
