"""A record in the formats that users of other trackers know."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from livekit_tokens.core.known_formats import SHEET, day_of, log_line, sheet_row
from livekit_tokens.core.reports import Entry
from livekit_tokens.domain.foreign import foreign
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.summary import RecordLine
from livekit_tokens.domain.units import LARGEST, REGISTRY
from livekit_tokens.domain.usage import PROVENANCES, UsageRecord
from tests.core.makers import a_record

AT = 1_795_000_000_123_456
"""2026-11-18 11:06:40.123456 UTC."""


def entry(price: Price = Price(1, 2), user: str | None = "ann", **fields: object) -> Entry:  # noqa: B008 - frozen
    line = RecordLine("key-7", a_record(AT, **fields), price)
    return Entry(line, "room_1", user, "Ann", None, "room", {})


def read(line: str) -> dict[str, object]:
    return json.loads(line, parse_float=Decimal)


def test_a_row_has_a_cell_for_every_column():
    """Tokens that only inform are in the counts; money has nine decimals."""
    made = entry(informational={"input_audio": 5}, metadata={"n": 1}, agent="Anna")
    assert dict(zip(SHEET, sheet_row(made), strict=True)) == {
        "id": "key-7",
        "user_id": "ann",
        "thread_id": "room_1",
        "timestamp": "2026-11-18T11:06:40.123456Z",
        "model": "gpt-realtime",
        "agent_name": "Anna",
        "operation_type": "realtime_response",
        "input_tokens": 105,
        "output_tokens": 50,
        "total_tokens": 155,
        "input_cost": "0.000000001",
        "output_cost": "0.000000002",
        "total_cost": "0.000000003",
        "request_metadata": '{"n":1}',
        "service": "agent",
        "provider": "openai",
        "feature": "unknown",
        "provenance": "reported",
        "units": '{"input_text":100,"output_audio":50}',
        "informational_units": '{"input_audio":5}',
        "success": "true",
        "error_message": "",
        "processing_time_ms": None,
        "first_output_ms": None,
        "quality_score": None,
        "safety_score": None,
    }


def test_what_has_no_price_is_empty_and_null():
    """Never 0."""
    made = entry(Price())
    assert dict(zip(SHEET, sheet_row(made), strict=True))["total_cost"] is None
    assert read(log_line(made))["cost_estimate"] is None


def test_a_line_of_the_log_has_exact_numbers():
    """A nano-dollar and a large sum, as numbers; a response time in seconds."""
    line = read(log_line(entry(Price(10**15, 1), processing_ms=1234)))
    assert line == {
        "timestamp": "2026-11-18T11:06:40.123456Z",
        "user_id": "ann",
        "operation_type": "realtime_response",
        "query": None,
        "model_name": "gpt-realtime",
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "cost_estimate": Decimal("1000000.000000001"),
        "response_time": Decimal("1.234"),
        "success": True,
        "error_message": None,
        "id": "key-7",
        "service": "agent",
        "provider": "openai",
        "provenance": "reported",
        "units": {"input_text": 100, "output_audio": 50},
        "informational_units": {},
        "first_output_ms": None,
        "quality_score": None,
        "safety_score": None,
        "request_metadata": {},
    }
    assert read(log_line(entry(Price(0, 0))))["cost_estimate"] == 0


def test_a_line_of_the_log_has_of_the_labels_only_what_the_price_depends_on():
    """A tier that is not the standard one, and counts; a name in their place is left out."""
    labels = {"service_tier": "Priority", "web_search_calls": 3, "file_search_calls": "Ann", "customer": "Ann"}
    line = read(log_line(entry(metadata=labels)))

    assert line["request_metadata"] == {"service_tier": "priority", "web_search_calls": 3}
    assert read(log_line(entry(metadata={"service_tier": "default"})))["request_metadata"] == {}


def test_an_imported_record_keeps_the_id_of_the_ledger_that_it_first_stood_in():
    """So that it is the same record through however many ledgers it comes; others' keys are no ids of ours."""
    first = f"{'ab' * 16}-3"
    made = entry(idempotency_key=f"import:record:{first}")
    assert (sheet_row(made)[0], read(log_line(made))["id"]) == (first, first)
    assert read(log_line(entry(idempotency_key="import:id:1")))["id"] == "key-7"


def test_a_formula_is_harmless_in_a_sheet_and_itself_in_the_log():
    """JSON is not executed."""
    made = entry(user="=1+1")
    assert sheet_row(made)[1] == "'=1+1"
    assert read(log_line(made))["user_id"] == "=1+1"


def test_a_record_is_of_its_utc_day():
    """Which names its file."""
    assert day_of(entry()) == "2026-11-18"


PRICED_BY = {"service_tier": "priority", "web_search_calls": 3}
some_units = st.dictionaries(st.sampled_from(list(REGISTRY)), st.integers(1, LARGEST))
milliseconds = st.none() | st.integers(0, 10**9)
score = st.none() | st.floats(0, 1)
a_name = st.sampled_from(["agent", "tts", "deepgram", "nova-3", "=sum(1)", "@x", "-1", "Ada, Anna", "rag_answer"])
any_record = st.builds(
    UsageRecord,
    part=st.just("ab" * 16),
    at=st.integers(1, AT),
    service=a_name,
    provider=a_name,
    model=a_name | st.sampled_from(["whisper-1", "gpt-realtime", "tts-1"]),
    operation=a_name,
    units=some_units,
    provenance=st.sampled_from(PROVENANCES),
    informational=some_units,
    agent=st.none() | a_name,
    feature=a_name,
    success=st.booleans(),
    error=st.sampled_from([None, "RateLimitError 429", "server_error"]),
    processing_ms=milliseconds,
    first_output_ms=milliseconds,
    quality_score=score,
    safety_score=score,
    metadata=st.sampled_from([{}, {"status": "cancelled", "n": 1}, {**PRICED_BY, "n": 1}]),
)


def came_back(row: dict[str, object], record: UsageRecord) -> UsageRecord:
    """As an import reads the row; whose it is, and what it had cost, stand elsewhere."""
    found = foreign(row, 1).record
    metadata = {name: label for name, label in found.metadata.items() if name != "imported_cost_usd"}
    return replace(found, part=record.part, idempotency_key=None, metadata=metadata)


@given(any_record, st.sampled_from([Price(), Price(0, 0), Price(7, 10**12)]))
def test_a_row_of_a_sheet_is_read_back_as_the_record_that_it_was(record: UsageRecord, price: Price):
    """Every unit, and to whom it was paid for what: so it costs the same in whichever ledger it is imported."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([SHEET, sheet_row(Entry(RecordLine("ab" * 16 + "-7", record, price), "s", "u", *[None] * 3, {}))])
    (row,) = csv.DictReader(io.StringIO(text.getvalue()))

    assert came_back(row, record) == record


@given(any_record, st.sampled_from([Price(), Price(0, 0), Price(7, 10**12)]))
def test_a_line_of_the_log_is_read_back_as_the_record_that_it_was_without_most_labels(
    record: UsageRecord, price: Price
):
    line = read(log_line(Entry(RecordLine("ab" * 16 + "-7", record, price), "s", "u", *[None] * 3, {})))

    kept = PRICED_BY if "service_tier" in record.metadata else {}
    assert came_back(line, record) == replace(record, agent=None, feature="unknown", metadata=kept)
