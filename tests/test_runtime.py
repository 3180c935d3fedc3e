"""The rooms wired together: one Runtime a process, whatever is wrong with its folders and settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECORD = """
from livekit_tokens import runtime as process; process.EXIT_SECONDS = 30  # however busy the machine is
import logging, os, sys
logging.basicConfig(level=logging.WARNING)
from livekit_tokens.runtime import runtime, new_key, now
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import UsageRecord

def record(session_id):
    own, key = runtime(), new_key()
    own.recorder.put_part(Part(key=key, session_id=session_id, started_at=now()))
    own.recorder.record(UsageRecord(part=key, at=now(), service="tool", provider="openai", model="gpt-4o",
                                    operation="chat_completion", units={"input_text": 7}))
"""
REPORT = """
import asyncio
from livekit_tokens import open_ledger
async def main():
    async with open_ledger() as ledger:
        for session in (await ledger.sessions()).to_dict()["sessions"]:
            print(session["session_id"], session["status"], session["totals"]["requests"])
asyncio.run(main())
"""


def run(tmp_path: Path, code: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    own = {
        **os.environ,
        "LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "LIVEKIT_TOKENS_SPOOL_DIR": str(tmp_path / "spool"),
        "TMPDIR": str(tmp_path),
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=own | env,
        check=check,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )


def sessions(tmp_path: Path, **env: str) -> list[str]:
    return sorted(run(tmp_path, REPORT, **env).stdout.splitlines())


def test_a_process_that_ends_by_itself_leaves_a_closed_part_in_the_ledger(tmp_path: Path) -> None:
    """Exit right after the last record: the end waits for the ledger a moment, and nothing is left to recover."""
    run(tmp_path, RECORD + "record('a')")
    assert (tmp_path / "ledger.db").exists()
    assert sessions(tmp_path) == ["a closed 1"]


def test_a_report_brings_home_what_a_killed_process_left(tmp_path: Path) -> None:
    """Nobody has to know of `recover` for the figures to be there."""
    run(tmp_path, RECORD + "record('a'); os.kill(os.getpid(), 9)", check=False)
    assert sessions(tmp_path) == ["a abandoned 1"]


def test_a_forked_child_writes_a_source_of_its_own(tmp_path: Path) -> None:
    """Parent and child go on after the fork; each record is there once."""
    code = """
record('parent')
child = os.fork()
record('parent again' if child else 'child')
if child:
    os.waitpid(child, 0)
else:
    import atexit
    atexit._run_exitfuncs()
    os._exit(0)
"""
    run(tmp_path, RECORD + code)
    assert sessions(tmp_path) == ["child closed 1", "parent again closed 1", "parent closed 1"]


def test_a_spool_folder_that_cannot_be_written_falls_back_with_one_warning(tmp_path: Path) -> None:
    """The system's temporary folder is taken; the line says which folder was wrong, where it is, and what to do."""
    (tmp_path / "file").write_text("in the way")
    done = run(tmp_path, RECORD + "record('a')", LIVEKIT_TOKENS_SPOOL_DIR=str(tmp_path / "file" / "spool"))
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert str(tmp_path / "file" / "spool") in warnings[0]
    assert f", and {tmp_path / 'livekit-tokens-'}" in warnings[0]
    assert "SPOOL_DIR" in warnings[0]
    assert sessions(tmp_path) == ["a closed 1"]


def test_what_a_killed_process_left_in_the_fallback_folder_is_brought_home_too(tmp_path: Path) -> None:
    """The report looks where spools can be, not only where they should."""
    (tmp_path / "file").write_text("in the way")
    elsewhere = {"LIVEKIT_TOKENS_SPOOL_DIR": str(tmp_path / "file" / "spool")}
    run(tmp_path, RECORD + "record('a'); os.kill(os.getpid(), 9)", check=False, **elsewhere)
    assert sessions(tmp_path, **elsewhere) == ["a abandoned 1"]


def test_a_wrong_database_url_refuses_no_call(tmp_path: Path) -> None:
    """One clear line; the spool keeps the records, and they can be brought into the right ledger by hand: by itself,
    no spool goes into another ledger than the one it was written for."""
    done = run(tmp_path, RECORD + "record('a')", LIVEKIT_TOKENS_DATABASE_URL="sqlite:////proc/nowhere/ledger.db")
    assert "Traceback" not in done.stderr
    assert sum("ledger" in line for line in done.stderr.splitlines() if "WARNING" in line) == 1
    run(tmp_path, RECORD + "record('b')")
    assert sessions(tmp_path) == ["b closed 1"]
    recover = "import sys; sys.argv[1:] = ['recover', '--any-ledger']; from livekit_tokens.cli import main; main()"
    run(tmp_path, recover)
    assert sessions(tmp_path) == ["a closed 1", "b closed 1"]


@pytest.mark.parametrize("url", ["mysql://u:secret@h/db", "not a url"])
def test_an_unusable_database_url_falls_back_to_the_default_and_is_said_once(tmp_path: Path, url: str) -> None:
    """The setting is named, what is accepted is said, the password is not."""
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    done = run(tmp_path, RECORD + "record('a')", LIVEKIT_TOKENS_DATABASE_URL=url, **home)
    assert done.stderr.count("DATABASE_URL") == 1
    assert "secret" not in done.stderr
    assert (tmp_path / "data" / "livekit-tokens" / "ledger.db").exists()


def test_when_tracking_is_off_nothing_is_written(tmp_path: Path) -> None:
    """`track` returns a Tracking that does nothing; no folder, no ledger, no thread."""
    code = """
import asyncio, threading
from livekit_tokens import track
async def main():
    own = track(None, user="ada")
    print((await own.aclose()).totals.requests, threading.active_count())
asyncio.run(main())
"""
    done = run(tmp_path, code, LIVEKIT_TOKENS_ENABLED="false")
    assert done.stdout.split()[0] == "0"
    assert not (tmp_path / "spool").exists()
    assert not (tmp_path / "ledger.db").exists()


def test_files_of_the_ledger_are_the_owners_only(tmp_path: Path) -> None:
    """Folders 0700, files 0600."""
    run(tmp_path, RECORD + "record('a')")
    segments = list((tmp_path / "spool").rglob("*.jsonl"))
    for path in [tmp_path / "ledger.db", *segments]:
        assert path.stat().st_mode & 0o777 == 0o600
    for path in {segment.parent for segment in segments}:
        assert path.stat().st_mode & 0o777 == 0o700


def test_track_survives_anything_it_is_given(tmp_path: Path) -> None:
    """A fault of ours or of the caller's does not reach the call: one warning, and a Tracking that does nothing."""
    code = """
import asyncio, logging
logging.basicConfig(level=logging.WARNING)
from livekit_tokens import track
async def main():
    own = track("not a session", object())
    print((await own.aclose()).totals.requests)
asyncio.run(main())
"""
    done = run(tmp_path, code)
    assert done.stdout.strip() == "0"
    assert "a call could not be tracked" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_call_is_tracked_whatever_its_options_are(tmp_path: Path) -> None:
    """Each that cannot be used is named in one line, with what is expected; so are settings that come too late."""
    code = """
import asyncio, logging
from livekit.agents import AgentSession
logging.basicConfig(level=logging.WARNING)
from livekit_tokens import active_sessions, track
from livekit_tokens.settings import Settings
async def main():
    other = Settings(timezone='Europe/Berlin')
    held = []
    for given in ({'tags': 'env=prod'}, {'ctx': object()}, {'user': 7}, {'settings': other}):
        held.append(track(AgentSession(), **given))
        held[-1].record_usage(model='gpt-4.1', input_tokens=1)
    track(AgentSession)
    print([summary.totals.requests for summary in active_sessions()])
asyncio.run(main())
"""
    done = run(tmp_path, code)
    assert done.stdout.strip() == "[1, 1, 1, 1]"
    for said in (
        'expected a dict such as {"env": "prod"}',
        "expected the JobContext",
        "the first count",
        "AgentSession",
    ):
        assert sum(said in line for line in done.stderr.splitlines()) == 1, done.stderr


def test_a_forked_childs_records_reach_the_ledger_that_others_see(tmp_path: Path) -> None:
    """The parent has the database open when it forks and ends first: the child's records are not written into a
    log that nobody reads any more."""
    code = """
import time
record('parent'); runtime().background.flush_blocking(60)
parent = os.getpid()
child = os.fork()
if child == 0:
    import sqlite3
    record('child'); runtime().background.flush_blocking(60)
    while os.getppid() == parent:
        time.sleep(0.01)
    record('child again'); print('flushed', runtime().background.flush_blocking(60), flush=True)
    with sqlite3.connect('ledger.db') as db:
        db.execute('select count(*) from records').fetchall()
    os._exit(0)
os._exit(0)
"""
    done = run(tmp_path, RECORD + code)
    assert "flushed True" in done.stdout
    assert {"parent", "child", "child again"} == {line.rsplit(" ", 2)[0] for line in sessions(tmp_path)}


@pytest.mark.parametrize(
    "given", ["user=42", "tags={'attempt': 1}", "feature=3", "feature=object()", "tenant=['a']", "on_end=5"]
)
def test_what_the_host_gives_track_as_names_may_be_anything(tmp_path: Path, given: str) -> None:
    """Whatever it is, the part can be read back from the spool."""
    code = f"""
import asyncio
from livekit_tokens import track
async def main():
    await track(None, {given}).aclose()
asyncio.run(main())
"""
    run(tmp_path, code)
    (line,) = sessions(tmp_path)
    assert line.startswith("local_")
    assert line.endswith("closed 0")


@pytest.mark.parametrize("folder", ["/" + "x" * 300, "~nosuchuser/spool", "\udcff"])
def test_a_spool_folder_that_cannot_even_be_named_refuses_no_call(tmp_path: Path, folder: str) -> None:
    """Neither in the call nor in LiveKit's forkserver."""
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    run(tmp_path, "import livekit_tokens.preload\n" + RECORD + "record('a')", LIVEKIT_TOKENS_SPOOL_DIR=folder, **home)
    assert sessions(tmp_path, **home) == ["a closed 1"]


def test_tracking_that_is_off_says_so_once(tmp_path: Path) -> None:
    """An empty ledger must not be a riddle."""
    code = """
import asyncio, logging
logging.basicConfig(level=logging.INFO)
from livekit_tokens import track
async def main():
    for _ in range(3):
        await track(None).aclose()
asyncio.run(main())
"""
    done = run(tmp_path, code, LIVEKIT_TOKENS_ENABLED="false")
    assert done.stderr.count("ENABLED=false") == 1
    assert "untracked" not in done.stderr


def test_a_fallback_folder_that_somebody_else_may_write_is_not_used(tmp_path: Path) -> None:
    """Neither written nor read: its spools could be anybody's."""
    (tmp_path / "file").write_text("in the way")
    planted = tmp_path / f"livekit-tokens-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    elsewhere = {"LIVEKIT_TOKENS_SPOOL_DIR": str(tmp_path / "file" / "spool")}
    run(tmp_path, RECORD + "record('a')", **elsewhere)
    assert not list(planted.rglob("*.jsonl"))


COUNT_SYNCS = """
import os, time
syncs, really_sync = [], os.fsync
os.fsync = lambda fd: (syncs.append(fd), really_sync(fd))
"""


@pytest.mark.parametrize(("durability", "synced"), [("process", "False"), ("power", "True")])
def test_a_record_is_brought_to_the_disk_by_itself_only_where_that_is_asked(
    tmp_path: Path, durability: str, synced: str
) -> None:
    """DURABILITY=power: some moments later, without a part's end or a rotation, and nobody waits for it."""
    code = """
record('a')
until = time.monotonic() + {'process': 0.6, 'power': 60}[os.environ['LIVEKIT_TOKENS_DURABILITY']]
while not syncs and time.monotonic() < until:
    time.sleep(0.01)
print(bool(syncs), flush=True)
os._exit(0)
"""
    code = COUNT_SYNCS + RECORD + code
    assert run(tmp_path, code, LIVEKIT_TOKENS_DURABILITY=durability).stdout.strip() == synced


@pytest.mark.parametrize(("durability", "synced"), [("process", "False"), ("power", "True")])
def test_recording_by_hand_waits_for_the_disk_only_where_that_is_asked(
    tmp_path: Path, durability: str, synced: str
) -> None:
    """What `durable when it returns` means is what DURABILITY says; a part's end is always synced."""
    code = COUNT_SYNCS + (
        "from livekit_tokens import record_usage\n"
        "record_usage(model='gpt-4o', units={'input_text': 1}, session_id='s')\n"
        "before = len(syncs)\n"
        "record_usage(model='gpt-4o', units={'input_text': 1}, session_id='s')\n"
        "print(len(syncs) > before)"
    )
    assert run(tmp_path, code, LIVEKIT_TOKENS_DURABILITY=durability).stdout.strip() == synced


HEALTH = "import json; runtime().background and runtime().background.flush_blocking(60); "


def test_the_health_of_a_process_is_told(tmp_path: Path) -> None:
    """Records, and nothing that waits, was lost or went wrong."""
    told = run(tmp_path, RECORD + "record('a'); " + HEALTH + "print(json.dumps(runtime().health().to_dict()))").stdout
    assert json.loads(told) == {
        "records": 1,
        "unkept": 0,
        "waiting_bytes": 0,
        "behind": 0,
        "lag_seconds": 0.0,
        "failures": 0,
        "faults": {},
        "last_error": None,
        "ledger_error": None,
    }


def test_records_that_no_folder_could_take_are_told_as_lost(tmp_path: Path) -> None:
    """Neither the settings' folder nor the system's temporary one: the receipts are all that is left."""
    in_the_way = tmp_path / "a file"
    in_the_way.touch()
    env = {"LIVEKIT_TOKENS_SPOOL_DIR": str(in_the_way / "spool")}
    code = (
        "import tempfile; tempfile.tempdir = " + repr(str(in_the_way)) + RECORD + "record('a'); record('b'); "
        "health = runtime().health(); print(health.records, health.unkept, health.failures, health.last_error)"
    )
    told = run(tmp_path, code, **env).stdout
    assert told.startswith("2 2 ")
    assert "cannot be written, and no other; set SPOOL_DIR to one that can" in told


def test_a_process_that_ends_by_itself_finds_a_ledger_by_its_hosts_name(tmp_path: Path, postgres_url: str) -> None:
    """Nothing that looks up an address may need a thread that cannot be started any more."""
    url = postgres_url.replace("127.0.0.1", "localhost")
    run(tmp_path, RECORD + "record('short')", LIVEKIT_TOKENS_DATABASE_URL=url)
    code = f"""
import asyncio, asyncpg
async def main():
    ledger = await asyncpg.connect({postgres_url!r})
    print(await ledger.fetchval("select count(*) from records"))
asyncio.run(main())
"""
    assert run(tmp_path, code).stdout.strip() == "1"


def test_a_child_forked_while_a_fault_is_noted_notes_its_own(tmp_path: Path) -> None:
    """A lock that another thread of the parent's holds is not there in the child."""
    code = """
from livekit_tokens.core import faults
faults._lock.acquire()
child = os.fork()
if child == 0:
    faults.note("a fault of the child's")
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(tmp_path, RECORD + code).stdout.strip() == "7"


def test_a_child_forked_while_a_source_is_made_does_not_hold_its_lock(tmp_path: Path) -> None:
    """Another thread records for the first time: the fork waits for that source, and the child lets it go."""
    code = """
import threading, time
from livekit_tokens.core import spool
made, go_on = spool.create, threading.Event()
def create(*args):
    folder, lock = made(*args)
    go_on.set()
    time.sleep(0.05)
    return folder, lock
spool.create = create
thread = threading.Thread(target=record, args=('parent',))
thread.start()
go_on.wait()
child = os.fork()
if child == 0:
    locks = [fd for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')
             and os.readlink(f'/proc/self/fd/{fd}').endswith('/lock')]
    os._exit(len(locks))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread.join()
"""
    assert run(tmp_path, RECORD + code).stdout.strip() == "0"


def test_a_child_that_must_not_open_the_ledger_may_not_after_it_has_forked_either(tmp_path: Path) -> None:
    """Nor may its own child: each has inherited the connection. The parent goes on, and so do its later children."""
    code = """
from livekit_tokens.core.background import Background
def told(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
def may_open():
    record('child')
    return runtime().background._loop is not None
record('parent')
hold, Background.hold = Background.hold, lambda *_: False
child = os.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(may_open())
    os._exit(2 * told(grandchild) + may_open())
print(told(child))
Background.hold = hold
runtime().background.flush_blocking(60)
child = os.fork()
if child == 0:
    os._exit(may_open())
print(told(child), flush=True)
os._exit(0)
"""
    assert run(tmp_path, RECORD + code).stdout.split() == ["0", "1"]


def test_of_two_threads_that_fork_at_once_each_gives_back_what_it_held(tmp_path: Path) -> None:
    """One waits in vain for the other: its child must not open the ledger, and the parent records and drains on."""
    code = """
import threading
from livekit_tokens.core import background
from livekit_tokens.core.background import Background
background._LONGEST_HOLD_SECONDS, process._HOLD_SECONDS = 60, 60
def fork():
    child = os.fork()
    if child == 0:
        record('child')
        os._exit(runtime().background._loop is not None)
    may_open.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
record('parent')
assert runtime().background.flush_blocking(60)
may_open, has_let_go, is_over, hold, go_on = [], threading.Event(), threading.Event(), Background.hold, Background.go_on
def hold_for_long(own, seconds):
    answer = hold(own, seconds)
    has_let_go.set()
    is_over.wait()
    return answer
def go_on_alone(own):
    assert process._making.locked()
    go_on(own)
Background.hold, Background.go_on = hold_for_long, go_on_alone
first = threading.Thread(target=fork)
first.start()
has_let_go.wait()
Background.hold, process._HOLD_SECONDS = hold, 0.01
fork()
is_over.set()
first.join()
assert not process._making.locked()
record('parent')
assert runtime().background.flush_blocking(30)
print(may_open)
"""
    ran = run(tmp_path, RECORD + code)
    assert (ran.stdout.strip(), "Error" in ran.stderr) == ("[0, 1]", False)


def test_a_spool_folder_that_may_not_be_looked_into_does_not_hide_the_other(tmp_path: Path) -> None:
    """What is in the fallback folder is brought home, and the folder that is closed is named."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    run(tmp_path, RECORD + "record('fell back'); os._exit(0)", LIVEKIT_TOKENS_SPOOL_DIR=str(blocked / "no"))
    code = """
import asyncio, fcntl
from livekit_tokens.bootstrap import recover
from livekit_tokens.core import homes, takeover
from pathlib import Path
closed = Path('spool') / homes.host()
closed.mkdir(parents=True)
really = os.open
def may_not(path, *args, **named):
    if str(path).endswith('spool/' + homes.host() + '/.takeover'):
        raise PermissionError(13, 'Permission denied', str(path))
    return really(path, *args, **named)
os.open = may_not
done = asyncio.run(recover())
print(done.records, done.unreadable == [str(Path.cwd() / closed)])
"""
    assert run(tmp_path, RECORD + code).stdout.strip() == "1 True"
