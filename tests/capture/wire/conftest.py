"""A provider with a bill, and a part whose money is spent."""

from __future__ import annotations

import itertools
import wave
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from io import BytesIO
from typing import Any

import pytest

from livekit_tokens.capture import spending
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.wire import account, counting, exchange, watch
from livekit_tokens.core import faults, vocabulary
from livekit_tokens.core.calibration import Calibration
from livekit_tokens.core.lines import Done, Late, More, Pend
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key
from tests.capture.wire.provider import Provider
from tests.waiting import PATIENCE_SECONDS


class Paper:
    """A part that keeps what was written, and what is in flight as the spool would know it."""

    def __init__(self, key: str | None = None) -> None:
        self.part = Part(key=key or new_key(), session_id="local_1", started_at=0)
        self.ended = False
        self.pending: dict[str, Pend] = {}
        self.progress: dict[str, More] = {}
        self.written: list[UsageRecord] = []
        self.told_late: list[Late] = []
        self._clock = itertools.count(1_000_000)

    def now(self) -> int:
        return next(self._clock)

    def agent(self) -> str | None:
        return "greeter"

    def feature(self) -> str:
        return "unknown"

    def new_record(self, **fields: Any) -> UsageRecord:
        return UsageRecord(part=self.part.key, **{"at": self.now()} | fields)

    def pend(self, pend: Pend) -> None:
        self.pending[pend.id] = pend

    def name(self, pend: Pend, ids: Collection[str]) -> None: ...

    def more(self, more: More) -> None:
        self.progress[more.id] = more

    def done(self, done: Done, make: Callable[[Done], UsageRecord]) -> None:
        self.write(make(done), done.id)

    def late(self, late: Late) -> None:
        self.told_late.append(late)

    def unpend(self, pending: str) -> None:
        self.pending.pop(pending)

    def write(self, record: UsageRecord, settles: str | None = None, also_known_as: str | None = None) -> int:
        if settles is not None:
            self.pending.pop(settles)
        self.written.append(record)
        return len(self.written)

    @property
    def records(self) -> list[UsageRecord]:
        """What was written, once all that has ended is counted."""
        assert counting.settle(self.part.key, PATIENCE_SECONDS)
        return self.written


@pytest.fixture(scope="session", autouse=True)
def _vocabulary() -> None:
    vocabulary.load()


@pytest.fixture(autouse=True)
def _wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The wire is in for each test, knows no bills yet, and nothing goes wrong on it unnoticed."""
    monkeypatch.setattr(account, "_calibration", Calibration())
    before = faults.counts()
    watch.install()
    yield
    watch.uninstall()
    counting._counting._resting.clear()
    exchange.awaited.clear()
    exchange.given_up.clear()
    assert faults.counts() == before


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider().running() as provider:
        yield provider


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def tracked(paper: Paper) -> Iterator[Paper]:
    """All that this test does is a tracked call's."""
    spending.spend(Spending(Payer(lambda: paper), "greeter"))
    yield paper
    spending.spend(None)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of faults that are noted meanwhile, each time."""
    kinds: list[str] = []
    monkeypatch.setattr(faults, "note", lambda kind, *_, **__: kinds.append(kind))
    return kinds


def wav(seconds: float, rate: int = 16_000) -> bytes:
    made = BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(round(seconds * rate) * 2))
    return made.getvalue()
