"""The table of docs/audits.md lists the corpus of leaks, each with the audit that catches it."""

from pathlib import Path

import backtest_leaks
import source_leaks

DOCS = Path(__file__).resolve().parents[2] / "docs" / "audits.md"


def test_docs_list_every_leak_with_what_catches_it() -> None:
    listed = [line.strip("| \n").split(" | ") for line in DOCS.read_text().split("\n") if " audit | " in line]
    corpus = [("causality audit", leak) for leak in backtest_leaks.LEAKS]
    corpus += [("full audit", leak) for leak in source_leaks.LEAKS]
    assert [row for row in listed if len(row) == 4] == [
        [leak.name, leak.where, audit, leak.caught_as] for audit, leak in corpus
    ]
