"""Requests that are known by their provider's id: one that a witness sees and its app records, too, counts once.

In either order: an app may record a streamed answer while the stream is still open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from livekit_tokens.domain.units import input_tokens, output_tokens
from livekit_tokens.domain.usage import UsageRecord

_REMEMBERED = 1024


class Witnessed:
    """The latest requests of this process that had an id: as they were seen, and as they were told by hand."""

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._seen = _Latest(most)
        self._told = _Latest(most)
        self._asking = threading.Lock()

    def see(self, record: UsageRecord, write: Callable[[], int]) -> int | None:
        """Write what a witness has seen; None, and nothing is written, if it was told by hand with the same size."""
        with self._asking:
            told = self._told.get(record.request_id)
            if told is not None and told.units and record.provenance == "reported" and _is_same(record, told):
                self._told.drop(record.request_id)
                self._seen.put(told)
                return None
            self._seen.put(record)
            return write()

    def tell(self, record: UsageRecord) -> UsageRecord | None:
        """What was seen of a request that is told by hand; None if nothing was: then who tells must write it."""
        with self._asking:
            seen = self._seen.get(record.request_id)
            if seen is not None and _is_same(seen, record):
                return seen
            self._told.put(record)
            return None


def _is_same(seen: UsageRecord, told: UsageRecord) -> bool:
    """Ids alone are not enough: a provider may leave them empty or use them again.

    Who tells only counts does not know which of the tokens were cached, or thought: their sums are compared.
    """
    size = _tokens(told)
    return not told.units or (_tokens(seen) == size if any(size) else seen.units == told.units)


def _tokens(record: UsageRecord) -> tuple[int, int]:
    return input_tokens(record.units), output_tokens(record.units)


class _Latest:
    """Records by their request's id; the oldest give way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._records: dict[str, UsageRecord] = {}

    def get(self, request_id: str | None) -> UsageRecord | None:
        return self._records.get(request_id or "")

    def put(self, record: UsageRecord) -> None:
        if record.request_id:
            self._records[record.request_id] = record
            if len(self._records) > self._most:
                del self._records[next(iter(self._records))]

    def drop(self, request_id: str | None) -> None:
        self._records.pop(request_id or "", None)
