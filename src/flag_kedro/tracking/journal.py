"""What a tracking server could not be told, in a folder, until it can: one line for each call, and copies of files."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from flag_kedro.data.atomic import atomic_write

CALLS = "calls.jsonl"
FILES = "files"
Call = dict[str, Any]


class Journal:
    """Calls in the order in which they were made, fit for JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def calls_file(self) -> Path:
        """One call a line."""
        return self.folder / CALLS

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    def keep(self, call: Call) -> None:
        """Add `call` behind the others."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.calls_file.open("a") as stream:
            stream.write(json.dumps(call) + "\n")

    def keep_file(self, source: Path) -> str:
        """Copy a file or folder, which the next run would replace; its path below the journal's folder comes back."""
        kept = Path(FILES) / uuid4().hex / source.name
        target = self.folder / kept
        target.parent.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return str(kept)

    def replay(self, send: Callable[[Call], str | None]) -> dict[str, str]:
        """Hand every call to `send`, in order, and leave nothing; where it raises, that call and all behind it stay.

        Args:
            send: returns the id of a run that was made by the call; later calls name that in place of the call's own.

        Returns:
            Such ids by the ids that the calls had.
        """
        waiting, made = list(self._lines()), dict[str, str]()
        try:
            while waiting:
                call = json.loads(waiting[0])
                run_id = send(call)
                del waiting[0]
                if run_id is not None:
                    made[call["run_id"]] = run_id
                    waiting = [line.replace(f'"{call["run_id"]}"', f'"{run_id}"') for line in waiting]
        finally:
            if waiting:
                with atomic_write(self.calls_file) as temporary:
                    temporary.write_text("".join(waiting))
            else:
                shutil.rmtree(self.folder, ignore_errors=True)
        return made

    def _lines(self) -> Iterator[str]:
        if self.calls_file.exists():
            with self.calls_file.open() as stream:
                yield from (line for line in stream if line.endswith("\n"))  # a kill may have cut the last one short
