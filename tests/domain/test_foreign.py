"""Rows of other trackers as records: known fields under any of their names; what is missing is said, never guessed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from livekit_tokens.domain.foreign import Unmapped, foreign
from livekit_tokens.domain.identity import Identities
from livekit_tokens.domain.times import to_micros

AT = to_micros(datetime(2025, 6, 27, 15, 30, 15, tzinfo=UTC))
LOG = {
    "timestamp": "2025-06-27T15:30:15.000000Z",
    "user_id": "ada",
    "operation_type": "query_embedding",
    "query": "what she asked",
    "model_name": "text-embedding-3-small",
    "prompt_tokens": 1200,
    "completion_tokens": 0,
    "total_tokens": 1200,
    "cost_estimate": 0.000024,
    "response_time": 0.25,
    "success": True,
    "error_message": None,
}
TABLE = {
    "id": "7",
    "session_id": "room_abc",
    "user_name": "Ada",
    "service_type": "agent",
    "model_name": "gpt-4o",
    "input_tokens": "1,000",
    "output_tokens": "20",
    "total_tokens": "1020",
    "session_start": "2025-06-27 15:00:00",
    "session_end": "2025-06-27 15:30:15",
    "created_at": "2025-06-27 15:00:01",
}


def test_a_line_of_a_daily_log_is_a_record():
    """What was asked stays behind; the cost that the other tracker had is a label, not our price."""
    found = foreign(LOG, 1)

    record = found.record
    assert (record.at, record.model, record.operation, record.units) == (
        AT,
        "text-embedding-3-small",
        "query_embedding",
        {"input_text": 1200},
    )
    assert (record.processing_ms, record.success, record.provenance) == (250, True, "reported")
    assert record.metadata == {"imported_cost_usd": "0.000024"}
    assert (found.part.user, found.part.status, found.part.close_reason) == ("ada", "closed", "imported")
    assert found.part.session_id.startswith("imported_")
    assert "asked" not in repr(found)


def test_a_row_of_token_usage_is_a_record_at_its_sessions_end():
    found = foreign(TABLE, 1)

    assert (found.record.at, found.record.units, found.record.service) == (
        AT,
        {"input_text": 1000, "output_text": 20},
        "agent",
    )
    assert (found.part.session_id, found.part.user_name) == ("room_abc", "Ada")


def test_whispers_tokens_only_inform():
    """It is billed by its duration, which that table does not hold."""
    record = foreign({**TABLE, "service_type": "transcriber", "model_name": "whisper"}, 1).record

    assert (record.units, record.informational) == ({}, {"input_audio": 1000, "output_text": 20})
    assert (record.provenance, record.operation) == ("unknown", "transcription")


def test_a_realtime_models_tokens_are_estimated_as_text():
    """Which of them were audio is not told."""
    assert foreign({**TABLE, "model_name": "gpt-4o-realtime"}, 1).record.provenance == "estimated"


@pytest.mark.parametrize(
    "value",
    [
        "2025-06-27 15:30:15",
        "2025-06-27T17:30:15+02:00",
        1751038215,
        "1751038215",
        1751038215000,
        "2025-06-27T15:30:15",
    ],
)
def test_times_are_read_as_trackers_write_them(value):
    assert foreign({**LOG, "timestamp": value}, 1).record.at == AT


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"timestamp": None}, "it has no time"),
        ({"timestamp": "yesterday"}, "'yesterday' cannot be read"),
        ({"timestamp": -5}, "out of range"),
        ({"model_name": ""}, "names no model"),
        ({"prompt_tokens": None, "completion_tokens": None}, "tells no input or output tokens"),
        ({"prompt_tokens": "many"}, "'many' is not a number"),
        ({"prompt_tokens": 1.5}, "expected a whole number"),
        ({"prompt_tokens": -1}, "expected a whole number from 0"),
    ],
)
def test_what_cannot_be_mapped_says_why(changes, reason):
    with pytest.raises(Unmapped, match=reason):
        foreign({**LOG, **changes}, 1)


def test_a_sheets_apostrophe_and_a_documents_own_fields_are_read():
    """As our own export writes them, and Cosmos DB's fields are passed over."""
    row = {
        **LOG,
        "user_id": "'=cmd",
        "thread_id": "t-1",
        "_rid": "x",
        "_ts": 5,
        "request_metadata": '{"run_id": "r", "prompt": "said"}',
    }
    found = foreign(row, 1)

    assert (found.part.user, found.part.session_id) == ("=cmd", "t-1")
    assert found.record.metadata == {"run_id": "r", "imported_cost_usd": "0.000024"}


def test_the_same_row_has_the_same_key_and_a_second_one_in_a_file_its_own():
    assert foreign(LOG, 1).record == foreign(dict(LOG), 1).record
    assert foreign(LOG, 2).record.idempotency_key != foreign(LOG, 1).record.idempotency_key


def test_identities_are_kept_as_the_settings_say():
    assert foreign(LOG, 1, Identities("none")).part.user is None
    assert foreign(LOG, 1, Identities("hashed", "key")).part.user == Identities("hashed", "key").identity("ada")
