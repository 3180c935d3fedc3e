"""A whole call, from joining to hanging up, with a provider that keeps its own bill."""

from __future__ import annotations

import json

import pytest

from livekit_tokens.demo.plan import Knobs

pytestmark = pytest.mark.e2e

# A greeting, a long answer that is interrupted while it is generated, a short one.
CONVERSATION = Knobs(script=(1.0, 8.0, 1.0), speed=(1.2, 1.5))


async def test_a_caller_is_answered_interrupts_and_hangs_up(provider, worker, caller, livekit_usage_file):
    """The agent speaks; talking over it cuts its response off at the provider, which bills what it had generated."""
    provider.knobs = CONVERSATION
    agent = await worker("realtime_agent.py")
    ada = await caller(identity="ada", name="Ada")
    job = await agent.job()

    await ada.hear_out()
    await ada.say(1.0)
    await ada.interrupt()
    await ada.hear_out()
    await ada.leave()
    await agent.line("session closed reason=participant_disconnected", within=60)
    await agent.job_ended(job)

    responses = [entry for entry in provider.bill.entries if entry.kind == "realtime_response"]
    assert [entry.status for entry in responses] == ["completed", "cancelled", "completed"]
    assert 0 < responses[1].units["output_audio"] < 8.0 * 20
    assert all(entry.delivered for entry in provider.bill.entries)
    assert len([entry for entry in provider.bill.entries if entry.kind == "transcription"]) == 2
    assert (
        json.loads(livekit_usage_file.read_text())[0]["output_audio_tokens"] == provider.billed_units()["output_audio"]
    )


async def test_a_killed_job_leaves_its_response_on_the_bill(provider, worker, caller):
    """SIGKILL in the middle of an answer: the provider bills what it had generated, and tells nobody."""
    provider.knobs = Knobs(script=(8.0,), speed=(1.2, 1.5))
    agent = await worker("realtime_agent.py")
    ada = await caller()
    await ada.hear(0.4)

    agent.kill_job(await agent.job())
    await provider.bill.until(lambda bill: bool(bill.entries))

    (cut,) = provider.bill.entries
    assert (cut.status, cut.reason, cut.delivered) == ("cancelled", "socket_closed", False)
    assert 0 < cut.units["output_audio"] < 8.0 * 20


async def test_a_killed_caller_was_heard(provider, worker, caller_process):
    """A caller whose process dies leaves no goodbye; until then the agent had answered as ever."""
    provider.knobs = CONVERSATION
    agent = await worker("realtime_agent.py")
    ada = caller_process("hear_out, say 1, stay")
    await ada.line("over: say 1", within=60)
    await provider.bill.until(lambda bill: any(entry.kind == "transcription" for entry in bill.entries))

    ada.kill()

    assert agent.running
    assert provider.billed_units("realtime_response")["output_audio"] == 20
