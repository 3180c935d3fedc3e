"""Each example is complete: it starts as it is, and where the stand-in provider can answer it, it holds a call."""

from __future__ import annotations

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


@pytest.mark.parametrize("example", ["handoff_agent.py", "pipeline_agent.py", "transcriber_agent.py"])
async def test_an_example_starts(provider, worker, example):
    """Its worker registers with the server."""
    agent = await worker(EXAMPLES / example, **own_key(provider))
    assert agent.running


async def test_the_console_example_prints_its_receipt(provider, tmp_path):
    """No room, no server: a script."""
    env = {
        **os.environ,
        **own_key(provider),
        "LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "LIVEKIT_TOKENS_SPOOL_DIR": str(tmp_path / "spool"),
    }
    import asyncio

    command = [sys.executable, str(EXAMPLES / "console_agent.py")]
    run = asyncio.to_thread(subprocess.run, command, env=env, check=True, capture_output=True, text=True, timeout=60)
    done = await run
    assert "2 requests" in done.stdout
    assert counted(asked(tmp_path, "report"), "agent") == provider.billed_units()
