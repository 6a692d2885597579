"""MLflow as runs use it."""

import pytest

from flag_kedro.tracking.keeping_store import install


@pytest.fixture(autouse=True, scope="session")
def _installed() -> None:
    install()
