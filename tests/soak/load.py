"""What a writer writes: calls with bursts, requests in flight, people who come and go, parts that begin and end.

Every record has a request id of its own, and its units follow from that id: whoever finds it in a ledger can say
whether it is whole. A request in flight and the record that settles it have the same id: both must never be there.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from zlib import crc32

from livekit_tokens.core.estimates.output import Usual
from livekit_tokens.core.estimates.prompt import Expected
from livekit_tokens.core.lines import Done, More, Pend, counts_in
from livekit_tokens.core.pending import settled
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.sessions import Part, Stay, ended
from livekit_tokens.domain.usage import UsageRecord
from tests.soak.prices import MODELS
from tests.soak.told import Teller

_READS = Expected((40, 60, 0), (3, 3, 0), (0, 0, 0), (1.0, 0.0, 1.0), calibrated=True)
_MOST_PARTS, _MOST_IN_FLIGHT = 3, 4


def units_of(request: str) -> dict[str, int]:
    """The units of the record with this request id."""
    number = crc32(request.encode())
    return {"input_text": 1 + number % 997, "output_audio": 1 + (number >> 10) % 97}


def record_of(part: str, at: int, request: str) -> UsageRecord:
    """The record with this request id."""
    return UsageRecord(
        part=part,
        at=at,
        service="agent",
        provider="openai",
        model=MODELS[crc32(request.encode()) % len(MODELS)],
        operation="realtime_response",
        units=units_of(request),
        request_id=request,
    )


def usage_of(request: str) -> dict[str, object]:
    """The same as a provider tells it."""
    units = units_of(request)
    details = {"output_token_details": {"audio_tokens": units["output_audio"]}}
    return {"input_tokens": units["input_text"], "output_tokens": units["output_audio"], **details}


def now() -> int:
    return time.time_ns() // 1000


@dataclass(slots=True)
class _Flight:
    pend: Pend
    audio_ms: int = 0


class Load:
    """Puts a seeded load on a recorder and tells each thing when the recorder has returned from it."""

    def __init__(
        self,
        recorder: Recorder,
        teller: Teller,
        seed: int,
        pause: float,
        behind_s: int = 0,
        *,
        figures: bool = True,
    ) -> None:
        self._recorder = recorder
        self._teller = teller
        self._rng = random.Random(seed)
        self._pause = pause
        self._behind_us = behind_s * 1_000_000
        self._figures = figures
        self._source = recorder.source.id
        self._numbers = itertools.count(1)
        self._parts: list[Part] = []
        self._stays: dict[str, Stay] = {}
        self._flights: list[_Flight] = []
        self.longest_s = 0.0
        self.written = 0

    def _now(self) -> int:
        return now() - self._behind_us

    def step(self) -> None:
        """One thing that happens in a call."""
        self._open_parts()
        steps: tuple[Callable[[], None], ...] = (self._burst, self._begin_request, self._output, self._settle)
        self._rng.choices((*steps, self._move, self._close_one, self._wait), (3, 6, 8, 6, 2, 1, 3))[0]()

    def record(self) -> UsageRecord:
        """One plain record."""
        record = self.next_record()
        self._write(record, None)
        return record

    def end(self) -> None:
        """Settle what is in flight and close every part, as the end of a call does."""
        for flight in list(self._flights):
            self._settle_one(flight)
        for part in list(self._parts):
            self._close(part)

    # -- what can happen ------------------------------------------------------------------------------------------

    def _open_parts(self) -> None:
        while len(self._parts) < 1 or (len(self._parts) < _MOST_PARTS and self._rng.random() < 0.05):
            key = f"{self._rng.getrandbits(128):032x}"
            part = Part(key=key, session_id=f"room_{key[:9]}", started_at=self._now(), user="ada", tags={"a": "b"})
            self._recorder.put_part(part)
            self._teller.part_opened(key)
            self._parts.append(part)

    def _burst(self) -> None:
        for _ in range(self._rng.randint(1, 40)):
            self.record()

    def _begin_request(self) -> None:
        if len(self._flights) >= _MOST_IN_FLIGHT:
            return
        request = self._new_request()
        record = replace(self._record(request, self._rng.choice(self._parts).key), units={}, provenance="unknown")
        pend = Pend(f"p{request}", self._now(), record, _READS, Usual())
        self._teller.emitted(request)
        self._recorder.pend(pend)
        self._teller.in_flight(request)
        self._flights.append(_Flight(pend))

    def _output(self) -> None:
        if self._flights:
            flight = self._rng.choice(self._flights)
            flight.audio_ms += 200
            self._recorder.more(More(flight.pend.id, self._now(), flight.audio_ms, flight.audio_ms // 100))

    def _settle(self) -> None:
        if self._flights:
            self._settle_one(self._rng.choice(self._flights))

    def _settle_one(self, flight: _Flight) -> None:
        """By a record, or, as a realtime session does, by the figures that one is made of aside."""
        self._flights.remove(flight)
        record = flight.pend.record
        request = record.request_id or ""
        if not self._figures or self._rng.random() < 0.5:
            self._write(self._record(request, record.part), flight.pend.id)
        else:
            done = Done(flight.pend.id, self._now(), counts_in(usage_of(request)), request_id=request)
            make = partial(settled, flight.pend)
            self._timed(request, lambda: self._recorder.done(done, make, self._recorder.record))

    def _move(self) -> None:
        part = self._rng.choice(self._parts)
        stay = self._stays.pop(part.key, None)
        if stay is None:
            stay = self._stays[part.key] = Stay(part.key, f"PA_{next(self._numbers)}", "caller", "Ada", self._now())
            self._recorder.put_stay(stay)
        else:
            self._recorder.put_stay(replace(stay, left_at=self._now()))

    def _close_one(self) -> None:
        part = self._rng.choice(self._parts)
        for flight in [flight for flight in self._flights if flight.pend.record.part == part.key]:
            self._settle_one(flight)
        self._close(part)

    def _close(self, part: Part) -> None:
        self._parts.remove(part)
        self._recorder.make_records()
        self._recorder.put_part(ended(part, self._now(), "participant_disconnected"))
        self._teller.part_closed(part.key)

    def _wait(self) -> None:
        time.sleep(self._rng.uniform(0, self._pause))

    # -- one record -----------------------------------------------------------------------------------------------

    def _write(self, record: UsageRecord, settles: str | None) -> None:
        self._timed(record.request_id or "", lambda: self._recorder.record(record, settles))

    def _timed(self, request: str, write: Callable[[], object]) -> None:
        self._teller.emitted(request)
        began = time.perf_counter()
        write()
        self.longest_s = max(self.longest_s, time.perf_counter() - began)
        self._teller.recorded(request)
        self.written += 1

    def next_record(self) -> UsageRecord:
        """A record that is not written yet."""
        self._open_parts()
        return self._record(self._new_request(), self._rng.choice(self._parts).key)

    def write(self, record: UsageRecord) -> None:
        self._write(record, None)

    def _new_request(self) -> str:
        return f"{self._source}-{next(self._numbers)}"

    def _record(self, request: str, part: str) -> UsageRecord:
        return record_of(part, self._now(), request)
