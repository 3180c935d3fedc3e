"""What one realtime session has in flight: requests that were begun and whose figures have not come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from livekit_tokens.capture.spending import Writer
from livekit_tokens.core.estimates.output import Usual
from livekit_tokens.core.estimates.prompt import Expected
from livekit_tokens.core.lines import Done, Late, Pend
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UsageRecord

_MOST_ESTIMATES = 512


class Unsettled:
    """Numbers what is in flight, writes it, and knows when all that is awaited has been settled."""

    def __init__(self, writer: Writer, model: Callable[[], tuple[str, str]], prefix: str) -> None:
        self.writer = writer
        self.model = model
        self._prefix = prefix
        self._numbers = 0
        self._awaited: set[str] = set()
        self._estimates: dict[str, int] = {}
        self._all_settled = asyncio.Event()
        self._all_settled.set()

    @property
    def awaited(self) -> int:
        """How many may still bring their figures."""
        return len(self._awaited)

    def response(self, record: UsageRecord, expected: Expected, usual: Usual) -> Pend:
        """A response is in flight: what it is expected to read, and what answers are like."""
        return self._begin(Pend(self._new_id(), record.at, record, expected, usual))

    def transcription(self, record: UsageRecord, spoken_ms: int | None) -> Pend:
        """A transcription is in flight, of so much audio as far as that is known."""
        return self._begin(Pend(self._new_id(), record.at, record, complete=spoken_ms is None, spoken_ms=spoken_ms))

    def _new_id(self) -> str:
        self._numbers += 1
        return f"{self._prefix}.{self._numbers}"

    def _begin(self, pend: Pend) -> Pend:
        self._awaited.add(pend.id)
        self._all_settled.clear()
        self.writer.pend(pend)
        return pend

    def again(self, pend: Pend) -> None:
        """Something else is known of a request in flight than its line says."""
        self.writer.pend(pend)

    def forget(self, pending: str) -> None:
        """What was expected never began."""
        self.writer.unpend(pending)
        self.await_no_more(pending)

    def settle(self, pending: str | None, record: UsageRecord) -> None:
        """The record of a request; `pending` names it if it was in flight."""
        seq = self.writer.write(record, pending)
        if pending is not None:
            self.await_no_more(pending)
        if seq and record.provenance == "estimated" and record.request_id:
            self._estimates[record.request_id] = seq
            if len(self._estimates) > _MOST_ESTIMATES:
                del self._estimates[next(iter(self._estimates))]

    def done(self, done: Done, make: Callable[[Done], UsageRecord]) -> None:
        """The provider has told the figures of a request in flight; its record is made of them aside."""
        self.writer.done(done, make)
        self.await_no_more(done.id)

    def come_late(self, request_id: str, units: Units) -> None:
        """Figures of a request that was estimated: kept beside the estimate, to check it by, and not summed."""
        seq = self._estimates.pop(request_id, None)
        if seq is not None:
            self.writer.late(Late(seq, self.writer.now(), units))

    def await_no_more(self, pending: str) -> None:
        """What is in flight is not likely to bring its figures any more; it may, until its channel closes."""
        self._awaited.discard(pending)
        if not self._awaited:
            self._all_settled.set()

    async def all_settled(self) -> None:
        await self._all_settled.wait()
