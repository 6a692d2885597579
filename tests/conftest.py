"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def investorbench() -> Path:
    """InvestorBench's files, which the project does not ship."""
    folder = SHARED / "data" / "investorbench"
    if not folder.is_dir():
        pytest.skip(f"InvestorBench's files are not in {folder}")
    return folder
