"""Each example is complete: it starts as it is, and where the stand-in provider can answer it, it holds a call."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.capture.wire.provider import Provider as HttpProvider
from tests.e2e.matrix import SHORT
from tests.e2e.speech import vowels
from tests.e2e.test_a_tracked_call import asked, counted, until

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"
SILENT_MP3 = (b"\xff\xfb\x90\xc0" + bytes(413)) * 8
"""Frames of layer III (44.1 kHz, 128 kbit/s, mono; 417 bytes and 26 ms each) that hold no sound: 209 ms."""


def own_key(provider) -> dict[str, str]:
    """What a user would export, with the stand-in in OpenAI's place."""
    return {"OPENAI_API_KEY": "not-a-key", "OPENAI_BASE_URL": provider.base_url}


async def test_the_realtime_example_holds_a_call(provider, worker, caller, tmp_path):
    """A greeting, and what it cost."""
    agent = await worker(EXAMPLES / "realtime_agent.py", **own_key(provider))
    ada = await caller(identity="ada")
    await ada.hear_out()
    await ada.leave()
    await agent.job_ended(await agent.job())
    assert counted(asked(tmp_path, "report"), "agent") == provider.billed_units("realtime_response")


async def test_the_tool_example_tells_the_bill_when_the_call_is_over(provider, worker, caller, tmp_path):
    """In its log, from `on_session_end`: its own totals, and the tags of LiveKit's report."""
    agent = await worker(EXAMPLES / "tool_agent.py", **own_key(provider))
    ada = await caller(identity="ada")
    await ada.hear_out()
    await ada.leave()
    await agent.job_ended(await agent.job())
    assert counted(asked(tmp_path, "report"), "agent") == provider.billed_units("realtime_response")
    totals = asked(tmp_path, "report")["totals"]
    assert f'"total_tokens": {totals["total_tokens"]}' in await agent.line("spent: ", within=60)
    assert f"livekit_tokens.total_tokens:{totals['total_tokens']}'" in await agent.line(
        "in LiveKit's report: ", within=60
    )


async def test_the_handoff_example_names_the_agent_that_spoke(provider, worker, caller, tmp_path):
    """Reception hands over at once, as the stand-in calls the first tool that it is given; each on its own model."""
    provider.knobs = replace(SHORT, call_tools=True)
    agent = await worker(EXAMPLES / "handoff_agent.py", **own_key(provider))
    ada = await caller(identity="ada")
    await ada.hear_out()
    await ada.leave()
    await agent.job_ended(await agent.job())
    groups = asked(tmp_path, "report", "--by", "agent", "--by", "model")["groups"]
    spent = {(group["key"]["agent"], group["key"]["model"]): above_zero(group["units"]) for group in groups}
    assert spent == {
        ("reception", "gpt-realtime"): provider.billed_units("realtime_response", "gpt-realtime"),
        ("billing", "gpt-realtime-mini"): provider.billed_units("realtime_response", "gpt-realtime-mini"),
    }
    assert all(spent.values())


@pytest_asyncio.fixture
async def http_provider() -> AsyncIterator[HttpProvider]:
    """The stand-in for chat, transcription and speech, with a bill of its own."""
    async with HttpProvider().running() as provider:
        provider.sound = SILENT_MP3
        yield provider


async def test_the_pipeline_example_has_a_line_for_each_service(http_provider, worker, caller, tmp_path):
    """A greeting, a question, its answer: what was heard, thought and said is what the provider bills."""
    agent = await worker(EXAMPLES / "pipeline_agent.py", **own_key(http_provider))
    ada = await caller(identity="ada")
    await until(lambda: told(http_provider, "/speech") >= 1)
    await ada.say_this(vowels(1.5))
    await until(lambda: told(http_provider, "/transcriptions") >= 1, 15)
    await until(lambda: told(http_provider, "/completions") >= 2 and told(http_provider, "/speech") >= 2)
    await ada.leave()
    await agent.job_ended(await agent.job())
    report = asked(tmp_path, "report")
    assert {group["key"]["service"]: above_zero(group["units"]) for group in report["groups"]} == {
        "transcriber": billed(http_provider, "/transcriptions", "input_audio", "output_text"),
        "agent": billed(http_provider, "/completions", "input_text", "output_text"),
        "tts": billed(http_provider, "/speech", "input_text", "output_audio"),
    }
    assert report["totals"]["requests"] == len(http_provider.bill)
    assert report["totals"]["estimated_requests"] == 0


async def test_the_transcriber_example_writes_down_what_is_heard(http_provider, worker, own_room, caller, tmp_path):
    """Sent by its name into a room; what it heard is labelled as the example says."""
    agent = await worker(EXAMPLES / "transcriber_agent.py", **own_key(http_provider))
    room = await own_room(agent)
    ada = await caller(identity="ada")
    await room.send("transcriber")
    await agent.line("RoomIO linked to participant", within=60)
    await ada.say_this(vowels(1.5))
    await until(lambda: told(http_provider, "/transcriptions") >= 1, 15)
    await ada.leave()
    await agent.job_ended(await agent.job())
    session = room.ledger.session(room.session_id)
    assert {record["feature"] for record in session["records"]} == {"minutes"}
    assert [above_zero(line["units"]) for line in session["services"]] == [
        billed(http_provider, "/transcriptions", "input_audio", "output_text")
    ]
    assert session["totals"]["requests"] == len(http_provider.bill)


def above_zero(units: dict[str, int]) -> dict[str, int]:
    return {unit: quantity for unit, quantity in units.items() if quantity}


def told(provider: HttpProvider, path: str) -> int:
    """How many of these requests have had their figures sent."""
    return sum(entry.told for entry in provider.bill if entry.path.endswith(path))


def billed(provider: HttpProvider, path: str, heard: str, made: str) -> dict[str, int]:
    """The bill of these requests: what came in (and what of it was cached), and what went out."""
    entries = [entry for entry in provider.bill if entry.path.endswith(path)]
    cached = sum(entry.cached for entry in entries)
    units = {heard: sum(entry.input for entry in entries) - cached, made: sum(entry.output for entry in entries)}
    return above_zero(units | {"cached_input_text": cached})


async def run(example: str, tmp_path: Path, **env: str) -> str:
    """What a script prints."""
    own = {
        **os.environ,
        "LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "LIVEKIT_TOKENS_SPOOL_DIR": str(tmp_path / "spool"),
    }
    command = [sys.executable, str(EXAMPLES / example)]
    done = await asyncio.to_thread(
        subprocess.run, command, env=own | env, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


async def test_what_is_recorded_by_hand_is_in_the_report(tmp_path):
    """A script without LiveKit; run twice, its keys count once."""
    for _ in range(2):
        assert "thread-123 so far" in await run("by_hand.py", tmp_path)
    imported = asked(tmp_path, "report", "--session", "import-2026-11", "--records")
    assert [record["time"][:16] for record in imported["records"]] == ["2026-11-22T15:00", "2026-11-22T15:01"]
    assert imported["totals"]["audio_seconds"] == "105.500"
    thread = asked(tmp_path, "report", "--session", "thread-123", "--records")
    assert (thread["user"], thread["status"], len(thread["parts"])) == ("ada", "closed", 2)
    assert {record["feature"] for record in thread["records"]} == {"search", "unknown"}
    assert thread["totals"]["total_tokens"] == 2 * (12 + 900 + 80)


async def test_the_console_example_prints_its_receipt(provider, tmp_path):
    """No room, no server: a script."""
    assert "2 requests" in await run("console_agent.py", tmp_path, **own_key(provider))
    assert counted(asked(tmp_path, "report"), "agent") == provider.billed_units()
