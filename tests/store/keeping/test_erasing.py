"""Erased, a person is found nowhere in the ledger, nor in its file, nor after what arrives late; sums stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from livekit_tokens.core.ledger import Checkpoint, Source
from livekit_tokens.domain.erasure import Forgotten, Person
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping.checking import check
from livekit_tokens.store.keeping.copies import backup, restore
from livekit_tokens.store.keeping.erasing import erase, forget_again, only_named, remembered
from livekit_tokens.store.keeping.tending import vacuum
from livekit_tokens.store.schema import ADDED, erasures, metadata, parts, prunings, sums
from tests.store.batches import KEY, OTHER_KEY, START, batch, part, record

ANN = frozenset({"ann-4711"})
NOW = START + 1000
HERS = part(
    user="ann-4711",
    user_name="Ann Unusual",
    room="desk-ann-unusual",
    session_id="desk-ann-unusual_x",
    tags={"for": "Ann Unusual", "env": "prod"},
    tenant="ann-4711",
)
BOBS = part(OTHER_KEY, "shared_y", user="bob", user_name="Bob", room="shared")
TRANSCRIBER = part("0c" * 16, "desk-ann-unusual_x", user=None, room="desk-ann-unusual")
STAYS = [
    Stay(KEY, "PA_1", "ann-4711", "Ann Unusual", START),
    Stay(OTHER_KEY, "PA_2", "ann-4711", "Ann Unusual", START),
    Stay(OTHER_KEY, "PA_3", "bob", "Bob", START),
]
SAID = record(metadata={"of": "Ann Unusual", "n": 3}, request_id="req-ann-4711", idempotency_key="ann-4711-1")


@pytest.fixture
async def filled(ledger, connection) -> StoreLedger:
    told = [SAID, record(), record(OTHER_KEY, request_id="bobs"), record(TRANSCRIBER.key)]
    assert await connection.apply(batch(*told, parts=[HERS, BOBS, TRANSCRIBER], stays=STAYS))
    return ledger


async def everything(ledger: StoreLedger) -> str:
    async with ledger.reader() as conn:
        return repr([(await conn.execute(sa.select(table))).all() for table in metadata.sorted_tables]).lower()


async def rows(ledger: StoreLedger, table: sa.Table) -> list[object]:
    async with ledger.reader() as conn:
        return sorted((tuple(row) for row in await conn.execute(sa.select(table))), key=repr)


async def test_nothing_of_the_person_is_found_and_sums_and_others_stay(filled):
    before = await rows(filled, sums)
    erased, _ = await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)

    assert erased.to_dict() == {
        "parts": 1,
        "stays": 2,
        "records": 2,
        "sessions_renamed": 1,
        "rooms_renamed": 1,
        "left": 0,
        "left_in_models": 0,
    }
    left = await everything(filled)
    assert "ann-4711" not in left
    assert "unusual" not in left
    assert all(kept in left for kept in ("'bob'", "shared_y", "'bobs'", "prod"))
    assert await rows(filled, sums) == before
    assert {f.state async for f in check(filled, lambda _d, _o: None)} == {"ok"}


async def test_the_parts_of_a_renamed_session_stay_together(filled):
    """The transcriber's part named nobody, and has the same session."""
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)

    async with filled.reader() as conn:
        found = dict((await conn.execute(sa.select(parts.c.key, parts.c.session_id))).all())
    assert found[bytes.fromhex(KEY)] == found[bytes.fromhex(TRANSCRIBER.key)]
    assert found[bytes.fromhex(KEY)].startswith("erased_")


async def test_rooms_that_name_nobody_are_renamed_when_asked(filled):
    await erase(filled, ANN, NOW, all_rooms=True, dry_run=False)

    assert "shared" not in await everything(filled)


async def test_a_dry_run_finds_the_same_and_changes_nothing(filled):
    before = await everything(filled)
    found, _ = await erase(filled, ANN, NOW, all_rooms=False, dry_run=True)
    assert await everything(filled) == before

    erased, _ = await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    assert found == erased


async def test_a_late_spool_does_not_bring_them_back(filled, connection):
    """Whole lines again, of the same source; and of a host that was away, of which the ledger knew nothing."""
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    again = replace(HERS, status="closed", ended_at=NOW)
    assert await connection.apply(
        batch(replace(SAID, idempotency_key="ann-4711-2"), parts=[again], stays=STAYS, before=Checkpoint(1, 100, 4))
    )
    away = part("0d" * 16, "call-ann-4711_z", user="ann-4711", user_name="Ann Unusual", room="call-ann-4711")
    other = part("0e" * 16, "call-ann-4711_z", user=None, room="call-ann-4711")
    source = Source("source-2", "away", 1, START)
    assert await connection.apply(batch(record("0e" * 16), parts=[other], source=source))
    assert await connection.apply(
        batch(replace(SAID, part="0d" * 16), parts=[away], source=source, before=Checkpoint(1, 100, 1))
    )

    left = await everything(filled)
    assert "ann-4711" not in left
    assert "unusual" not in left
    async with filled.reader() as conn:
        found = dict((await conn.execute(sa.select(parts.c.key, parts.c.session_id))).all())
        status = (await conn.execute(sa.select(parts.c.status).where(parts.c.key == bytes.fromhex(KEY)))).scalar()
    assert found[bytes.fromhex("0d" * 16)] == found[bytes.fromhex("0e" * 16)]
    assert status == "closed"
    assert {f.state async for f in check(filled, lambda _d, _o: None)} == {"ok"}


async def total(ledger: StoreLedger) -> list[tuple[object, ...]]:
    """All sums of a part and quarter, added up over their labels."""
    added = [sa.func.sum(sums.c[name]) for name in ADDED]
    async with ledger.reader() as conn:
        asked = sa.select(sums.c.part, sums.c.bucket, *added).group_by(sums.c.part, sums.c.bucket)
        return sorted(tuple(row) for row in await conn.execute(asked))


LABELLED = [
    record(KEY, feature="of-ann-unusual", agent="ann-4711", metadata={"phone": 491701234567, "Ann Unusual": 1}),
    record(KEY, feature="of-ann-unusual", agent="Desk", metadata={"status": "cancelled", "messages_count": 3}),
    record(KEY, feature="of-ann-unusual", agent="Desk", metadata={"status": "Ann Unusual"}),
    record(OTHER_KEY, feature="Ann Unusual", metadata={"with": "Ann Unusual", "n": 7}),
    record(TRANSCRIBER.key, feature="of-ann-unusual"),
]


async def test_labels_and_metadata_that_name_the_person_go_and_their_sums_keep_the_totals(ledger, connection):
    """Records and sums, of their parts, of other parts of the call, and where they were a guest; days rolled up too."""
    assert await connection.apply(batch(*LABELLED, parts=[HERS, BOBS, TRANSCRIBER], stays=STAYS))
    while await connection.roll_up(10):
        pass
    before = await total(ledger)
    erased, _ = await erase(ledger, ANN, NOW, all_rooms=False, dry_run=False)

    left = await everything(ledger)
    assert not any(gone in left for gone in ("ann-4711", "unusual", "491701234567", "phone"))
    assert all(kept in left for kept in ("'status': 'cancelled'", "'messages_count': 3", "'n': 7", "'desk'"))
    assert await total(ledger) == before
    assert erased.left == 0
    assert {f.state async for f in check(ledger, lambda _d, _o: None)} == {"ok"}


async def test_two_sums_that_get_one_label_are_added_up(ledger, connection):
    """Both of one bucket: the label was made neutral once already, and comes again."""
    assert await connection.apply(batch(record(feature="of-ann-unusual"), parts=[HERS]))
    await erase(ledger, ANN, NOW, all_rooms=False, dry_run=False)
    async with ledger.reader() as conn:
        neutral = (await conn.execute(sa.select(sums.c.feature))).scalar_one()
    again = replace(HERS, key="0d" * 16, started_at=NOW + 1)
    told = [record("0d" * 16, feature="of-ann-unusual"), record("0d" * 16, feature=neutral)]
    assert await connection.apply(batch(*told, parts=[again], before=Checkpoint(1, 100, 1)))
    before = await total(ledger)

    await erase(ledger, ANN, NOW + 1, all_rooms=False, dry_run=False)

    assert len(await rows(ledger, sums)) == 2
    assert await total(ledger) == before


async def test_labels_of_what_arrives_late_do_not_name_the_person(filled, connection):
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    late = part("0d" * 16, "z", user="ann-4711")
    told = [replace(one, part="0d" * 16) for one in LABELLED[:3]]
    assert await connection.apply(batch(*told, parts=[late], source=AWAY))
    assert await connection.apply(batch(LABELLED[3], source=AWAY, before=Checkpoint(1, 100, 3)))

    left = await everything(filled)
    assert not any(gone in left for gone in ("ann-4711", "unusual", "491701234567"))
    assert {f.state async for f in check(filled, lambda _d, _o: None)} == {"ok"}


async def test_the_proof_counts_a_model_that_names_the_person(ledger, connection):
    """What was bought is never changed, as prices are found by it; then the proof says that they are still named."""
    assert await connection.apply(batch(record(model="ft:gpt-4o:ann-unusual"), parts=[HERS]))
    erased, _ = await erase(ledger, ANN, NOW, all_rooms=False, dry_run=False)

    assert (erased.left, erased.left_in_models) == (2, 2)  # a record and its sum


async def test_a_pruning_of_a_tenant_that_names_them_does_not_either(filled, connection):
    """Also where nothing else is left of that tenant; others' prunings keep their tenant."""
    async with filled.writer() as conn:
        told = {"begun_at": 1, "active_at": 1, "until": 1, "daily": False, "records": 1}
        for number, tenant in enumerate(("home-of-ann-unusual", "acme")):
            await conn.execute(sa.insert(prunings).values(id=str(number), tenant=tenant, **told))
    erased, _ = await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)

    assert erased.left == 0
    assert "unusual" not in await everything(filled)
    async with filled.reader() as conn:
        assert "acme" in (await conn.execute(sa.select(prunings.c.tenant))).scalars().all()


AWAY = Source("source-2", "away", 1, START)


async def test_a_late_stay_names_the_room_of_a_part_that_has_no_user(filled, connection):
    """Neither the session nor the room keeps the name, whether the stay comes with its part or after it."""
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    stay = Stay("0d" * 16, "PA_4", "ann-4711", "Ann Unusual", START)
    room = {"user": None, "room": "room-ann-unusual", "tags": {"Ann Unusual": "1", "env": "prod"}}
    with_part = part("0d" * 16, "room-ann-unusual_z", **room)
    assert await connection.apply(batch(record("0d" * 16), parts=[with_part], stays=[stay], source=AWAY))
    before = part("0e" * 16, "room-ann-unusual_y", **room)
    at = Checkpoint(1, 100, 1)
    assert await connection.apply(batch(record("0e" * 16), parts=[before], source=AWAY, before=at))
    after = [replace(stay, part="0e" * 16)]
    assert await connection.apply(batch(stays=after, source=AWAY, before=Checkpoint(1, 200, 2)))
    again = [replace(before, status="closed", ended_at=NOW)]
    assert await connection.apply(batch(parts=again, source=AWAY, before=Checkpoint(1, 300, 2)))

    left = await everything(filled)
    assert "unusual" not in left
    assert "ann-4711" not in left
    assert left.count("'env': 'prod'") == 3


@pytest.mark.parametrize("session", ["room-ann-unusual_z", "Room (ANN, unusual) 7", "annunusual"])
async def test_a_late_part_without_a_display_name_is_told_without_the_one_that_was_known(filled, connection, session):
    """Display names are remembered, too, and looked for among the words of the session, room, tenant and tags."""
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    late = part(
        "0d" * 16, session, user="ann-4711", room=session, tenant="ann_unusual", tags={"for": "Ann Unusual", "n": "x"}
    )
    assert await connection.apply(batch(record("0d" * 16), parts=[late], source=AWAY))

    left = await everything(filled)
    assert "unusual" not in left
    assert "{'n': 'x'}" in left


async def test_a_late_stay_frees_the_labels_of_a_part_that_came_before_it(filled, connection):
    """Until the stay came, nobody knew that its tags and its agent name somebody who is forgotten."""
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    labels = {"tags": {"for": "Ann Unusual", "env": "prod"}, "tenant": "acme", "agent_name": "Desk of Ann Unusual"}
    visited = part("0d" * 16, "lobby_z", user="bob", room="lobby", **labels)
    first = batch(parts=[visited], source=AWAY)
    assert await connection.apply(first)
    late = Stay(visited.key, "PA_9", "ann-4711", "Ann Unusual", START)
    assert await connection.apply(batch(stays=[late], source=AWAY, before=first.after))

    assert "unusual" not in await everything(filled)
    async with filled.reader() as conn:
        of_part = sa.select(parts.c.user_id, parts.c.tags).where(parts.c.key == bytes.fromhex(visited.key))
        assert tuple((await conn.execute(of_part)).one()) == ("bob", {"env": "prod"})


async def test_others_keep_their_names_when_somebody_is_forgotten(filled, connection):
    """A late part of somebody else's, in whose session nobody was who is forgotten, is as it was."""
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    other = part("0d" * 16, "unusual-ann_z", user="carl", user_name="Carl", tags={"for": "Ann Unusual"})
    assert await connection.apply(batch(record("0d" * 16), parts=[other], source=AWAY))

    assert "'for': 'ann unusual'" in await everything(filled)


async def test_a_callers_key_that_only_looks_like_a_stretchs_goes_with_the_person(filled, connection):
    """By letter case, or by a sign that stands for any other in a pattern."""
    keys = ("Session_Minutes/ann-4711", "sessionXminutes/ann-4711")
    told = [record(at=START + 2, idempotency_key=key) for key in keys]
    assert await connection.apply(batch(*told, before=Checkpoint(1, 100, 4)))
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    assert "ann-4711" not in await everything(filled)


@pytest.mark.parametrize("whose", [HERS, BOBS], ids=["the session is renamed", "it keeps its name"])
@pytest.mark.parametrize("until", [5, 9])
@pytest.mark.parametrize("pruned", [False, True])
async def test_a_telephones_minutes_that_arrive_late_are_not_counted_again(filled, connection, whose, until, pruned):
    """What the ledger was told of a leg it still knows when the person is erased, and when the record is pruned: only
    what is new of it counts."""
    leg = {"model": "sip", "idempotency_key": "session_minutes/PA_9/sip"}
    told = record(whose.key, at=START + 5_000_000, units={"session_ms": 5_000}, **leg)
    assert await connection.apply(batch(told, before=Checkpoint(1, 100, 4)))
    if pruned:
        async with filled.writer() as conn:
            await conn.execute(sa.delete(metadata.tables["records"]))
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    late = record("0d" * 16, at=START + until * 1_000_000, units={"session_ms": until * 1000}, **leg)
    second = replace(whose, key="0d" * 16)
    for source in ("late", "later"):  # as a spool of hers that is read again, and one of another process
        key = f"{'0d' if source == 'late' else '0f'}" * 16
        assert await connection.apply(
            batch(replace(late, part=key), parts=[replace(second, key=key)], source=Source(source, "away", 1, START))
        )

    async with filled.reader() as conn:
        assert (await conn.execute(sa.select(sa.func.sum(sums.c.session_ms)))).scalar() == until * 1000
    assert "ann-4711" not in await everything(filled)


async def test_a_call_that_begins_after_the_erasure_is_a_new_persons(filled, connection):
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    new: Part = part("0f" * 16, "room_n", user="ann-4711", started_at=NOW + 1)
    assert await connection.apply(batch(record("0f" * 16), parts=[new], before=Checkpoint(1, 100, 4)))

    assert "ann-4711" in await everything(filled)


async def test_the_file_and_a_backup_made_after_hold_nothing(sqlite_url, tmp_path: Path):
    """Not in free places of the file either, nor in its -wal."""
    ledger = StoreLedger(sqlite_url)
    connection = await ledger.connect()
    for number in range(20):  # rows that grow and move leave their old bytes behind
        before = Checkpoint(1, 100 * number, number) if number else None
        hers = replace(HERS, tags={**HERS.tags, "n": "x" * 50 * number})
        assert await connection.apply(batch(SAID if not number else record(), parts=[hers], stays=STAYS, before=before))
    await connection.aclose()
    files = [tmp_path / name for name in ("ledger.db", "ledger.db-wal", "b.db")]
    assert any(b"ann-4711" in file.read_bytes() for file in files if file.exists())

    await erase(ledger, ANN, NOW, all_rooms=False, dry_run=False)
    await vacuum(ledger)
    await backup(ledger, tmp_path / "b.db", 0, lambda _n: None)

    raw = b"".join(file.read_bytes() for file in files if file.exists()).lower()
    assert b"ann-4711" not in raw
    assert b"unusual" not in raw


async def test_who_is_known_by_a_display_name_only_is_erased_by_it(filled, connection):
    """Where no identity was kept; somebody else of the same name stays, and is not counted as left."""
    nameless = part("0d" * 16, "z", user=None, user_name="John Doe")
    namesake = part("0e" * 16, "y", user="jd-2", user_name="John Doe")
    stay = Stay("0d" * 16, "PA_5", None, "John Doe", START)
    told = batch(record("0d" * 16), parts=[nameless, namesake], stays=[stay], source=AWAY)
    assert await connection.apply(told)

    erased, _ = await erase(filled, frozenset({"John Doe"}), NOW, all_rooms=False, dry_run=False)

    assert (erased.parts, erased.stays, erased.left) == (1, 1, 0)
    assert (await everything(filled)).count("john doe") == 1
    again = batch(parts=[nameless], stays=[stay], source=AWAY, before=Checkpoint(1, 100, 1))
    assert await connection.apply(again)
    assert (await everything(filled)).count("john doe") == 1


async def test_a_backup_does_not_bring_back_who_was_known_by_a_name_only(filled, connection):
    nameless = part("0d" * 16, "z", user=None, user_name="John Doe")
    assert await connection.apply(batch(record("0d" * 16), parts=[nameless], source=AWAY))
    forgotten = Forgotten(b"k" * 32)
    forgotten.remember_person(Person(frozenset({"John Doe"})), NOW)

    assert await forget_again(filled, forgotten) == 1

    assert "john doe" not in await everything(filled)


async def test_a_display_name_of_identities_tells_whose_it_is(filled):
    assert await only_named(filled, frozenset({"Ann Unusual"})) == ["ann-4711"]
    assert await only_named(filled, ANN) == []
    assert await only_named(filled, frozenset({"nobody"})) == []


async def test_erased_again_nothing_is_found(filled):
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    erased, _ = await erase(filled, ANN, NOW + 1, all_rooms=False, dry_run=False)

    assert set(erased.to_dict().values()) == {0}
    assert len(await rows(filled, erasures)) == 8


async def test_a_backup_from_before_does_not_bring_them_back(filled, connection, tmp_path: Path):
    """The ledger's erasures outlive its restore, and are applied to what the backup tells."""
    await backup(filled, tmp_path / "b.db", 0, lambda _n: None)
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)

    await restore(filled, tmp_path / "b.db", NOW, lambda _n: None, replace=True)

    left = await everything(filled)
    assert "ann-4711" not in left
    assert "unusual" not in left
    away = part("0d" * 16, "call-ann-4711_z", user="ann-4711")
    assert await connection.apply(batch(parts=[away], source=Source("source-2", "away", 1, START)))
    assert "ann-4711" not in await everything(filled)


async def test_a_call_that_began_after_the_erasure_stays_over_a_restore(filled, connection, tmp_path: Path):
    await erase(filled, ANN, NOW, all_rooms=False, dry_run=False)
    new = part("0f" * 16, "room_n", user="ann-4711", started_at=NOW + 1)
    assert await connection.apply(batch(record("0f" * 16), parts=[new], before=Checkpoint(1, 100, 4)))
    await backup(filled, tmp_path / "b.db", 0, lambda _n: None)

    await restore(filled, tmp_path / "b.db", NOW, lambda _n: None, replace=True)

    assert "ann-4711" in await everything(filled)


async def test_nobody_was_forgotten_where_there_is_no_ledger(ledger):
    assert await remembered(ledger) is None
