"""A batch in the ledger: all or nothing, once, and the sums are what the records say."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livekit_tokens.core import faults
from livekit_tokens.core.ledger import START as FIRST
from livekit_tokens.core.ledger import Checkpoint
from livekit_tokens.core.lines import Late
from livekit_tokens.domain import units
from livekit_tokens.domain.pricing import MOST, Card, Price, unpriced
from livekit_tokens.domain.sessions import BY_HAND, IN_A_GAP, Part, Stay
from livekit_tokens.domain.times import QUARTER, quarter_of
from livekit_tokens.domain.totals import Totals, totals_of
from livekit_tokens.store import ingest, schema, writing
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.faults import LedgerConflict
from livekit_tokens.store.ready import in_pieces, ready
from livekit_tokens.store.schema import INFORMATIONAL
from livekit_tokens.store.sums import AMOUNTS, KEY
from tests.store.batches import KEY as PART
from tests.store.batches import OTHER_KEY, SECOND, SOURCE, START, batch, part, record

NOT_STORED = "a record's figures cannot be stored; it is recorded as unknown"


async def rows(ledger: StoreLedger, table: sa.Table, *order: str) -> list[sa.RowMapping]:
    async with ledger.reader() as conn:
        chosen = sa.select(table).order_by(*(table.c[name] for name in order))
        return list((await conn.execute(chosen)).mappings())


async def test_a_batch_brings_parts_stays_records_sums_and_the_checkpoint(ledger, connection):
    """Every value comes back as it went in."""
    told = record(
        at=START + 5,
        agent="Greeter",
        feature="intro",
        provenance="estimated",
        informational={"input_audio": 3},
        low={"output_audio": 1},
        high={"output_audio": 9},
        success=False,
        error="APIError",
        processing_ms=120,
        first_output_ms=40,
        request_id="resp_1",
        quality_score=0.5,
        safety_score=0.25,
        metadata={"run": "x", "n": 2, "f": 1.5, "ok": True, "none": None},
    )
    whole = part(
        room="room", job="job", agent_name="bot", user_name="Ann", tenant="t", tags={"env": "prod"},
        status="closed", ended_at=START + 9, close_reason="user_initiated",
    )  # fmt: skip
    stay = Stay(PART, "PA_1", "ann", "Ann", START, START + 8)

    assert await connection.apply(batch(told, parts=[whole], stays=[stay], lost=2))

    key = bytes.fromhex(PART)
    (stored,) = await rows(ledger, schema.records)
    assert dict(stored) == {
        "part": key, "seq": 1, "at": START + 5, "service": "agent", "provider": "openai", "model": "gpt-realtime",
        "operation": "realtime_response", "agent": "Greeter", "feature": "intro", "provenance": "estimated",
        "units": {"input_text": 10, "output_audio": 5}, "informational": {"input_audio": 3},
        "low": {"output_audio": 1}, "high": {"output_audio": 9}, "success": False, "error": "APIError",
        "processing_ms": 120, "first_output_ms": 40, "request_id": "resp_1", "idempotency_key": None,
        "quality_score": 0.5, "safety_score": 0.25,
        "metadata": {"run": "x", "n": 2, "f": 1.5, "ok": True, "none": None},
        "input_cost": None, "output_cost": None, "price_note": None,
    }  # fmt: skip
    assert [dict(row) for row in await rows(ledger, schema.parts)] == [
        {
            "key": key, "source": "source-1", "session_id": "room_abc", "room": "room", "job": "job",
            "agent_name": "bot", "user_id": "ann", "user_name": "Ann", "tenant": "t", "tags": {"env": "prod"},
            "status": "closed", "started_at": START, "ended_at": START + 9, "close_reason": "user_initiated",
        }
    ]  # fmt: skip
    assert [dict(row) for row in await rows(ledger, schema.stays)] == [
        {"part": key, "sid": "PA_1", "identity": "ann", "name": "Ann", "joined_at": START, "left_at": START + 8}
    ]
    (source,) = await rows(ledger, schema.sources)
    assert (source["segment"], source["byte_offset"], source["seq"], source["lost"]) == (1, 100, 1, 2)
    assert await connection.checkpoint("source-1") == Checkpoint(1, 100, 1)
    assert await connection.checkpoints(["source-1", "nobody"]) == {"source-1": Checkpoint(1, 100, 1)}


def by_hand(key: str, **whose: object) -> Part:
    """A part that is only told by its session's id, as a second process tells it."""
    said = {"status": "closed", "ended_at": START + 9, "close_reason": BY_HAND, "started_at": START + 9, "user": None}
    return part(key, **{**said, **whose})


@pytest.mark.parametrize("first_to_come", ["the session", "what only names it"])
async def test_what_only_names_a_session_has_its_user_tenant_and_tags(ledger, connection, first_to_come):
    """Whichever process's spool is read first; a user of its own stays; also when it is told again."""
    opened = part(user_name="Ann", tenant="t", tags={"plan": "pro", "env": "prod"})
    later = part("0c" * 16, started_at=START + 5, user="bob", tenant="u")
    named, own = by_hand("0d" * 16, tags={"env": "dev", "v": "2"}), by_hand("0e" * 16, user="eve")
    batches = [[opened, later], [named, own]]
    at = None
    for told in batches if first_to_come == "the session" else batches[::-1]:
        made = batch(parts=told, before=at)
        assert await connection.apply(made)
        at = made.after
    assert await connection.apply(batch(parts=[named], before=at))
    whose = {
        row["key"].hex()[:2]: (row["user_id"], row["user_name"], row["tenant"], row["tags"])
        for row in await rows(ledger, schema.parts)
    }
    assert whose == {
        "0a": ("ann", "Ann", "t", {"plan": "pro", "env": "prod"}),
        "0c": ("bob", None, "u", {}),
        "0d": ("ann", "Ann", "t", {"plan": "pro", "env": "prod", "v": "2"}),
        "0e": ("eve", None, "t", {"plan": "pro", "env": "prod"}),
    }


async def test_what_names_a_session_that_nobody_opened_is_nobodys(ledger, connection):
    """Nor does one part by hand inherit from another."""
    assert await connection.apply(batch(parts=[by_hand("0d" * 16), by_hand("0e" * 16, user="eve")]))
    assert [row["user_id"] for row in await rows(ledger, schema.parts, "key")] == [None, "eve"]


async def test_of_two_processes_that_tell_of_a_session_at_once_the_second_sees_the_first(postgres_url, monkeypatch):
    """What only names it has its user also when neither had committed as the other began."""
    ledger = StoreLedger(postgres_url)
    first, second = await ledger.connect(), await ledger.connect()
    looked, both = [], asyncio.Event()

    async def look_and_linger(conn, arrived, forgotten):
        await complete_named(conn, arrived, forgotten)
        looked.append(conn)
        if len(looked) == 2:
            both.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(both.wait(), 0.5)  # both have looked, unless one waits for the other's commit

    complete_named = ingest.complete_named
    monkeypatch.setattr(ingest, "complete_named", look_and_linger)
    told = batch(parts=[by_hand("0d" * 16)]), batch(parts=[part()], source=replace(SOURCE, id="source-2"))
    assert all(await asyncio.gather(first.apply(told[0]), second.apply(told[1])))
    assert {row["user_id"] for row in await rows(ledger, schema.parts)} == {"ann"}
    for opened in (first, second, ledger):
        await opened.aclose()


SELDOM_TOLD = {
    "low": {"input_text": 1},
    "high": {"input_text": 9},
    "success": False,
    "error": "APIError",
    "quality_score": 0.5,
    "safety_score": 0.0,
    "metadata": {"run": "x"},
    "idempotency_key": "mine",
}


@pytest.mark.parametrize("seldom", SELDOM_TOLD)
async def test_what_few_records_have_is_stored_beside_many_that_have_it_not(ledger, connection, seldom):
    """Most records leave eight columns empty, and are written without them; one value, and it is written whole."""
    usual = record(agent="Greeter", informational={"input_audio": 3}, processing_ms=7, request_id="resp_1")
    unusual = replace(usual, **{seldom: SELDOM_TOLD[seldom]})
    assert await connection.apply(batch(usual, unusual, usual, parts=[part()]))

    first, second, third = (dict(row) for row in await rows(ledger, schema.records, "seq"))
    assert second == first | {"seq": 2, seldom: SELDOM_TOLD[seldom]}
    assert third == first | {"seq": 3}
    assert (first["success"], first["request_id"], first["metadata"]) == (True, "resp_1", None)


async def test_a_stale_checkpoint_is_refused_and_nothing_is_written(ledger, connection):
    """Compare-and-set: the batch says where it believes the ledger to be."""
    first = batch(record(), parts=[part()])
    assert await connection.apply(first)

    for before in (None, FIRST, Checkpoint(1, 99, 1), Checkpoint(2, 100, 1)):
        again = batch(record(), parts=[part(OTHER_KEY)], before=before, first_seq=2, lost=1)
        assert not await connection.apply(again)

    assert await connection.checkpoint("source-1") == first.after
    assert len(await rows(ledger, schema.records)) == 1
    assert len(await rows(ledger, schema.parts)) == 1
    assert (await rows(ledger, schema.sources))[0]["lost"] == 0
    assert await connection.apply(batch(record(), before=first.after))


async def test_of_two_appliers_one_wins(ledger):
    """A drain and a takeover that both believe to own the source: the batch is there once."""
    connections = [await ledger.connect() for _ in range(4)]
    before = None
    for _ in range(5):
        told = batch(record(), record(), before=before, parts=[part()])
        won = await asyncio.gather(*(connection.apply(told) for connection in connections))
        assert sorted(won) == [False, False, False, True]
        before = told.after

    assert len(await rows(ledger, schema.records)) == 10
    assert sum(row["requests"] for row in await rows(ledger, schema.sums)) == 10
    for connection in connections:
        await connection.aclose()


async def test_a_kill_between_commit_and_acknowledgement_is_harmless(ledger, connection):
    """The next owner applies the same batch again, hears False, and learns from the checkpoint where to go on."""
    told = batch(record(), record(), parts=[part()])
    assert await connection.apply(told)
    await connection.aclose()  # killed before it could note that the batch is in

    successor = await ledger.connect()
    assert not await successor.apply(told)
    assert await successor.checkpoint("source-1") == told.after
    assert await successor.apply(batch(record(), before=told.after))
    assert [row["seq"] for row in await rows(ledger, schema.records, "seq")] == [1, 2, 3]
    await successor.aclose()


async def test_a_key_conflict_is_an_error_and_undoes_the_whole_batch(ledger, connection):
    """Never skipped: the sums would count the record twice."""
    first = batch(record(), parts=[part()])
    assert await connection.apply(first)
    wrong = batch(record(), record(), before=first.after, first_seq=1, parts=[part(OTHER_KEY)])

    with pytest.raises(LedgerConflict):
        await connection.apply(wrong)

    assert connection.stale()
    assert len(await rows(ledger, schema.records)) == 1
    assert len(await rows(ledger, schema.parts)) == 1
    assert sum(row["requests"] for row in await rows(ledger, schema.sums)) == 1
    again = await ledger.connect()
    assert await again.checkpoint("source-1") == first.after
    await again.aclose()


async def test_a_cancelled_apply_leaves_nothing(ledger, connection):
    """The loop ends in the middle of a batch."""
    told = batch(*(record() for _ in range(5000)), parts=[part()])
    applying = asyncio.create_task(connection.apply(told))
    await asyncio.sleep(0.02)
    applying.cancel()
    done = await asyncio.gather(applying, return_exceptions=True)

    successor = await ledger.connect()
    found = await successor.checkpoint("source-1")
    assert found == (told.after if done == [True] else None)
    assert len(await rows(ledger, schema.records)) == (5000 if found else 0)
    await successor.aclose()


async def test_the_last_line_of_a_part_and_of_a_stay_counts(ledger, connection):
    """Within a batch and between batches; lines of a spool come in their order."""
    first = batch(
        parts=[part(), part(user_name="Ann")],
        stays=[Stay(PART, "PA_1", "ann", None, START), Stay(PART, "PA_2", "ben", None, START)],
    )
    assert await connection.apply(first)
    closed = part(status="closed", ended_at=START + 9)
    assert await connection.apply(
        batch(before=first.after, parts=[closed], stays=[Stay(PART, "PA_1", "ann", "Ann", START, START + 7)])
    )

    (stored,) = await rows(ledger, schema.parts)
    assert (stored["status"], stored["user_name"], stored["ended_at"]) == ("closed", None, START + 9)
    assert [(s["sid"], s["left_at"]) for s in await rows(ledger, schema.stays, "sid")] == [
        ("PA_1", START + 7),
        ("PA_2", None),
    ]


async def test_records_of_a_part_that_the_ledger_never_heard_of_are_kept_for_it(ledger, connection):
    """A deleted database, replayed from the middle of a call: the part's next line takes its place."""
    first = batch(record())
    assert await connection.apply(first)
    (stand_in,) = await rows(ledger, schema.parts)
    assert stand_in["session_id"].startswith("unattributed_")
    assert stand_in["status"] == "abandoned"

    assert await connection.apply(batch(record(), before=first.after, parts=[part()]))

    assert [row["session_id"] for row in await rows(ledger, schema.parts)] == ["room_abc"]


async def test_a_stand_in_never_replaces_a_part(ledger, connection):
    """A new connection does not know yet which parts the ledger has."""
    first = batch(record(), parts=[part()])
    assert await connection.apply(first)
    fresh = await ledger.connect()
    assert await fresh.apply(batch(record(), before=first.after))

    assert [row["session_id"] for row in await rows(ledger, schema.parts)] == ["room_abc"]
    await fresh.aclose()


async def test_a_price_is_fixed_with_the_record(database_url):
    """Costs stand in the record and in its sum; what has no price is unpriced, never 0."""

    def pricing(told):
        return Price(7, 11, "fallback: other") if told.model == "known" else Price(note="no price for input_text")

    ledger = StoreLedger(database_url, pricing=pricing)
    connection = await ledger.connect()
    nothing = record(units={}, success=False)
    unknown = record(units={}, provenance="unknown")
    assert await connection.apply(
        batch(record(model="known"), record(model="known"), record(), nothing, unknown, parts=[part()])
    )

    costs = [(r["input_cost"], r["output_cost"]) for r in await rows(ledger, schema.records, "seq")]
    assert costs == [(7, 11), (7, 11), (None, None), (None, None), (None, None)]
    notes = [r["price_note"] for r in await rows(ledger, schema.records, "seq")]
    assert notes == ["fallback: other"] * 2 + ["no price for input_text"] * 3
    sums = {(r["model"], r["provenance"]): r for r in await rows(ledger, schema.sums)}
    assert sums["known", "reported"]["input_cost"] == 14
    assert sums["known", "reported"]["output_cost"] == 22
    assert sums["known", "reported"]["unpriced_requests"] == 0
    assert sums["gpt-realtime", "reported"]["unpriced_requests"] == 1
    assert sums["gpt-realtime", "reported"]["failed_requests"] == 1
    assert sums["gpt-realtime", "unknown"]["unpriced_requests"] == 1
    await connection.aclose()
    await ledger.aclose()


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
async def test_a_character_that_cannot_be_stored_does_not_stop_the_spool(ledger, connection, text):
    """PostgreSQL has no NUL, UTF-8 no half surrogates: they become U+FFFD where the database refuses them."""
    told = record(agent=text, metadata={"label": text}, idempotency_key=text)
    first = batch(told, parts=[part(user=text, tags={text: text})], stays=[Stay(PART, "PA", text, text, START)])

    assert await connection.apply(first)
    assert await connection.apply(batch(told, before=first.after))

    (stored,) = await rows(ledger, schema.records)
    assert stored["agent"] in (text, "a\ufffdb")
    assert stored["metadata"]["label"] in (text, "a\ufffdb")


async def test_a_name_longer_than_an_index_holds_does_not_stop_a_source(ledger, connection) -> None:
    """PostgreSQL's indexes hold 2,704 bytes a row: names are cut there, and stay apart by a hash of the whole."""
    dice = random.Random(3)
    long, other = ("".join(chr(dice.randrange(0xC0, 0x2000)) for _ in range(3000)) for _ in range(2))
    names = dict.fromkeys(("service", "provider", "model", "operation", "agent", "feature"), long[:200])
    parts = [part(session_id=long, user=long), part(OTHER_KEY, session_id=long[:2999] + other)]
    first = batch(record(**names), record(feature=long), record(OTHER_KEY, feature=long + other), parts=parts)

    assert await connection.apply(first)

    stored = await rows(ledger, schema.parts)
    assert len({row["session_id"] for row in stored}) == 2
    assert all(long.startswith(row["session_id"][:100]) for row in stored)
    assert len({row["feature"] for row in await rows(ledger, schema.records)}) == 3


async def test_absurd_figures_of_an_older_spool_stop_nobody(database_url) -> None:
    """A version that took a trillion tokens wrote them: no price is believed, their sum fits, others follow."""
    o1_pro = Card("openai", "o1-pro", {"output_text": Fraction(600_000)}, "a test")
    ledger = StoreLedger(database_url, pricing=lambda record: o1_pro.price(record.units))
    connection = await ledger.connect()
    absurd = batch(*[record(units={"output_text": 10**12})] * 200, parts=[part()])
    other = batch(record(OTHER_KEY, units={"output_text": 5}), before=absurd.after, parts=[part(OTHER_KEY, "room_b")])

    assert await connection.apply(absurd)
    assert await connection.apply(other)

    summed = {row["part"].hex(): row for row in await rows(ledger, schema.sums)}
    assert (summed[PART]["output_text"], summed[PART]["unpriced_requests"]) == (200 * 10**12, 200)
    assert summed[OTHER_KEY]["output_cost"] == 3_000_000
    await connection.aclose()
    await ledger.aclose()


async def test_a_record_that_cannot_be_stored_is_unknown_and_stops_no_other(ledger, connection) -> None:
    """Wherever it came from: it is counted, without its figures, and is a fault."""
    before = faults.counts().get(NOT_STORED, 0)
    told = batch(record(), record(processing_ms=2**63), record(units={"input_text": 2**63}), record(), parts=[part()])
    assert await connection.apply(told)
    assert await connection.apply(batch(record(), before=told.after))

    kept = await rows(ledger, schema.records, "seq")
    assert [row["provenance"] for row in kept] == ["reported", "unknown", "unknown", "reported", "reported"]
    assert [row["units"] for row in kept[1:3]] == [{}, {}]
    assert faults.counts()[NOT_STORED] == before + 2
    assert {row["provenance"]: row["requests"] for row in await rows(ledger, schema.sums)} == {
        "reported": 3,
        "unknown": 2,
    }


async def test_a_sum_that_is_full_stops_nobody(postgres_url) -> None:
    """What can be added no more is told of as unknown, in a sum of its own."""
    ledger = StoreLedger(postgres_url)
    connection = await ledger.connect()
    first = batch(record(units={"input_text": 2**62}), parts=[part()])
    assert await connection.apply(first)
    assert await connection.apply(batch(record(units={"input_text": 2**62}), record(), before=first.after))

    summed = {row["provenance"]: row for row in await rows(ledger, schema.sums)}
    assert summed["reported"]["input_text"] == 2**62 + 10
    assert summed["unknown"]["requests"] == 1
    await connection.aclose()
    await ledger.aclose()


def test_nine_thousand_of_the_largest_records_fit_into_a_sum() -> None:
    """Each at the most that is accepted of a unit, comes back from an export, or is priced: more than any part has in a
    quarter of an hour.
    """
    assert 9_000 * max(units.LARGEST, units.MOST_HELD, MOST) < 2**63


names = st.sampled_from(["a", "b", "Ärger", "c/d", ""])
quantities = st.dictionaries(st.sampled_from(list(units.REGISTRY)), st.integers(1, units.LARGEST), max_size=6)
tokens = st.dictionaries(st.sampled_from(units.TOKENS), st.integers(1, units.LARGEST), max_size=3)
usage_records = st.builds(
    record,
    key=st.sampled_from([PART, OTHER_KEY]),
    at=st.integers(START, START + 3 * QUARTER),
    service=st.sampled_from(["agent", "transcriber"]),
    model=names,
    operation=names,
    agent=st.none() | names,
    feature=names,
    units=quantities,
    informational=tokens,
    provenance=st.sampled_from(["reported", "estimated", "unknown"]),
    success=st.booleans(),
    metadata=st.dictionaries(names, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | names, max_size=2),
)
prices = st.builds(Price, st.none() | st.integers(0, 10**12), st.none() | st.integers(0, 10**12), st.none() | names)


def expected_sums(told, pricing) -> dict[tuple[object, ...], tuple[Totals, int]]:
    """Plain addition of `totals_of` per key: the slow and obvious way."""
    found: dict[tuple[object, ...], tuple[Totals, int]] = {}
    for r in told:
        key = (
            bytes.fromhex(r.part), quarter_of(r.at), r.service, r.provider, r.model, r.operation, r.agent or "",
            r.feature, r.provenance,
        )  # fmt: skip
        totals, first = found.get(key, (Totals(), r.at))
        found[key] = (totals + totals_of(r, pricing(r)), min(first, r.at))
    return found


def amounts_of(totals: Totals, first: int) -> dict[str, int]:
    return {
        "requests": totals.requests,
        "failed_requests": totals.failed_requests,
        "unpriced_requests": totals.unpriced_requests,
        **{name: totals.units.get(name, 0) for name in units.REGISTRY},
        **{column: totals.informational.get(name, 0) for name, column in INFORMATIONAL.items()},
        "input_cost": totals.input_cost,
        "output_cost": totals.output_cost,
        "first_at": first,
    }


@pytest.mark.parametrize("make_ready", [ready, partial(in_pieces, size=7)])
@given(told=st.lists(st.tuples(usage_records, prices), max_size=30))
def test_sums_made_ready_are_what_totals_of_says(make_ready, told):
    """The fast addition and the domain's agree, unit by unit, for any records and prices, ahead or in pieces."""
    price_of = {id(r): price for r, price in told}
    made = make_ready(list(enumerate((r for r, _ in told), 1)), lambda r: price_of[id(r)], true=1)
    assert sum(map(len, made.plain)) + len(made.whole) == len(told)

    stored = {row[: len(KEY)]: dict(zip(AMOUNTS, row[len(KEY) :], strict=True)) for row in made.sums}
    expected = expected_sums([r for r, _ in told], lambda r: price_of[id(r)])
    assert stored == {key: amounts_of(*value) for key, value in expected.items()}
    assert [row[: len(KEY)] for row in made.sums] == sorted(stored)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(told=st.lists(st.lists(usage_records, max_size=12), min_size=1, max_size=5))
def test_sums_equal_records_whatever_batches_come(database_url, told):
    """Over several batches, on the database: each sum is the sum of its records, and so is the whole."""

    async def check() -> None:
        ledger = StoreLedger(database_url)
        async with ledger.writer() as conn:
            for table in schema.metadata.tables.values():
                await conn.execute(sa.delete(table))
        connection = await ledger.connect()
        before = None
        for one in told:
            made = batch(*one, before=before, parts=[part(), part(OTHER_KEY)])
            assert await connection.apply(made)
            before = made.after
        everything = [r for one in told for r in one]
        stored = {
            tuple(row[name] for name in KEY): {name: row[name] for name in AMOUNTS}
            for row in await rows(ledger, schema.sums)
        }
        expected = expected_sums(everything, unpriced)
        assert stored == {key: amounts_of(*value) for key, value in expected.items()}
        assert [(r["units"], r["informational"] or {}) for r in await rows(ledger, schema.records, "seq")] == [
            (r.units, r.informational) for r in everything
        ]
        await connection.aclose()
        await ledger.aclose()

    asyncio.run(check())


async def test_a_backfilled_record_moves_the_sums_first_time_back(ledger, connection):
    """`first_at` is the earliest record's time, whenever it arrived."""
    first = batch(record(at=START + 30 * SECOND), parts=[part()])
    assert await connection.apply(first)
    assert await connection.apply(batch(record(at=START + SECOND), record(at=START + 60 * SECOND), before=first.after))

    assert [row["first_at"] for row in await rows(ledger, schema.sums)] == [START + SECOND]


async def test_a_restored_backup_is_replayed_to_the_same_end(ledger, connection):
    """The backup has an older checkpoint; the lines after it come again, in their order, and the last one wins."""
    first = batch(record(), parts=[part()])
    second = batch(record(), before=first.after, parts=[part(status="closed", ended_at=START + 9)])
    assert await connection.apply(first)
    async with ledger.reader() as conn:
        backup = {
            table: [dict(row) for row in (await conn.execute(sa.select(table))).mappings()]
            for table in schema.metadata.tables.values()
        }
    assert await connection.apply(second)
    async with ledger.writer() as conn:
        for table, kept in backup.items():
            await conn.execute(sa.delete(table))
            if kept:
                await conn.execute(sa.insert(table), kept)

    assert not await connection.apply(batch(record(), before=second.after))
    assert await connection.checkpoint("source-1") == first.after
    assert await connection.apply(second)

    assert [row["status"] for row in await rows(ledger, schema.parts)] == ["closed"]
    assert sum(row["requests"] for row in await rows(ledger, schema.sums)) == 2


def test_parts_are_told_by_key_alone():
    """A part's key is hex text outside and bytes inside."""
    assert Part(PART, "s", START).key == PART
    with pytest.raises(ValueError, match="non-hexadecimal"):
        ready([(1, record("not hex"))], unpriced, true=1)


async def test_errors_are_one_line_without_the_values(ledger, connection):
    """A log must not carry who called."""
    first = batch(record(), parts=[part(user="secret-user")])
    assert await connection.apply(first)
    with pytest.raises(LedgerConflict) as told:
        await connection.apply(batch(record(feature="secret-user"), before=first.after, first_seq=1))

    fault: BaseException | None = told.value
    assert "\n" not in str(fault)
    while fault is not None:
        assert "secret-user" not in str(fault)
        fault = fault.__cause__


async def test_a_part_that_its_owner_has_closed_is_neither_abandoned_nor_open_again(ledger, connection):
    """Who brings home a spool that went back to a snapshot knows less of it than the ledger does."""
    first = batch(record(), parts=[part(status="closed", ended_at=START + 9, close_reason="user_initiated")])
    await connection.apply(first)
    for number, status in enumerate(("open", "abandoned", "closed"), 1):
        before = first.after._replace(offset=first.after.offset + 100 * (number - 1))
        ends = None if status == "open" else START + number
        await connection.apply(batch(before=before, parts=[part(status=status, ended_at=ends, close_reason=None)]))
        (stored,) = await rows(ledger, schema.parts)
        assert stored["status"] == "closed"
        assert stored["ended_at"] == (START + 3 if status == "closed" else START + 9)


async def test_parts_that_ended_in_a_gap_are_abandoned_at_their_last_record(ledger, connection):
    """The spool says what is still open; what else this source has open in the ledger has ended, others' parts not."""
    theirs = replace(SOURCE, id="source-2")
    first = batch(record(), parts=[part(), part(OTHER_KEY)])
    assert await connection.apply(first)
    assert await connection.apply(batch(parts=[part("0c" * 16)], source=theirs))
    assert await connection.apply(replace(batch(before=first.after), still_open=frozenset([OTHER_KEY])))
    found = {row.key.hex(): row for row in await rows(ledger, schema.parts)}
    assert (found[PART].status, found[PART].close_reason) == ("abandoned", IN_A_GAP)
    assert found[PART].ended_at == START + SECOND
    assert (found[OTHER_KEY].status, found["0c" * 16].status) == ("open", "open")


async def test_late_figures_are_kept_beside_their_estimate_and_never_summed(ledger, connection):
    """Once, under the source and the number of the estimate's record; also if they are replayed."""
    late = Late(of=1, at=START + 9 * SECOND, units={"input_text": 12, "output_audio": 7})
    first = replace(batch(record(provenance="estimated"), parts=[part()]), late=(late,))
    again = replace(batch(before=first.after), late=(late,))

    assert await connection.apply(first)
    assert await connection.apply(again)

    assert [dict(row) for row in await rows(ledger, schema.late_figures, "seq")] == [
        {"source": SOURCE.id, "seq": 1, "at": late.at, "units": late.units}
    ]
    (summed,) = await rows(ledger, schema.sums, "bucket")
    assert (summed["requests"], summed["input_text"], summed["output_audio"]) == (1, 10, 5)


async def test_what_is_remembered_of_parts_is_bounded(connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that opens a million sessions keeps no key for each; a part that was forgotten is looked up again."""
    monkeypatch.setattr(writing, "_MOST_KNOWN", 2)
    keys = [f"{number:032x}" for number in range(1, 5)]
    before = None
    for key in keys:
        next_one = batch(record(key), before=before, parts=[part(key)])
        assert await connection.apply(next_one)
        before = next_one.after
    assert len(connection._known_parts) <= 2
    assert await connection.apply(batch(record(keys[0]), before=before))
