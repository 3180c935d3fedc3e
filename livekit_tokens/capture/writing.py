"""Writing for a part: what an open one and one that is closed from the start have in common."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from livekit_tokens.capture.labels import labelled
from livekit_tokens.core import faults
from livekit_tokens.core.lines import Done, Late, More, Pend
from livekit_tokens.domain.sessions import BY_HAND, Part, of_session, suffix
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UNKNOWN_FEATURE, UsageRecord

if TYPE_CHECKING:
    from livekit_tokens.capture.part import Process

OnUsage = Callable[[UsageRecord], None]

_REMEMBERED = 512


class PartWriter:
    """Writes one part's records. `agent` answers who speaks now."""

    def __init__(
        self,
        part: Part,
        process: Process,
        *,
        agent: Callable[[], str | None],
        feature: str | None = None,
        on_usage: OnUsage | None = None,
    ) -> None:
        self.part = part
        self._process = process
        self._recorder = process.recorder
        self.now = process.now
        self.agent = agent
        self._part_feature = feature or UNKNOWN_FEATURE
        self._on_usage = on_usage
        self.counted = 0
        self._loop = _running_loop()

    def feature(self) -> str:
        """For what it is spent now: as the context says, else the part."""
        return labelled() or self._part_feature

    def new_record(self, **fields: Any) -> UsageRecord:
        """A record of this part: now, by the agent that speaks now, for the feature that the context says."""
        if "at" not in fields:
            fields["at"] = self.now()
        if "agent" not in fields:
            fields["agent"] = self.agent()
        if "feature" not in fields:
            fields["feature"] = self.feature()
        return UsageRecord(part=self.part.key, **fields)

    def write(self, record: UsageRecord, settles: str | None = None, also_known_as: str | None = None) -> int:
        """Record it for good; answers its number, 0 if the app has told of it by hand already.

        Whatever part the request began in, it belongs to the one that is written for when it is settled. `settles`
        and `also_known_as`: its pending request, and another id that the provider has given it. `on_usage` hears of it
        in the loop in which the part began, whatever thread this is.
        """
        record, seq = self.put(record, settles, also_known_as)
        if seq is None:
            return 0
        self._count(record)
        return seq

    def tell(self, record: UsageRecord) -> UsageRecord:
        """Record for good what the app tells by hand, unless it has been seen; answers the record that counts."""
        self._recorder.make_records()  # they have been seen
        counts, is_new = self.put_told(record)
        if is_new:  # and not before: whoever `on_usage` waits for may record by hand, too
            self._count(counts)
        return counts

    def put(
        self, record: UsageRecord, settles: str | None, also_known_as: str | None
    ) -> tuple[UsageRecord, int | None]:
        """`write`, before anybody hears of it: the record as it is this part's, and its number."""
        record = self._adopted(record)
        if settles is None:
            return record, self._record(record, None)
        witnessed = self._process.witnessed
        seq = witnessed.see(self.part.session_id, record, also_known_as, settles, self._record, late=self._come_late)
        if seq is None:
            self._recorder.unpend(settles)
        return record, seq

    def put_told(self, record: UsageRecord) -> tuple[UsageRecord, bool]:
        """`tell`, before anybody hears of it: the record that counts, and whether it was written now."""
        record = self._adopted(record)
        written: list[int] = []

        def write(settles: str | None) -> int:
            written.append(self._record(record, settles))
            return written[0]

        counts = self._process.witnessed.tell(self.part.session_id, record, write, self._come_late)
        return counts, bool(written)

    def _count(self, record: UsageRecord) -> None:
        if record.service != "tool":  # what the call itself spends, and no code of the host's beside it
            self.counted += 1
        if self._on_usage is None:
            return
        if self._loop is not None and self._loop is not _running_loop():
            with suppress(RuntimeError):  # closed: then there is none to disturb either
                self._loop.call_soon_threadsafe(self._call_on_usage, record)
                return
        self._call_on_usage(record)

    def unpend(self, pending: str) -> None:
        self._process.witnessed.end(pending)
        self._recorder.unpend(pending)

    def late(self, late: Late) -> None:
        self._recorder.late(late)

    def _come_late(self, of: int, units: Units) -> None:
        self.late(Late(of, self.now(), units))

    def later(self, work: Callable[[], None]) -> None:
        """Do it in the background, when that comes round, if it does: within half a second, mostly."""
        self._recorder.later(work)

    def _record(self, record: UsageRecord, settles: str | None) -> int:
        return self._recorder.record(record, settles)

    def _call_on_usage(self, record: UsageRecord) -> None:
        assert self._on_usage is not None
        try:
            self._on_usage(record)
        except Exception as error:  # noqa: BLE001 - the host's callback must not harm the record or the call
            faults.note("on_usage raised", error)

    def pend(self, pend: Pend) -> None:
        if self._process.witnessed.begin(self.part.session_id, pend.id, pend.record.model):
            record = self._adopted(pend.record)
            self._recorder.pend(pend if record is pend.record else msgspec.structs.replace(pend, record=record))

    def name(self, pend: Pend, ids: Collection[str]) -> None:
        """The provider has given a request in flight these ids."""
        if self._process.witnessed.name(pend.id, ids):
            self.pend(pend)

    def more(self, more: More) -> None:
        self._recorder.more(more)

    def done(self, done: Done, make: Callable[[Done], UsageRecord]) -> None:
        """A pending request has ended so. Its record is made aside, unless somebody hears of each as it is written, or
        something that was told by hand may be the same."""
        if self._on_usage is None and not self._process.witnessed.has_told:
            self.counted += 1
            self._recorder.done(done, make, self._put_made)
        else:
            self.write(make(done), done.id)

    def _put_made(self, record: UsageRecord, settles: str) -> None:
        self.put(record, settles, None)

    def _adopted(self, record: UsageRecord) -> UsageRecord:
        return record if record.part == self.part.key else replace(record, part=self.part.key)


class ClosedPart(PartWriter):
    """A part that is closed from its first record on, and ends with its latest.

    For what is spent where no part is open: after a call's end, in a session that is only named, in none at all.
    Nothing has to remember to close it, and a session does not seem to go on for it.
    """

    def __init__(self, like: Part, process: Process, reason: str, on_usage: OnUsage | None = None) -> None:
        part = replace(like, key=process.new_key(), status="closed", ended_at=None, close_reason=reason)
        super().__init__(part, process, agent=lambda: None, on_usage=on_usage)
        self._reaching = threading.Lock()

    def take_over(self, part: str) -> None:
        """What that part has in flight, which ends now, goes on in this one."""
        if began := self._recorder.in_flight(part):
            self._reach(min(began))
            self._recorder.hand_over(part, self.part.key)

    def _record(self, record: UsageRecord, settles: str | None) -> int:
        self._reach(record.at)
        return self._recorder.record(record, settles)

    def pend(self, pend: Pend) -> None:
        self._reach(pend.at)
        super().pend(pend)

    def _reach(self, at: Micros) -> None:
        with self._reaching:
            part = self.part
            first, last = (at, at) if part.ended_at is None else (part.started_at, part.ended_at)
            self.part = replace(part, started_at=min(first, at), ended_at=max(last, at))
            self._recorder.put_part(self.part)


class ClosedParts:
    """The closed parts of this process that belong to no call: by session and user; the ones used last are kept, and
    so is whose the sessions were that it left last."""

    def __init__(self) -> None:
        self._parts: OrderedDict[tuple[str, str | None], ClosedPart] = OrderedDict()
        self._left: OrderedDict[str, Part] = OrderedDict()
        self._unattributed: str | None = None
        self._finding = threading.Lock()

    def unattributed(self, key: str) -> tuple[str, bool]:
        """The session of what belongs to none, one a process, and whether it is new; `key` is a part's, for its id."""
        with self._finding:
            is_new = self._unattributed is None
            self._unattributed = self._unattributed or f"unattributed_{suffix(int(key, 16))}"
            return self._unattributed, is_new

    def leave(self, part: Part) -> None:
        """An open part is about to end: what is told of its session by its name is its user's, too."""
        with self._finding:
            self._left[part.session_id] = self._left.pop(part.session_id, part)
            if len(self._left) > _REMEMBERED:
                self._left.popitem(last=False)

    def of(self, session_id: str, user: str | None, process: Process) -> ClosedPart:
        with self._finding:
            found = self._parts.get((session_id, user))
            if found is None:
                like = Part(key="", session_id=session_id, started_at=0, user=user, tags=dict(process.tags))
                if (first := self._left.get(session_id)) is not None:
                    like = of_session(like, first)
                found = self._parts[session_id, user] = ClosedPart(like, process, BY_HAND)
                if len(self._parts) > _REMEMBERED:
                    self._parts.popitem(last=False)
            self._parts.move_to_end((session_id, user))
            return found


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
