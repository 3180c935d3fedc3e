"""After an erasure: nobody's parts stay nobody's, who comes back is new, and what was counted stays known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from livekit_tokens.core.ledger import Batch, Source
from livekit_tokens.domain.sessions import BY_HAND, Part
from livekit_tokens.domain.usage import EXPORTED_KEY
from livekit_tokens.store.keeping.copies import backup, restore
from livekit_tokens.store.keeping.erasing import erase
from livekit_tokens.store.rolling import session_digest
from livekit_tokens.store.schema import day_sums, idempotency, parts, records, rolled_days, sums
from tests.store.batches import KEY, OTHER_KEY, START, batch, part, record
from tests.store.keeping.test_erasing import everything

ANN = frozenset({"ann-4711"})
NOW = START + 1000
LATER = NOW + 1
NAMING, OTHERWISE = "thread-ann-4711", "thread-7"
sessions = pytest.mark.parametrize("session", [NAMING, OTHERWISE], ids=["the session is renamed", "it keeps its name"])


def hers(session: str, key: str = KEY, **changes: object) -> Part:
    return part(key, session, **{"user": "ann-4711", "user_name": "Ann Unusual", **changes})


def named(session: str, key: str, **changes: object) -> Part:
    """A part that nobody opened."""
    told = {"user": None, "status": "closed", "ended_at": START + 9, "close_reason": BY_HAND}
    return part(key, session, **{**told, **changes})


def of(source: str, *told: object, parts: list[Part] | tuple[()] = ()) -> Batch:
    """The first that a process tells."""
    return batch(*told, parts=parts, source=Source(source, "host", 1, START))


async def whose(ledger) -> dict[str, tuple[str, str | None]]:
    """By the first byte of a part's key: its session and user."""
    async with ledger.reader() as conn:
        told = sa.select(parts.c.key, parts.c.session_id, parts.c.user_id)
        return {key.hex()[:2]: (session, user) for key, session, user in await conn.execute(told)}


async def requests(ledger) -> int:
    async with ledger.reader() as conn:
        return int((await conn.execute(sa.select(sa.func.sum(sums.c.requests)))).scalar_one())


async def forget_ann(ledger, **how: bool) -> None:
    await erase(ledger, ANN, NOW, all_rooms=how.get("all_rooms", False), dry_run=False)


@sessions
@pytest.mark.parametrize("comes", ["ann-4711", "bob"])
@pytest.mark.parametrize("opened", [True, False])
async def test_what_was_erased_is_nobodys_when_its_session_is_opened_again(ledger, connection, session, comes, opened):
    """What only named the session was the person's; it is not made another's, nor theirs again."""
    by_hand = named(session, "0d" * 16, user=None if opened else "ann-4711")
    told = [hers(session), by_hand] if opened else [by_hand]
    assert await connection.apply(of("one", record("0d" * 16), parts=told))
    assert (await whose(ledger))["0d"] == (session, "ann-4711")
    await forget_ann(ledger)

    again = part("0e" * 16, session, user=comes, started_at=LATER)
    assert await connection.apply(of("two", record("0e" * 16), parts=[again]))
    assert await connection.apply(of("three", parts=[by_hand]))  # and told once more

    told = await whose(ledger)
    assert (told["0d"][1], told["0e"]) == (None, (session, comes))


@sessions
async def test_who_comes_back_is_in_a_session_of_its_own_name(ledger, connection, session):
    """Not in the one under whose neutral name the erased parts stay: it would tell whose they were."""
    assert await connection.apply(of("one", record(), parts=[hers(session, room=session)]))
    await forget_ann(ledger, all_rooms=True)
    again = hers(session, "0e" * 16, started_at=LATER, room=session)
    assert await connection.apply(of("two", record("0e" * 16), parts=[again]))
    late = hers(session, "0f" * 16, room=session)
    assert await connection.apply(of("three", record("0f" * 16), parts=[late]))

    told = await whose(ledger)
    assert told["0e"] == (session, "ann-4711")
    assert told["0a"] == told["0f"]
    assert told["0a"][0].startswith("erased_")
    async with ledger.reader() as conn:
        rooms = dict((await conn.execute(sa.select(parts.c.key, parts.c.room))).all())
    assert rooms[bytes.fromhex("0e" * 16)] == session != rooms[bytes.fromhex("0f" * 16)]


@sessions
async def test_what_names_a_session_after_the_erasure_is_whose_it_is_then(ledger, connection, session):
    """Not the erased first part's, which says nothing; what names it and is older than the erasure is nobody's."""
    assert await connection.apply(of("one", parts=[hers(session)]))
    await forget_ann(ledger)
    again = hers(session, "0e" * 16, started_at=LATER)
    new, old = named(session, "0c" * 16, started_at=LATER + 5), named(session, "0d" * 16)
    assert await connection.apply(of("two", parts=[new]))
    assert await connection.apply(of("three", parts=[again]))
    assert await connection.apply(of("four", parts=[old]))

    told = await whose(ledger)
    assert (told["0c"], told["0d"][1]) == ((session, "ann-4711"), None)


@sessions
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("by", ["a new process", "a late one of hers", "her part", "the open part, without its line"])
async def test_an_idempotency_key_is_known_after_the_erasure(ledger, connection, session, pruned, by):
    """Whoever repeats it; also of a record that is pruned. No digest of it is left that could be guessed at."""
    job = record(idempotency_key="job-of-ann-4711")
    first = batch(job, record(), parts=[hers(session)])
    assert await connection.apply(first)
    if pruned:
        async with ledger.writer() as conn:
            await conn.execute(sa.delete(records))
    before = {row.digest for row in await table_of(ledger, idempotency)}
    await forget_ann(ledger)
    if by == "the open part, without its line":
        # Pruned, its key can only be known by the session's old name, which its records alone do not tell.
        told = batch(job, before=first.after, parts=[hers(session)] if pruned else [])
    elif by == "her part":
        told = batch(job, before=first.after, parts=[hers(session)])
    else:
        start = {"started_at": LATER} if by == "a new process" else {}
        told = of("two", replace(job, part="0e" * 16), parts=[hers(session, "0e" * 16, **start)])
    assert await connection.apply(told)

    assert await requests(ledger) == 2
    assert before.isdisjoint({row.digest for row in await table_of(ledger, idempotency)})
    if by != "a new process":
        assert "4711" not in await everything(ledger)


@sessions
async def test_a_key_that_is_told_first_after_the_erasure_counts_once(ledger, connection, session):
    """By a late part of hers and by new ones, in whichever order; a key of a session with another name is another."""
    assert await connection.apply(of("one", record(), parts=[hers(session)]))
    await forget_ann(ledger)
    told = [hers(session, "0c" * 16), part("0d" * 16, session, started_at=LATER), hers(session, "0e" * 16)]
    for one in told:
        job = record(one.key, idempotency_key="order-1")
        assert await connection.apply(of(one.key, job, parts=[one]))
    assert await requests(ledger) == 2
    other = replace(job, part="0f" * 16)
    assert await connection.apply(of("other", other, parts=[part("0f" * 16, "elsewhere")]))

    assert await requests(ledger) == 3
    async with ledger.reader() as conn:
        kept = set((await conn.execute(sa.select(records.c.part, records.c.idempotency_key))).all())
    assert (bytes.fromhex("0c" * 16), None) in kept


@sessions
async def test_others_keys_of_the_session_are_known_too(ledger, connection, session):
    """What bob recorded in it, what a ledger had exported, and after a second person's erasure as well."""
    bobs = part(OTHER_KEY, session, user="bob-1")
    keys = ("job-7", f"{EXPORTED_KEY}{'9' * 32}-1")
    told = [record(OTHER_KEY, idempotency_key=key) for key in keys]
    assert await connection.apply(of("one", record(), *told, parts=[hers(session), bobs]))
    await forget_ann(ledger)
    assert keys[0] in await everything(ledger)
    await erase(ledger, frozenset({"bob-1"}), NOW, all_rooms=True, dry_run=False)
    again = [replace(one, part="0e" * 16) for one in told]
    assert await connection.apply(of("two", *again, parts=[part("0e" * 16, session, user="bob-1")]))

    assert await requests(ledger) == 3


async def test_a_key_that_names_the_person_in_anothers_part_goes(ledger, connection):
    """As its metadata would: bob's call, in which she was meant. It is known all the same; his other keys stay."""
    told = [
        record(OTHER_KEY, idempotency_key="for-ann-4711", request_id="ann-4711-1"),
        record(OTHER_KEY, idempotency_key="bobs", request_id="resp_1"),
    ]
    bobs = part(OTHER_KEY, OTHERWISE, user="bob")
    assert await connection.apply(of("one", *told, parts=[hers(OTHERWISE), bobs]))
    erased, _ = await erase(ledger, ANN, NOW, all_rooms=False, dry_run=False)
    again = [replace(one, part="0e" * 16) for one in told]
    assert await connection.apply(of("two", *again, parts=[part("0e" * 16, OTHERWISE, user="bob", started_at=LATER)]))

    assert erased.left == 0
    left = await everything(ledger)
    assert "4711" not in left
    assert all(kept in left for kept in ("'bobs'", "'resp_1'"))
    assert await requests(ledger) == 2


async def table_of(ledger, table: sa.Table) -> list[sa.Row]:
    async with ledger.reader() as conn:
        return list(await conn.execute(sa.select(table)))


async def test_no_digest_of_the_sessions_name_is_left(ledger, connection):
    """Of days that were rolled up: whoever has a list of telephone numbers could try them all."""
    assert await connection.apply(of("one", record(), parts=[hers(NAMING)]))
    bobs = part(OTHER_KEY, "bobs", user="bob")
    assert await connection.apply(of("two", record(OTHER_KEY, at=START - 10**11), parts=[bobs]))
    while await connection.roll_up(10):
        pass
    assert session_digest(NAMING) in [row.sessions for row in await table_of(ledger, day_sums)]
    await forget_ann(ledger)

    assert [row.sessions for row in await table_of(ledger, day_sums)] == [session_digest("bobs")]
    assert len(await table_of(ledger, rolled_days)) == 1


async def test_a_backup_brings_no_name_of_a_session_back_that_was_renamed_with_theirs(ledger, connection, tmp_path):
    """With `--rooms`; what began after the erasure keeps it."""
    assert await connection.apply(of("one", record(), parts=[hers(OTHERWISE)]))
    await forget_ann(ledger)  # so that the backup is of before the renaming, and of the same ledger
    assert await connection.apply(of("two", parts=[hers(OTHERWISE, "0d" * 16, started_at=NOW + 5)]))
    assert await connection.apply(of("three", parts=[part("0e" * 16, OTHERWISE, started_at=NOW + 50)]))
    await backup(ledger, tmp_path / "b.db", 0, lambda _n: None)
    await erase(ledger, ANN, NOW + 10, all_rooms=True, dry_run=False)
    await restore(ledger, tmp_path / "b.db", NOW, lambda _n: None, replace=True)

    told = await whose(ledger)
    assert (told["0d"][1], told["0e"]) == (None, (OTHERWISE, "ann"))
    assert told["0a"][0] == told["0d"][0]
    assert told["0a"][0].startswith("erased_")
