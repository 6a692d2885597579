"""Saves happen whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import plotly.graph_objects as go
import polars as pl
import pytest
from kedro.io import DatasetError

from flag_kedro.data.atomic import atomic_folder, atomic_write
from flag_kedro.datasets.atomic import JSONFile, ParquetTable, PlotlyFigure, TextFile
from flag_kedro.datasets.folders import Folder, SymbolTables
from flag_kedro.errors import DataError

TABLE = pl.DataFrame({"symbol": ["ALDR"], "price": [1.5]})


class Greeting:
    """Writes itself into a folder."""

    def __init__(self, text: str, fail: bool = False) -> None:
        self.text, self.fail = text, fail

    def write(self, folder: Path) -> None:
        (folder / "greeting.txt").write_text(self.text)
        if self.fail:
            raise OSError("disk full")


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_table_comes_back_as_saved(tmp_path: Path):
    dataset = ParquetTable(filepath=str(tmp_path / "sub" / "t.parquet"), file_format="parquet")
    dataset.save(TABLE)
    assert dataset.load().equals(TABLE)
    assert dataset.exists()
    assert left_behind(tmp_path / "sub") == []


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    dataset = JSONFile(filepath=str(tmp_path / "m.json"))
    dataset.save({"a": 1})
    with pytest.raises(DatasetError):
        dataset.save({"a": object()})
    assert dataset.load() == {"a": 1}
    assert left_behind(tmp_path) == []


def test_figures_are_saved(tmp_path: Path):
    path = tmp_path / "figure"
    PlotlyFigure(filepath=str(path)).save(go.Figure(go.Scatter(y=[1, 2])))
    assert path.stat().st_size > 100


def test_page_is_saved_whole_in_utf_8(tmp_path: Path):
    dataset = TextFile(filepath=str(tmp_path / "page.html"))
    dataset.save("<p>é – 中</p>")
    assert (tmp_path / "page.html").read_bytes().decode("utf-8") == dataset.load() == "<p>é – 中</p>"
    with pytest.raises(DatasetError):
        dataset.save("\ud800")  # cannot be encoded
    assert dataset.load() == "<p>é – 中</p>"
    assert left_behind(tmp_path) == []


def test_previews_of_wrapped_datasets_are_kept(tmp_path: Path):
    dataset = ParquetTable(filepath=str(tmp_path / "t.parquet"), file_format="parquet")
    dataset.save(TABLE)
    assert dict(dataset.preview())["data"] == [["ALDR", 1.5]]


def test_folder_is_loaded_as_its_checked_path(tmp_path: Path):
    dataset = Folder(filepath=str(tmp_path / "policy"))
    dataset.save(Greeting("hello"))
    assert (dataset.load() / "greeting.txt").read_text() == "hello"
    (tmp_path / "policy" / "greeting.txt").write_text("changed")
    with pytest.raises(DatasetError, match=r"greeting\.txt") as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, DataError)


def test_failed_folder_save_leaves_the_old_folder_and_nothing_else(tmp_path: Path):
    dataset = Folder(filepath=str(tmp_path / "policy"))
    dataset.save(Greeting("old"))
    with pytest.raises(DatasetError, match="disk full"):
        dataset.save(Greeting("new", fail=True))
    assert (dataset.load() / "greeting.txt").read_text() == "old"
    assert left_behind(tmp_path) == []


def test_swap_cut_between_its_renames_is_undone(tmp_path: Path):
    dataset = Folder(filepath=str(tmp_path / "policy"))
    dataset.save(Greeting("old"))
    os.rename(tmp_path / "policy", tmp_path / ".policy.old")
    assert (dataset.load() / "greeting.txt").read_text() == "old"


def test_symbols_that_are_gone_leave_no_table_behind(tmp_path: Path):
    dataset = SymbolTables(filepath=str(tmp_path / "states"))
    dataset.save({"ALDR": TABLE, "BRIX": TABLE})
    dataset.save({"BRIX": TABLE})
    assert list(dataset.load()) == ["BRIX"]


@pytest.mark.parametrize("whole", [atomic_write, atomic_folder])
def test_interrupted_block_leaves_nothing(tmp_path: Path, whole: Callable[[Path], AbstractContextManager[Path]]):
    def save() -> None:
        with whole(tmp_path / "a") as temporary:
            (temporary / "half" if temporary.is_dir() else temporary).write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save()
    assert list(tmp_path.iterdir()) == []


def test_killed_saves_leave_the_old_or_the_new_content(tmp_path: Path):
    """kill -9 at many moments of a loop of saves: what is there can always be read."""
    script = (
        "import sys, polars as pl\n"
        "from flag_kedro.datasets.atomic import ParquetTable\n"
        "dataset = ParquetTable(filepath=sys.argv[1], file_format='parquet')\n"
        "n = 0\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    dataset.save(pl.DataFrame({'n': [n] * 200_000}))\n"
        "    n += 1\n"
    )
    path = tmp_path / "t.parquet"
    for wait in (0.05, 0.11, 0.17, 0.23):
        child = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        while not path.exists():
            assert child.poll() is None
            time.sleep(0.01)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert pl.read_parquet(path)["n"].n_unique() == 1
