"""The schema's history: it ends in exactly `schema.metadata`, and any number of processes may begin at once."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.errors import LedgerTooNew, LedgerUnavailable
from livekit_tokens.store import migrations
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.schema import metadata, records, sums
from tests.store.batches import batch, part, record


async def test_the_migrations_produce_exactly_the_schema(ledger, connection):
    """Column by column, type, default, index and key, as Alembic compares them; and nothing else is there."""

    def differences(conn: sa.Connection) -> list[object]:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, metadata)

    def keys(conn: sa.Connection) -> dict[str, list[str]]:
        return {t: sa.inspect(conn).get_pk_constraint(t)["constrained_columns"] for t in metadata.tables}

    async with ledger.reader() as conn:
        assert await conn.run_sync(differences) == []
        assert await conn.run_sync(keys) == {
            name: [column.name for column in table.primary_key] for name, table in metadata.tables.items()
        }


def test_the_known_revisions_are_the_files():
    """`REVISIONS` is what a connect compares with, without Alembic."""
    script = ScriptDirectory.from_config(migrations._config())
    files = [revision.revision for revision in script.walk_revisions()]

    assert tuple(reversed(files)) == migrations.REVISIONS
    assert script.get_heads() == [migrations.HEAD]


async def test_a_filled_ledger_of_the_first_revision_is_brought_up_to_date(ledger):
    """What it holds stays as it is; nothing in it has a price note yet."""

    def first_revision(conn: sa.Connection) -> None:
        config = migrations._config()
        config.attributes["connection"] = conn
        command.upgrade(config, "0001")

    async with ledger._writing.connect() as conn:
        await conn.run_sync(first_revision)
        values = ", ".join(f"'{name}'" for name in ("agent", "openai", "m", "o", "", "f", "reported", "{}"))
        names = "service, provider, model, operation, agent, feature, provenance, units"
        key = "'\\x0a'" if conn.dialect.name == "postgresql" else "x'0a'"
        await conn.exec_driver_sql(
            f"INSERT INTO records (part, seq, at, success, {names}) VALUES ({key}, 1, 2, true, {values})"
        )
        await conn.commit()
    await (await ledger.connect()).aclose()

    async with ledger.reader() as conn:
        kept = (await conn.execute(sa.select(records.c.seq, records.c.at, records.c.price_note))).one()
    assert kept == (1, 2, None)


async def test_a_ledger_without_cache_writes_counts_them_from_then_on(ledger):
    """Sums that were there have none; new ones have a column, and the views count them as input."""

    def fifth_revision(conn: sa.Connection) -> None:
        config = migrations._config()
        config.attributes["connection"] = conn
        command.upgrade(config, "0005")

    labels = ("part", *(f"'{name}'" for name in ("agent", "openai", "gpt-5.6-sol", "o", "", "f", "reported")))
    async with ledger._writing.connect() as conn:
        await conn.run_sync(fifth_revision)
        names = [column.name for column in sums.columns if "cache_write" not in column.name]
        key = f"'\\x{'0a' * 16}'" if conn.dialect.name == "postgresql" else f"x'{'0a' * 16}'"
        values = [key, "0", *labels[1:], *("7" for _ in names[9:])]
        await conn.exec_driver_sql(f"INSERT INTO sums ({', '.join(names)}) VALUES ({', '.join(values)})")
        await conn.commit()
    connection = await ledger.connect()
    written = record(units={"input_text": 100, "cache_write_text": 2000}, model="gpt-5.6-sol")
    assert await connection.apply(batch(written, parts=[part()]))

    async with ledger.reader() as conn:
        kept = list((await conn.execute(sa.select(sums.c.cache_write_text).order_by(sums.c.bucket))).scalars())
        told = (await conn.execute(sa.text("SELECT input_tokens FROM token_usage"))).scalar_one()
        asked = (await conn.execute(sa.text("SELECT prompt_tokens FROM api_usage"))).scalar_one()
    assert (kept, told, asked) == ([0, 2000], 2100 + 2 * 6 * 7, 2100)
    await connection.aclose()


@pytest.mark.parametrize(("table", "time"), [(records, "at"), (sums, "bucket")])
def test_every_unique_key_contains_the_part_and_the_time(table, time):
    """So that a large ledger can be partitioned by month and distributed by part."""
    unique = [list(table.primary_key.columns.keys())]
    unique += [index.columns.keys() for index in table.indexes if index.unique]

    assert all({"part", time} <= set(key) for key in unique)


async def test_records_and_sums_can_be_partitioned_by_month(postgres_url):
    """PostgreSQL takes their definitions, keys included, for partitioned tables, and the ingest writes into them."""
    ledger = StoreLedger(postgres_url)
    async with ledger.writer() as conn:
        for table, time in (("records", "at"), ("sums", "bucket")):
            await conn.execute(sa.text(f"ALTER TABLE {table} RENAME TO old_{table}"))
            await conn.execute(
                sa.text(f"CREATE TABLE {table} (LIKE old_{table} INCLUDING ALL) PARTITION BY RANGE ({time})")
            )
            await conn.execute(sa.text(f"CREATE TABLE {table}_all PARTITION OF {table} DEFAULT"))
    connection = await ledger.connect()

    assert await connection.apply(batch(record(), record(), parts=[part()]))

    async with ledger.reader() as conn:
        assert (await conn.execute(sa.text("SELECT SUM(requests) FROM sums_all"))).scalar() == 2
    await connection.aclose()
    await ledger.aclose()


async def defined(conn: AsyncConnection) -> list[list[str]]:
    """What the database says of everything in it: tables, indexes, views, triggers and functions."""
    asked, columns = ["SELECT type, name, sql FROM sqlite_master"], "information_schema.columns"
    if conn.dialect.name == "postgresql":
        asked = [
            f"SELECT table_name, column_name, data_type, is_nullable FROM {columns} WHERE table_schema = 'public'",
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
            "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
            "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
            "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        ]
    found = [row for sql in asked for row in await conn.exec_driver_sql(sql)]
    return sorted([" ".join(str(cell).split()) for cell in row] for row in found)


async def upgraded(url: str) -> StoreLedger:
    """A ledger of the first revision that Alembic has brought up to date."""

    def first_revision(conn: sa.Connection) -> None:
        config = migrations._config()
        config.attributes["connection"] = conn
        command.upgrade(config, "0001")

    ledger = StoreLedger(url)
    async with ledger._writing.connect() as conn:
        await conn.run_sync(first_revision)
        await conn.commit()
    await (await ledger.connect()).aclose()
    return ledger


async def test_an_empty_database_gets_what_the_upgrades_of_the_first_revision_end_in(ledger, another_url):
    """It is made of Alembic's statements, without Alembic."""
    other = await upgraded(another_url)
    await (await ledger.connect()).aclose()

    async with ledger.reader() as made, other.reader() as expected:
        assert await defined(made) == await defined(expected)
    await other.aclose()


async def test_what_a_dba_runs_makes_the_same_database(postgres_url, postgres_server):
    """Also what stands in functions and views, where a percent sign must not come twice."""
    url = postgres_server.new_database()
    by_hand = await asyncpg.connect(url)
    await by_hand.execute(migrations.upgrade_sql("postgresql"))
    await by_hand.close()
    ledger, other = StoreLedger(url), await upgraded(postgres_url)

    async with ledger.reader() as made, other.reader() as expected:
        assert await defined(made) == await defined(expected)
    await ledger.aclose()
    await other.aclose()
    postgres_server.drop(url)


@pytest.fixture
def another_url(database_url, request, tmp_path) -> Iterator[str]:
    """A second empty database of the same kind."""
    if database_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'another.db'}"
        return
    postgres_server = request.getfixturevalue("postgres_server")
    url = postgres_server.new_database()
    yield url
    postgres_server.drop(url)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_sql_for_a_dba_is_whole(dialect):
    """Everything that an upgrade would run, without a database."""
    sql = migrations.upgrade_sql(dialect)

    assert set(re.findall(r"CREATE (?:TABLE|VIEW) (\w+)", sql)) == {
        *metadata.tables,
        "alembic_version",
        "token_usage",
        "api_usage",
    }


async def test_a_connect_to_a_ledger_of_this_version_does_not_import_alembic(sqlite_url):
    """The check is one SELECT: a job process must not pay for a migration tool at every call."""
    ledger = StoreLedger(sqlite_url)
    await (await ledger.connect()).aclose()
    await ledger.aclose()

    code = f"""
import asyncio, sys
from livekit_tokens.store.connection import StoreLedger
asyncio.run(StoreLedger({sqlite_url!r}).connect())
print("alembic" in sys.modules)
"""
    assert (await run([code]))[0] == "False"


async def test_sixteen_processes_that_begin_at_once_all_succeed(database_url):
    """A fleet's first start, or a worker's prewarmed processes: one makes the tables, the others find them."""
    code = f"""
import asyncio, sys, sqlalchemy, alembic.command
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.core.ledger import Batch, Checkpoint, Source
async def main():
    ledger = StoreLedger({database_url!r})
    print("ready", flush=True)
    sys.stdin.readline()
    connection = await ledger.connect()
    assert await connection.apply(Batch(Source(sys.argv[1], "h", 1, 1), None, Checkpoint(1, 5, 0), (), (), ()))
    print("done")
asyncio.run(main())
"""
    outputs = await run([code] * 16)

    assert outputs == ["done"] * 16
    ledger = StoreLedger(database_url)
    async with ledger.reader() as conn:
        assert (await conn.execute(sa.text("SELECT COUNT(*) FROM sources"))).scalar() == 16
    await ledger.aclose()


async def run(codes: list[str]) -> list[str]:
    """Run the scripts in processes; those that say `ready` are let go together. Their last lines."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(number), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for number, code in enumerate(codes)
    ]
    if "ready" in codes[0]:
        for process in processes:
            assert (await process.stdout.readline()).strip() == b"ready"
    outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert all(process.returncode == 0 for process in processes)
    return [out.decode().split("\n")[-2] for out, _ in outputs]


async def set_revision(ledger: StoreLedger, revision: str) -> None:
    async with ledger.writer() as conn:
        await conn.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})


async def test_a_newer_ledger_is_refused_by_writers_and_readers(ledger):
    """One line: what it has, what this version knows, what to do. Nothing is touched."""
    await set_revision(ledger, "9999")

    for attempt in (ledger.connect(), anext(ledger.reader().gen)):
        with pytest.raises(LedgerTooNew) as told:
            await attempt
        assert "has schema 9999" in str(told.value)
        assert f"up to {migrations.HEAD}" in str(told.value)
        assert "upgrade livekit-tokens" in str(told.value)
        assert "\n" not in str(told.value)


async def test_another_applications_alembic_database_is_not_taken_for_a_newer_ledger(ledger):
    """Alembic names its table alike in every application."""
    await set_revision(ledger, "ab12cd34ef56")

    with pytest.raises(LedgerUnavailable, match=r"is another application's .*ab12cd34ef56"):
        await ledger.connect()


async def test_a_database_with_a_home_grown_token_usage_table_is_left_alone(ledger, database_url):
    """Existing trackers have a table of our view's name: the user hears so, instead of a driver's words."""
    async with ledger._writing.connect() as conn:
        await conn.exec_driver_sql("CREATE TABLE token_usage (id INTEGER)")
        await conn.commit()

    with pytest.raises(LedgerUnavailable, match="already has token_usage, not made by livekit-tokens"):
        await ledger.connect()

    async with ledger._writing.connect() as conn:
        tables = await conn.run_sync(lambda c: sa.inspect(c).get_table_names())
    assert tables == ["token_usage"]


async def test_an_upgrade_that_fails_half_way_leaves_nothing(ledger, monkeypatch):
    """All of an upgrade is one transaction, on SQLite too."""

    def fails(connection: sa.Connection) -> None:
        migrations.upgrade(connection)
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr("livekit_tokens.store.revision.upgrade", fails)
        with pytest.raises(LedgerUnavailable):
            await ledger.connect()

    async with ledger._writing.connect() as conn:
        assert await conn.run_sync(lambda c: sa.inspect(c).get_table_names()) == []
    await (await ledger.connect()).aclose()


async def test_a_reader_brings_an_older_ledger_up_to_date(ledger, connection, monkeypatch):
    """A report after an upgrade of the package, before any call was tracked."""
    monkeypatch.setattr("livekit_tokens.store.revision.REVISIONS", ("0000", migrations.HEAD))
    await connection.aclose()
    await set_revision(ledger, "0000")
    upgraded = []

    def upgrade(conn: sa.Connection) -> None:
        upgraded.append(
            conn.execute(sa.text("UPDATE alembic_version SET version_num = :head"), {"head": migrations.HEAD}).rowcount
        )

    monkeypatch.setattr("livekit_tokens.store.revision.upgrade", upgrade)
    async with ledger.reader() as conn:
        assert (await conn.execute(sa.text("SELECT COUNT(*) FROM sources"))).scalar() == 0
    assert upgraded == [1]


def test_the_migrations_are_found_in_an_installed_package(tmp_path):
    """No alembic.ini, no current folder: a wheel's installation is enough."""
    code = "from livekit_tokens.store.migrations import upgrade_sql; print(upgrade_sql('sqlite')[:5])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


@pytest.mark.parametrize("dialect", migrations.DIALECTS)
def test_an_empty_database_is_made_of_what_alembic_would_do(dialect):
    """After a new revision `migrations.write_from_nothing()` writes it down anew."""
    assert migrations.from_nothing(dialect) == migrations.told_from_nothing(dialect)


async def test_a_first_ledger_is_made_without_alembic(tmp_path):
    """A call begins meanwhile; and many threads may make one at once, where Alembic works on what is the process's."""
    code = f"""
import asyncio, sys
from livekit_tokens.store.connection import StoreLedger
asyncio.run(StoreLedger("sqlite:///{tmp_path}/first.db").connect())
print("alembic" in sys.modules)
"""
    assert (await run([code]))[0] == "False"
