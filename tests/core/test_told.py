"""Idempotency keys that this process has recorded."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from livekit_tokens.core.told import Told
from livekit_tokens.domain.usage import UsageRecord


def keyed(key: str, at: int = 0) -> UsageRecord:
    return UsageRecord("0" * 32, at, "tool", "openai", "m", "o", {}, idempotency_key=key)


def test_the_first_of_a_key_counts_in_each_session() -> None:
    """A repetition is not written, and gets the record that counts."""
    told, written = Told(), []
    first, again, elsewhere = keyed("k", 1), keyed("k", 2), keyed("k", 3)
    assert told.once("a", first, written.append) is first
    assert told.once("a", again, written.append) is first
    assert told.once("b", elsewhere, written.append) is elsewhere
    assert written == [first, elsewhere]


def test_only_the_latest_keys_are_remembered() -> None:
    """Memory is bounded; the ledger decides for good."""
    told, written = Told(most=2), []
    for key in ("a", "b", "a", "c", "a", "b"):
        told.once("s", keyed(key), written.append)
    assert [record.idempotency_key for record in written] == ["a", "b", "c", "b"]


def test_threads_that_repeat_a_key_at_once_write_it_once() -> None:
    """And none of them goes on before it is written."""
    told, written = Told(), []
    together = threading.Barrier(8)

    def repeat(number: int) -> bool:
        together.wait(timeout=10)
        told.once("s", keyed("k", number), written.append)
        return len(written) == 1

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(repeat, range(8)))


def test_who_is_told_of_a_record_may_record_another() -> None:
    """`on_usage` is called while the record is written."""
    told, written = Told(), []

    def write(record: UsageRecord) -> None:
        written.append(record)
        if len(written) == 1:
            told.once("s", keyed("inner"), written.append)

    told.once("s", keyed("outer"), write)
    assert [record.idempotency_key for record in written] == ["outer", "inner"]
