"""Kedro's datasets with saves that happen whole or not at all; how, is in `data.atomic`."""

from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from kedro_datasets.json import JSONDataset
from kedro_datasets.plotly import JSONDataset as PlotlyDataset
from kedro_datasets.polars import EagerPolarsDataset
from kedro_datasets.text import TextDataset

from flag_kedro.data.atomic import atomic_write


class WholeSave:
    """Mixin: save through a temporary sibling file; goes before the dataset it mends."""

    _filepath: PurePosixPath

    def save(self, data: Any) -> None:
        """Replace the file once all of `data` is written."""
        target = self._filepath
        try:
            with atomic_write(Path(target)) as temporary:
                self._filepath = PurePosixPath(temporary)
                super().save.__wrapped__(self, data)  # type: ignore[misc]  # the dataset comes after the mixin
        finally:
            self._filepath = target


class ParquetTable(WholeSave, EagerPolarsDataset):
    """A polars table in one Parquet file, previewed by kedro-viz."""


class JSONFile(WholeSave, JSONDataset):
    """A JSON file, previewed by kedro-viz."""


class OptionalJSONFile(JSONFile):
    """A JSON file that need not be there: then it loads as None."""

    may_be_absent = True

    def load(self) -> Any:
        """The content, or None."""
        return super().load() if self._exists() else None


class PlotlyFigure(WholeSave, PlotlyDataset):
    """A plotly figure as JSON, previewed by kedro-viz."""


class TextFile(WholeSave, TextDataset):
    """A text in UTF-8: a page of HTML or Markdown."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {
        "open_args_save": {"mode": "w", "encoding": "utf-8"},
        "open_args_load": {"mode": "r", "encoding": "utf-8"},
    }


class OptionalTextFile(TextFile):
    """A text that need not be there: then it loads as None."""

    may_be_absent = True

    def load(self) -> Any:
        """The text, or None."""
        return super().load() if self._exists() else None
