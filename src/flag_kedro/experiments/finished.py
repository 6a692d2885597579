"""Rows of finished trainings, kept until the whole experiment is done, so that none is trained twice."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from flag_kedro.data.atomic import atomic_write
from flag_kedro.errors import DataError
from flag_kedro.experiments.scoring import Row
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.checkpoint import training_key
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig, versions


def experiment_key(facts: Mapping[str, Any], policy: PolicyConfig, ppo: PPOConfig, runtime: RuntimeConfig) -> str:
    """The name of an experiment: a hash of all that its rows depend on.

    Args:
        facts: of data, windows and environment, fit for JSON.
        policy: the policy's parameters.
        ppo: the learner's.
        runtime: of it device and threads.
    """
    return training_key(
        {
            "facts": facts,
            "policy": asdict(policy),
            "ppo": ppo.learning(),
            "runtime": runtime.computing(),
            "cuda": torch.cuda.is_available(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "versions": versions(("ppo", "experiments")),
        }
    )


class FinishedRows:
    """The rows of one experiment, one file each, written whole: `ROOT/KEY/NAME.json`."""

    def __init__(self, root: Path, key: str, *, resume: bool = True) -> None:
        """Take the experiment's folder.

        Args:
            root: folder of all experiments of this kind.
            key: of `experiment_key`.
            resume: whether earlier rows and checkpoints count; else they are removed.
        """
        self.folder = root / key
        self.key = key
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def checkpoints(self) -> Path:
        """Where each training in progress has a folder of its own, named as its row."""
        return self.folder / "checkpoints"

    def get(self, name: str) -> Row | None:
        """The row of a finished training, None for one that is still to be done.

        Raises:
            DataError: when the file cannot be read.
        """
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            row: Row = json.loads(path.read_text())
        except ValueError as error:
            raise DataError(f"{path} is damaged ({error}); remove it, and its training is done again") from error
        return row

    def put(self, name: str, row: Row) -> Row:
        """Write a row whole, drop the checkpoints of its training, and return it as it reads back."""
        with atomic_write(self._path(name)) as temporary:
            temporary.write_text(json.dumps(row))
        shutil.rmtree(self.checkpoints / name, ignore_errors=True)
        return json.loads(self._path(name).read_text())  # type: ignore[no-any-return]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def remove_rows(root: Path, key: str) -> None:
    """Remove an experiment whose output the caller has saved: the same command trains anew."""
    shutil.rmtree(root / key, ignore_errors=True)
