"""One part of a session while it lives: what capture writes through, and how it ends."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from weakref import WeakSet

from livekit_tokens.capture import spending
from livekit_tokens.capture.who import BY_IDENTITY, Naming, Whose
from livekit_tokens.capture.wire import counting
from livekit_tokens.capture.writing import ClosedPart, ClosedParts, OnUsage, PartWriter
from livekit_tokens.core import faults
from livekit_tokens.core.aside import aside
from livekit_tokens.core.health import Health
from livekit_tokens.core.lines import Pend
from livekit_tokens.core.unrecorded import Recording, Unrecorded
from livekit_tokens.core.witnessed import Witnessed
from livekit_tokens.domain.sessions import AFTERWARDS, Part, Stay, ended
from livekit_tokens.domain.summary import ServiceLine, SessionSummary, summarize
from livekit_tokens.domain.times import Micros, to_datetime
from livekit_tokens.domain.usage import UsageRecord

__all__ = ["UNTRACKED", "LivePart", "OnEnd", "OnUsage", "OpenParts", "Process"]

logger = logging.getLogger("livekit_tokens")

UNTRACKED = "untracked"
SYNC_SECONDS = 2.0
"""How long the end of a part waits for the disk: LiveKit gives all shutdown callbacks together 10 s."""
COUNT_SECONDS = 0.02
"""How long a summary waits where there is no loop for what has just come over the wire to be counted: that takes a
millisecond."""
DRAIN_SECONDS = 2.0
"""How long the end of a part waits for the ledger; what is not there by then follows from the spool."""
PRICE_SECONDS = 1.0
"""How long it waits for prices that are not at hand yet (the drain has asked for the same ones by then)."""

_UNSYNCED = "the end of a part is not on disk yet"

OnEnd = Callable[[SessionSummary], Awaitable[None] | None]
Flush = Callable[[float], Awaitable[bool]]


class OpenParts:
    """The parts that this process writes now, for as long as their calls hold them; they begin in many threads."""

    def __init__(self) -> None:
        self._parts: WeakSet[LivePart] = WeakSet()
        self._adding = threading.Lock()

    def add(self, part: LivePart) -> None:
        with self._adding:
            self._parts.add(part)

    def summaries(self) -> list[SessionSummary]:
        """As they stand, oldest first."""
        with self._adding:
            parts = [part for part in self._parts if not part.ended]
        return sorted((part.summary() for part in parts), key=lambda s: (s.started_at, s.session_id))


@dataclass(frozen=True, slots=True)
class Process:
    """What the process gives to capture: its recorder, a wait for its ledger, the wall clock, new keys for parts,
    how people are named, how long a caller may be gone (seconds) before the call counts as over, the tags of its
    every part, whether recording by hand waits for the disk, as no call does, and how it fares. It remembers what is
    open, and what was recorded by hand."""

    recorder: Recording
    flush: Flush
    now: Callable[[], Micros]
    new_key: Callable[[], str]
    naming: Naming = BY_IDENTITY
    rejoin_grace: float = 15.0
    tags: Mapping[str, str] = field(default_factory=dict)
    waits_for_disk: bool = False
    health: Callable[[], Health] = Health
    open_parts: OpenParts = field(default_factory=OpenParts)
    closed_parts: ClosedParts = field(default_factory=ClosedParts)
    witnessed: Witnessed = field(default_factory=Witnessed)

    @classmethod
    def of_nobody(cls, now: Callable[[], Micros], new_key: Callable[[], str]) -> Process:
        """A process that keeps nothing but sums in memory."""

        async def flush(_: float) -> bool:
            return True

        return cls(Unrecorded(), flush, now, new_key)


class LivePart(PartWriter):
    """Writes one part's records and its end. What is spent when it is over is written for a part of its own."""

    def __init__(
        self,
        part: Part,
        process: Process,
        *,
        agent: Callable[[], str | None],
        feature: str | None = None,
        on_end: OnEnd | None = None,
        on_usage: OnUsage | None = None,
        on_final: Callable[[SessionSummary], None] | None = None,
        said_at: int = logging.INFO,
    ) -> None:
        super().__init__(part, process, agent=agent, feature=feature, on_usage=on_usage)
        self._said_at = said_at
        self._flush = process.flush
        self._on_final = on_final
        self._on_end = on_end
        self._stays: dict[str, Stay] = {}
        self._final: SessionSummary | None = None
        # Records come from any thread: each stands in the final summary, or in what is written afterwards.
        self._fixing = threading.RLock()
        self._after: ClosedPart | None = None
        self._recorder.put_part(part)
        self._tally = self._recorder.tally(part.key)
        if part.session_id != UNTRACKED:
            process.open_parts.add(self)
        self._say("tracking began")

    @property
    def ended(self) -> bool:
        return self._final is not None

    # -- while it lives -------------------------------------------------------------------------------------------

    def put(
        self, record: UsageRecord, settles: str | None, also_known_as: str | None
    ) -> tuple[UsageRecord, int | None]:
        with self._fixing:
            if self._final is None:
                return super().put(record, settles, also_known_as)
        return self.afterwards.put(record, settles, also_known_as)

    def put_told(self, record: UsageRecord) -> tuple[UsageRecord, bool]:
        with self._fixing:
            if self._final is None:
                return super().put_told(record)
        return self.afterwards.put_told(record)

    def pend(self, pend: Pend) -> None:
        with self._fixing:
            if self._final is None:
                return super().pend(pend)
        return self.afterwards.pend(pend)

    @property
    def afterwards(self) -> ClosedPart:
        """For what is spent when this part has ended: the summary that was given out stays true."""
        with self._fixing:
            if self._after is None:
                self._after = ClosedPart(self.part, self._process, AFTERWARDS, self._on_usage)
            return self._after

    def put_stay(self, stay: Stay) -> None:
        self._stays[stay.sid] = stay
        self._recorder.put_stay(stay)

    def is_of(self, whose: Whose) -> None:
        """Whose call it is, as far as that is known now; nothing is written if it is known already."""
        with self._fixing:
            part = replace(self.part, user=whose.user, user_name=whose.user_name, tenant=whose.tenant)
            if not self.ended and part != self.part:
                self.part = part
                self._recorder.put_part(part)

    # -- its summary and end --------------------------------------------------------------------------------------

    def summary(self) -> SessionSummary:
        """What it adds up to now, from memory; after the end, what it was. Where a loop runs, it waits for nothing."""
        if self._final is None and not spending.is_in_loop():
            counting.settle(self.part.key, COUNT_SECONDS)
        return self._final or self._summary(self.part, self._recorder.unmade(self.part.key))

    def fix(self, reason: str | None, at: Micros | None = None) -> SessionSummary:
        """End the part, now or at a time that has passed: from here on its summary does not change, but for prices
        that were not at hand yet. What is in flight goes on in a part of its own. Idempotent."""
        self._recorder.make_records()
        with self._fixing:
            if self._final is not None:
                return self._final
            part = ended(self.part, at or self.now(), reason)
            charges = self._recorder.charges(part)
            for charge in charges:
                self._record(charge, None)
            self._final = self._summary(part)
            self._process.closed_parts.leave(part)
            self.afterwards.take_over(part.key)
            self.part = part
            self._recorder.put_part(part)
        for charge in charges:
            self._count(charge)
        return self._told(self._final)

    async def finish(self, reason: str | None, at: Micros) -> SessionSummary:
        """End the part as it was at a time, once what went over the wire is counted; then `settle`."""
        with self._giving_up("the end of a part did not wait for what went over the wire"):
            await counting.finished(self.part.key)
        self.fix(reason, at)
        return await self.settle()

    def close(self, reason: str) -> None:
        """End the part and make the end durable, for who has no loop to wait in; blocks for the disk."""
        counting.settle(self.part.key, counting.SETTLE_SECONDS)
        self.fix(reason)
        self.sync()
        if self._tally.waits:
            self._tally.price_all()
            self._price_final()
        self._say(str(self.summary()))

    async def settle(self) -> SessionSummary:
        """After `fix`: make the end durable, give the ledger a moment, say the receipt, call `on_end` once.

        None of it waits for longer than said, nor for the host's executor, and `on_end` is called whatever fails.
        """
        with self._giving_up(_UNSYNCED):
            await aside(self.sync, SYNC_SECONDS)
        with self._giving_up("the end of a part could not wait for the ledger"):
            await self._flush(DRAIN_SECONDS)
            if waits := self._process.health().waits:
                self._say(f"not all is in the ledger yet: {waits}")
        with self._giving_up("prices did not come in time for a receipt; the ledger will have them"):
            await self._price_all()
        summary = self.summary()
        self._say(str(summary))
        await self._call_on_end(summary)
        return summary

    @contextmanager
    def _giving_up(self, kind: str) -> Iterator[None]:
        """What takes too long or fails is noted, and the end goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the host waits for its `on_end`
            faults.note(kind, error, part=self.part.key)

    def sync(self) -> None:
        """After `fix`: make the end durable; blocks for the disk."""
        if not self._recorder.sync():
            faults.note(_UNSYNCED, part=self.part.key)

    async def _price_all(self) -> None:
        """A short call may be over before its models' prices are at hand; the final summary has them all the same."""
        if self._tally.waits:
            try:
                await aside(self._tally.price_all, PRICE_SECONDS)
            finally:
                self._price_final()

    def _price_final(self) -> None:
        """The same with the prices that have come since."""
        self._final = self._told(self._summary(self.part))

    def _told(self, final: SessionSummary) -> SessionSummary:
        if self._on_final is not None:
            self._on_final(final)
        return final

    def _say(self, text: str) -> None:
        if self.part.session_id != UNTRACKED:
            logger.log(self._said_at, "%s", text, extra={"session_id": self.part.session_id, "part": self.part.key})

    async def _call_on_end(self, summary: SessionSummary) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        try:
            answer = on_end(summary)
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:  # noqa: BLE001 - the host's callback must not harm other shutdown callbacks
            faults.note("on_end raised", error)

    def _summary(self, part: Part, coming: Collection[UsageRecord] = ()) -> SessionSummary:
        services = (
            ServiceLine(service, provider, model, to_datetime(part.started_at), _datetime(part.ended_at), totals)
            for (service, provider, model), totals in self._tally.lines(coming)
        )
        return summarize([part], services, self._stays.values(), now=self.now())


def _datetime(at: Micros | None) -> datetime | None:
    return None if at is None else to_datetime(at)
