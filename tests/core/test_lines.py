"""Lines of a spool, as they are written and read."""

from __future__ import annotations

from dataclasses import MISSING, fields
from zlib import crc32

import msgspec
import pytest

from livekit_tokens.core.lines import Counts, DetailCounts, Line, Use, counts_in, from_bytes, to_bytes
from livekit_tokens.domain.usage import UsageRecord
from tests.core.makers import a_done, a_pend, a_record

FULL = UsageRecord(
    part="0f" * 16,
    at=5_000_000,
    service="tool",
    provider="azure",
    model="gpt-4o",
    operation="embedding",
    units={"input_text": 1},
    provenance="estimated",
    informational={"output_text": 2},
    low={},
    high={"input_text": 3},
    agent="greeter",
    feature="search",
    success=False,
    error="timeout",
    processing_ms=4,
    first_output_ms=5,
    request_id="resp_1",
    idempotency_key="once",
    quality_score=0.6,
    safety_score=0.7,
    metadata={"layer": "l1", "hits": 8, "share": 0.9, "warm": False, "none": None},
)


def test_a_full_record_is_nowhere_as_it_would_be_without_being_told() -> None:
    """Or the tests of it would show less than they say."""
    for each in fields(UsageRecord):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        assert getattr(FULL, each.name) != default


@pytest.mark.parametrize(
    "line",
    [Use(1, FULL), Use(2, FULL, "r1.1"), Use(3, a_record()), a_pend(), msgspec.structs.replace(a_pend(), record=FULL)],
)
def test_what_is_written_is_read_again(line: Line) -> None:
    """In every field, and under its name."""
    raw = to_bytes(line)
    assert from_bytes(raw[:-1]) == line
    assert from_bytes(whole(line)[:-1]) == line


def test_an_end_is_read_again_with_the_providers_own_counts() -> None:
    """As it told them: they are read only when its record is made."""
    assert from_bytes(to_bytes(a_done())[:-1]) == a_done()


def test_of_a_usage_object_only_counts_are_written() -> None:
    """What else a server tells may be anything that was said; where a count is none, there are none."""
    told = {"input_tokens": 3, "prompt": "my card number", "input_token_details": {"text_tokens": 3, "said": ["4111"]}}
    assert counts_in(told) == Counts(input_tokens=3, input_token_details=DetailCounts(text_tokens=3))
    assert counts_in({"input_tokens": "my card number"}) is None
    assert counts_in("my card number") is None
    assert counts_in({"seconds": float("nan")}) is None
    assert counts_in({"input_tokens": 3, "\ud800": 1}) is None


def whole(line: Line) -> bytes:
    """As older versions wrote it: with each field of its record, and null for what it had nothing for."""
    payload = msgspec.json.encode(line)
    assert payload.count(b":") >= len(fields(UsageRecord))
    return b"%08x %b\n" % (crc32(payload), payload)


@pytest.mark.parametrize("line", [Use(3, a_record()), a_pend()])
def test_what_a_record_has_nothing_for_is_not_written(line: Line) -> None:
    """Most have nothing for most: it would be a third of the spool."""
    assert b":null" not in to_bytes(line)
    assert len(to_bytes(line)) < 0.75 * len(whole(line))
