"""Values in memory that a later run can make again."""

from collections.abc import Callable
from typing import Any

from kedro.io import AbstractDataset, DatasetError

NOTHING = object()


class Rebuilt(AbstractDataset[Any, Any]):
    """A value in memory, handed on as it is, never copied; where it is not there, it is made when loaded.

    So `--from-nodes` works from any node, though what the nodes before it made was never saved. To Kedro the value
    always exists: what it suggests after a failure, and `--only-missing-outputs`, need not make it first.
    """

    def __init__(self, *, keep: bool = True, metadata: dict[str, Any] | None = None) -> None:
        """Hold nothing yet.

        Args:
            keep: whether the value stays for later nodes; else it is dropped once loaded, and made anew for the next.
            metadata: of plugins.
        """
        self.metadata = metadata
        self.was_rebuilt = False
        """Whether the last value that was loaded was made here, not by a node of the run."""
        self._keep = keep
        self._value: Any = NOTHING
        self._rebuild: Callable[[], Any] | None = None

    def bind(self, rebuild: Callable[[], Any]) -> None:
        """Say how the value is made; `hooks.rebuilt` does, once the catalog is there."""
        self._rebuild = rebuild

    def load(self) -> Any:
        """The value that was saved, or made anew.

        Raises:
            DatasetError: when nothing was saved and nobody said how to make it.
        """
        value = self._value
        if value is NOTHING:
            if self._rebuild is None:
                raise DatasetError("nothing was saved here, and the catalog was made without the project's hooks")
            value, self.was_rebuilt = self._rebuild(), True
        self._value = value if self._keep else NOTHING
        return value

    def save(self, data: Any) -> None:
        """Hold the value."""
        self._value, self.was_rebuilt = data, False

    def _exists(self) -> bool:
        return True

    def _release(self) -> None:
        self._value = NOTHING

    def _describe(self) -> dict[str, Any]:
        return {"keep": self._keep}
