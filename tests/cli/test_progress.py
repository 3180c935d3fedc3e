"""Progress is for whoever watches a terminal, and only for what takes its time."""

from __future__ import annotations

import asyncio
import io
import re
from types import SimpleNamespace

import pytest

from livekit_tokens.cli import progress
from tests.waiting import until


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal on stderr; a second is over at once."""
    screen = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=screen))
    monkeypatch.setattr(progress, "AFTER_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_EVERY_SECONDS", 0.0)
    return screen


def count() -> None:
    with progress.counting(2_000, "records") as shown:
        shown(1_000)
        shown(2_500)


def test_what_takes_long_is_counted_and_wiped_off(terminal):
    """More than there were at first is no more than all."""
    count()
    drawn = terminal.getvalue().replace("\x1b[K", "").split("\r")
    assert drawn == ["", "1,000 of 2,000 records", "2,500 of 2,500 records", ""]


def test_nothing_is_drawn_where_nobody_watches(monkeypatch):
    """Through a pipe, in a log, in a job of the night."""
    monkeypatch.setattr(progress, "AFTER_SECONDS", 0.0)
    screen = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=screen))
    count()
    assert asyncio.run(progress.waited(asyncio.sleep(0.01, "answer"))) == "answer"
    assert screen.getvalue() == ""


def test_what_is_soon_done_is_not_drawn(terminal, monkeypatch):
    """Within a second."""
    monkeypatch.setattr(progress, "AFTER_SECONDS", 60.0)
    count()
    assert asyncio.run(progress.waited(asyncio.sleep(0, "answer"))) == "answer"
    assert terminal.getvalue() == ""


def test_waiting_is_shown_and_the_answer_comes_through(terminal, monkeypatch):
    """And the line is empty again, also where the work fails."""
    monkeypatch.setattr(progress, "_EVERY_SECONDS", 0.01)
    shown = re.compile(r"asking the ledger \.\.\. \d+ s")

    async def answers() -> str:
        await until(lambda: shown.search(terminal.getvalue()))
        return "answer"

    assert asyncio.run(progress.waited(answers())) == "answer"
    assert terminal.getvalue().endswith("\r\x1b[K")

    async def fails() -> None:
        terminal.truncate(0)
        await until(lambda: shown.search(terminal.getvalue()))
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the work's own
        asyncio.run(progress.waited(fails()))
    assert terminal.getvalue().endswith("\r\x1b[K")
