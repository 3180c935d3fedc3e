"""Looks that find: none can raise or hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from livekit_tokens.core.findings import Check, Finding, findings_of

FINE = Finding("ok", "moon", "is up")


def test_a_check_that_raises_is_a_fault_beside_what_it_found() -> None:
    """And the next one is looked at."""

    def broken() -> Iterator[Finding]:
        yield FINE
        raise RuntimeError("two\nlines")

    found = list(findings_of([Check("sky", broken), Check("moon", lambda: [FINE])]))
    assert [finding.state for finding in found] == ["ok", "fault", "ok"]
    assert found[1].told == "could not be looked at: RuntimeError: two lines"


def test_a_check_that_hangs_is_a_fault_once_its_time_is_up() -> None:
    """It does not keep the process from ending either: its thread is a daemon."""
    found = list(findings_of([Check("sky", lambda: [FINE] * bool(threading.Event().wait()), seconds=0.1)]))
    assert [finding.told for finding in found] == ["no answer in 0.1 s"]


def test_a_fault_without_anything_to_do_cannot_be_made() -> None:
    """Who reads it wants to know what to do."""
    with pytest.raises(AssertionError):
        Finding("fault", "moon", "is down")
