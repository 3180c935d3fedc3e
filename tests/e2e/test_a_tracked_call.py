"""A tracked call through a real LiveKit server: what is in the ledger is what the provider bills."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from livekit_tokens.demo.bill import Tokens
from livekit_tokens.demo.plan import Knobs

pytestmark = pytest.mark.e2e

# A greeting, a long answer that is interrupted while it is generated, a short one.
CONVERSATION = Knobs(script=(1.0, 8.0, 1.0), speed=(1.2, 1.5))


def livekit_tokens(tmp_path: Path, *arguments: str) -> str:
    """Run the command line on the test's own ledger."""
    env = {
        **os.environ,
        "LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "LIVEKIT_TOKENS_SPOOL_DIR": str(tmp_path / "spool"),
    }
    command = [sys.executable, "-m", "livekit_tokens", *arguments]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60).stdout


def asked(tmp_path: Path, *arguments: str) -> dict:
    return json.loads(livekit_tokens(tmp_path, *arguments, "--json"))


def counted(report: dict, service: str) -> dict[str, int]:
    """The units above zero of one service in a report."""
    (group,) = [group for group in report["groups"] if group["key"]["service"] == service]
    return {unit: quantity for unit, quantity in group["units"].items() if quantity}


def cost_of(report: dict, service: str) -> int:
    """In nano-dollars."""
    (group,) = [group for group in report["groups"] if group["key"]["service"] == service]
    return int(Decimal(group["cost_usd"]).scaleb(9))


def billed_nanos(units: dict[str, int]) -> int:
    """gpt-realtime, by OpenAI's price page: whole nano-dollars a token, so nothing is rounded."""
    nanos = {
        "input_text": 4_000,
        "input_audio": 32_000,
        "cached_input_text": 400,
        "cached_input_audio": 400,
        "output_text": 16_000,
        "output_audio": 64_000,
    }
    return sum(quantity * nanos[unit] for unit, quantity in units.items())


def rows_of(tmp_path: Path, query: str) -> list[tuple]:
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        return db.execute(query).fetchall()


async def until(found, within: float = 60.0):
    """Wait for a condition that another process brings about."""
    async with asyncio.timeout(within):
        while not (answer := found()):
            await asyncio.sleep(0.05)
    return answer


async def test_the_ledger_equals_the_bill_unit_by_unit(provider, worker, caller, room, tmp_path):
    """A call with an interruption: rows grow while it runs, the session closes with the caller's leave, and every
    unit is what the provider bills."""
    provider.knobs = CONVERSATION
    agent = await worker("realtime_agent.py")
    ada = await caller(identity="ada", name="Ada Lovelace")
    await ada.hear_out()
    await ada.say(1.0)
    await provider.bill.until(lambda bill: len(bill.entries) >= 2)

    open_rows = "select service_type, total_tokens from token_usage where session_end is null and total_tokens > 0"
    during = await until(lambda: (tmp_path / "ledger.db").exists() and rows_of(tmp_path, open_rows))
    assert {service for service, _ in during} <= {"agent", "transcriber"}

    await ada.interrupt()
    await ada.hear_out()
    await ada.leave()
    await agent.line("session closed reason=participant_disconnected", within=60)
    await agent.job_ended(await agent.job())

    report = asked(tmp_path, "report")
    assert counted(report, "agent") == provider.billed_units("realtime_response")
    assert counted(report, "transcriber") == provider.billed_units("transcription")
    assert report["totals"]["requests"] == len(provider.bill.entries)
    assert cost_of(report, "agent") == billed_nanos(provider.billed_units("realtime_response"))
    assert report["totals"]["unpriced_requests"] == 0
    assert report["totals"]["estimated_requests"] == 0

    ((session_id, rows),) = rows_of(tmp_path, "select session_id, count(*) from token_usage group by 1")
    assert (session_id.startswith(f"{room}_"), rows) == (True, 2)
    session = asked(tmp_path, "report", "--session", session_id)
    assert (session["status"], session["close_reason"]) == ("closed", "participant_disconnected")
    assert (session["user"], session["user_name"], session["room"]) == ("ada", "Ada Lovelace", room)
    ((stay,), (part,)) = session["participants"], session["parts"]
    assert stay["identity"] == "ada"
    assert part["started_at"] < stay["joined_at"] < stay["left_at"] <= part["ended_at"]

    text = livekit_tokens(tmp_path, "report", "--session", session_id).splitlines()
    assert text[1] == f"SESSION DETAILS: {session_id}"
    assert [line for line in text if line.startswith("Service:")] == ["Service: TRANSCRIBER", "Service: AGENT"]
    assert "User: Ada Lovelace" in text
    assert f"Total Tokens: {report['totals']['total_tokens']:,}" in text


async def test_the_golden_turn_costs_what_openai_bills_for_it(provider, worker, caller, tmp_path):
    """139 tokens in (96 of them audio, 64 of those cached) and 61 out (43 audio) of gpt-realtime: $0.0042616 exactly,
    in the ledger's record and in its totals."""
    provider.knobs = Knobs(script=(0.6,), bills=(Tokens(43, 96), Tokens(0, 64), Tokens(18, 43)))
    agent = await worker("realtime_agent.py")
    ada = await caller(identity="ada")
    await ada.hear_out()
    await provider.bill.until(lambda bill: bill.entries[0].delivered)
    await ada.leave()
    await agent.job_ended(await agent.job())

    (line,) = asked(tmp_path, "sessions")["sessions"]
    session = asked(tmp_path, "report", "--session", line["session_id"], "--records")
    (record,) = session["records"]
    assert (record["input_tokens"], record["output_tokens"]) == (139, 61)
    assert (record["input_cost_usd"], record["output_cost_usd"]) == ("0.001221600", "0.003040000")
    assert record["cost_usd"] == session["totals"]["cost_usd"] == "0.004261600"


async def test_a_killed_job_is_brought_home(provider, worker, caller, tmp_path):
    """SIGKILL in the middle of the second answer: what was acknowledged is there once, the answer in flight is an
    estimate with bounds, and the session is abandoned."""
    provider.knobs = Knobs(script=(1.0, 30.0), speed=(1.2, 1.5))
    agent = await worker("realtime_agent.py")
    ada = await caller(identity="ada")
    await ada.hear_out()
    await ada.say(1.0)
    await ada.hear(1.0)

    agent.kill_job(await agent.job())
    await provider.bill.until(lambda bill: any(entry.reason == "socket_closed" for entry in bill.entries))

    recovered = asked(tmp_path, "recover")
    assert (recovered["sources"], recovered["parts"], recovered["estimated"], recovered["lost"]) == (1, 1, 1, 0)
    assert asked(tmp_path, "recover")["sources"] == 0
    (line,) = asked(tmp_path, "sessions")["sessions"]
    session = asked(tmp_path, "report", "--session", line["session_id"], "--records")
    assert (session["status"], session["parts"][0]["close_reason"]) == ("abandoned", "process_killed")

    told = {entry.id: entry for entry in provider.bill.entries if entry.delivered}
    reported = [record for record in session["records"] if record["provenance"] == "reported"]
    assert {record["request_id"] for record in reported} == set(told)
    assert len(reported) == len(told)
    for record in reported:
        assert record["units"] == told[record["request_id"]].units
    (estimate,) = [record for record in session["records"] if record["provenance"] == "estimated"]
    (cut,) = [entry for entry in provider.bill.entries if entry.reason == "socket_closed"]
    assert estimate["request_id"] == cut.id
    assert estimate["units"]["output_audio"] > 0
    assert session["totals"]["estimated_tokens"] > 0


async def test_a_response_dropped_before_it_began_is_counted(provider, worker, caller, tmp_path):
    """LiveKit discards it; the provider bills its input."""
    agent = await worker("realtime_agent.py", AGENT_DROPS_A_REPLY="1")
    ada = await caller(identity="ada")
    await ada.hear_out()
    await provider.bill.until(lambda bill: len(bill.entries) >= 2)
    await ada.leave()
    await agent.job_ended(await agent.job())
    report = asked(tmp_path, "report")
    assert counted(report, "agent") == provider.billed_units("realtime_response")
    assert report["totals"]["requests"] == len(provider.bill.entries)
    assert cost_of(report, "agent") == billed_nanos(provider.billed_units("realtime_response"))
    assert report["totals"]["unpriced_requests"] == 0
