"""Requests that are known by their provider's ids: one that a witness sees and its app records, too, counts once.

In either order, and neither waits for the other: an app may record an answer whose stream is still open. Within one
session, and by size: the servers of one's own give the same ids again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from typing import Generic, TypeVar

from livekit_tokens.domain.units import input_tokens, output_tokens
from livekit_tokens.domain.usage import UsageRecord

_REMEMBERED = 1024

_K = TypeVar("_K")
_T = TypeVar("_T")


class Witnessed:
    """The latest requests of this process that had an id: as they were seen, and as they were told by hand.

    Each id of a request answers once. Not asked for is the provider, whom an app calls as it likes.
    """

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._in_flight: _Latest[str, tuple[str, str] | None] = _Latest(most)
        """Session and model of a pending request, by its id in the spool; None once what was told has ended it."""
        self._seen: _Latest[tuple[str, str], UsageRecord] = _Latest(most)
        self._told: _Latest[tuple[str, str], UsageRecord] = _Latest(most)
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
            self._in_flight.drop(pending)

    def see(
        self, session: str, record: UsageRecord, ids: Collection[str], pending: str, write: Callable[[], int]
    ) -> int | None:
        """Write what a witness has seen of a pending request; None, and nothing is written, if it was told by hand.

        `ids` are all that the provider has given the request.
        """
        with self._asking:
            self._in_flight.drop(pending)
            known_as = [(session, name) for name in ids]
            for key in known_as:
                told = self._told.get(key)
                if told is not None and told.units and record.provenance == "reported" and _is_same(record, told):
                    self._told.drop(key)
                    self._remember(told, [other for other in known_as if other != key])
                    return None
            self._remember(record, known_as)
            return write()

    def tell(self, session: str, record: UsageRecord, write: Callable[[str | None], object]) -> UsageRecord:
        """The record that counts of a request that is told by hand: what was seen of it, else this, which is written.

        It is written with the pending request that it most likely ends, one of its model: so a process that is killed
        before its witness has seen the end leaves it once. Without figures it leaves that one to its witness.
        """
        with self._asking:
            key = (session, record.request_id or "")
            seen = self._seen.get(key)
            if seen is not None and _is_same(seen, record):
                self._seen.drop(key)
                return seen
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

    def _remember(self, record: UsageRecord, keys: list[tuple[str, str]]) -> None:
        for key in keys:
            self._seen.put(key, record)


def _is_same(seen: UsageRecord, told: UsageRecord) -> bool:
    """Ids alone are not enough: a provider may leave them empty or use them again.

    Who tells only counts does not know which of the tokens were cached, or thought: their sums are compared.
    """
    size = _tokens(told)
    return not told.units or (_tokens(seen) == size if any(size) else seen.units == told.units)


def _tokens(record: UsageRecord) -> tuple[int, int]:
    return input_tokens(record.units), output_tokens(record.units)


class _Latest(Generic[_K, _T]):
    """Values by key; the oldest give way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[_K, _T] = {}

    def __contains__(self, key: _K) -> bool:
        return key in self._values

    def get(self, key: _K) -> _T | None:
        return self._values.get(key)

    def items(self) -> Iterator[tuple[_K, _T]]:
        return iter(self._values.items())

    def put(self, key: _K, value: _T) -> None:
        self._values[key] = value
        if len(self._values) > self._most:
            del self._values[next(iter(self._values))]

    def drop(self, key: _K) -> None:
        self._values.pop(key, None)
