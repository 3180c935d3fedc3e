"""The thread in which requests are counted: whatever one request does to it, the others are counted."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx2
import pytest

from livekit_tokens.capture.wire import account, counting
from tests.capture.wire.conftest import Paper
from tests.waiting import PATIENCE_SECONDS

ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class Panic(BaseException):
    """As pyo3's `PanicException` is, of a vocabulary written in Rust: no `Exception`."""


async def ask() -> None:
    answer = {"id": "c", "model": "gpt-4o", "choices": [], "usage": USAGE}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=answer))
    async with httpx2.AsyncClient(transport=transport) as client:
        await client.post("https://api.openai.com/v1/chat/completions", json=ASKED)


async def test_a_panic_costs_one_request_its_figures_and_nothing_else(
    tracked: Paper, monkeypatch: pytest.MonkeyPatch, noted: list[str]
) -> None:
    def panic(*_: Any) -> None:
        raise Panic

    with monkeypatch.context() as broken:
        broken.setattr(account.prompts, "prompt_of", panic)
        await ask()
        assert [record.provenance for record in tracked.records] == ["unknown"]
    await ask()
    assert [record.provenance for record in tracked.records] == ["unknown", "reported"]
    assert noted == ["an answer could not be read; recorded as unknown"]


class Request:
    part = "p"
    ended = True
    rests = False
    began = 0.0

    def __init__(self) -> None:
        self.counted = threading.Event()

    def advance(self) -> bool:
        self.counted.set()
        return True

    def give_up(self) -> None: ...


def test_a_thread_that_has_died_is_started_again_and_said(monkeypatch: pytest.MonkeyPatch, noted: list[str]) -> None:
    """As one that had no memory left for its own work: what it had open is counted by the next one."""
    died = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: died.set())
    made = counting._Counting()
    wait, first, second = made._wait, Request(), Request()

    def die() -> None:
        made._wait = wait
        raise MemoryError

    made._wait = die
    made.follow(first)
    assert died.wait(PATIENCE_SECONDS)
    made.follow(second)
    assert first.counted.wait(PATIENCE_SECONDS)
    assert second.counted.wait(PATIENCE_SECONDS)
    assert noted == ["the counting thread has died; the next request starts it again"]


async def test_the_end_of_a_call_waits_for_what_is_counted_and_for_nothing_of_the_hosts(full_executor: None) -> None:
    """The host's own work has filled the loop's executor."""

    class Slow(Request):
        def advance(self) -> bool:
            time.sleep(0.05)
            return super().advance()

    request = Slow()
    counting.follow(request)
    async with asyncio.timeout(10):
        await counting.finished("p")
    assert request.counted.is_set()
    assert not counting.unsettled("p")


def test_a_thread_that_could_not_be_started_is_started_by_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have no room for one at the moment."""
    made, first, second = counting._Counting(), Request(), Request()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            made.follow(first)
    made.follow(second)
    assert first.counted.wait(PATIENCE_SECONDS)
    assert second.counted.wait(PATIENCE_SECONDS)


class Resting(Request):
    """Runs on in the background; may be given up in the very moment in which it is laid to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.rests, self.ended = True, False
        self.looked = threading.Event()

    def advance(self) -> bool:
        self.looked.set()
        return not self.rests

    def give_up(self) -> None:
        self.rests, self.ended = False, True


def test_one_that_is_given_up_on_its_way_to_rest_is_settled() -> None:
    """Whether it is still looked at, or rests already."""
    made = counting._Counting()
    for _ in range(50):
        request = Resting()
        made.follow(request)
        assert request.looked.wait(PATIENCE_SECONDS)
        made.give_up("p")
        assert made.settle("p", PATIENCE_SECONDS)
    assert not made._open
    assert not made._resting
