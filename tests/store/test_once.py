"""What counts once a session, whoever repeats it, and from whichever process."""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import replace

import pytest
import sqlalchemy as sa

from livekit_tokens.core.ledger import Source
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store import schema
from livekit_tokens.store.connection import StoreLedger
from tests.store.batches import KEY as PART
from tests.store.batches import OTHER_KEY, SECOND, START, batch, part, record


async def rows(ledger: StoreLedger, table: sa.Table, *order: str) -> list[sa.RowMapping]:
    async with ledger.reader() as conn:
        chosen = sa.select(table).order_by(*(table.c[name] for name in order))
        return list((await conn.execute(chosen)).mappings())


async def test_an_idempotency_key_counts_once_per_session(ledger, connection):
    """In one batch, in a later one, by another source and by another part of the session; not in another session."""
    keyed = record(idempotency_key="order-1")
    first = batch(keyed, keyed, record(idempotency_key="order-2"), record(), parts=[part()])
    assert await connection.apply(first)
    assert await connection.apply(batch(keyed, record(), before=first.after))
    second = Source("source-2", "host", 8, START)
    same_session = batch(replace(keyed, part=OTHER_KEY), source=second, parts=[part(OTHER_KEY)])
    assert await connection.apply(same_session)
    elsewhere = "0c" * 16
    other_session = batch(
        replace(keyed, part=elsewhere), source=second, before=same_session.after, parts=[part(elsewhere, "other")]
    )
    assert await connection.apply(other_session)

    stored = [(row["part"][0], row["seq"]) for row in await rows(ledger, schema.records, "part", "seq")]
    assert stored == [(10, 1), (10, 3), (10, 4), (10, 6), (12, 2)]
    assert sum(row["requests"] for row in await rows(ledger, schema.sums)) == 5
    digests = {row["digest"] for row in await rows(ledger, schema.idempotency)}
    assert digests == {
        hashlib.sha256(text.encode()).digest()
        for text in ("room_abc\0order-1", "room_abc\0order-2", "other\0order-1")
    }  # fmt: skip


async def test_two_processes_that_tell_the_same_key_at_once_count_it_once(ledger):
    """The database decides, whichever commits first."""
    connections = [await ledger.connect() for _ in range(4)]
    keyed = [record(idempotency_key=f"k{n}") for n in range(20)]
    told = [
        batch(
            *(replace(r, part=f"{n:032x}") for r in keyed),
            source=Source(f"s{n}", "h", n, START),
            parts=[part(f"{n:032x}")],
        )
        for n in range(4)
    ]
    assert all(await asyncio.gather(*(c.apply(b) for c, b in zip(connections, told, strict=True))))

    assert len(await rows(ledger, schema.records)) == 20
    assert sum(row["requests"] for row in await rows(ledger, schema.sums)) == 20
    for connection in connections:
        await connection.aclose()


def minutes(since: int, until: int, key: str = PART) -> UsageRecord:
    """A telephone's stay as one part saw it, in seconds after START."""
    return record(
        key,
        at=START + until * SECOND,
        model="sip",
        units={"session_ms": (until - since) * 1000},
        idempotency_key="session_minutes/PA_1/sip",
    )


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ([(0, 180), (180, 300)], [180_000, 120_000]),
        ([(180, 300), (0, 180)], [120_000, 180_000]),
        ([(0, 180), (0, 300)], [180_000, 120_000]),
        ([(0, 300), (0, 180)], [300_000]),
        ([(0, 180), (0, 180)], [180_000]),
        ([(60, 120), (0, 300)], [60_000, 240_000]),
        ([(0, 60), (240, 300)], [60_000, 240_000]),
        ([(0, 60), (0, 120), (60, 300)], [60_000, 60_000, 180_000]),
    ],
    ids=["on", "back", "longer", "shorter", "same", "around", "a gap", "three"],
)
@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_each_moment_of_a_telephone_counts_once_whoever_saw_it(database_url, told, counted, in_one_batch):
    """A leg that goes on when one job is over: what the next one saw is added, exactly once, at either end."""
    keys = [f"{n:032x}" for n in range(1, 1 + len(told))]
    seen = [minutes(since, until, key) for key, (since, until) in zip(keys, told, strict=True)]
    ledger = StoreLedger(database_url, pricing=lambda one: Price(one.units["session_ms"], 0))
    connection = await ledger.connect()
    if in_one_batch:
        assert await connection.apply(batch(*seen, parts=[part(key) for key in keys]))
    else:
        for key, one in zip(keys, seen, strict=True):
            assert await connection.apply(batch(one, parts=[part(key)], source=Source(key, "host", 1, START)))

    stored = sorted(await rows(ledger, schema.records), key=lambda row: keys.index(row["part"].hex()))
    assert [row["units"] for row in stored] == [{"session_ms": more} for more in counted]
    assert [row["input_cost"] for row in stored] == counted
    sums = await rows(ledger, schema.sums)
    assert sum(row["session_ms"] for row in sums) == sum(row["input_cost"] for row in sums) == sum(counted)
    assert sum(row["requests"] for row in sums) == len(counted)
    await connection.aclose()
    await ledger.aclose()


async def test_processes_that_tell_of_one_telephone_at_once_count_each_moment_once(ledger):
    """Eight of them, each of whom saw another length of it, on either side."""
    connections = [await ledger.connect() for _ in range(8)]
    for leg in range(5):
        keys = [f"{1 + 10 * leg + n:032x}" for n in range(8)]
        told = [
            batch(
                replace(minutes(100 - 10 * n, 200 + 10 * n, key), idempotency_key=f"session_minutes/PA_{leg}/sip"),
                source=Source(key, "h", n, START),
                parts=[part(key)],
            )
            for n, key in enumerate(keys)
        ]
        random.Random(leg).shuffle(told)
        assert all(await asyncio.gather(*(c.apply(b) for c, b in zip(connections, told, strict=True))))

    assert sum(row["session_ms"] for row in await rows(ledger, schema.sums)) == 5 * 240_000
    for connection in connections:
        await connection.aclose()


@pytest.mark.parametrize("units", [{"input_text": 5}, {"session_ms": 60_000, "characters": 3}, {}])
async def test_a_callers_record_under_a_stretchs_key_stops_no_drain(ledger, connection, units):
    """Spools of before hold keys as callers gave them: such a record counts once a session as any other does."""
    other = replace(minutes(0, 60), units=units)
    first = batch(minutes(0, 60), other, parts=[part()])
    assert await connection.apply(first)
    assert await connection.apply(batch(other, minutes(0, 120), before=first.after))
    assert await connection.apply(
        batch(
            replace(other, part=OTHER_KEY),
            source=Source("another", "h", 2, START),
            parts=[part(OTHER_KEY, "elsewhere")],
        )
    )

    once_a_session = 2 * units.get("session_ms", 0)
    assert sum(row["session_ms"] for row in await rows(ledger, schema.sums)) == 120_000 + once_a_session


async def test_a_telephone_that_an_older_version_told_of_is_not_told_again(ledger, connection):
    """It kept no length: what it has counted stays, and nothing is counted twice."""
    first = batch(minutes(0, 180), parts=[part()])
    assert await connection.apply(first)
    async with connection.transaction() as conn:
        await conn.execute(sa.update(schema.idempotency).values(since=None, until=None))

    assert await connection.apply(batch(minutes(0, 300, OTHER_KEY), before=first.after, parts=[part(OTHER_KEY)]))
    assert [row["session_ms"] for row in await rows(ledger, schema.sums)] == [180_000]
