"""VoiceGateway beside livekit-tokens.

    python -m benchmarks.peers [--short] [--folder PATH]     # --short: 100,000 records, one kill each

Of each: what the line in the entrypoint costs, the loop's CPU time for an event of a component at 50 a second, what
SIGKILL at 300 events a second loses, the summary of a month of a million records, and what is installed beside
livekit-agents. The reference is VoiceGateway; a goal is ours alone, or not to be above it. Its environment is made in
the folder, by package name. If it cannot be made, ours is measured alone, and that is said.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks.peers.environments import PEER, Tracker, added_by, peers_python
from benchmarks.peers.month import fill_ours, fill_theirs
from benchmarks.table import MISSING, Line, Missing, median, show

RATE, EVENTS = 50, 500
KILL_RATE, KILL_AFTER_S = 300, 3.0


def attached(tracker: Tracker, rounds: int) -> dict[str, float]:
    """Medians of cold processes that have imported livekit.agents, as the console's.

    A record of ours is safe from SIGKILL when its handler returns, one of theirs when it is in the database.
    """
    found = []
    for _ in range(rounds):
        _empty(tracker)
        process = tracker.start("attach")
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        while not _count(tracker):
            time.sleep(0.005)
        in_database = (time.monotonic() - told["told_at"]) * 1e3
        told |= json.loads(process.stdout.readline())
        process.kill()
        process.wait()
        begun = told["import_ms"] + told["attach_ms"]
        safe = told["event_ms"] if tracker.which == "ours" else in_database
        found.append(told | {"begun_ms": begun, "database_ms": in_database, "safe_ms": safe})
    return {name: median([one[name] for one in found]) for name in found[0]}


def on_the_loop(tracker: Tracker, nobody: float) -> dict[str, float]:
    _empty(tracker)
    return {"event_us": (tracker.ask("loop", RATE, EVENTS)["cpu_s"] - nobody) / EVENTS * 1e6}


def killed(tracker: Tracker, rounds: int) -> dict[str, float]:
    """Percent of the events whose handlers had returned that are in no database after everything was brought home."""
    told = stored = 0
    for _ in range(rounds):
        _empty(tracker)
        process = tracker.start("kill", KILL_RATE)
        assert process.stdout is not None
        process.stdout.read(1)
        time.sleep(KILL_AFTER_S)
        process.kill()
        told += 1 + len(process.stdout.read())
        process.wait()
        if tracker.which == "ours":
            tracker.command("livekit-tokens", "recover")
        stored += _count(tracker)
    print(f"    {tracker.which}: {told:,} events told, {stored:,} stored", flush=True)
    return {"lost": max(0, told - stored) / told * 100}


def month(tracker: Tracker, records: int) -> dict[str, float]:
    _empty(tracker)
    ours = tracker.which == "ours"
    (fill_ours if ours else fill_theirs)(tracker, records)
    found = tracker.ask("month", *(() if ours else (tracker.database,)))
    words = (
        ("livekit-tokens", "report", "--days", "30")
        if ours
        else ("voicegw", "costs", "--month", "-c", _config(tracker))
    )
    took = []
    for _ in range(3):
        began = time.perf_counter()
        tracker.command(*words)
        took.append(time.perf_counter() - began)
    print(f"    {tracker.which}: a month of {found['requests']:,.0f} requests", flush=True)
    return {"month_ms": found["ms"], "command_s": median(took)}


def installed(tracker: Tracker) -> dict[str, float]:
    added = added_by(tracker.python, "livekit-tokens" if tracker.which == "ours" else PEER.partition("==")[0])
    return {"distributions": added.distributions, "megabytes": added.megabytes}


def measure(tracker: Tracker, *, nobody: float, rounds: int, records: int) -> dict[str, float]:
    """Everything of one of the two."""
    return {
        **attached(tracker, rounds),
        **on_the_loop(tracker, nobody),
        **killed(tracker, rounds),
        **month(tracker, records),
        **installed(tracker),
    }


def _config(tracker: Tracker) -> str:
    """The least that their command asks for."""
    path = tracker.folder / "voicegw.yaml"
    path.write_text(f"cost_tracking:\n  enabled: true\n  db_path: {tracker.database}\n")
    return str(path)


def _count(tracker: Tracker) -> int:
    if not tracker.database.exists():
        return 0
    try:
        with closing(sqlite3.connect(tracker.database, timeout=10)) as conn:
            return int(conn.execute(f"SELECT count(*) FROM {tracker.table}").fetchone()[0])
    except sqlite3.OperationalError:  # it has no tables yet
        return 0


def _empty(tracker: Tracker) -> None:
    shutil.rmtree(tracker.folder, ignore_errors=True)
    tracker.folder.mkdir(parents=True)


def lines(ours: dict[str, float], theirs: dict[str, float], records: int) -> list[Line]:
    def line(promise: str, name: str, unit: str, goal: float | None = None) -> Line:
        reference = theirs.get(name)
        return Line(promise, ours[name], unit, goal, reference, None if reference is None else 1.0)

    def told(promise: str, name: str, unit: str) -> Line:
        return Line(promise, ours[name], unit, reference=theirs.get(name))

    return [
        line("import and the line in the entrypoint, cold", "begun_ms", "ms"),
        told("    import, after livekit.agents", "import_ms", "ms"),
        told("    the line itself", "attach_ms", "ms"),
        line("longest stall from there on, cold", "stall_ms", "ms"),
        line("first record safe from SIGKILL", "safe_ms", "ms"),
        told("first record in the database", "database_ms", "ms"),
        line(f"the loop's CPU, an event, at {RATE}/s", "event_us", "us"),
        line(f"lost by SIGKILL at {KILL_RATE}/s", "lost", "%", 0),
        line(f"a month of {records:,} records", "month_ms", "ms", 200),
        line("the whole command", "command_s", "s"),
        line("distributions over livekit-agents", "distributions", "dists"),
        line("megabytes over livekit-agents", "megabytes", "MB"),
    ]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--short", action="store_true")
    options.add_argument("--folder", type=Path, default=user_cache_path("livekit-tokens") / "peers")
    given = options.parse_args()
    rounds, records = (1, 100_000) if given.short else (3, 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        own = Tracker("ours", Path(sys.executable), Path(folder) / "ours")
        idle = Tracker("nobody", own.python, Path(folder) / "nobody")
        idle.folder.mkdir()
        nobody = idle.ask("loop", RATE, EVENTS)["cpu_s"]
        ours = measure(own, nobody=nobody, rounds=rounds, records=records)
        try:
            peer = Tracker("theirs", peers_python(given.folder), Path(folder) / "theirs")
            theirs = measure(peer, nobody=nobody, rounds=rounds, records=records)
        except Missing as missing:
            print(f"VoiceGateway NOT MEASURED, only ours below: {missing}", flush=True)
            theirs = {}
    code = show(f"{PEER} beside livekit-tokens", lines(ours, theirs, records), "VoiceGateway")
    return code if theirs else MISSING


if __name__ == "__main__":
    sys.exit(main())
