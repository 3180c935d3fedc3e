"""Requests that come twice, and count once: seen by a witness and told by hand, or told again under their own key.

In either order, and neither waits for the other: an app may record an answer whose stream is still open. Within one
session, and by size: the servers of one's own give the same ids again. Of an idempotency key the ledger decides for
good, whoever repeats it (`store/once.py`); here it is what this process shows live.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from livekit_tokens.domain.units import Units, input_tokens, output_tokens
from livekit_tokens.domain.usage import UsageRecord

_MOST_IDS = 1024
_MOST_KEYS = 4096

_K = TypeVar("_K")
_T = TypeVar("_T")

_Known = tuple[str, str]
"""A session, and an id or a key of a request in it."""


_Written = tuple[UsageRecord, int]
"""A record and its number. No class: one is made at every usage event of a call."""


class Witnessed:
    """The latest requests of this process that had an id or a key: as they were seen, and as they were told by hand.

    Each id of a request answers once; a key always. Not asked for is the provider, whom an app calls as it likes.
    What is written is written before anybody else is answered: what counts is durable for them, too.
    """

    def __init__(self, most_ids: int = _MOST_IDS, most_keys: int = _MOST_KEYS) -> None:
        self._in_flight: _Latest[str, tuple[str, str] | None] = _Latest(most_ids)
        """Session and model of a pending request, by its id in the spool; None once what was told has ended it."""
        self._seen: _Latest[_Known, _Written] = _Latest(most_ids)
        self._told: _Latest[_Known, UsageRecord] = _Latest(most_ids)
        self._keyed: _Latest[_Known, UsageRecord] = _Latest(most_keys)
        self._asking = threading.Lock()

    def begin(self, session: str, pending: str, model: str) -> bool:
        """A request is in flight, or more of it is known; False if it has been told by hand, and is no longer."""
        with self._asking:
            if pending in self._in_flight:
                return self._in_flight.get(pending) is not None
            self._in_flight.put(pending, (session, model))
            return True

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
    ) -> int | None:
        """Write what a witness has seen of a pending request; None, and nothing is written, if it was told by hand.

        `also_known_as`: another id that the provider has given the request.
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
                if told is not None and _is_known_by(told, record):
                    del self._told[key]
                    for other in known_as:
                        if other != key:
                            self._seen.put(other, (told, 0))
                    return None
            seq = write(record, pending)
            for key in known_as:
                self._seen.put(key, (record, seq))
            return seq

    def tell(
        self,
        session: str,
        record: UsageRecord,
        write: Callable[[str | None], object],
        late: Callable[[int, Units], None],
    ) -> UsageRecord:
        """The record that counts of a request that is told by hand: what is known of it, else this, which is written.

        It is written with the pending request that it most likely ends, one of its model: so a process that is killed
        before its witness has seen the end leaves it once. Without figures it leaves that one to its witness. Figures
        of what was seen, and could only be estimated, are `late`: of the record with that number.
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
        write: Callable[[str | None], object],
        late: Callable[[int, Units], None],
    ) -> UsageRecord:
        key = (session, record.request_id or "")
        seen = self._seen.get(key)
        if seen is not None and _is_known_by(seen[0], record):
            counts, seq = self._seen.pop(key)
            if counts.provenance == "estimated" and record.units:
                late(seq, record.units)
            return counts
        pending = self._pending(session, record.model) if record.request_id else None
        if pending is not None and record.provenance == "unknown":
            return record
        if record.request_id:
            self._told.put(key, record)
        if pending is not None:
            self._in_flight.put(pending, None)
        write(pending)
        return record

    def _pending(self, session: str, model: str) -> str | None:
        """Answers name their model with its date, requests mostly without."""
        return next(
            (
                pending
                for pending, begun in self._in_flight.items()
                if begun is not None and begun[0] == session and model.startswith(begun[1])
            ),
            None,
        )


def _is_known_by(first: UsageRecord, second: UsageRecord) -> bool:
    """Whether the second record of one id says nothing that is to be counted beside the first.

    What has no figures adds none, and takes the place of none. An estimate is of the same request as the figures,
    whatever its size. Of two that are reported ids alone are not enough: a provider may use them again. Who tells only
    counts does not know which of the tokens were cached, or thought: their sums are compared.
    """
    if not (first.units and second.units):
        return not second.units
    if first.provenance != "reported" or second.provenance != "reported":
        return True
    size = _tokens(second)
    return _tokens(first) == size if any(size) else first.units == second.units


def _tokens(record: UsageRecord) -> tuple[int, int]:
    return input_tokens(record.units), output_tokens(record.units)


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
