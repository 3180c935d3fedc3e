"""The commands that keep house, as people run them."""

from __future__ import annotations

import gzip
import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.cli.machine import CALL, Machine
from tests.waiting import wait_until

DIALECTS = ("sqlite", "postgresql")


def test_check_says_what_it_looked_at_and_ends_with_1_for_a_fault(run, tmp_path):
    """One line each; `--json` has the same."""
    run("db", "upgrade")
    code, out, err = run("db", "check")
    assert (code, err, out.splitlines()[-1]) == (0, "", "6 looked at: 0 faults, 0 notes")

    (tmp_path / "ledger.db").chmod(0o604)
    code, out, _ = run("db", "check", "--json")
    assert code == 1
    found = json.loads(out)
    assert [finding["subject"] for finding in found["findings"] if finding["state"] == "fault"] == ["rights"]


def test_check_makes_no_ledger(run, tmp_path):
    code, out, err = run("db", "check")

    assert (code, out) == (1, "")
    assert err.startswith("livekit-tokens: no ledger at ")
    assert not (tmp_path / "ledger.db").exists()


def test_upgrade_makes_the_ledger_once(run):
    assert run("db", "upgrade")[1].startswith("schema none -> ")
    assert run("db", "upgrade")[1].endswith(", nothing to do\n")


def test_the_sql_for_a_dba_makes_the_same_tables(run, tmp_path):
    """Run by hand on an empty file, it is the ledger that `db upgrade` finds to be current. Nothing is connected to."""
    code, sql, err = run("db", "sql")
    assert (code, err) == (0, "")
    assert not (tmp_path / "ledger.db").exists()

    with sqlite3.connect(tmp_path / "ledger.db") as by_hand:
        by_hand.executescript(sql)

    assert run("db", "upgrade")[1].endswith(", nothing to do\n")


def test_the_sql_can_be_for_another_database_and_from_a_revision(run):
    whole = run("db", "sql", "--dialect", "postgresql")[1]
    step = run("db", "sql", "--dialect", "postgresql", "--from", "0001")[1]

    assert "CREATE TABLE records" in whole
    assert "CREATE TABLE records" not in step
    assert "CREATE TABLE repricings" in step


def test_what_cannot_be_meant_is_wrong_usage(run):
    assert run("db", "sql", "--dialect", "mysql")[::2] == (
        2,
        "livekit-tokens: --dialect 'mysql' is not known; accepted: sqlite or postgresql\n",
    )
    assert run("db", "sql", "--from", "9")[0] == 2


def test_a_backup_says_what_is_in_it_and_goes_back(run, tmp_path):
    run("db", "upgrade")
    code, out, err = run("backup", "b.db")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'b.db'}: ")
    assert "  records: 0\n" in out
    assert run("backup", "b.db")[::2] == (
        1,
        f"livekit-tokens: {tmp_path / 'b.db'} is there already; give another name, or --keep N to keep the last N\n",
    )
    assert run("backup", "b.db", "--keep", "2")[0] == 0

    (tmp_path / "ledger.db").unlink()
    code, out, err = run("restore", "b.db", "--json")
    assert (code, err, json.loads(out)["rows"]["records"]) == (0, "", 0)
    assert run("db", "check")[0] == 0


def test_a_backup_that_is_not_there_is_not_called_an_empty_one(run, tmp_path):
    """Its name is mistyped: the path is told."""
    code, out, err = run("restore", "b.bd")
    assert (code, out) == (1, "")
    assert err == f"livekit-tokens: there is no file {tmp_path / 'b.bd'}; give the backup that is to be restored\n"


def test_where_there_is_no_ledger_prune_says_so_and_makes_none(run, tmp_path, monkeypatch):
    """A mistyped address is not a ledger in which nothing is old."""
    monkeypatch.setenv("LIVEKIT_TOKENS_DATABASE_URL", f"sqlite:///{tmp_path / 'nowhere' / 'ledger.db'}")
    code, out, err = run("prune", "--older-than", "90d")
    assert (code, out) == (1, "")
    assert "no ledger at" in err
    assert not (tmp_path / "nowhere").exists()


def test_prune_says_what_it_removes(run):
    run("db", "upgrade")
    code, out, err = run("prune", "--older-than", "90d", "--dry-run")
    assert (code, err) == (0, "")
    assert out.endswith(": 0 records would be removed; sums stay\n")
    code, out, _ = run("prune", "--older-than", "2w", "--sums", "--json")
    found = json.loads(out)
    assert (code, found["records"], found["sums"], found["parts"], found["tenant"]) == (0, 0, 0, 0, None)
    code, out, err = run("prune", "--older-than", "2w", "--tenant", "acme")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "is of tenant 'acme', nothing is removed" in err
    assert run("prune", "--older-than", "soon")[::2] == (
        2,
        "livekit-tokens: --older-than 'soon' cannot be read; accepted: a length of time such as 90d, 12h, 8w, 1y\n",
    )


@pytest.mark.parametrize(
    "words",
    [
        ["erase", "--user", "ann"],
        ["prune", "--older-than", "1d"],
        ["import", "rows.csv"],
        ["prices", "reprice", "--since", "2025-06-01", "--until", "2025-07-01", "--reason", "x"],
    ],
    ids=["erase", "prune", "import", "reprice"],
)
def test_a_dry_run_upgrades_no_schema(run, tmp_path, words):
    """It says what to do first; the ledger's file is the same to the byte."""
    (tmp_path / "rows.csv").write_text("timestamp,model,input_tokens\n2025-06-01T00:00:00Z,gpt-4o,3\n")
    run("db", "upgrade")
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        ledger.execute("UPDATE alembic_version SET version_num = '0001'")
        ledger.execute("PRAGMA journal_mode = DELETE")
    ledger.close()
    before = (tmp_path / "ledger.db").read_bytes()

    code, out, err = run(*words, "--dry-run")

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "has the older schema 0001, and a dry run changes nothing; run `livekit-tokens db upgrade` first" in err
    assert (tmp_path / "ledger.db").read_bytes() == before


def found_in(folder: Path, text: bytes) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def test_erase_leaves_nothing_of_a_person_on_this_machine(tmp_path):
    """Ledger, -wal and spools of processes that have ended; the figures are still in the reports."""
    machine = Machine(tmp_path)
    machine.python(CALL.replace('"ada"', '"ada-4711"'))
    assert found_in(tmp_path, b"ada-4711")

    assert "1 would be made" in machine.command("erase", "--user", "ada-4711", "--dry-run").stdout
    done = machine.command("erase", "--user", "ada-4711", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["ledger"]["parts"], told["ledger"]["left"], told["spools"]) == (
        1,
        0,
        {"looked_at": 1, "removed": 1, "held": 0},
    )
    assert found_in(tmp_path, b"ada-4711") == []
    report = json.loads(machine.command("report", "--json").stdout)
    assert report["totals"]["units"]["input_text"] == 7


ENDED = """
from livekit_tokens.domain.sessions import ended
own.recorder.put_part(ended(own.recorder.open_parts()[0], now(), "participant_disconnected"))
"""


def test_a_living_process_lets_go_of_a_person_whose_call_has_ended(tmp_path):
    """Its newest segment, too; its other calls go on, and what it writes afterwards arrives."""
    machine = Machine(tmp_path)
    hers = CALL.replace('"ada"', '"ada-4711"') + ENDED
    waiting = 'own.background.flush_blocking(60); print("ready", flush=True); sys.stdin.readline()'
    more = """
own.recorder.record(UsageRecord(part=key, at=now(), service="agent", provider="openai", model="gpt-realtime",
                                operation="realtime_response", units={"input_text": 30}))
"""
    living = machine.start(hers + CALL + waiting + more)
    assert living.stdout.readline() == "ready\n"

    done = machine.command("erase", "--user", "ada-4711", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["spools"] == {"looked_at": 1, "removed": 1, "held": 0}
    assert found_in(tmp_path, b"ada-4711") == []

    living.communicate("\n", timeout=60)
    report = json.loads(machine.command("report", "--json").stdout)
    assert report["totals"]["units"]["input_text"] == 7 + 7 + 30
    assert found_in(tmp_path, b"ada-4711") == []


def test_erase_says_what_a_call_that_goes_on_still_holds(tmp_path):
    """And forgets what it brings; exit code 1 until it has ended."""
    machine = Machine(tmp_path)
    waiting = 'own.background.flush_blocking(60); print("ready", flush=True); sys.stdin.readline()'
    living = machine.start(CALL.replace('"ada"', '"ada-4711"') + waiting)
    assert living.stdout.readline() == "ready\n"

    done = machine.command("erase", "--user", "ada-4711")
    assert done.returncode == 1
    assert "0 rows and 1 spools of this host still hold them" in done.stderr
    living.communicate("\n", timeout=60)
    assert found_in(machine.ledger.parent, b"ada-4711")[0].endswith(".jsonl")

    assert machine.command("erase", "--user", "ada-4711").returncode == 0
    assert found_in(tmp_path, b"ada-4711") == []


def test_a_late_spool_is_removed_as_soon_as_it_is_drained(tmp_path):
    """Of a process that was killed before an erasure, and could not be drained until after it: not kept for replays."""
    machine = Machine(tmp_path)
    machine.python(CALL.replace('"ada"', '"ada-4711"'))
    spools = next(path for path in tmp_path.rglob("*.jsonl")).parent
    away = tmp_path / "away"
    spools.rename(away)
    assert machine.command("erase", "--user", "ada-4711").returncode == 0
    with sqlite3.connect(machine.ledger) as ledger:  # as if nothing of it had arrived before
        ledger.execute("DELETE FROM sources")
        for table in ("parts", "records", "sums"):
            ledger.execute(f"DELETE FROM {table}")
    away.rename(spools)

    told = json.loads(machine.command("recover", "--json").stdout)

    assert (told["records"], told["removed"]) == (1, 1)
    assert found_in(tmp_path, b"ada-4711") == []


def test_everything_that_is_made_is_its_owners_alone(tmp_path):
    """Ledger, spools, notes of takeovers, backups, and the folders that they are in."""
    machine = Machine(tmp_path)
    machine.python(CALL + "os.kill(os.getpid(), 9)", check=False)
    assert machine.command("recover").returncode == 0
    assert machine.command("backup", str(tmp_path / "data" / "b.db")).returncode == 0

    made = list((tmp_path / "data").rglob("*"))
    assert {"ledger.db", "b.db", "acknowledged", "lock", "00000001.jsonl", ".takeover"} <= {path.name for path in made}
    assert [str(path) for path in (tmp_path / "data", *made) if path.stat().st_mode & 0o077] == []


def test_import_reads_our_own_exports_the_known_tables_and_logs(run, tmp_path):
    """A round trip: what was exported as a sheet comes into another ledger with the same tokens."""
    (tmp_path / "log.jsonl").write_text(
        '{"timestamp": "2025-06-27T15:30:15Z", "user_id": "a", "model_name": "gpt-4o", '
        '"prompt_tokens": 7, "completion_tokens": 3}\nno json\n'
    )
    with sqlite3.connect(tmp_path / "old.db") as old:
        names = "id, session_id, user_name, service_type, model_name, input_tokens, output_tokens, total_tokens"
        old.execute(f"CREATE TABLE token_usage ({names}, session_start, session_end)")
        row = (1, "r_1", "Ada", "agent", "gpt-4o", 100, 50, 150, "2025-06-27 15:00:00", None)
        old.execute("INSERT INTO token_usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    code, out, err = run("import", "log.jsonl", "old.db")
    assert (code, err) == (0, "")
    assert (
        out
        == "3 rows: 2 records came in, 0 were there already\n1 could not be imported:\n  log.jsonl:2: it is no JSON\n"
    )
    span = ("--since", "2025-06-01", "--until", "2025-07-01")
    assert json.loads(run("report", *span, "--json")[1])["totals"]["total_tokens"] == 160
    assert run("export", *span, "--csv", "sheet.csv")[0] == 0

    (tmp_path / "ledger.db").unlink()
    assert json.loads(run("import", "sheet.csv", "--json")[1])["records"] == 2
    assert json.loads(run("report", *span, "--json")[1])["totals"]["total_tokens"] == 160
    assert run("import", "sheet.csv", "--json")[1].count('"records": 0') == 1


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_imported_into_an_empty_ledger_has_the_same_totals(tmp_path, form):
    """What is billed by seconds or characters, what came from the cache, what failed; each at its provider's price.

    And at its tier's: one that nobody priced, such as hosted calls without a price, is no cheaper for being imported.
    """
    prices = tmp_path / "prices.toml"
    prices.write_text('[[discount]]\nprovider = "openai"\nmodel = "*"\ntier = "flex"\npercent = 50\n')
    env = {"LIVEKIT_TOKENS_PRICES_FILE": str(prices)}
    machine, other = Machine(tmp_path / "one", env), Machine(tmp_path / "other", env)
    machine.home.mkdir()
    other.home.mkdir()
    machine.python(
        """
from livekit_tokens import record_usage, usage_session
with usage_session("s", user="ada"):
    record_usage(model="whisper-1", service="transcriber", operation="transcription", audio_seconds=600)
    record_usage(model="tts-1", service="tts", operation="speech", characters=100_000)
    record_usage(model="gpt-4o", input_tokens=100_000, cached_tokens=90_000, output_tokens=10)
    record_usage(model="gpt-realtime", units={"input_audio": 10_000, "output_audio": 10_000}, service="agent")
    record_usage(model="claude-sonnet-4-5", provider="anthropic", input_tokens=1000, success=False, error="timed_out")
    record_usage(model="no-such-model", input_tokens=5)
    record_usage(model="gpt-4.1", input_tokens=1_000_000, metadata={"service_tier": "flex"})
    record_usage(model="gpt-4.1-mini", input_tokens=1_000_000, metadata={"service_tier": "priority"})
    record_usage(model="gpt-4.1-nano", input_tokens=1_000_000, metadata={"web_search_calls": 3})
"""
    )

    def totals(machine: Machine) -> dict[str, object]:
        by = ("--by", "provider", "--by", "model")
        told = json.loads(machine.command("report", *by, "--json").stdout)
        assert told["totals"]["requests"] == 9
        return {**told["totals"], "groups": told["groups"]}

    before = totals(machine)
    assert before["unpriced_requests"] == 3
    name = tmp_path / f"all.{form}"
    assert machine.command("export", f"--{form}", str(name)).returncode == 0
    files = [name] if form == "csv" else list(name.iterdir())
    assert other.command("import", *map(str, files)).returncode == 0

    assert totals(other) == before


def test_a_sheet_exported_from_a_ledger_adds_nothing_to_it(run, tmp_path):
    """Not once, and not twice; the sheet that was imported first neither."""
    (tmp_path / "first.csv").write_text(
        "timestamp,model,input_tokens,output_tokens,thread_id,user_name\n"
        "2025-06-27 15:30:15,gpt-4o,7,3,t-1,John Doe\n2025-06-27 15:30:15,gpt-4o,9,3,t-1,John Doe\n"
    )
    assert run("import", "first.csv")[1].startswith("2 rows: 2 records came in")
    assert run("export", "--since", "2025-06-01", "--csv", "own.csv")[0] == 0

    for file in ("own.csv", "own.csv", "first.csv"):
        assert run("import", file)[::2] == (0, "")
    told = json.loads(run("report", "--since", "2025-06-01", "--user", "John Doe", "--json")[1])
    assert (told["totals"]["requests"], told["totals"]["total_tokens"]) == (2, 22)
    assert run("erase", "--user", "John Doe")[0] == 0


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_export_that_comes_back_through_another_ledger_adds_nothing(run, tmp_path, form):
    """A to B, B to A, and again: each record keeps the id that it had first, also beside another form of it."""
    (tmp_path / "first.csv").write_text(
        "timestamp,model,input_tokens,output_tokens,thread_id,user_id\n"
        "2025-06-27 15:30:15,gpt-4o,7,3,t-1,ada\n2025-06-28 15:30:15,gpt-realtime,9,3,t-2,ada\n"
    )
    assert run("import", "first.csv")[0] == 0
    for turn in range(4):
        for name in ("jsonl", "csv"):
            assert run("export", "--since", "2025-06-01", f"--{name}", f"{turn}.{name}")[0] == 0
        (tmp_path / "ledger.db").rename(tmp_path / f"away{turn % 2}.db")
        if (other := tmp_path / f"away{1 - turn % 2}.db").exists():
            other.rename(tmp_path / "ledger.db")
        files = [f"{turn}.csv"] if form == "csv" else [str(p) for p in sorted((tmp_path / f"{turn}.jsonl").iterdir())]
        for _ in range(2):
            assert run("import", *files)[::2] == (0, "")
        told = json.loads(run("report", "--since", "2025-06-01", "--user", "ada", "--json")[1])
        assert (told["totals"]["requests"], told["totals"]["total_tokens"]) == (2, 22)
    assert run("import", "3.csv", *map(str, (tmp_path / "3.jsonl").iterdir()))[1].startswith("4 rows: 0 records")


def test_a_second_ctrl_c_does_not_break_off_what_the_first_one_clears_away():
    """A half-made copy of a ledger, with whoever is in it, must not stay behind."""
    code = """
import asyncio, os, signal
from livekit_tokens.cli.outcome import Interrupted, awaited
async def work():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.1)
        print("cleared away")
try:
    awaited(work())
except Interrupted as end:
    print(end)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("cleared away\ninterrupted\n", "")


def test_what_was_read_before_a_file_turns_out_to_be_damaged_is_imported(run, tmp_path):
    """Also the batch that was not full yet; the message says so."""
    lines = "".join(
        json.dumps({"timestamp": 1751038215 + n, "model": "gpt-4o", "input_tokens": n}) + "\n" for n in range(9000)
    )
    packed = gzip.compress(lines.encode())
    (tmp_path / "log.jsonl.gz").write_bytes(packed[: len(packed) // 2])

    code, _, err = run("import", "log.jsonl.gz")

    assert (code, "what came before it is imported" in err) == (1, True)
    told = json.loads(run("report", "--since", "2025-06-01", "--json")[1])
    assert told["totals"]["requests"] % 1000 > 0


def test_an_import_that_is_interrupted_says_how_far_it_came_and_goes_on_when_it_is_run_again(run, tmp_path):
    """The batch that is being written is finished: what is said to be there is there, once."""
    lines = [json.dumps({"timestamp": 1751038215 + n, "model": "gpt-4o", "input_tokens": 1}) for n in range(50)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    code = """
import asyncio, sys
from livekit_tokens.core import importing
from livekit_tokens.store.keeping.imported import StoredImport
importing.BATCH, written, apply = 10, [], StoredImport.apply
async def slow(self, batch):
    written.append(batch)
    if len(written) == 2:
        print("in the second batch", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    return await apply(self, batch)
StoredImport.apply = slow
sys.argv = ["x", "import", "log.jsonl"]
from livekit_tokens.cli import main
main()
"""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen([sys.executable, "-c", code], **pipes, text=True, cwd=tmp_path)
    assert process.stdout.readline() == "in the second batch\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate("go on\n", timeout=60)

    assert (process.returncode, out) == (130, "")
    assert err == "livekit-tokens: interrupted: 20 records came in; import again, what is there counts once\n"
    assert run("import", "log.jsonl")[1] == "50 rows: 30 records came in, 20 were there already\n"
    assert json.loads(run("report", "--since", "2025-06-01", "--json")[1])["totals"]["total_tokens"] == 50
    assert run("db", "check")[0] == 0


def test_import_says_what_cannot_be_read(run, tmp_path):
    run("db", "upgrade")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01" * 100)
    assert run("import", "nothing.csv")[::2] == (
        1,
        "livekit-tokens: nothing.csv cannot be read (No such file or directory); nothing is imported\n",
    )
    assert run("import", "binary")[0] == 1
    assert "is a ledger of livekit-tokens" in run("import", "ledger.db")[2]


@pytest.mark.parametrize("also", [(), ("--json",), ("--dry-run",)])
def test_an_import_of_which_no_row_is_known_has_failed(run, tmp_path, also):
    """Though it lists them all; one row that is known is enough for a success."""
    (tmp_path / "log.jsonl").write_text('{"what": "is this"}\n' * 3)
    assert run("import", "log.jsonl", *also)[0] == 1
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"timestamp": "2025-06-27T15:30Z", "user_id": "ada", "model": "gpt-4o", "input_tokens": 7}\n')
    assert run("import", "log.jsonl", *also)[0] == 0


def test_a_restore_through_the_command_keeps_people_forgotten(tmp_path):
    machine = Machine(tmp_path)
    machine.python(CALL.replace('"ada"', '"ada-4711"'))
    machine.command("backup", "b.db")
    assert machine.command("erase", "--user", "ada-4711").returncode == 0

    assert machine.command("restore", "b.db", "--replace").returncode == 0

    assert [Path(name).name for name in found_in(tmp_path, b"ada-4711")] == ["b.db"]


INTERRUPTED = """
import os, signal, sys, threading
from livekit_tokens.cli import main
from livekit_tokens.store.keeping import copies
heeded, install = threading.Event(), signal.signal
def installed(number, handler):
    def heed(*args):
        handler(*args)
        heeded.set()
    return install(number, heed if callable(handler) else handler)
signal.signal = installed
work = copies.{step}
def interrupted(*args):
    os.kill(os.getpid(), signal.SIGINT)
    heeded.wait(60)
    work(*args)
copies.{step} = interrupted
sys.argv = ["livekit-tokens", *{words}]
main()
"""
"""A command that is interrupted as the thread of a step begins."""


@pytest.mark.parametrize(("step", "code"), [("copy_file", 130), ("put_in_place", 0)])
def test_ctrl_c_in_a_restore_brings_no_erased_person_back(tmp_path, step, code):
    """It has not begun, or it is done and says so; nothing unfinished is left."""
    machine = Machine(tmp_path)
    machine.python(CALL.replace('"ada"', '"ada-4711"'))
    machine.command("backup", "b.db")
    assert machine.command("erase", "--user", "ada-4711").returncode == 0

    words = ["restore", "b.db", "--replace"]
    done = machine.python(INTERRUPTED.format(step=step, words=words), check=False)

    assert (done.returncode, "whole" in done.stdout) == (code, code == 0)
    assert [Path(name).name for name in found_in(tmp_path, b"ada-4711")] == ["b.db"]
    assert not list(tmp_path.rglob("*.part*"))
    assert machine.command("erase", "--user", "ada-4711", "--dry-run").stdout.startswith("parts of sessions: 0 ")
    with sqlite3.connect(machine.ledger) as ledger:
        assert ledger.execute("SELECT COUNT(*) > 0 FROM erasures").fetchone() == (1,)


def test_ctrl_c_in_a_backup_leaves_nothing_unfinished(tmp_path):
    """Nor moves an older backup."""
    machine = Machine(tmp_path)
    machine.python(CALL)
    machine.command("backup", "b.db")
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.glob("*b.db*"))

    words = ["backup", "b.db", "--keep", "2"]
    done = machine.python(INTERRUPTED.format(step="copy_file", words=words), check=False)

    told = "livekit-tokens: interrupted: no backup was made, b.db is as it was\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", told)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.glob("*b.db*")) == before


def test_no_command_makes_a_ledger_where_there_is_none(run, tmp_path):
    """A mistyped DATABASE_URL must not look like an empty ledger."""
    for command in (["prune", "--older-than", "1d"], ["erase", "--user", "a"], ["db", "vacuum"], ["backup", "b.db"]):
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        assert err.startswith("livekit-tokens: no ledger at ")
    assert not list(tmp_path.glob("*.db*"))


def test_retention_is_applied_by_a_process_that_tracks_calls(tmp_path):
    """By its background, on its own; what is newer stays, and the sums of both."""
    machine = Machine(tmp_path, env={"LIVEKIT_TOKENS_RETENTION_DAYS": "30"})
    old = """
for days in (10, 40):
    own.recorder.record(UsageRecord(part=key, at=now() - days * 86_400_000_000, service="agent", provider="openai",
                                    model="gpt-realtime", operation="realtime_response", units={"input_text": 7}))
print("recorded", flush=True)
input()
"""

    def pruned() -> bool:
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"file:{machine.ledger}?mode=ro", uri=True)) as ledger,
        ):
            return ledger.execute("SELECT COUNT(ended_at) FROM prunings").fetchone() == (1,)
        return False

    gather = "from livekit_tokens.core import background; background.GATHER_SECONDS = 3  # the first drain has them all"
    living = machine.start(gather + CALL + old)
    assert living.stdout.readline() == "recorded\n"
    wait_until(pruned)
    living.communicate("\n", timeout=60)

    with sqlite3.connect(machine.ledger) as ledger:
        assert ledger.execute("SELECT COUNT(*) FROM records").fetchone() == (2,)
        assert ledger.execute("SELECT SUM(input_text) FROM sums").fetchone() == (21,)
        assert ledger.execute("SELECT daily, records, ended_at IS NULL FROM prunings").fetchall() == [(1, 1, 0)]
    assert machine.command("db", "check").returncode == 0


def test_who_asks_about_time_whose_records_are_pruned_is_told_what_that_means(asked):
    """On stderr, so that JSON and CSV stay what they are; in the page itself. Not of a period after that."""
    assert asked("prune", "--older-than", "20h")[0] == 0
    for words in (["report"], ["performance", "--json"], ["report", "--by", "user", "--csv"], ["trend"]):
        _, out, err = asked(*words)
        assert err.count("are pruned") == 1
        assert "are pruned" not in out
    old = next(s for s in json.loads(asked("sessions", "--json")[1])["sessions"] if s["session_id"] == "room_1")
    assert "are pruned" in asked("report", "--session", old["session_id"], "--records")[2]
    assert "are pruned" in asked("report", "--html", "-")[1]
    assert asked("report", "--since", "2999-01-01", "--until", "2999-01-02")[2] == ""


def test_who_erases_somebody_that_is_not_there_is_told_so(asked):
    """A name that was mistyped must not pass for a proof; it is no failure, as what is to be gone is not there."""
    code, out, err = asked("erase", "--user", "anne")
    assert (code, out.splitlines()[0]) == (0, "parts of sessions: 0 made nobody's")
    assert (
        err == "note: nothing of 'anne' was found; expected is the identity, as `livekit-tokens top users` shows it\n"
    )
    assert asked("erase", "--user", "ann")[::2] == (0, "")


def test_a_display_name_of_somebody_with_an_identity_is_not_erased_by(asked, tmp_path):
    """It says whose it is, and does not blame a call that goes on."""
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        ledger.execute("UPDATE parts SET user_name = 'Ann Unusual' WHERE user_id = 'ann'")
    code, out, err = asked("erase", "--user", "Ann Unusual")
    assert (code, out) == (2, "")
    assert "'Ann Unusual' is nobody's identity, but the display name of 'ann'; nothing is erased" in err
    assert asked("erase", "--user", "ann")[::2] == (0, "")


def test_a_file_that_is_not_there_makes_no_ledger(run, tmp_path):
    """The import ends before anything is made or brought, also where other files are there."""
    (tmp_path / "there.csv").write_text("timestamp,model,input_tokens\n2025-06-01T00:00:00Z,gpt-4o,3\n")
    code, _, err = run("import", "there.csv", "missing.csv")
    assert (code, err) == (
        1,
        "livekit-tokens: missing.csv cannot be read (No such file or directory); nothing is imported\n",
    )
    assert not (tmp_path / "ledger.db").exists()


def test_a_backup_that_has_no_place_says_which(asked):
    """And does not speak of the ledger."""
    code, _, err = asked("backup", "/nonexistent/b.db")
    told = "/nonexistent/b.db cannot be written (No such file or directory); give another place"
    assert (code, err) == (1, f"livekit-tokens: {told}\n")
