"""Calls in these tests end however busy the machine is: none is given up for its time unless a test says so."""

from __future__ import annotations

import pytest

from livekit_tokens.capture import closing, part
from livekit_tokens.capture.wire import counting
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (closing, "FINISH_SECONDS"),
        (counting, "SETTLE_SECONDS"),
        (part, "COUNT_SECONDS"),
        (part, "SYNC_SECONDS"),
        (part, "PRICE_SECONDS"),
    ):
        monkeypatch.setattr(module, name, PATIENCE_SECONDS)
