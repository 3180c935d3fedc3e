"""Idempotency keys that this process has recorded, so that a repetition is not counted twice in what it shows live.

The ledger decides for good, whoever repeats a record (`store/ingest.py`); this only remembers the latest ones.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

from livekit_tokens.domain.usage import UsageRecord

_REMEMBERED = 4096


class Told:
    """The records with an idempotency key that were written last, by session and key."""

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._most = most
        self._records: OrderedDict[bytes, UsageRecord] = OrderedDict()
        self._telling = threading.RLock()  # who is told of a record may record another one

    def once(
        self, session_id: str, record: UsageRecord, write: Callable[[UsageRecord], UsageRecord | None]
    ) -> UsageRecord:
        """Write the record, unless its session has one of the same key; returns the one that counts, durable.

        `write` answers with another one where that counts instead.
        """
        digest = hashlib.sha256(f"{session_id}\0{record.idempotency_key}".encode("utf-8", "surrogatepass")).digest()
        with self._telling:
            if (first := self._records.get(digest)) is not None:
                self._records.move_to_end(digest)
                return first
            counts = self._records[digest] = write(record) or record
            if len(self._records) > self._most:
                self._records.popitem(last=False)
            return counts
