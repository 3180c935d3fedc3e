"""The commands as people and scripts run them: what is printed where, and the exit code."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from livekit_tokens.cli import token_usage_dashboard, view_token_usage
from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import SECOND
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.connection import StoreLedger

ZERO = "0.000000000"


@pytest.fixture
def filled(run, tmp_path):
    """Two sessions of two users; one call has an unfriendly name and is still open."""
    now = time.time_ns() // 1000
    ann = Part("01" * 16, "room_a", now - 600 * SECOND, room="room", user="ann", user_name="Ann", tags={"env": "prod"})
    odd = Part("02" * 16, "room_b", now - 300 * SECOND, room="room", user="=[bold]cmd\x1b[2J", status="open")
    ann = Part(**{**as_dict(ann), "status": "closed", "ended_at": now - 100 * SECOND, "close_reason": "user_initiated"})

    def record(part: Part, service: str, at: int, **changes: object) -> UsageRecord:
        return UsageRecord(
            part.key, at, service, "openai", f"{service}-model", "chat_completion", {"input_text": 7}, **changes
        )

    records = (
        record(ann, "agent", now - 500 * SECOND),
        record(ann, "transcriber", now - 400 * SECOND, provenance="estimated"),
        record(odd, "agent", now - 200 * SECOND, success=False, error="TimeoutError"),
    )

    async def write() -> None:
        ledger = StoreLedger(f"sqlite:///{tmp_path / 'ledger.db'}", pricing=lambda _: Price(1_500_000, 0))
        connection = await ledger.connect()
        batch = Batch(Source("s", "h", 1, now), None, Checkpoint(1, 1, 3), (ann, odd), (), tuple(enumerate(records, 1)))
        assert await connection.apply(batch)
        await connection.aclose()
        await ledger.aclose()

    asyncio.run(write())
    return run


def as_dict(part: Part) -> dict:
    return {name: getattr(part, name) for name in Part.__slots__}


class TestReport:
    def test_prints_the_known_summary(self, filled):
        """The default is the last seven days by service and model, the transcriber first."""
        code, out, err = filled("report")
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert lines[:5] == ["=" * 60, "TOKEN USAGE SUMMARY", "=" * 60, "Total Sessions: 2", "Total Input Tokens: 21"]
        assert [line for line in lines if "SERVICE:" in line] == [
            "BY SERVICE:",
            "TRANSCRIBER SERVICE:",
            "AGENT SERVICE:",
        ]

    def test_json_is_all_that_is_on_stdout(self, filled, monkeypatch):
        """A warning about a setting goes to stderr; the JSON has every field of the contract."""
        monkeypatch.setenv("LIVEKIT_TOKENS_LOG_LEVEL", "LOUD")
        code, out, err = filled("report", "--json", "--days", "1", "--tz", "Europe/Berlin")
        answer = json.loads(out)
        assert code == 0
        assert err.startswith("LIVEKIT_TOKENS_LOG_LEVEL is 'LOUD'")
        assert answer["period"]["timezone"] == "Europe/Berlin"
        assert (answer["totals"]["sessions"], answer["totals"]["cost_usd"]) == (2, "0.004500000")
        assert [g["key"] for g in answer["groups"]] == [
            {"service": "transcriber", "model": "transcriber-model"},
            {"service": "agent", "model": "agent-model"},
        ]

    def test_filters_limit_it(self, filled):
        """Each by its own name; all must match."""
        for args in (["--user", "ann", "--service", "agent"], ["--tag", "env=prod", "--model", "agent-model"]):
            assert json.loads(filled("report", "--json", *args)[1])["totals"]["requests"] == 1
        assert json.loads(filled("report", "--json", "--room", "elsewhere")[1])["groups"] == []

    def test_by_is_a_table_of_80_columns(self, filled):
        """Names are shown as they are: not as rich's markup, not as escape codes."""
        code, out, _ = filled("report", "--by", "user", "--by", "day")
        assert code == 0
        assert "=[bold]cmd\ufffd[2J" in out
        assert "\x1b" not in out
        assert max(map(len, out.splitlines())) <= 80
        total, rate, estimated = out.splitlines()[-3:]
        assert total.split() == ["Total", "2", "3", "21", "0", "~0.0045"]
        assert rate.startswith("$0.000")
        assert rate.endswith(" a minute of call")
        assert estimated == "~ in part estimated: $0.001500 of $0.004500"

    def test_csv_is_the_names_of_by_and_the_fields_of_totals(self, filled):
        """Units are JSON in their column."""
        code, out, _ = filled("report", "--csv", "--by", "tag:env")
        head, *rows = csv.reader(io.StringIO(out))
        totals = json.loads(filled("report", "--json")[1])["totals"]
        assert code == 0
        assert head == ["tag:env", *totals]
        assert [row[:3] for row in rows] == [["prod", "1", "2"], ["", "1", "1"]]
        assert json.loads(rows[0][head.index("units")])["input_text"] == 14

    def test_one_session_with_its_records(self, filled):
        """`--session ID`, as text and as JSON."""
        code, out, _ = filled("report", "--session", "room_a", "--records")
        assert code == 0
        assert "SESSION DETAILS: room_a" in out
        assert "User: Ann" in out
        assert len(out.partition("RECORDS:\n")[2].splitlines()) == 2
        answer = json.loads(filled("report", "--session", "room_b", "--records", "--json")[1])
        assert (answer["status"], answer["records"][0]["error"]) == ("open", "TimeoutError")

    def test_an_unknown_session_is_exit_1(self, filled):
        """One line on stderr, nothing on stdout."""
        code, out, err = filled("report", "--session", "nowhere", "--json")
        assert (code, out) == (1, "")
        assert err == "livekit-tokens: no session 'nowhere' in the ledger; `livekit-tokens sessions` lists them\n"

    @pytest.mark.parametrize(
        "args",
        [
            ["--days", "0"],
            ["--days", "many"],
            ["--since", "yesterday"],
            ["--since", "2026-11-22", "--until", "2026-11-21"],
            ["--today", "--days", "3"],
            ["--tz", "Mars/Olympus"],
            ["--by", "colour"],
            ["--by", "user", "--by", "day", "--by", "model"],
            ["--tag", "env"],
            ["--json", "--csv"],
            ["--records"],
            ["--session", "x", "--summary"],
            ["--session", "x", "--user", "ann"],
            ["--no-such-option"],
        ],
    )
    def test_wrong_usage_is_exit_2(self, filled, args):
        """One line on stderr, nothing on stdout."""
        code, out, err = filled("report", *args)
        assert (code, out) == (2, "")
        assert err.startswith("livekit-tokens: ")
        assert err.count("\n") == 1

    @pytest.mark.parametrize("args", [["report"], ["report", "--json"], ["sessions"], ["report", "--session", "x"]])
    def test_a_missing_ledger_is_said(self, run, tmp_path, args):
        """It is not made by asking."""
        code, out, err = run(*args)
        assert (code, out) == (1, "")
        assert err.startswith(f"livekit-tokens: no ledger at {tmp_path / 'ledger.db'} yet: ")
        assert err.count("\n") == 1
        assert not (tmp_path / "ledger.db").exists()

    def test_a_database_url_that_cannot_be_used_is_not_replaced(self, filled, monkeypatch):
        """A call goes on with the default ledger; a report about another ledger than was named would mislead."""
        monkeypatch.setenv("LIVEKIT_TOKENS_DATABASE_URL", "mysql://me:secret@host/db")
        code, out, err = filled("report")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "secret" not in err

    def test_a_mistyped_name_of_the_database_url_is_an_error(self, run, monkeypatch, tmp_path):
        """Or the answer would be about another ledger. Beside the right name it is only told."""
        monkeypatch.setenv("LIVEKIT_TOKENS_DATABASEURL", f"sqlite:///{tmp_path / 'other.db'}")
        assert "did you mean LIVEKIT_TOKENS_DATABASE_URL?" in run("sessions")[2]
        assert run("sessions")[2].count("no ledger at") == 1
        monkeypatch.delenv("LIVEKIT_TOKENS_DATABASE_URL")
        code, out, err = run("sessions")
        assert (code, out) == (1, "")
        assert err.endswith("did you mean LIVEKIT_TOKENS_DATABASE_URL?\n")


class TestSessions:
    def test_lists_the_newest_first_in_80_columns(self, filled):
        """An open one has a +."""
        code, out, _ = filled("sessions")
        lines = out.splitlines()
        assert code == 0
        assert max(map(len, lines)) <= 80
        assert lines[2].startswith("room_b")
        assert re.search(r" 5:\d\d\+ ", lines[2])
        assert lines[3].split()[:2] == ["room_a", "Ann"]

    def test_json_has_each_sessions_totals(self, filled):
        """And says whether the limit left some out."""
        answer = json.loads(filled("sessions", "--json", "--limit", "1")[1])
        assert [s["session_id"] for s in answer["sessions"]] == ["room_b"]
        assert (answer["sessions"][0]["totals"]["failed_requests"], answer["more"]) == (1, True)

    def test_none_is_a_clear_line(self, filled):
        """With the period; of whom there never was anything, the name may be mistyped."""
        code, out, err = filled("sessions", "--user", "nobody")
        assert code == 0
        assert out.startswith("No sessions from ")
        assert err == "note: no session of user 'nobody' in the ledger; `livekit-tokens top users` lists them\n"


class TestViewTokenUsage:
    def test_has_exactly_the_known_flags(self, filled):
        """`--summary --session ID --days N --json`, and nothing else."""
        for args in (["--summary"], ["--days", "3", "--json"], ["--session", "room_a"], []):
            assert filled(*args, entry=view_token_usage)[0] == 0
        code, _, err = filled("--user", "ann", entry=view_token_usage)
        assert code == 2
        assert err.startswith("view-token-usage: ")


class TestDashboard:
    def test_has_exactly_the_known_flags(self, filled):
        """`--days --user --operation`, and nothing else."""
        flags = ("--days", "3", "--user", "ann", "--operation", "chat_completion")
        code, out, _ = filled(*flags, entry=token_usage_dashboard)
        assert code == 0
        assert "Total Sessions: 1\n" in out
        assert "Total Sessions: 0\n" in filled("--operation", "none", entry=token_usage_dashboard)[1]
        code, _, err = filled("--json", entry=token_usage_dashboard)
        assert code == 2
        assert err.startswith("token-usage-dashboard: ")


class TestRecover:
    def test_says_what_it_found(self, run, tmp_path, monkeypatch):
        """Counts, as text and as JSON."""
        monkeypatch.setenv("LIVEKIT_TOKENS_SPOOL_DIR", str(tmp_path / "spool"))
        code, out, _ = run("recover", "--json")
        assert code == 0
        assert json.loads(out)["records"] == 0
        assert "records: 0" in run("recover")[1]

    def test_a_host_that_has_no_spools_is_mistyped(self, run, tmp_path, monkeypatch):
        """Not done without a word; those that have some are named."""
        monkeypatch.setenv("LIVEKIT_TOKENS_SPOOL_DIR", str(tmp_path / "spool"))
        (tmp_path / "spool" / "web-1").mkdir(parents=True)
        code, out, err = run("recover", "--host", "web-l")
        assert (code, out) == (2, "")
        assert "host 'web-l' has no spools in" in err
        assert "web-1" in err
        assert run("recover", "--host", "web-1")[0] == 0

    def test_a_fallback_folder_that_somebody_else_may_write_names_no_host(self, run, tmp_path, monkeypatch):
        """Nor does it end the command."""
        monkeypatch.setenv("LIVEKIT_TOKENS_SPOOL_DIR", str(tmp_path / "spool"))
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
        prepared = tmp_path / f"livekit-tokens-{os.getuid()}"
        (prepared / "web-1").mkdir(parents=True)
        prepared.chmod(0o777)
        code, _, err = run("recover", "--host", "web-1")
        assert code == 2
        assert "those that have: none" in err


class TestEnds:
    def test_help_and_version_need_no_ledger(self, run):
        """Nor SQLAlchemy, pydantic or livekit."""
        assert run("--help")[0] == 0
        assert run("--version")[:2] == (0, "0.1.0\n")
        code = (
            "import sys\nsys.argv = ['livekit-tokens', 'report', '--help']\n"
            "from livekit_tokens.cli import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "print('heavy:', sorted({'livekit', 'sqlalchemy', 'pydantic_settings'} & set(sys.modules)))"
        )
        answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert answer.stdout.splitlines()[-1] == "heavy: []"

    def test_who_reads_a_ledger_in_sqlite_waits_for_no_other_database(self, tmp_path):
        """PostgreSQL's dialect takes as long to import as the report's whole question."""
        code = (
            "import sys, livekit_tokens.reading\n"
            "from livekit_tokens.store.connection import StoreLedger\n"
            f"StoreLedger('sqlite:///{tmp_path}/ledger.db')\n"
            "print('others:', [name for name in sys.modules if 'postgresql' in name or name == 'asyncpg'])"
        )
        answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert answer.stdout == "others: []\n"

    def test_no_command_is_wrong_usage_with_the_help(self, run):
        """And not another line."""
        code, out, err = run()
        assert code == 2
        assert "report" in out + err
        assert "livekit-tokens: " not in err

    @pytest.mark.parametrize(
        "words",
        [
            ("cost-analysis", "--csv"),
            ("prices", "list", "--csv"),
            ("top", "--limit", "x"),
            ("report", "--days"),
            ("prices", "missing", "--since"),
        ],
    )
    def test_wrong_usage_points_at_the_help_of_its_command(self, run, words):
        """Which lists the options that there are."""
        code, _, err = run(*words)
        command = " ".join(word for word in words if word[0] != "-" and word != "x")
        assert code == 2
        assert err.endswith(f"(see livekit-tokens {command} --help)\n")

    @pytest.mark.parametrize("words", [("live", "--once"), ("prices", "show", "whisper-1", "--at", "2026-11-22")])
    def test_times_are_of_the_zone_that_is_asked_for(self, run, words):
        """By --tz, as of every command that tells or reads a time."""
        code, out, err = run(*words, "--tz", "Mars/Olympus")
        assert (code, out) == (2, "")
        assert "Mars/Olympus" in err

    def test_an_unexpected_fault_is_one_line(self, filled, monkeypatch):
        """With the way to see more; the traceback comes at LOG_LEVEL=DEBUG."""
        monkeypatch.setattr("livekit_tokens.cli.text.summary_text", lambda *_: 1 / 0)
        code, _, err = filled("report")
        assert code == 1
        assert err.startswith("livekit-tokens: unexpected ZeroDivisionError: division by zero; ")
        assert err.count("\n") == 1

    def test_a_reader_that_has_seen_enough_is_no_fault(self, filled, tmp_path):
        """`| head -1` on a long answer: nothing on stderr."""
        command = f"{sys.executable} -m livekit_tokens report --json --by hour | head -1"
        done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True, cwd=tmp_path)
        assert (done.stdout, done.stderr) == ("{\n", "")

    def test_a_closed_pipe_is_quiet(self, filled, tmp_path):
        """Even when nobody reads at all."""
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "livekit_tokens", "report"]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, text=True, cwd=tmp_path)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")

    def test_a_disk_that_is_full_where_the_output_goes_is_one_line(self, filled, tmp_path):
        """Ours or a redirection's: what could not be written is said, and the exit code is no success."""
        command = f"{sys.executable} -m livekit_tokens report > /dev/full"
        done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr == (
            "livekit-tokens: the output cannot be written: no space left where it goes; free some, or give another "
            "place\n"
        )

    def test_ctrl_c_ends_with_130_and_one_line(self, filled, tmp_path):
        """Also while the database is being asked."""
        code = (
            "import asyncio, sys\n"
            "from livekit_tokens.core.reports import Reports\n"
            "async def slow(*_, **__):\n    print('asking', flush=True)\n    await asyncio.sleep(3600)\n"
            "Reports.report = slow\n"
            "sys.argv = ['livekit-tokens', 'report']\n"
            "from livekit_tokens.cli import main\nmain()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        assert process.stdout.readline() == "asking\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (130, "", "livekit-tokens: interrupted\n")

    @pytest.mark.parametrize("module", ["typer", "livekit_tokens.settings"])
    @pytest.mark.parametrize("entry", ["main", "view_token_usage", "token_usage_dashboard"])
    def test_ctrl_c_while_the_command_is_still_being_imported_is_no_traceback(self, entry, module, tmp_path):
        """Half of the time that a command takes, before its own work begins and after."""
        code = (
            "import builtins, os, signal\n"
            "from livekit_tokens import cli\n"
            "load = builtins.__import__\n"
            "def interrupted(name, *args):\n"
            f"    if name == {module!r}:\n        os.kill(os.getpid(), signal.SIGINT)\n"
            "    return load(name, *args)\n"
            f"builtins.__import__ = interrupted\ncli.{entry}()\n"
        )
        words = ["report"] if entry == "main" else []
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert (done.returncode, done.stdout) == (130, "")
        assert done.stderr == f"{entry.replace('_', '-').replace('main', 'livekit-tokens')}: interrupted\n"


def test_demo_records_fill_a_ledger_that_can_be_reported(run):
    """A year of traffic in the settings' ledger, and a line that says how much and where to look."""
    code, out, _ = run("demo", "--records", "300", "--until", "2026-11-01")
    assert code == 0
    assert out.startswith("300 records of ")
    assert "2026-11-01T00:00:00" in out
    code, out, _ = run("report", "--since", "2025-11-01", "--until", "2026-11-01", "--json")
    assert (code, json.loads(out)["totals"]["requests"]) == (0, 300)


def test_demo_records_never_mix_with_what_a_ledger_holds_unless_asked(filled):
    """A ledger with data is refused in one line that says how to go on; --add goes on; the same again does not."""
    code, out, err = filled("demo", "--records", "10", "--until", "2026-11-01")
    assert (code, out) == (1, "")
    assert "has data" in err
    assert "--add" in err
    assert filled("demo", "--records", "10", "--until", "2026-11-01", "--add")[0] == 0
    code, _, err = filled("demo", "--records", "10", "--until", "2026-11-01", "--add")
    assert code == 1
    assert "--seed" in err


def test_demo_takes_the_options_of_traffic_only_with_records(run):
    """--add without --records would be a wish that nothing fulfils."""
    code, _, err = run("demo", "--add")
    assert code == 2
    assert "--records" in err
