"""The alarm of a call that is not counted, on a real AgentSession."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, ConversationItemAddedEvent, llm
from livekit.plugins import openai

from livekit_tokens.capture import tracking
from livekit_tokens.capture.part import Process
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.capture.tracking import Given, Tracking
from livekit_tokens.core import faults
from livekit_tokens.core.health import Health
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.watchdog import PATIENCE
from livekit_tokens.demo.plan import QUICK
from livekit_tokens.demo.provider import Provider
from livekit_tokens.runtime import new_key, now

ALARM = "a call goes on and none of it is counted: its model or plugins report no usage"

_ids = itertools.count()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider(seed=1, knobs=QUICK) as provider:
        yield provider


@pytest.fixture
def track(tmp_path: Path):
    async def flush(_: float) -> bool:
        return True

    recorder = Recorder(tmp_path, Source(f"w{next(_ids)}", "here", 1, 0), now)

    def begin(session: AgentSession[Any]) -> Tracking:
        process = Process(recorder, flush, now, new_key, health=lambda: Health(records=recorder.records))
        return tracking.begin(session, None, lambda: process, Given())

    return begin


def alarms() -> int:
    return faults.counts().get(ALARM, 0)


def a_session(provider: Provider) -> AgentSession[Any]:
    model = openai.realtime.RealtimeModel(
        model="gpt-realtime", base_url=provider.base_url, api_key="not-a-key", modalities=["text"]
    )
    return AgentSession(llm=model)


async def turns(session: AgentSession[Any], count: int) -> None:
    """Typed, as a realtime session without a microphone adds no message of the caller's."""
    for _ in range(count):
        said = llm.ChatMessage(role="user", content=["Hello?"])
        session.emit("conversation_item_added", ConversationItemAddedEvent(item=said))
        await session.generate_reply(user_input="Hello?")


async def test_a_call_that_is_counted_is_no_alarm(provider, track) -> None:
    """However many turns it has."""
    before, session = alarms(), a_session(provider)
    own = track(session)
    await session.start(Agent(instructions="Be kind."))
    await turns(session, PATIENCE + 2)
    assert own.health().records >= PATIENCE + 2
    assert alarms() == before
    await session.aclose()
    await own.aclose()


async def test_a_call_that_goes_on_uncounted_is_an_alarm(provider, track, monkeypatch) -> None:
    """The model's events are not heard, as after a change of its plugin: nothing else would tell."""
    monkeypatch.setattr(RealtimeWitness, "attach", lambda *_: None)
    before, session = alarms(), a_session(provider)
    own = track(session)
    await session.start(Agent(instructions="Be kind."))
    await turns(session, PATIENCE - 1)
    assert alarms() == before
    await turns(session, 3)
    assert alarms() == before + 1
    await session.aclose()
    await own.aclose()


async def test_a_tool_that_is_recorded_by_hand_does_not_hide_it(provider, track, monkeypatch) -> None:
    """The host's own figures come, and those of the call do not."""
    monkeypatch.setattr(RealtimeWitness, "attach", lambda *_: None)
    before, session = alarms(), a_session(provider)
    own = track(session)
    await session.start(Agent(instructions="Be kind."))
    for _ in range(PATIENCE):
        own.record_usage(model="text-embedding-3-small", units={"input_text": 3}, operation="embedding")
        await turns(session, 1)
    assert alarms() == before + 1
    await session.aclose()
    await own.aclose()
