"""One part of a session while it lives: what capture writes through, and how it ends."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from livekit_tokens.capture import spending
from livekit_tokens.capture.who import BY_IDENTITY, Naming, Whose
from livekit_tokens.capture.wire import counting
from livekit_tokens.core import faults
from livekit_tokens.core.lines import Pend
from livekit_tokens.core.recorder import Recording, Unrecorded
from livekit_tokens.domain.sessions import Part, Stay, ended
from livekit_tokens.domain.summary import ServiceLine, SessionSummary, summarize
from livekit_tokens.domain.times import Micros, to_datetime
from livekit_tokens.domain.usage import UNKNOWN_FEATURE, UsageRecord

logger = logging.getLogger("livekit_tokens")

UNTRACKED = "untracked"
SYNC_SECONDS = 2.0
"""How long the end of a part waits for the disk: LiveKit gives all shutdown callbacks together 10 s."""
COUNT_SECONDS = 0.02
"""How long a summary waits for what has just come over the wire to be counted: that takes a millisecond."""
DRAIN_SECONDS = 2.0
"""How long the end of a part waits for the ledger; what is not there by then follows from the spool."""
PRICE_SECONDS = 1.0
"""How long it waits for prices that are not at hand yet (the drain has asked for the same ones by then)."""

OnEnd = Callable[[SessionSummary], Awaitable[None] | None]
OnUsage = Callable[[UsageRecord], None]
Flush = Callable[[float], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Process:
    """What the process gives to capture: its recorder, a wait for its ledger, the wall clock, new keys for parts,
    how people are named, and how long a caller may be gone (seconds) before the call counts as over."""

    recorder: Recording
    flush: Flush
    now: Callable[[], Micros]
    new_key: Callable[[], str]
    naming: Naming = BY_IDENTITY
    rejoin_grace: float = 15.0

    @classmethod
    def of_nobody(cls, now: Callable[[], Micros], new_key: Callable[[], str]) -> Process:
        """A process that keeps nothing but sums in memory."""

        async def flush(_: float) -> bool:
            return True

        return cls(Unrecorded(), flush, now, new_key)


class LivePart:
    """Writes one part's records and its end. `agent` answers who speaks now."""

    def __init__(
        self,
        part: Part,
        process: Process,
        *,
        agent: Callable[[], str | None],
        feature: str | None = None,
        on_end: OnEnd | None = None,
        on_usage: OnUsage | None = None,
    ) -> None:
        self._part = part
        self._recorder = process.recorder
        self._flush = process.flush
        self.now = process.now
        self.agent = agent
        self._feature = feature or UNKNOWN_FEATURE
        self._on_end = on_end
        self._on_usage = on_usage
        self._loop = _running_loop()
        self._stays: dict[str, Stay] = {}
        self._final: SessionSummary | None = None
        self._recorder.put_part(part)
        self._tally = self._recorder.tally(part.key)
        self._say("tracking began")

    @property
    def part(self) -> Part:
        return self._part

    @property
    def ended(self) -> bool:
        return self._final is not None

    # -- while it lives -------------------------------------------------------------------------------------------

    def new_record(self, **fields: Any) -> UsageRecord:
        """A record of this part, now, by the agent that speaks now, for the feature that the context says."""
        if "agent" not in fields:
            fields["agent"] = self.agent()
        if "feature" not in fields:
            fields["feature"] = spending.labelled() or self._feature
        return UsageRecord(part=self._part.key, at=self.now(), **fields)

    def write(self, record: UsageRecord, settles: str | None = None) -> None:
        """Record it for good; `on_usage` hears of it in the loop in which the part began, whatever thread this is."""
        self._recorder.record(record, settles)
        if self._on_usage is None:
            return
        if self._loop is not None and self._loop is not _running_loop():
            with suppress(RuntimeError):  # closed: then there is none to disturb either
                self._loop.call_soon_threadsafe(self._tell, record)
                return
        self._tell(record)

    def _tell(self, record: UsageRecord) -> None:
        assert self._on_usage is not None
        try:
            self._on_usage(record)
        except Exception as error:  # noqa: BLE001 - the host's callback must not harm the record or the call
            faults.note("on_usage raised", error)

    def pend(self, pend: Pend) -> None:
        self._recorder.pend(pend)

    def more(self, pending: str, at: Micros, audio_ms: int, tokens: int) -> None:
        self._recorder.more(pending, at, audio_ms, tokens)

    def put_stay(self, stay: Stay) -> None:
        self._stays[stay.sid] = stay
        self._recorder.put_stay(stay)

    def is_of(self, whose: Whose) -> None:
        """Whose call it is, as far as that is known now; nothing is written if it is known already."""
        part = replace(self._part, user=whose.user, user_name=whose.user_name, tenant=whose.tenant)
        if not self.ended and part != self._part:
            self._part = part
            self._recorder.put_part(part)

    # -- its summary and end --------------------------------------------------------------------------------------

    def summary(self) -> SessionSummary:
        """What it adds up to now, from memory; after the end, what it was."""
        if self._final is None:
            counting.settle(self._part.key, COUNT_SECONDS)
        return self._final or self._summary(self._part)

    def fix(self, reason: str | None, at: Micros | None = None) -> SessionSummary:
        """End the part, now or at a time that has passed: from here on its summary does not change, but for prices
        that were not at hand yet. Idempotent."""
        if self._final is None:
            part = ended(self._part, at or self.now(), reason)
            self._final = self._summary(part)
            self._part = part
            self._recorder.put_part(part)
        return self._final

    async def finish(self, reason: str | None, at: Micros) -> SessionSummary:
        """End the part as it was at a time, once what went over the wire is counted; then `settle`."""
        await counting.settled(self._part.key)
        self.fix(reason, at)
        return await self.settle()

    async def settle(self) -> SessionSummary:
        """After `fix`: make the end durable, give the ledger a moment, say the receipt, call `on_end` once."""
        if not await self._synced():
            faults.note("the end of a part is not on disk yet", part=self._part.key)
        await self._flush(DRAIN_SECONDS)
        await self._price_all()
        summary = self.summary()
        self._say(str(summary))
        await self._call_on_end(summary)
        return summary

    async def _synced(self) -> bool:
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._recorder.sync), SYNC_SECONDS)
        except TimeoutError:
            return False

    async def _price_all(self) -> None:
        """A short call may be over before its models' prices are at hand; the final summary has them all the same."""
        if not self._tally.waits:
            return
        try:
            await asyncio.wait_for(asyncio.to_thread(self._tally.price_all), PRICE_SECONDS)
        except TimeoutError:
            faults.note("prices did not come in time for a receipt; the ledger will have them", part=self._part.key)
        self._final = self._summary(self._part)

    def _say(self, text: str) -> None:
        if self._part.session_id != UNTRACKED:
            logger.info("%s", text, extra={"session_id": self._part.session_id, "part": self._part.key})

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

    def _summary(self, part: Part) -> SessionSummary:
        services = (
            ServiceLine(service, provider, model, to_datetime(part.started_at), _datetime(part.ended_at), totals)
            for (service, provider, model), totals, _, _ in self._tally.lines()
        )
        return summarize([part], services, self._stays.values(), now=self.now())


def _datetime(at: Micros | None) -> datetime | None:
    return None if at is None else to_datetime(at)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
