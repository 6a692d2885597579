"""What the README, the guide and the notes for contributors show is true."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "guide.md", ROOT / "CONTRIBUTING.md"]


def test_python_examples_run(capsys):
    blocks = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
    assert blocks
    for block in blocks:
        exec(block, {})
    assert "buy_and_hold" in capsys.readouterr().out


def test_documents_explain_every_logged_metric(finished_run: Path):
    """docs/metrics.md names each curve that a run logs."""
    import json

    history = json.loads((finished_run / "08_reporting" / "training_history.json").read_text())
    explained = (ROOT / "docs" / "metrics.md").read_text()
    for name in set().union(*history) - {"step"}:
        assert f"`{name}`" in explained, name
