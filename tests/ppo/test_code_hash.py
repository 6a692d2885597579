"""Code on which a result depends is known by a hash: what it does counts, how it is explained does not."""

import ast
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from flag_kedro.ppo.code_hash import PACKAGE, code_hash, imported_modules

LEARNING, SCORING = ("ppo",), ("ppo", "experiments")


@pytest.fixture(scope="module", autouse=True)
def equal_files_once() -> Iterator[None]:
    """Files of equal content are parsed and written back once for all tests: nearly all the time of a hash."""
    with pytest.MonkeyPatch.context() as patch:
        remembering = vars(ast) | {"parse": cache(ast.parse), "unparse": cache(ast.unparse)}
        patch.setattr("flag_kedro.ppo.code_hash.ast", SimpleNamespace(**remembering))
        yield


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that may be changed."""
    copy = tmp_path_factory.mktemp("copy") / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def changed(package: Path, file: str, old: str, new: str) -> list[bool]:
    """Whether the hashes of learning and of scoring change when `old` is replaced in a file."""
    path = package / file
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    try:
        return [code_hash.__wrapped__(rooms, package) != code_hash(rooms) for rooms in (LEARNING, SCORING)]
    finally:
        path.write_text(before)


def test_a_copy_has_the_same_hash(package: Path):
    assert changed(package, "ppo/losses.py", "", "") == [False, False]
    assert code_hash(LEARNING) != code_hash(SCORING)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("ppo/losses.py", "Negative clipped surrogate", "The clipped surrogate"),
        ("ppo/losses.py", "    ratio = log_ratio.exp()\n", "    ratio = log_ratio.exp()  # of probabilities\n\n"),
        ("ppo/config.py", "Discount factor;", "How much later rewards count;"),
        ("backtest/plots.py", "import", "import os  # noqa\nimport"),
        ("experiments/certificate_plot.py", "import", "import os  # noqa\nimport"),
        ("hooks/signals.py", "import", "import os  # noqa\nimport"),
    ],
    ids=["docstring", "comment", "field", "plot", "plot_of_an_experiment", "hook"],
)
def test_what_does_nothing_to_a_result_leaves_the_hash(package: Path, file: str, old: str, new: str):
    assert changed(package, file, old, new) == [False, False]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("ppo/losses.py", "0.5 * errors", "0.6 * errors"),
        ("ppo/distributed/sharding.py", "% self.world", "// self.world"),
        ("env/rewards.py", "import", "import os  # noqa\nimport"),
        ("policy/actor_critic.py", "import", "import os  # noqa\nimport"),
        ("errors.py", "RuntimeError", "OSError"),
    ],
    ids=["loss", "processes", "reward", "policy", "errors"],
)
def test_what_learning_depends_on_changes_the_hash(package: Path, file: str, old: str, new: str):
    assert changed(package, file, old, new) == [True, True]


def test_scores_depend_on_more_than_learning(package: Path):
    assert changed(package, "backtest/metrics.py", "import", "import os  # noqa\nimport") == [False, True]
    assert changed(package, "experiments/scoring.py", "import", "import os  # noqa\nimport") == [False, True]


def test_imports_are_followed_into_functions_packages_and_their_parents(tmp_path: Path):
    package = tmp_path / "some"
    files = {
        "ppo/a.py": "def f():\n    from some.env import b\n",
        "env/__init__.py": "import some.data.c.d\n",
        "env/b.py": "import os\n",
        "data/c/__init__.py": "",
        "data/c/d.py": "from some.ppo.a import f\nfrom some.data.e_plot import g\n",
        "data/e_plot.py": "",
        "hooks/f.py": "import some.ppo.a\n",
    }
    for name, content in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(content)
    expected = {"ppo/a.py", "env/__init__.py", "env/b.py", "data/c/__init__.py", "data/c/d.py"}
    assert imported_modules(["ppo"], package).keys() == expected
