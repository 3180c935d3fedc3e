"""Imports into a real ledger: exact, once, through the same door as a spool."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from livekit_tokens.core import importing
from livekit_tokens.core.foreign_files import Numbered
from livekit_tokens.core.importing import Imported, bring
from livekit_tokens.domain.times import SECOND
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping.checking import check
from livekit_tokens.store.keeping.erasing import erase
from livekit_tokens.store.keeping.imported import StoredImport
from livekit_tokens.store.keeping.pruning import prune
from livekit_tokens.store.keeping.removal import Pruning
from livekit_tokens.store.schema import parts, records, sums
from tests.store.batches import SOURCE, START

ROW = {
    "timestamp": START // SECOND,
    "user_id": "ada",
    "thread_id": "t-1",
    "model": "gpt-4o",
    "input_tokens": 10,
    "output_tokens": 5,
}


async def imported(
    ledger: StoreLedger, rows: Iterable[dict[str, object]], name: str = "1", *, dry_run: bool = False
) -> Imported:
    connection = None if dry_run else await ledger.connect()
    numbered = [Numbered(line, row) for line, row in enumerate(rows, 1)]
    stored = StoredImport(ledger, connection)
    done = await bring([("f", numbered)], stored, replace(SOURCE, id=name), lambda _n: None, dry_run=dry_run)
    if connection is not None:
        await connection.aclose()
    return done


async def counted(ledger: StoreLedger) -> tuple[int, int]:
    async with ledger.reader() as conn:
        many = (await conn.execute(sa.select(sa.func.count()).select_from(records))).scalar_one()
        return many, int((await conn.execute(sa.select(sa.func.sum(sums.c.input_text)))).scalar_one())


def rows(count: int) -> list[dict[str, object]]:
    return [{**ROW, "timestamp": START // SECOND + n, "input_tokens": n, "user_id": f"u{n % 3}"} for n in range(count)]


async def test_every_row_is_there_once_however_often_it_is_imported(ledger, monkeypatch):
    """Also when the file has grown meanwhile, and over the edge of a batch."""
    monkeypatch.setattr(importing, "BATCH", 7)
    first = await imported(ledger, rows(20))
    again = await imported(ledger, rows(30), "2")

    assert (first.rows, first.records, first.known) == (20, 20, 0)
    assert (again.rows, again.records, again.known) == (30, 10, 20)
    assert await counted(ledger) == (30, sum(range(30)))
    assert {f.state async for f in check(ledger, lambda _d, _o: None)} == {"ok"}


async def test_rows_that_are_the_same_to_the_letter_are_two_requests(ledger):
    """Two of one second; imported again they are those two."""
    assert (await imported(ledger, [ROW, ROW])).records == 2
    assert (await imported(ledger, [ROW, ROW], "2")).known == 2
    assert await counted(ledger) == (2, 20)


GROWN = {
    "id": 1,
    "session_id": "r_1",
    "user_name": "John Doe",
    "service_type": "agent",
    "model_name": "gpt-4o",
    "session_start": START // SECOND,
}


def grown(tokens_in: int, tokens_out: int, **changes: object) -> dict[str, object]:
    return {**GROWN, "input_tokens": tokens_in, "output_tokens": tokens_out, **changes}


async def test_a_row_whose_counts_have_grown_adds_what_it_has_grown_by(ledger):
    """Whether it is imported after each growth, or the file holds both."""
    await imported(ledger, [grown(100, 50)])
    assert (await imported(ledger, [grown(300, 90, session_end=START // SECOND + 60)], "2")).records == 1
    assert (await imported(ledger, [grown(300, 90)], "3")).known == 1
    assert (await imported(ledger, [grown(310, 90), grown(320, 95)], "4")).records == 2
    assert (await imported(ledger, [grown(320, 95), grown(320, 95)], "5")).known == 2
    assert await counted(ledger) == (4, 320)
    assert {f.state async for f in check(ledger, lambda _d, _o: None)} == {"ok"}


@pytest.mark.parametrize(
    "row",
    [grown(90, 60), {**ROW, "id": 1, "input_tokens": 12}],
    ids=["shrunk", "of a table whose rows do not grow"],
)
async def test_a_row_that_has_changed_otherwise_is_listed_and_what_is_there_stays(ledger, row):
    await imported(ledger, [grown(100, 50), {**ROW, "id": 1}])
    done = await imported(ledger, [row], "2")

    assert (done.records, done.known, done.unmapped) == (0, 0, 1)
    assert "the ledger has this row with" in done.left[0].reason
    assert await counted(ledger) == (2, 110)


async def test_a_ledgers_own_export_adds_nothing_to_it(ledger):
    """Its ids are those of its records; also when these are pruned, and only their sums are left. Another ledger's come
    in, and once.
    """
    await imported(ledger, [ROW, {**ROW, "timestamp": START // SECOND + 1}])
    async with ledger.reader() as conn:
        ids = [f"{row.part.hex()}-{row.seq}" for row in await conn.execute(sa.select(records.c.part, records.c.seq))]
    export = [{**ROW, "id": its, "thread_id": "renamed"} for its in ids]
    assert (await imported(ledger, export, "2")).known == 2

    await prune(ledger, Pruning(START + 3600 * SECOND), lambda: START + 7200 * SECOND, lambda _n: None)
    assert (await imported(ledger, export, "3")).known == 2
    foreign = [{**row, "id": "f" * 32 + "-1"} for row in export[:1]]
    assert (await imported(ledger, foreign, "4")).records == 1
    assert (await imported(ledger, foreign, "5")).known == 1


async def test_who_is_known_by_name_only_can_be_erased(ledger):
    await imported(ledger, [grown(100, 50)])
    erased, _ = await erase(ledger, frozenset({"John Doe"}), START + 10**12, all_rooms=False, dry_run=False)

    assert (erased.parts, erased.left) == (1, 0)
    assert (await imported(ledger, [grown(100, 50)], "2")).erased == 1


async def test_two_imports_into_one_session_of_one_moment_are_two_records_of_two_ids(ledger):
    """Each import numbers its records from 1, and has a part of its own for a session."""
    await imported(ledger, [ROW])
    assert (await imported(ledger, [{**ROW, "input_tokens": 7}], "2")).records == 1

    assert await counted(ledger) == (2, 17)
    async with ledger.reader() as conn:
        ids = {tuple(row) for row in await conn.execute(sa.select(records.c.part, records.c.seq))}
    assert len(ids) == 2


async def test_a_sessions_part_is_as_long_as_its_rows_tell(ledger, monkeypatch):
    """Over batches, in any order."""
    monkeypatch.setattr(importing, "BATCH", 1)
    await imported(ledger, [{**ROW, "timestamp": START // SECOND + n} for n in (50, 10, 30, 90)])

    async with ledger.reader() as conn:
        found = (
            await conn.execute(sa.select(parts.c.started_at, parts.c.ended_at, parts.c.session_id, parts.c.user_id))
        ).all()
    begin = START // SECOND * SECOND
    assert found == [(begin + 10 * SECOND, begin + 90 * SECOND, "t-1", "ada")]


async def test_a_dry_run_writes_nothing_and_makes_no_ledger(ledger, sqlite_url):
    """It maps and looks all the same."""
    done = await imported(ledger, [ROW, {}], dry_run=True)
    assert (done.records, done.unmapped, [left.line for left in done.left]) == (1, 1, [2])

    await imported(ledger, [ROW])
    assert (await imported(ledger, [ROW], "2", dry_run=True)).known == 1
    assert await counted(ledger) == (1, 10)


async def test_a_dry_run_counts_a_row_that_a_file_holds_twice_as_the_import_will(ledger):
    """One with an id is the same row again."""
    dry = await imported(ledger, [grown(100, 50), grown(100, 50)], dry_run=True)
    done = await imported(ledger, [grown(100, 50), grown(100, 50)])

    assert (dry.records, dry.known) == (done.records, done.known) == (1, 1)


async def test_who_was_erased_is_not_brought_back_by_an_import(ledger):
    await imported(ledger, [ROW])
    await erase(ledger, frozenset({"ada"}), START + 10**12, all_rooms=False, dry_run=False)
    done = await imported(ledger, [ROW, {**ROW, "user_id": "bob"}], "2")

    assert (done.erased, done.records) == (1, 1)
    assert await counted(ledger) == (2, 20)


@pytest.mark.parametrize("thread", ["t-1", "call-ada-1"], ids=["it keeps its name", "the session is renamed"])
async def test_rows_of_others_are_known_after_an_erasure(ledger, thread):
    """Those of nobody and of others in the person's session too, and what one of them has grown by."""
    others = [{**ROW, "id": "1", "user_id": None}, {**ROW, "id": "2", "user_id": "bob"}, {**ROW, "user_id": "carl"}]
    growing = {**grown(100, 50), "user_name": None, "user_id": "bob"}
    told = [{**row, "thread_id": thread, "session_id": thread} for row in (ROW, *others, growing)]
    assert (await imported(ledger, told)).records == 5
    await erase(ledger, frozenset({"ada"}), START + 10**12, all_rooms=False, dry_run=False)
    told[-1] |= {"input_tokens": 130}
    again = [await imported(ledger, told, name) for name in ("2", "3")]

    assert [(done.erased, done.known, done.records) for done in again] == [(1, 3, 1), (1, 4, 0)]
    assert await counted(ledger) == (6, 40 + 130)


async def test_rows_of_after_an_erasure_are_a_new_persons(ledger):
    await imported(ledger, [ROW])
    await erase(ledger, frozenset({"ada"}), START + SECOND, all_rooms=False, dry_run=False)
    done = await imported(ledger, [ROW, {**ROW, "timestamp": START // SECOND + 2}], "2")

    assert (done.erased, done.records) == (1, 1)


async def test_a_row_that_has_only_the_name_of_who_was_erased_stays_out(ledger):
    """They were erased by their identity; a table of another tracker may tell of them by the name alone."""
    await imported(ledger, [{**ROW, "user_name": "Ada Lovelace"}])
    await erase(ledger, frozenset({"ada"}), START + 10**12, all_rooms=False, dry_run=False)
    told = {**ROW, "user_id": None, "user_name": "Ada Lovelace"}
    done = await imported(ledger, [told, {**told, "user_id": "another"}], "2")

    assert (done.erased, done.records) == (1, 1)


@pytest.mark.parametrize("count", [0, 3])
async def test_what_could_not_be_mapped_is_listed_up_to_a_limit_and_counted(ledger, monkeypatch, count):
    monkeypatch.setattr(importing, "SHOWN", 2)
    done = await imported(ledger, [ROW, *[{"model": "m"}] * count])

    assert (done.unmapped, len(done.left), done.records) == (count, min(count, 2), 1)
