"""Long work says how far it is where there is no terminal to draw a bar on."""

import pytest

from flag_kedro.pipelines import progress


def test_lines_are_logged_at_most_every_half_minute(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    now = iter([0.0, 10.0, 31.0, 31.0, 40.0, 70.0, 70.0])
    monkeypatch.setattr("flag_kedro.pipelines.progress.time.monotonic", lambda: next(now))
    with caplog.at_level("INFO"), progress.progress_bar("asking", 4) as advance:
        for _ in range(4):
            advance()
    assert [record.getMessage() for record in caplog.records] == ["asking: 2 of 4", "asking: 4 of 4"]
