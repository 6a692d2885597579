"""A hash of the code that a result depends on: what it does, not how it is written or explained."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
PLOT = "plot"
"""Modules with this in their names only show results."""


@cache
def code_hash(rooms: tuple[str, ...], package: Path = PACKAGE) -> str:
    """16 hexadecimal digits that differ where the code of some rooms, or what it imports, does something else.

    Docstrings, comments and layout do not count, nor do modules that only plot.

    Args:
        rooms: folders of `package`, such as `ppo`.
        package: folder of the package.
    """
    digest = sha256()
    for name, code in sorted(imported_modules(rooms, package).items()):
        digest.update(f"{name}\0{code}\0".encode())
    return digest.hexdigest()[:16]


def imported_modules(rooms: Iterable[str], package: Path = PACKAGE) -> dict[str, str]:
    """Code without docstrings of some rooms and of all that they import from the package, directly or not, by path.

    Args:
        rooms: folders of `package`.
        package: folder of the package.
    """
    modules: dict[str, str] = {}
    waiting = [file for room in rooms for file in (package / room).rglob("*.py")]
    while waiting:
        file = waiting.pop()
        name = file.relative_to(package).as_posix()
        if name not in modules and PLOT not in file.stem:
            modules[name], imported = _parse(file.read_bytes())
            waiting.extend(_files_of(imported, package))
    return modules


@cache
def _parse(content: bytes) -> tuple[str, tuple[str, ...]]:
    """A module's code without docstrings, comments and layout, and the dotted names that it imports anywhere in it."""
    tree, imported = ast.parse(content), list[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "imports are absolute"
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    return ast.unparse(_WithoutDocstrings().visit(tree)), tuple(imported)


def _files_of(names: Iterable[str], package: Path) -> Iterator[Path]:
    """Files of the package, and of the folders they lie in, among imported names."""
    for name in names:
        first, *parts = name.split(".")
        for depth in range(1, len(parts) + 1) if first == package.name else ():
            path = package.joinpath(*parts[:depth])
            yield from filter(Path.is_file, (path.with_suffix(".py"), path / "__init__.py"))


class _WithoutDocstrings(ast.NodeTransformer):
    """Drops strings that stand alone: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node
