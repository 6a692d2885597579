"""What documents name exists: each decision names its test, the map its files."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
DECISIONS = sorted(page for page in (DOCS / "decisions").glob("*.md") if page.stem != "index")
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
NAMED_FILE = re.compile(r"`([\w./-]+\.(?:py|yml|md|json|csv|jinja|toml))(?:::[\w.]+)?`")
LINK = re.compile(r"\]\((?!http)([^)#]+)")
ROOMS = (ROOT, ROOT / "src" / "flag_kedro")
WRITTEN_BY_RUNS = re.compile(
    r"data/\d\d_.*|(policy|pending|ingest_facts|market_facts|origin|tokenizer)\.json|(equity|decisions)\.parquet"
)
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", DOCS / "architecture.md", DOCS / "guide.md", *DECISIONS)


def decisions(page: str) -> dict[str, str]:
    """Text of each decision by its heading."""
    parts = re.split(r"^### (.+)$", page, flags=re.MULTILINE)
    return {title: text.partition("\n## ")[0] for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def missing_tests(page: str) -> list[str]:
    """Every `tests/FILE.py::test_NAME` on `page` that does not exist."""
    return [f"{file}::{name}" for file, name in NAMED_TEST.findall(page) if name not in functions(ROOT / file)]


def functions(file: Path) -> set[str]:
    """Names of the functions at the top of `file`; none where there is no such file."""
    if not file.is_file():
        return set()
    return {node.name for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def missing_files(page: str) -> list[str]:
    """Every file in backticks on `page` that exists neither below the root nor in the package."""
    return [
        file
        for file in NAMED_FILE.findall(page)
        if not WRITTEN_BY_RUNS.fullmatch(file) and not any((room / file).is_file() for room in ROOMS)
    ]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_every_decision_has_a_reason_and_a_test(page: Path) -> None:
    listed = decisions(page.read_text(encoding="utf-8"))
    assert listed
    for title, text in listed.items():
        reason, _, test = text.partition("**Test:**")
        assert reason.count("**Why:**") == 1, title
        assert NAMED_TEST.search(test) or test.strip().startswith("no test"), title


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_every_test_of_a_decision_exists(page: Path) -> None:
    assert missing_tests(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_named_exists(page: Path) -> None:
    assert missing_files(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", [*PAGES, *DOCS.glob("*.md")], ids=lambda page: page.stem)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *DOCS.glob("*.md")], ids=lambda page: page.stem)
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        assert anchor in anchors(page.parent / target if target else page), f"{target}#{anchor}"


def test_map_shows_every_room() -> None:
    tree = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for room in (ROOT / "src" / "flag_kedro").iterdir():
        if room.is_dir() and (room / "__init__.py").is_file():
            assert f"{room.name}/" in tree, room.name


def test_wrong_names_are_seen() -> None:
    page = (
        "`tests/test_docs.py::test_nothing` `tests/nowhere.py::test_a` `tests/test_docs.py::test_wrong_names_are_seen`"
    )
    assert missing_tests(page) == ["tests/test_docs.py::test_nothing", "tests/nowhere.py::test_a"]
    assert missing_files("`env/reward.py` `env/rewards.py::SharpeIncrement` `README.md`") == ["env/reward.py"]
