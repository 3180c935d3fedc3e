"""Sessions that are no calls."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from contextvars import copy_context
from pathlib import Path
from weakref import ref

import openai as sdk
import pytest
from livekit.agents.testing import fake_job_context

from livekit_tokens.capture import spending
from livekit_tokens.capture.part import LivePart
from livekit_tokens.capture.who import Naming
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.identity import Identities
from livekit_tokens.domain.usage import UsageRecord
from tests.capture.test_by_hand import World
from tests.capture.wire.provider import Provider


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_its_part_opens_on_entering_and_is_on_disk_on_leaving(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the id and the person as given; listed among the open ones in between."""
    synced: list[int] = []
    sync = world.recorder.sync
    monkeypatch.setattr(world.recorder, "sync", lambda: (synced.append(1), sync())[1])
    with world.session("thread 1/2", user="ada", user_name="Ada", tenant="acme", tags={"plan": "pro"}) as session:
        record = world.record_usage(model="gpt-4.1", input_tokens=3)
        (open_now,) = world.process.open_parts.summaries()
        assert (open_now.session_id, session.session_id) == ("thread 1/2", "thread 1/2")
        assert session.summary().totals.units == {"input_text": 3}
        assert world.part_of(record).status == "open"
    part = world.part_of(record)
    assert (part.session_id, part.user, part.user_name, part.tenant) == ("thread 1/2", "ada", "Ada", "acme")
    assert part.tags == {"env": "test", "plan": "pro"}
    assert (part.status, part.close_reason) == ("closed", "completed")
    assert synced
    assert world.process.open_parts.summaries() == []
    assert spending.current() is None


async def test_it_is_entered_again_as_a_new_part(world: World) -> None:
    """The same id, or the same object; sync and async."""
    session = world.session("thread-1")
    with session:
        world.record_usage(model="gpt-4.1", input_tokens=1)
    async with session:
        world.record_usage(model="gpt-4.1", input_tokens=1)
    with world.session("thread-1"):
        world.record_usage(model="gpt-4.1", input_tokens=1)
    assert len({record.part for record in world.records}) == 3
    assert {world.part_of(record).session_id for record in world.records} == {"thread-1"}


async def test_tasks_that_are_inside_at_once_have_their_own(world: World) -> None:
    """Requests of a web backend, also by one object; each leaves its own part."""
    shared = world.session("shared")

    async def request(number: int) -> None:
        async with world.session(f"thread-{number}"), shared as inner:
            await asyncio.sleep(0)
            inner.record_usage(model="gpt-4.1", input_tokens=number)
            await asyncio.sleep(0)
            assert inner.summary().totals.units == {"input_text": number}
        assert inner.summary().status == "closed"

    await asyncio.gather(*(request(number) for number in range(1, 6)))
    assert world.recorder.open_parts() == []


async def test_who_leaves_first_leaves_the_other_inside(world: World) -> None:
    """Two tasks by one object, the first one out first."""
    shared, both_in, first_out = world.session("shared"), asyncio.Barrier(2), asyncio.Event()

    async def short() -> None:
        async with shared as entered:
            await both_in.wait()
        assert entered.summary().status == "closed"
        first_out.set()

    async def long() -> None:
        async with shared as entered:
            await both_in.wait()
            await first_out.wait()
            assert entered.summary().status == "open"
            assert world.record_usage(model="gpt-4.1", input_tokens=1).part == entered.live.part.key

    await asyncio.gather(short(), long())


async def test_a_generator_inside_may_be_closed_by_another_task(world: World) -> None:
    """A web app's response that streams: its part ends, and the other task still spends for its own session."""

    async def streaming() -> AsyncGenerator[UsageRecord]:
        async with world.session("stream"):
            yield world.record_usage(model="gpt-4.1", input_tokens=1)

    async def closing(stream: AsyncGenerator[UsageRecord]) -> None:
        with world.session("web"):
            await stream.aclose()
            world.record_usage(model="gpt-4.1", input_tokens=2)

    elsewhere = copy_context()
    with world.session("answer"):
        stream = streaming()
        await anext(stream)
        await asyncio.create_task(closing(stream), context=elsewhere)
    assert spending.told() is None
    assert [world.part_of(record).session_id for record in world.records] == ["stream", "web"]
    assert {part.status for part in world.parts.values()} == {"closed"}


@pytest.mark.parametrize("overlapping", [False, True])
async def test_a_session_that_another_task_has_left_is_let_go_of(world: World, overlapping: bool) -> None:
    """A worker begins streams for weeks in one context, and others close them: each part would live as long as it."""
    parts: list[ref[LivePart]] = []

    async def streaming() -> AsyncGenerator[None]:
        async with world.session("stream") as entered:
            parts.append(ref(entered.live))
            yield

    async def closing(stream: AsyncGenerator[None]) -> None:
        await stream.aclose()

    streams: list[AsyncGenerator[None]] = []
    for _ in range(20):
        streams.append(streaming())
        await anext(streams[-1])
        if len(streams) > overlapping:
            await asyncio.create_task(closing(streams.pop(0)))
    gc.collect()
    assert len(parts) == 20
    assert sum(part() is not None for part in parts) <= 4


def test_the_innermost_is_the_one_and_the_outer_goes_on(world: World) -> None:
    """Nested sessions."""
    with world.session("outer"):
        with world.session("inner"):
            world.record_usage(model="gpt-4.1", input_tokens=1)
        world.record_usage(model="gpt-4.1", input_tokens=2)
    assert [world.part_of(record).session_id for record in world.records] == ["inner", "outer"]


async def test_an_exception_passes_through_and_is_the_close_reason(world: World) -> None:
    """By its class; nothing of what it says."""
    with pytest.raises(LookupError, match="said"), world.session("thread-1"):
        raise LookupError("what the caller said")
    with pytest.raises(LookupError, match="said"):
        async with world.session("thread-2"):
            raise LookupError("what the caller said")
    assert [part.close_reason for part in world.parts.values()] == ["LookupError"] * 2
    assert b"what the caller said" not in b"".join(file.read_bytes() for file in world.recorder.folder.iterdir())


async def test_what_a_task_spends_when_the_session_is_over_is_still_the_sessions(world: World) -> None:
    """It was begun inside; its part is closed from the start."""
    go_on = asyncio.Event()

    async def later() -> None:
        await go_on.wait()
        world.record_usage(model="gpt-4.1", input_tokens=1)

    with world.session("thread-1", user="ada"):
        task = asyncio.create_task(later())
    go_on.set()
    await task
    part = world.part_of(world.records[0])
    assert (part.session_id, part.user, part.close_reason) == ("thread-1", "ada", "afterwards")


async def test_it_is_still_the_sessions_after_another_session_inside_the_task(world: World) -> None:
    """Which began when the first was over already."""
    go_on = asyncio.Event()

    async def later() -> None:
        await go_on.wait()
        with world.session("inner"), world.session("innermost"):
            pass
        world.record_usage(model="gpt-4.1", input_tokens=1)

    with world.session("thread-1"):
        task = asyncio.create_task(later())
    go_on.set()
    await task
    assert world.part_of(world.records[0]).session_id == "thread-1"


def test_the_person_is_kept_as_the_settings_say(world: World) -> None:
    """Hashed before the spool."""
    world.process = type(world.process)(
        world.recorder,
        world.process.flush,
        world.process.now,
        world.process.new_key,
        naming=Naming(Identities("hashed", "key")),
    )
    with world.session("thread-1", user="ada", user_name="Ada"):
        pass
    (part,) = world.parts.values()
    assert part.user_name is None
    assert part.user not in (None, "ada")


@pytest.mark.parametrize("wrong", ["", None])
def test_an_id_is_needed(world: World, wrong: str) -> None:
    """One line says so."""
    with pytest.raises(BadSetting, match="the id of a usage_session is"):
        world.session(wrong)


@pytest.mark.parametrize("in_call", [False, True])
async def test_what_is_seen_inside_is_its_own_only_within_a_call(world: World, in_call: bool) -> None:
    """Outside of calls its code records by hand; a call elsewhere in the process must not make that count twice."""
    elsewhere = copy_context().run(world.track)  # has the wire watched
    async with Provider().running() as provider, sdk.AsyncOpenAI(base_url=provider.base_url, api_key="x") as client:
        with fake_job_context(job_id="session_1") if in_call else nullcontext() as ctx:
            call = world.track(ctx=ctx) if in_call else None
            async with world.session("thread-1") as session:
                answer = await client.chat.completions.create(
                    model="gpt-4.1", messages=[{"role": "user", "content": "Hi"}]
                )
                if not in_call:
                    session.record_usage(model="gpt-4.1", usage=answer.usage)
            if call is not None:
                await call.aclose()
    await elsewhere.aclose()
    (record,) = world.records
    assert world.part_of(record).session_id == "thread-1"


def test_its_receipt_is_said_only_to_who_debugs(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A thread of a chat is entered with every message; a call's receipt must not drown in theirs."""
    with caplog.at_level(logging.DEBUG, "livekit_tokens"), world.session("thread-1"):
        world.record_usage(model="gpt-4.1", input_tokens=3)
    said = [record for record in caplog.records if "thread-1" in record.getMessage()]
    assert said
    assert {record.levelno for record in said} == {logging.DEBUG}
