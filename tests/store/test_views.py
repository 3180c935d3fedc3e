"""The tables that users of home-grown trackers know: `token_usage` and `api_usage`."""

from __future__ import annotations

import sqlalchemy as sa

from livekit_tokens.domain import units
from livekit_tokens.domain.pricing import UNPRICED, Price
from livekit_tokens.store import schema
from livekit_tokens.store.connection import StoreLedger
from tests.store.batches import KEY, OTHER_KEY, SECOND, START, batch, part, record

NANOS = 10**9


async def asked(ledger: StoreLedger, sql: str) -> list[dict[str, object]]:
    async with ledger.reader() as conn:
        return [dict(row) for row in (await conn.execute(sa.text(sql))).mappings()]


async def test_token_usage_has_one_row_per_session_service_and_model(ledger, connection):
    """Two parts of one session, two services: counts add up over parts, informational tokens included."""
    whisper = {
        "service": "transcriber", "model": "whisper-1", "units": {"audio_ms": 4000},
        "informational": {"input_audio": 40, "output_text": 12},
    }  # fmt: skip
    cached = {"input_text": 10, "cached_input_text": 4, "output_audio": 5, "output_reasoning": 2}
    assert await connection.apply(
        batch(
            record(units=cached, at=START + 3 * SECOND),
            record(OTHER_KEY, at=START + 2 * SECOND, units=cached, provenance="estimated"),
            record(OTHER_KEY, at=START + 9 * SECOND, **whisper),
            parts=[
                part(user_name="Ann", status="closed", ended_at=START + 60 * SECOND),
                part(OTHER_KEY, started_at=START + SECOND, status="closed", ended_at=START + 90 * SECOND + 999_999),
            ],
        )
    )

    found = await asked(ledger, "SELECT * FROM token_usage ORDER BY service_type")
    assert found == [
        {
            "id": "room_abc/agent/gpt-realtime", "session_id": "room_abc", "user_name": "Ann", "service_type": "agent",
            "model_name": "gpt-realtime", "input_tokens": 28, "output_tokens": 14, "total_tokens": 42,
            "session_start": "2025-06-15 15:06:40", "session_end": "2025-06-15 15:08:10",
            "created_at": "2025-06-15 15:06:42",
        },
        {
            "id": "room_abc/transcriber/whisper-1", "session_id": "room_abc", "user_name": "ann",
            "service_type": "transcriber", "model_name": "whisper-1", "input_tokens": 40, "output_tokens": 12,
            "total_tokens": 52, "session_start": "2025-06-15 15:06:41", "session_end": "2025-06-15 15:08:10",
            "created_at": "2025-06-15 15:06:49",
        },
    ]  # fmt: skip


async def test_session_end_is_null_while_a_part_that_used_the_service_is_open(ledger, connection):
    """A row is there from the first record on; an open part that did not use the service does not hold it open."""
    first = batch(
        record(),
        record(OTHER_KEY, service="tts", model="tts-1"),
        parts=[part(), part(OTHER_KEY, status="abandoned", ended_at=START + SECOND)],
    )
    assert await connection.apply(first)
    ends = "SELECT service_type, session_end FROM token_usage ORDER BY service_type"
    assert [row["session_end"] for row in await asked(ledger, ends)] == [None, "2025-06-15 15:06:41"]

    assert await connection.apply(batch(before=first.after, parts=[part(status="closed", ended_at=START)]))
    assert [row["session_end"] for row in await asked(ledger, ends)] == ["2025-06-15 15:06:40", "2025-06-15 15:06:41"]


async def test_token_usage_ids_are_unique_whatever_the_names_hold(ledger, connection):
    """Room names are free text: a slash in one must not make it read like another's."""
    keys = [f"{n:032x}" for n in range(4)]
    names = [("a/agent", "m"), ("a", "agent/m"), ("a%2Fagent", "m"), ("a", "m")]
    records = [
        record(key, model=model, service="agent" if n else "x")
        for n, (key, (_, model)) in enumerate(zip(keys, names, strict=True))
    ]
    parts = [part(key, session) for key, (session, _) in zip(keys, names, strict=True)]
    assert await connection.apply(batch(*records, parts=parts))

    ids = [row["id"] for row in await asked(ledger, "SELECT id FROM token_usage")]
    assert len(set(ids)) == 4


async def test_token_usage_survives_the_pruning_of_records(ledger, connection):
    """It is made of the sums."""
    assert await connection.apply(batch(record(), parts=[part()]))
    before = await asked(ledger, "SELECT * FROM token_usage")
    async with ledger.writer() as conn:
        await conn.execute(sa.delete(schema.records))

    assert await asked(ledger, "SELECT * FROM token_usage") == before
    assert await asked(ledger, "SELECT * FROM api_usage") == []


async def test_api_usage_has_one_row_per_record(database_url):
    """Cost is a number, NULL when unpriced; feature is never NULL; metadata is JSON text."""

    def pricing(told):
        return Price(NANOS // 100, 1) if told.feature == "paid" else UNPRICED

    ledger = StoreLedger(database_url, pricing=pricing)
    connection = await ledger.connect()
    paid = record(feature="paid", metadata={"run": 1}, informational={"input_audio": 3}, at=START + 999_999)
    assert await connection.apply(batch(paid, record(), parts=[part()]))

    first, second = await asked(ledger, "SELECT * FROM api_usage ORDER BY id")
    assert float(first.pop("cost_usd")) == 0.010000001
    assert first.pop("metadata").replace(" ", "") == '{"run":1}'
    assert first == {
        "id": f"{KEY}-1", "timestamp": "2025-06-15 15:06:40", "model": "gpt-realtime", "feature": "paid",
        "prompt_tokens": 13, "completion_tokens": 5, "total_tokens": 18, "session_id": "room_abc",
    }  # fmt: skip
    assert (second["cost_usd"], second["metadata"], second["feature"]) == (None, "{}", "unknown")
    days = await asked(ledger, "SELECT DATE(timestamp) AS day, SUM(total_tokens) AS n FROM api_usage GROUP BY day")
    assert [(str(row["day"]), row["n"]) for row in days] == [("2025-06-15", 33)]
    await connection.aclose()
    await ledger.aclose()


async def test_every_token_unit_of_the_registry_counts_in_the_views(ledger, connection):
    """A new unit needs a migration that makes the views anew; this test is what reminds of it."""
    first = batch(*(record(units={unit: 1}, informational={unit: 1}) for unit in units.TOKENS), parts=[part()])
    assert await connection.apply(first)

    (row,) = await asked(ledger, "SELECT * FROM token_usage")
    assert (row["input_tokens"], row["output_tokens"]) == (2 * len(units.INPUT), 2 * len(units.OUTPUT))
    totals = await asked(ledger, "SELECT SUM(prompt_tokens) AS i, SUM(completion_tokens) AS o FROM api_usage")
    assert totals == [{"i": 2 * len(units.INPUT), "o": 2 * len(units.OUTPUT)}]
