"""`livekit-tokens live`: one look through a pipe, redrawn on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from livekit_tokens.core.ledger import Batch, Checkpoint, Source
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import SECOND
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.connection import StoreLedger

AGENT, TRANSCRIBER, ENDED = (f"0{n}" * 16 for n in (1, 2, 3))


class Calls:
    """Two parts of an open session, of two processes, and a session that has ended."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now = now = time.time_ns() // 1000
        agent = Part(AGENT, "room_a", now - 3700 * SECOND, room="room", user="ada", user_name="[bold]Ada\x1b[2J")
        self.parts = (
            agent,
            replace(agent, key=TRANSCRIBER, started_at=now - 60 * SECOND, user=None, user_name=None, job="AJ_1"),
            Part(ENDED, "room_b", now - 500 * SECOND, status="closed", ended_at=now - 400 * SECOND),
        )
        self.at = Checkpoint(0, 0, 0)

    def write(self, *of: tuple[str, str, int]) -> None:
        """A record for each part, service and number of tokens."""
        records = tuple(
            (
                self.at.seq + number,
                UsageRecord(part, self.now, service, "openai", "m", "chat_completion", {"input_text": n}),
            )
            for number, (part, service, n) in enumerate(of, 1)
        )
        before, self.at = self.at, Checkpoint(1, self.at.offset + 1, self.at.seq + len(of))
        source = Source("s", "h", 1, self.now)
        batch = Batch(source, before if before.segment else None, self.at, self.parts, (), records)
        asyncio.run(self._apply(batch))

    async def _apply(self, batch: Batch) -> None:
        ledger = StoreLedger(self.url)
        connection = await ledger.connect()
        assert await connection.apply(batch)
        await connection.aclose()
        await ledger.aclose()


@pytest.fixture
def calls(sqlite_url: str) -> Calls:
    made = Calls(sqlite_url)
    made.write((AGENT, "agent", 1000), (TRANSCRIBER, "transcriber", 30), (ENDED, "agent", 5))
    return made


@pytest.fixture
def command(sqlite_url: str, tmp_path: Path) -> Callable[..., list[str]]:
    def command(*args: str) -> list[str]:
        env = [f"LIVEKIT_TOKENS_DATABASE_URL={sqlite_url}", f"LIVEKIT_TOKENS_SPOOL_DIR={tmp_path / 'spool'}"]
        return ["env", *env, "TERM=xterm", "COLUMNS=100", sys.executable, "-m", "livekit_tokens", "live", *args]

    return command


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_through_a_pipe_it_is_one_look(calls: Calls, command: Callable[..., list[str]]) -> None:
    """A row a session, one below it for each running part; names are shown as they are, in 80 columns."""
    done = run(command())
    title, head, session, agent, transcriber, unpriced = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert title.startswith("1 session, 2 running parts at ")
    assert head.split() == ["Session", "Running", "Heard", "Requests", "Input", "Output", "Cost", "$"]
    assert session.split()[0] == "room_a"
    assert re.fullmatch(r"1:0[12]:\d\d", session.split()[1])
    assert re.fullmatch(r"\d:\d\d", session.split()[2])
    assert session.split()[3:] == ["2", "1,030", "0", "unpriced"]
    assert agent.startswith("  [bold]Ada\ufffd[2J: agent m")
    assert agent.split()[-4:] == ["1", "1,000", "0", "unpriced"]
    assert transcriber.startswith("  AJ_1: transcriber m")
    assert unpriced == "+ and unpriced: 2 requests have no known price"
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_json_has_each_session_and_what_each_running_part_spent(
    calls: Calls, command: Callable[..., list[str]]
) -> None:
    """The session as its own JSON has it; `running` are its open parts, in the same shape."""
    answer = json.loads(run(command("--json")).stdout)
    (session,) = answer["sessions"]
    assert (session["session_id"], session["status"], session["totals"]["total_tokens"]) == ("room_a", "open", 1030)
    assert [part["totals"]["total_tokens"] for part in session["running"]] == [1000, 30]
    assert (answer["totals"]["sessions"], answer["totals"]["requests"], answer["more"]) == (1, 2, False)


@pytest.mark.parametrize(
    ("filters", "tokens"),
    [
        (["--room", "room"], [1000, 30]),
        (["--user", "ada"], [1000]),
        (["--agent", "nobody"], []),
        (["--tenant", "nobody"], []),
        (["--tag", "env=prod"], []),
    ],
)
def test_filters_are_those_of_the_other_commands(
    calls: Calls, command: Callable[..., list[str]], filters: list[str], tokens: list[int]
) -> None:
    """A session is live by an open part that matches, and what it spent is what matches."""
    answer = json.loads(run(command("--json", *filters)).stdout)
    running = [part for session in answer["sessions"] for part in session["running"]]
    assert [part["totals"]["total_tokens"] for part in running] == tokens
    assert answer["totals"]["total_tokens"] == sum(tokens)


def test_a_call_whose_process_was_not_heard_of_for_a_day_is_left_out_and_counted(
    calls: Calls, command: Callable[..., list[str]], sqlite_url: str
) -> None:
    """Its host is gone with its spool; as soon as it brings something, it is there again."""
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as ledger:
        ledger.execute("UPDATE sources SET updated_at = updated_at - ?", (25 * 3600 * SECOND,))
    title, *note = run(command()).stdout.splitlines()
    assert title.startswith("No call is going on at ")
    told = "1 more session is open, not heard of for a day and left out; `livekit-tokens doctor` says where"
    assert " ".join(note) == told
    assert json.loads(run(command("--json")).stdout)["silent_sessions"] == 1

    calls.write((AGENT, "agent", 5))
    assert json.loads(run(command("--json")).stdout)["totals"]["total_tokens"] == 1035


def test_no_call_is_a_clear_line(calls: Calls, command: Callable[..., list[str]]) -> None:
    """Not a table without rows."""
    calls.parts = tuple(replace(part, status="closed", ended_at=calls.now) for part in calls.parts)
    calls.write()
    (line,) = run(command("--once")).stdout.splitlines()
    assert line.startswith("No call is going on at ")


def test_a_missing_ledger_is_said(command: Callable[..., list[str]]) -> None:
    """Exit 1, one line."""
    done = run(command())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("livekit-tokens: no ledger at ")


def test_on_a_terminal_it_is_drawn_again_with_the_counts_that_have_grown(
    calls: Calls, command: Callable[..., list[str]]
) -> None:
    """Until Ctrl-C, which is quiet."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command("--every", "0.2"), stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    shown = read_until(ours, "1,030")
    calls.write((AGENT, "agent", 234))
    shown += read_until(ours, "1,264")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "Traceback" not in shown
    os.close(ours)


def read_until(terminal: int, text: str) -> str:
    shown, until = "", time.monotonic() + 60
    while text not in shown and time.monotonic() < until:
        shown += os.read(terminal, 65536).decode(errors="replace")
    assert text in shown
    return shown
