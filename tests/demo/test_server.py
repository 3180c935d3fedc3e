"""The demo's LiveKit server, as it is made ready."""

from __future__ import annotations

import time

import pytest

from livekit_tokens.demo import server


def test_a_builds_progress_is_a_line_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """`go build -v` names each of its 900 packages."""
    said: list[str] = []
    heard = server._now_and_then(said.append)
    for at in range(12):
        monkeypatch.setattr(time, "monotonic", lambda at=at: 100.0 + at)
        heard(f"package {at}")
    assert said == ["  package 0", "  package 5", "  package 10"]
