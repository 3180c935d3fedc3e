"""Requests that come twice, and count once: seen by a witness and told by hand, or told again under their own key.

In either order, and neither waits for the other: an app may record an answer whose stream is still open. Within one
session, by the provider's id and the model. Servers of one's own give one id to every answer: more than was seen is of
another request, and of an id that has answered, or was given to two, the figures must agree. Of an idempotency key the
ledger decides for good, whoever repeats it (`store/once.py`); here it is what this process shows live.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection
from typing import TypeVar

from livekit_tokens.domain.units import TOKENS, Units, input_tokens, output_tokens
from livekit_tokens.domain.usage import UsageRecord

_MOST_IDS = 1024
_MOST_KEYS = 4096

_K = TypeVar("_K")
_T = TypeVar("_T")

_DATE = re.compile(r"[-@](20\d\d-?\d\d-?\d\d|\d{4})$")
"""With which answers name the model that was asked for without it: `gpt-4o-2024-08-06`, `gpt-4-0613`."""

_ROUNDED_TO = {"audio_ms": 1000, "session_ms": 1000}
"""Some tell lengths in whole seconds: whisper-1's usage (OpenAI API reference, Audio)."""

_Known = tuple[str, str]
"""A session, and an id or a key of a request in it."""


_Written = tuple[UsageRecord, int]
"""A record and its number. No class: one is made at every usage event of a call."""

_Flight = tuple[str, str, frozenset[str] | None, str]
"""A pending request: session; model; the ids that its provider has given it, None before it has; the id of what was
told by hand and has ended it, or nothing."""


class Witnessed:
    """The latest requests of this process that had an id or a key: as they were seen, and as they were told by hand.

    Each id of a request answers once; a key always. Not asked for is the provider, whom an app calls as it likes.
    What is written is written before anybody else is answered: what counts is durable for them, too.
    """

    def __init__(self, most_ids: int = _MOST_IDS, most_keys: int = _MOST_KEYS) -> None:
        self._in_flight: _Latest[str, _Flight] = _Latest(most_ids)
        """By its id in the spool."""
        self._seen: _Latest[_Known, _Written] = _Latest(most_ids)
        self._told: _Latest[_Known, _Written] = _Latest(most_ids)
        self._again: _Latest[_Known, None] = _Latest(most_ids)
        """Ids that have answered already, or were given to two requests: more of them may be others'."""
        self._keyed: _Latest[_Known, UsageRecord] = _Latest(most_keys)
        self._asking = threading.Lock()

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
        known_as: list[_Known] = []
        if record.request_id:
            known_as.append((session, record.request_id))
        if also_known_as:
            known_as.append((session, also_known_as))
        with self._asking:
            self._in_flight.pop(pending, None)
            for key in known_as:
                told = self._told.get(key)
                if told is not None and self._is_one(key, seen=record, told=told[0], last=record):
                    del self._told[key]
                    self._again.put(key, None)
                    for other in known_as:
                        if other != key:
                            self._seen.put(other, told)
                    if record.provenance == "reported" and record.units and not _agree(told[0], record):
                        late(told[1], record.units)
                    return None
            seq = write(record, pending)
            for key in known_as:
                told = self._told.get(key)
                if key in self._seen or (told is not None and told[0].units):
                    self._again.put(key, None)
                self._seen.put(key, (record, seq))
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
        that number.
        """
        key = (session, record.idempotency_key) if record.idempotency_key else None
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
        key = (session, record.request_id or "")
        seen = self._seen.get(key)
        one = seen is not None and self._is_one(key, seen=seen[0], told=record, last=record)
        if one or (seen is not None and seen[0].units):
            self._again.put(key, None)
        if one:
            counts, number = self._seen.pop(key)
            if counts.provenance == "estimated" and record.units:
                late(number, record.units)
            return counts
        pending = self._pending(session, record) if record.request_id else None
        if pending is not None and record.provenance == "unknown":
            return record
        if pending is not None and (flight := self._in_flight.get(pending)) is not None:
            self._in_flight.put(pending, (*flight[:3], record.request_id or ""))
        seq = write(pending)
        if record.request_id:
            self._told.put(key, (record, seq))
        return record

    def _pending(self, session: str, told: UsageRecord) -> str | None:
        """Only its own, if that has its ids; else the oldest of its model that has none yet."""
        flights = [(name, of[1], of[2]) for name, of in self._in_flight.items() if of[0] == session and not of[3]]
        own = (name for name, _, ids in flights if ids is not None and told.request_id in ids)
        likely = (name for name, model, ids in flights if ids is None and _base(model) == _base(told.model))
        return next(own, None) or next(likely, None)

    def _is_one(self, key: _Known, *, seen: UsageRecord, told: UsageRecord, last: UsageRecord) -> bool:
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


def _is_more(told: UsageRecord, seen: UsageRecord) -> bool:
    """In any measure that both have, by more than its rounding and the tenth that a count of one's own may be off."""
    sizes = [
        (of, told.units.get(name, 0), _ROUNDED_TO.get(name, 0)) for name, of in seen.units.items() if name not in TOKENS
    ]
    if any(_tokens(seen)):
        sizes += [(of, much, 0) for of, much in zip(_tokens(seen), _tokens(told), strict=True)]
    return any(much - of > max(of // 10, rounded_to) for of, much, rounded_to in sizes)


def _agree(first: UsageRecord, second: UsageRecord) -> bool:
    """By their sums: who tells only counts does not know which of the tokens were cached, or thought."""
    size = _tokens(second)
    return _tokens(first) == size if any(size) else first.units == second.units


def _tokens(record: UsageRecord) -> tuple[int, int]:
    return input_tokens(record.units), output_tokens(record.units)


def _models(record: UsageRecord) -> set[str]:
    """All names that a record has for its model."""
    others = (record.metadata.get(name) for name in ("deployment", "served_model"))
    return {_base(name) for name in (record.model, *others) if isinstance(name, str)}


def _base(model: str) -> str:
    return _DATE.sub("", model.rpartition("/")[2].lower())


class _Latest(dict[_K, _T]):
    """Values by key; those that were put longest ago give way."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: _K, value: _T) -> None:
        self.pop(key, None)
        self[key] = value
        if len(self) > self._most:
            del self[next(iter(self))]
