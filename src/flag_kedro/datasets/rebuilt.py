"""Values in memory that a later run can make again."""

from collections.abc import Callable
from typing import Any

from kedro.io import AbstractDataset, DatasetError

NOTHING = object()


class Rebuilt(AbstractDataset[Any, Any]):
    """A value in memory, handed on as it is, never copied; where no node of the run made it, it is made when loaded.

    So `--from-nodes` works from any node, though what the nodes before it made was never saved.
    """

    _EPHEMERAL = True

    def __init__(self, *, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata
        self._value: Any = NOTHING
        self._rebuild: Callable[[], Any] | None = None

    def bind(self, rebuild: Callable[[], Any]) -> None:
        """Say how the value is made; `hooks.rebuilt` does, once the catalog is there."""
        self._rebuild = rebuild

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held, so that loading makes it."""
        return self._value is NOTHING

    def load(self) -> Any:
        """The value that was saved, or made anew.

        Raises:
            DatasetError: when nothing was saved and nobody said how to make it.
        """
        if self.is_empty:
            if self._rebuild is None:
                raise DatasetError("nothing was saved here, and the catalog was made without the project's hooks")
            self._value = self._rebuild()
        return self._value

    def save(self, data: Any) -> None:
        """Hold the value."""
        self._value = data

    def _exists(self) -> bool:
        return not self.is_empty

    def _release(self) -> None:
        self._value = NOTHING

    def _describe(self) -> dict[str, Any]:
        return {}
