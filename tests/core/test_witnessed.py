"""Requests that a witness sees and that their app records, too."""

from __future__ import annotations

from typing import Any

from livekit_tokens.core.witnessed import Witnessed
from livekit_tokens.domain.usage import UsageRecord

SEEN = {"input_text": 388, "cached_input_text": 512, "output_text": 50, "output_reasoning": 30}


def record(units: dict[str, int], request_id: str | None = "chatcmpl-1", **fields: Any) -> UsageRecord:
    return UsageRecord("0" * 32, 0, "tool", "openai", "o4-mini", "o", units, request_id=request_id, **fields)


def see(witnessed: Witnessed, *records: UsageRecord) -> list[UsageRecord]:
    """Those that were written."""
    written: list[UsageRecord] = []
    for one in records:
        witnessed.see(one, lambda one=one: written.append(one) or len(written))
    return written


def test_who_tells_the_sums_need_not_know_their_parts() -> None:
    """Cached tokens and reasoning are parts of what an app counts."""
    witnessed, seen = Witnessed(), record(SEEN)
    see(witnessed, seen)
    for told in (SEEN, {"input_text": 900, "output_text": 80}, {}):
        assert witnessed.tell(record(told)) is seen


def test_an_id_that_is_used_again_is_another_request() -> None:
    """By its size; requests without an id are never the same."""
    witnessed = Witnessed()
    see(witnessed, record(SEEN), record(SEEN, request_id=None))
    assert witnessed.tell(record({"input_text": 1})) is None
    assert witnessed.tell(record(SEEN, request_id=None)) is None


def test_what_was_told_first_is_not_written_when_it_is_seen() -> None:
    """Once; what has its id later is another request."""
    witnessed, told = Witnessed(), record({"input_text": 900, "output_text": 80})
    assert witnessed.tell(told) is None
    seen = record(SEEN)
    assert see(witnessed, seen, seen) == [seen]


def test_what_was_seen_after_it_was_told_is_the_told_one_for_who_tells_again() -> None:
    """An app may record the same answer in two places."""
    witnessed, told = Witnessed(), record(SEEN)
    witnessed.tell(told)
    see(witnessed, record(SEEN))
    assert witnessed.tell(record(SEEN)) is told


def test_neither_an_estimate_nor_what_was_told_without_figures_takes_the_place_of_figures() -> None:
    """What is known best is written."""
    witnessed, estimate, seen = Witnessed(), record(SEEN, provenance="estimated"), record(SEEN)
    witnessed.tell(record(SEEN))
    assert see(witnessed, estimate) == [estimate]
    witnessed.tell(record({}, request_id="chatcmpl-2"))
    other = record(SEEN, request_id="chatcmpl-2")
    assert see(witnessed, seen, other) == [other]


def test_seconds_and_characters_are_compared_as_they_are() -> None:
    """Where there are no tokens."""
    witnessed, seen = Witnessed(), record({"audio_ms": 3000})
    see(witnessed, seen)
    assert witnessed.tell(record({"audio_ms": 3000})) is seen
    assert witnessed.tell(record({"audio_ms": 4000})) is None


def test_only_the_latest_are_remembered() -> None:
    """Memory is bounded."""
    witnessed = Witnessed(most=2)
    see(witnessed, *(record(SEEN, request_id=name) for name in "abc"))
    assert [witnessed.tell(record(SEEN, request_id=name)) is None for name in "abc"] == [True, False, False]
