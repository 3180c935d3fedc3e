"""Requests that come twice, and count once: seen by a witness and told by hand, or told again under their own key.

In either order, and neither waits for the other: an app may record an answer whose stream is still open. Within one
session, by the provider's id and the model, among the latest 8,192 requests of the process: what may be of an earlier
one is a fault that is told. Servers of one's own give one id to every answer: more than was seen is of another request,
and of an id that has answered, or was given to two, the figures must agree. Of an idempotency key the ledger decides
for good, whoever repeats it (`store/once.py`); here it is what this process shows live.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar

import msgspec

from livekit_tokens.core import faults
from livekit_tokens.domain.units import TOKENS, Units, input_tokens, output_tokens
from livekit_tokens.domain.usage import Provenance, UsageRecord

_MOST_IDS = 16_384
"""Ids of what was seen, of all sessions of a process; a request has one or two of them. 4.5 MB of 8,192 requests, as
tracemalloc counts them."""
_MOST_WHOLE = 512
"""Records that are kept whole, for who tells of them again: two thirds of what a request would take."""
_MOST_TOLD = 4096
"""Ids of what was told and not seen yet: mostly an answer whose stream is still open."""
_MOST_FORGOTTEN = 1024
"""Sessions of which ids were forgotten."""
_MOST_KEYS = 4096

_K = TypeVar("_K")
_T = TypeVar("_T")

_DATE = re.compile(r"[-@](20\d\d-?\d\d-?\d\d|\d{4})$")
"""With which answers name the model that was asked for without it: `gpt-4o-2024-08-06`, `gpt-4-0613`."""

_ROUNDED_TO = {"audio_ms": 1000, "session_ms": 1000}
"""Some tell lengths in whole seconds: whisper-1's usage (OpenAI API reference, Audio)."""

_Known = int
"""A session, and an id or a key of a request in it, as one number of 64 bits: that two of 16,384 share theirs happens
once in 10**11 processes."""


class _Shown(msgspec.Struct, gc=False):
    """What is compared of a record, its number, and whose it is. One is made at every usage event of a call."""

    record: UsageRecord | None
    """None where it is one of the newest no more."""
    session: str
    number: int
    units: Units
    provenance: Provenance
    models: tuple[str, ...]
    """Its model, its deployment, and the model that served it, as far as they are said."""
    answered: bool = False
    """Told and seen, by one of its ids at least."""


_TOO_LATE = "usage was recorded by hand with an id that may be one of a request seen so long ago that it counts twice"

_Flight = tuple[str, str, frozenset[str] | None, str]
"""A pending request: session; model; the ids that its provider has given it, None before it has; the id of what was
told by hand and has ended it, or nothing."""


class Witnessed:
    """The latest requests of this process that had an id or a key: as they were seen, and as they were told by hand.

    Each id of a request answers once; a key always. Not asked for is the provider, whom an app calls as it likes.
    What is written is written before anybody else is answered: what counts is durable for them, too.
    """

    def __init__(self, most_ids: int = _MOST_IDS, most_keys: int = _MOST_KEYS, *, most_told: int = _MOST_TOLD) -> None:
        self._in_flight: _Latest[str, _Flight] = _Latest(most_told)
        """By its id in the spool."""
        self._seen: _Latest[_Known, _Shown] = _Latest(most_ids)
        self._told: _Latest[_Known, _Shown] = _Latest(most_told)
        self._again: _Latest[_Known, None] = _Latest(most_ids)
        """Ids that have answered already, or were given to two requests: more of them may be others'."""
        self._whole: deque[_Shown] = deque(maxlen=_MOST_WHOLE)
        self._forgotten: _Latest[str, None] = _Latest(_MOST_FORGOTTEN)
        """Sessions of which ids were seen that are not remembered any more."""
        self._keyed: _Latest[_Known, UsageRecord] = _Latest(most_keys)
        self._asking = threading.Lock()

    @property
    def has_told(self) -> bool:
        """Whether anything that was told by hand has not been seen: what is seen now may be that."""
        return bool(self._told)

    def begin(self, session: str, pending: str, model: str) -> bool:
        """A request is in flight, or more of it is known; False if it has been told by hand, and is no longer."""
        with self._asking:
            flight = self._in_flight.get(pending)
            if flight is not None:
                return not flight[3]
            self._in_flight.put(pending, (session, model, None, ""))
            return True

    def name(self, pending: str, ids: Collection[str]) -> bool:
        """The provider has given a request in flight these ids; True if what was told by hand had ended it, and was of
        another one: it is in flight again."""
        with self._asking:
            flight = self._in_flight.get(pending)
            if flight is None:
                return False
            session, model, _, ended_by = flight
            was_another = bool(ended_by) and ended_by not in ids
            self._in_flight.put(pending, (session, model, frozenset(ids), "" if was_another else ended_by))
            return was_another

    def end(self, pending: str) -> None:
        """It never began."""
        with self._asking:
            self._in_flight.pop(pending, None)

    def see(
        self,
        session: str,
        record: UsageRecord,
        also_known_as: str | None,
        pending: str,
        write: Callable[[UsageRecord, str], int],
        *,
        late: Callable[[int, Units], None],
    ) -> int | None:
        """Write what a witness has seen of a pending request; None, and nothing is written, if it was told by hand.

        `also_known_as`: another id that the provider has given the request. Its figures, where others were told, are
        `late`: of the record with that number.
        """
        known_as = [hash((session, name)) for name in (record.request_id, also_known_as) if name]
        shown = _shown(session, record)
        with self._asking:
            self._in_flight.pop(pending, None)
            for key in known_as:
                told = self._told.get(key)
                if told is not None and self._is_one(key, seen=shown, told=told, last=shown):
                    del self._told[key]
                    told.answered = True
                    self._again.put(key, None)
                    for other in known_as:
                        if other != key:
                            self._remember(other, told)
                    if record.provenance == "reported" and record.units and not _agree(told, shown):
                        late(told.number, record.units)
                    return None
            seq = write(record, pending)
            shown.number = seq
            self._keep(shown)
            for key in known_as:
                told = self._told.get(key)
                if key in self._seen or (told is not None and told.units):
                    self._again.put(key, None)
                self._remember(key, shown)
            return seq

    def tell(
        self,
        session: str,
        record: UsageRecord,
        write: Callable[[str | None], int],
        late: Callable[[int, Units], None],
    ) -> UsageRecord:
        """The record that counts of a request that is told by hand: what is known of it, else this, which is written.

        It is written with the pending request that it most likely ends, by its id, or its model where that has none
        yet: so a process that is killed before its witness has seen the end leaves it once. Without figures it leaves
        that one to its witness. Figures of what was seen, and could only be estimated, are `late`: of the record with
        that number. Of what was seen long ago only figures are known: it answers this with those.
        """
        key = hash((session, record.idempotency_key)) if record.idempotency_key else None
        with self._asking:
            counts = None if key is None else self._keyed.get(key)
            if counts is None:
                counts = self._tell(session, record, write, late)
            if key is not None:
                self._keyed.put(key, counts)
            return counts

    def _tell(
        self,
        session: str,
        record: UsageRecord,
        write: Callable[[str | None], int],
        late: Callable[[int, Units], None],
    ) -> UsageRecord:
        key, shown = hash((session, record.request_id)), _shown(session, record)
        seen = self._seen.get(key) if record.request_id else None
        one = seen is not None and self._is_one(key, seen=seen, told=shown, last=shown)
        if seen is not None and (one or seen.units):
            self._again.put(key, None)
        if seen is not None and one:
            del self._seen[key]
            seen.answered = True
            if seen.provenance == "estimated" and record.units:
                late(seen.number, record.units)
            return seen.record or replace(record, units=seen.units, provenance=seen.provenance)
        pending = self._pending(session, record) if record.request_id else None
        if pending is not None and record.provenance == "unknown":
            return record
        if pending is not None and (flight := self._in_flight.get(pending)) is not None:
            self._in_flight.put(pending, (*flight[:3], record.request_id or ""))
        shown.number = write(pending)
        if record.request_id:
            self._keep(shown)
            self._told.put(key, shown)
            if seen is None and pending is None and session in self._forgotten:
                faults.note(_TOO_LATE, session_id=session)
        return record

    def _keep(self, shown: _Shown) -> None:
        """Whole, until as many newer ones are."""
        if len(self._whole) == self._whole.maxlen:
            self._whole[0].record = None
        self._whole.append(shown)

    def _remember(self, key: _Known, shown: _Shown) -> None:
        forgotten = self._seen.put(key, shown)
        if forgotten is not None and not forgotten.answered:
            self._forgotten.put(forgotten.session, None)

    def _pending(self, session: str, told: UsageRecord) -> str | None:
        """Only its own, if that has its ids; else the oldest of its model that has none yet."""
        flights = [(name, of[1], of[2]) for name, of in self._in_flight.items() if of[0] == session and not of[3]]
        own = (name for name, _, ids in flights if ids is not None and told.request_id in ids)
        likely = (name for name, model, ids in flights if ids is None and _base(model) == _base(told.model))
        return next(own, None) or next(likely, None)

    def _is_one(self, key: _Known, *, seen: _Shown, told: _Shown, last: _Shown) -> bool:
        """Whether the last record of one id, seen or told, says nothing that is to be counted beside the first.

        What has no figures adds none, and takes the place of none. An estimate is of the same request as the figures,
        whatever its size. Of two that are reported the id is enough if they name one model, no more was told than was
        seen, and it has not answered or been given before: then their figures must agree.
        """
        if not (seen.units and told.units):
            return not last.units
        if seen.provenance != "reported" or told.provenance != "reported" or _agree(seen, told):
            return True
        return key not in self._again and not _models(seen).isdisjoint(_models(told)) and not _is_more(told, seen)


def _shown(session: str, record: UsageRecord) -> _Shown:
    models: tuple[str, ...] = (sys.intern(str(record.model)),)  # a few, of thousands of records
    for name in ("deployment", "served_model"):
        if name in record.metadata:
            models += (sys.intern(str(record.metadata[name])),)
    return _Shown(record, session, 0, record.units, record.provenance, models)


def _is_more(told: _Shown, seen: _Shown) -> bool:
    """In any measure that both have, by more than its rounding and the tenth that a count of one's own may be off."""
    sizes = [
        (of, told.units.get(name, 0), _ROUNDED_TO.get(name, 0)) for name, of in seen.units.items() if name not in TOKENS
    ]
    if any(_tokens(seen)):
        sizes += [(of, much, 0) for of, much in zip(_tokens(seen), _tokens(told), strict=True)]
    return any(much - of > max(of // 10, rounded_to) for of, much, rounded_to in sizes)


def _agree(first: _Shown, second: _Shown) -> bool:
    """By their sums: who tells only counts does not know which of the tokens were cached, or thought."""
    size = _tokens(second)
    return _tokens(first) == size if any(size) else first.units == second.units


def _tokens(shown: _Shown) -> tuple[int, int]:
    return input_tokens(shown.units), output_tokens(shown.units)


def _models(shown: _Shown) -> set[str]:
    """All names that a record has for its model."""
    return {_base(name) for name in shown.models}


def _base(model: str) -> str:
    return _DATE.sub("", model.rpartition("/")[2].lower())


class _Latest(dict[_K, _T]):
    """Values by key; those that were put longest ago give way."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: _K, value: _T) -> _T | None:
        """Answers what has given way."""
        self.pop(key, None)
        self[key] = value
        return self.pop(next(iter(self))) if len(self) > self._most else None
