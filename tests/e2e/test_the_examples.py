"""Each example is complete: it starts as it is, and where the stand-in provider can answer it, it holds a call."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_a_tracked_call import asked, counted

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"


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
    assert f'"total_tokens": {totals["total_tokens"]}' in await agent.line("spent: ", within=10)
    assert f"livekit_tokens.total_tokens:{totals['total_tokens']}'" in await agent.line(
        "in LiveKit's report: ", within=10
    )


@pytest.mark.parametrize("example", ["handoff_agent.py", "pipeline_agent.py", "transcriber_agent.py"])
async def test_an_example_starts(provider, worker, example):
    """Its worker registers with the server."""
    agent = await worker(EXAMPLES / example, **own_key(provider))
    assert agent.running


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
