"""What one realtime session has in flight: requests that were begun and whose figures have not come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from livekit_tokens.core.estimates.output import Usual
from livekit_tokens.core.estimates.prompt import Expected
from livekit_tokens.core.lines import Begun, Ended, Late, More
from livekit_tokens.core.pending import TRANSCRIPTION
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UsageRecord

_MOST_ESTIMATES = 512


class Writer(Protocol):
    """What a witness needs of the part it works for."""

    @property
    def part(self) -> Part: ...
    def now(self) -> Micros: ...
    def agent(self) -> str | None: ...
    def feature(self) -> str: ...
    def write(self, record: UsageRecord, settles: str | None = None) -> int: ...
    def pend(self, pend: Begun) -> None: ...
    def more(self, more: More) -> None: ...
    def end(self, ended: Ended) -> None: ...
    def unpend(self, pending: str) -> None: ...
    def late(self, late: Late) -> None: ...


class Unsettled:
    """Numbers what is in flight, writes it, and knows when all that is awaited has been settled.

    The session's events say at once what is in flight; what becomes of it is noted, and told here when that is read.
    """

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

    # -- by the session's events ----------------------------------------------------------------------------------

    def response(self, request_id: str | None, feature: str | None, ahead: tuple[Expected, Usual]) -> Begun:
        """A response under the model that serves now, of the agent that speaks; it is not in flight yet."""
        model, provider = self.model()
        writer = self.writer
        return Begun(
            self._new_id(),
            writer.now(),
            writer.part.key,
            "agent",
            "realtime_response",
            provider,
            model,
            writer.agent(),
            feature or writer.feature(),
            request_id,
            *ahead,
        )

    def transcription(self, item: str | None, model: str, heard_ms: int | None) -> Begun:
        """A transcription of an item, likewise."""
        _, provider = self.model()
        writer = self.writer
        return Begun(
            self._new_id(),
            writer.now(),
            writer.part.key,
            "transcriber",
            TRANSCRIPTION,
            provider,
            model,
            writer.agent(),
            writer.feature(),
            item,
            heard_ms=heard_ms,
        )

    def _new_id(self) -> str:
        self._numbers += 1
        return f"{self._prefix}.{self._numbers}"

    def begin(self, begun: Begun) -> None:
        """It is in flight."""
        self._awaited.add(begun.id)
        self._all_settled.clear()
        self.writer.pend(begun)

    def again(self, begun: Begun) -> None:
        """More is known of what is in flight."""
        self.writer.pend(begun)

    def end(self, ended: Ended) -> None:
        """It has brought its figures, and its record follows."""
        self.writer.end(ended)
        self.await_no_more(ended.id)

    def await_no_more(self, pending: str) -> None:
        """What is in flight is not likely to bring its figures any more; it may, until its channel closes."""
        self._awaited.discard(pending)
        if not self._awaited:
            self._all_settled.set()

    async def all_settled(self) -> None:
        await self._all_settled.wait()

    # -- by what was noted ----------------------------------------------------------------------------------------

    def forget(self, pending: str) -> None:
        """What was expected never began."""
        self.writer.unpend(pending)

    def settle(self, pending: str | None, record: UsageRecord) -> None:
        """The record of a request; `pending` names it if it was in flight."""
        seq = self.writer.write(record, pending)
        if record.provenance == "estimated" and record.request_id:
            self._estimates[record.request_id] = seq
            if len(self._estimates) > _MOST_ESTIMATES:
                del self._estimates[next(iter(self._estimates))]

    def come_late(self, request_id: str, units: Units) -> None:
        """Figures of a request that was estimated: kept beside the estimate, to check it by, and not summed."""
        seq = self._estimates.pop(request_id, None)
        if seq is not None:
            self.writer.late(Late(seq, self.writer.now(), units))
