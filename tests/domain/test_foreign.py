"""Rows of other trackers as records: known fields under any of their names; what is missing is said, never guessed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from livekit_tokens.domain.foreign import Terms, foreign
from livekit_tokens.domain.foreign_cells import Unmapped
from livekit_tokens.domain.identity import Identities
from livekit_tokens.domain.periods import DAY, LAST
from livekit_tokens.domain.times import to_micros
from livekit_tokens.domain.units import MOST_HELD

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
OURS = f"{'ab' * 16}-7"
"""An id as our own export writes it."""
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


def test_tokens_beside_a_duration_that_is_billed_only_inform():
    """Whatever the transcriber is called."""
    row = {**LOG, "model_name": "gpt-transcribe", "completion_tokens": 20, "audio_seconds": 60}
    record = foreign({**row, "operation_type": None}, 1).record

    assert (record.units, record.provenance) == ({"audio_ms": 60_000}, "reported")
    assert record.informational == {"input_audio": 1200, "output_text": 20}


@pytest.mark.parametrize("model", ["tts-1", "nova-3", "whisper-1", "gpt-4o"])
def test_a_row_that_cost_something_and_tells_no_tokens_is_unknown(model):
    """Seconds and characters these formats do not tell. As a request that used nothing, it would be priced at 0."""
    row = {**LOG, "model_name": model, "prompt_tokens": 0}
    record = foreign(row, 1).record

    assert (record.units, record.informational, record.provenance) == ({}, {}, "unknown")
    assert record.metadata == {"imported_cost_usd": "0.000024"}
    free = foreign({**row, "cost_estimate": 0, "model_name": "gpt-4o"}, 1).record
    assert (free.units, free.provenance) == ({}, "reported")


@pytest.mark.parametrize("quantity", [12 * DAY // 1000, LAST // 1000])
def test_what_a_ledger_held_it_can_hold_again(quantity):
    """A call of twelve days is billed as such, and one of a host whose clock began in 1970: no provider told of it."""
    row = {**LOG, "prompt_tokens": 0, "units": {"session_ms": quantity}, "provenance": "estimated"}

    assert foreign({**row, "id": OURS}, 1).record.units == {"session_ms": quantity}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"units": {"input_text": MOST_HELD + 1}}, f"input_text is {MOST_HELD + 1}; expected .* from 0 to {MOST_HELD}"),
        ({"units": '{"input_text": -1}', "provenance": "reported"}, "input_text is -1; expected a whole number from 0"),
        ({"units": {"minutes": 1}, "provenance": "reported"}, "unknown unit 'minutes'"),
        ({"units": {"input_text": 1}}, "its provenance is 'None'; expected reported, estimated, unknown"),
        ({"units": {"input_text": 1}, "provenance": "told"}, "its provenance is 'told'"),
    ],
)
def test_units_are_held_to_what_units_are(changes, reason):
    """Of our own export, changed by hand."""
    with pytest.raises(Unmapped, match=reason):
        foreign({**LOG, "id": OURS, "prompt_tokens": 1, **changes}, 1)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"prompt_tokens": 10}, "its input_tokens are 10, its units' 3; expected the same"),
        ({"completion_tokens": "5"}, "its output_tokens are 5, its units' 0; expected the same"),
    ],
)
def test_an_exported_rows_own_counts_are_held_against_its_units(counts, reason):
    """Which of the two was changed by hand is not guessed; a count that is not told contradicts nothing."""
    row = {**LOG, "id": OURS, "prompt_tokens": 3, "provenance": "reported"}
    row |= {"units": {"input_text": 1}, "informational_units": {"input_audio": 2}}

    assert foreign(row, 1).record.units == {"input_text": 1}
    assert foreign({**row, "prompt_tokens": None}, 1).record.units == {"input_text": 1}
    with pytest.raises(Unmapped, match=reason):
        foreign({**row, **counts}, 1)


@pytest.mark.parametrize("value", [3, "3", "minutes", "[1]", "{}", {"tokens": 15}, '{"input_text": 1}'])
@pytest.mark.parametrize("its", [None, "7", "ab" * 16])
def test_a_column_of_units_that_is_not_ours_is_passed_over(value, its):
    """Also one that looks like ours: only a row with an id of ours is read by it."""
    record = foreign({**LOG, "id": its, "units": value, "provenance": "told"}, 1).record

    assert (record.units, record.provenance) == ({"input_text": 1200}, "reported")


def test_an_exported_row_of_before_there_were_units_is_read_by_its_counts():
    assert foreign({**LOG, "id": OURS}, 1).record.units == {"input_text": 1200}


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


@pytest.mark.parametrize("value", ["20250627", 20250627])
def test_eight_digits_are_a_day(value):
    """As seconds since 1970 they would lie in August of that year."""
    assert foreign({**LOG, "timestamp": value}, 1).record.at == AT - AT % DAY


def test_eight_digits_that_are_no_day_are_left():
    with pytest.raises(Unmapped, match="cannot be read"):
        foreign({**LOG, "timestamp": 20251332}, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"timestamp": None}, "it has no time"),
        ({"timestamp": "yesterday"}, "'yesterday' cannot be read"),
        ({"timestamp": -5}, "out of range"),
        ({"model_name": ""}, "names no model"),
        ({"prompt_tokens": None, "completion_tokens": None}, "tells no input or output tokens"),
        ({"prompt_tokens": "many"}, "'many', which is not a number"),
        ({"prompt_tokens": 1.5}, "expected a whole number"),
        ({"prompt_tokens": -1}, "expected a whole number from 0"),
        ({"prompt_tokens": "1,00"}, "input_tokens is '1,00'; expected a point before decimals"),
        ({"audio_seconds": "3,5"}, "audio_seconds is '3,5'; expected a point before decimals"),
        ({"audio_seconds": "1,234"}, "audio_seconds is '1,234'; expected a point before decimals"),
        ({"cost_estimate": "0,0123"}, "cost is '0,0123'; expected a point before decimals"),
        ({"cost_estimate": "0,123,456"}, "cost is '0,123,456'; expected a point before decimals"),
        ({"cost_estimate": -5}, "cost is -5; expected one from 0"),
    ],
)
def test_what_cannot_be_mapped_says_why(changes, reason):
    with pytest.raises(Unmapped, match=reason):
        foreign({**LOG, **changes}, 1)


def test_commas_between_thousands_are_read():
    """Where they can be nothing else."""
    row = {**LOG, "prompt_tokens": "1,234", "audio_seconds": "1,234.5", "cost_estimate": "$1,234,567.5"}
    record = foreign(row, 1).record

    assert record.units == {"input_text": 1234, "audio_ms": 1_234_500}
    assert record.metadata == {"imported_cost_usd": "1234567.5"}


@pytest.mark.parametrize(
    ("row", "known_as"),
    [
        ({"model_name": "whisper-1"}, ("transcriber", "transcription")),
        ({"model_name": "gpt-4o-transcribe"}, ("transcriber", "transcription")),
        ({"model_name": "stt", "operation_type": "transcription"}, ("transcriber", "transcription")),
        ({"model_name": "gpt-4o-mini-tts"}, ("tts", "speech")),
        ({"model_name": "whisper-1", "service_type": "agent"}, ("agent", "chat_completion")),
        ({"model_name": "gpt-4o"}, ("agent", "chat_completion")),
    ],
)
def test_a_row_that_names_no_service_has_that_of_its_operation_or_model(row, known_as):
    record = foreign({**LOG, "operation_type": None, **row}, 1).record

    assert (record.service, record.operation) == known_as


@pytest.mark.parametrize(
    ("row", "service"),
    [
        ({}, "transcriber"),
        ({"operation_type": "chat_completion"}, "agent"),
        ({"service_type": "agent"}, "agent"),
        ({"model_name": "another"}, "agent"),
    ],
)
def test_what_a_models_price_is_for_tells_its_service_where_the_row_does_not(row, service):
    """Of a price by the minute of audio: it hears."""
    terms = Terms(sold_as={"nova-3": "transcriber"}.get)
    given = {**LOG, "operation_type": None, "model_name": "nova-3", **row}
    assert foreign(given, 1, terms).record.service == service


def test_who_is_known_by_name_only_is_the_user_of_that_name():
    """So that a report can be of them, and they can be erased; an identity goes before a name."""
    assert foreign(TABLE, 1).part.user == "Ada"
    assert foreign({**TABLE, "user_id": "a-1"}, 1).part.user == "a-1"
    hashed = Identities("hashed", "key")
    assert (foreign(TABLE, 1, Terms(hashed)).part.user, foreign(TABLE, 1, Terms(hashed)).part.user_name) == (
        hashed.identity("Ada"),
        None,
    )


def test_a_row_with_an_id_has_one_key_however_it_is_written_and_whatever_it_counts():
    """From a table or a sheet; but not of another tracker's table that numbers its rows likewise."""
    key = foreign(TABLE, 1).record.idempotency_key

    later = {**TABLE, "id": 7, "input_tokens": 3000, "session_end": "2025-06-27 16:00:00", "table": "token_usage"}
    assert foreign(later, 1).record.idempotency_key == key
    for other in ({"session_id": "room_b"}, {"model_name": "m"}, {"service_type": "tts"}, {"id": "8"}):
        assert foreign({**TABLE, **other}, 1).record.idempotency_key != key


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
    assert found.record.metadata == {"run_id": "r", "prompt": 4, "imported_cost_usd": "0.000024"}


def test_the_same_row_has_the_same_key_and_a_second_one_in_a_file_its_own():
    assert foreign(LOG, 1).record == foreign(dict(LOG), 1).record
    assert foreign(LOG, 2).record.idempotency_key != foreign(LOG, 1).record.idempotency_key


def test_identities_are_kept_as_the_settings_say():
    assert foreign(LOG, 1, Terms(Identities("none"))).part.user is None
    assert foreign(LOG, 1, Terms(Identities("hashed", "key"))).part.user == Identities("hashed", "key").identity("ada")
