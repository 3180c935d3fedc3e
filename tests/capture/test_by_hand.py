"""`record_usage`: what the app records by itself, in a call, in a session that is named, in none."""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from weakref import WeakSet

import openai
import pytest
from livekit.agents import Agent, AgentSession, RunContext, function_tool
from livekit.agents.testing import fake_job_context

from livekit_tokens.capture import spending, tracking
from livekit_tokens.capture.by_hand import ByHand
from livekit_tokens.capture.part import Process
from livekit_tokens.capture.tracking import Given, Tracking
from livekit_tokens.capture.usage_session import UsageSession
from livekit_tokens.capture.wire import counting
from livekit_tokens.core import faults, prompts, vocabulary
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.lines import Late, PartLine, Use
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.remains import read_remains
from livekit_tokens.domain.errors import BadSetting, ImpossibleUsage
from livekit_tokens.domain.given import figures_of
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import to_micros
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.runtime import new_key, now
from tests.capture.pipeline import Script
from tests.capture.wire.provider import Provider
from tests.core.makers import lines_in
from tests.waiting import PATIENCE_SECONDS

_ids = itertools.count()


@dataclass(frozen=True)
class Usage:
    """As a client library gives it."""

    prompt_tokens: int = 12
    completion_tokens: int = 5
    total_tokens: int = 17


class World:
    """One process: its recorder, and what it has written."""

    def __init__(self, root: Path) -> None:
        async def flush(_: float) -> bool:
            return True

        self.recorder = Recorder(root, Source(f"t{next(_ids)}", "here", 1, 0), now)
        self.process = Process(self.recorder, flush, now, new_key, tags={"env": "test"})
        self.record_usage = ByHand(lambda: self.process).record_usage

    def session(self, name: str, **whose: Any) -> UsageSession:
        return UsageSession(lambda: self.process, name, **whose)

    def track(self, session: AgentSession[Any] | None = None, ctx: Any = None, **given: Any) -> Tracking:
        return tracking.begin(session, ctx, lambda: self.process, Given(**given))

    @property
    def records(self) -> list[UsageRecord]:
        return [line.record for line in lines_in(self.recorder.folder) if isinstance(line, Use)]

    @property
    def parts(self) -> dict[str, Part]:
        """As they are now."""
        return {line.part.key: line.part for line in lines_in(self.recorder.folder) if isinstance(line, PartLine)}

    def part_of(self, record: UsageRecord) -> Part:
        return self.parts[record.part]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def faults_of(kind: str) -> int:
    return faults.counts().get(kind, 0)


UNREADABLE = "usage recorded by hand could not be read"


# -- what is recorded -------------------------------------------------------------------------------------------------


def test_every_argument_reaches_the_record_and_the_spool(world: World) -> None:
    """It is on disk when the function returns."""
    at = datetime.now(UTC) - timedelta(days=3)
    record = world.record_usage(
        model="text-embedding-3-small",
        usage=Usage(),
        at=at,
        provider="Azure.com",
        service="rag",
        operation="query_embedding",
        feature="search",
        agent="librarian",
        session_id="thread-1",
        request_id="req_1",
        idempotency_key="once",
        processing_time_ms=12.4,
        quality_score=0.9,
        safety_score=1,
        success=False,
        error=ValueError("what the caller said"),
        metadata={"chunks": 3, "run_id": "r"},
    )
    assert world.records == [record]
    assert record == UsageRecord(
        part=record.part,
        at=to_micros(at),
        service="rag",
        provider="azure",
        model="text-embedding-3-small",
        operation="query_embedding",
        units={"input_text": 12, "output_text": 5},
        agent="librarian",
        feature="search",
        success=False,
        error="ValueError",
        processing_ms=12,
        request_id="req_1",
        idempotency_key="once",
        quality_score=0.9,
        safety_score=1.0,
        metadata={"chunks": 3, "run_id": "r"},
    )


def test_counts_say_cached_tokens_inside_input_tokens(world: World) -> None:
    """As providers do; each token then stands in one unit."""
    record = world.record_usage(model="gpt-4.1", input_tokens=100, cached_tokens=64, output_tokens=7, session_id="t")
    assert record.units == {"input_text": 36, "cached_input_text": 64, "output_text": 7}
    assert (record.service, record.provider, record.operation) == ("tool", "openai", "chat_completion")


@pytest.mark.parametrize(
    ("given", "provenance"),
    [
        ({}, "unknown"),
        ({"success": False}, "reported"),
        ({"input_tokens": 0, "output_tokens": 0}, "reported"),
        ({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, "reported"),
    ],
)
def test_without_figures_a_request_is_unknown_and_a_failed_one_free(
    world: World, given: dict[str, Any], provenance: str
) -> None:
    """A zero that was told is a figure."""
    record = world.record_usage(model="gpt-4.1", session_id="t", **given)
    assert (record.units, record.provenance) == ({}, provenance)


def test_tokens_of_a_transcriber_that_is_billed_by_its_duration_only_inform(world: World) -> None:
    """Without the duration nobody knows what was billed."""
    tokens: dict[str, Any] = {"model": "whisper-1", "session_id": "t", "input_tokens": 600, "output_tokens": 9}
    timed, untimed = world.record_usage(**tokens, audio_seconds=60), world.record_usage(**tokens)
    assert (timed.units, timed.provenance) == ({"audio_ms": 60_000}, "reported")
    assert (untimed.units, untimed.provenance) == ({}, "unknown")
    assert timed.informational == untimed.informational == {"input_audio": 600, "output_text": 9}


def test_the_tier_that_a_usage_names_is_kept_where_it_is_another_than_the_standard_one(world: World) -> None:
    """Anthropic tells it there: a batch is half as dear, and priced by its own tier or not at all."""
    usage = {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 5}
    told = [
        world.record_usage(model="claude-sonnet-4-5", session_id="t", usage=usage | {"service_tier": tier})
        for tier in ("batch", "standard", None)
    ]
    assert [record.metadata for record in told] == [{"service_tier": "batch"}, {}, {}]
    assert told[0].units == {"input_text": 10, "cached_input_text": 90, "output_text": 5}


def test_a_request_with_an_error_has_failed(world: World) -> None:
    """Who gives one need not say so again: nothing was answered, and nothing is billed."""
    record = world.record_usage(model="gpt-4.1", session_id="t", error=TimeoutError())
    assert (record.success, record.error, record.provenance) == (False, "TimeoutError", "reported")


@pytest.mark.parametrize("nothing", ["", "  ", None])
def test_an_empty_text_is_no_error(world: World, nothing: str | None) -> None:
    """As of who always hands over the text of what may have gone wrong."""
    record = world.record_usage(model="gpt-4.1", session_id="t", error=nothing, input_tokens=3)
    assert (record.success, record.error) == (True, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"units": {"input_text": 1}, "input_tokens": 1},
        {"units": {"input_text": 1}, "usage": {"prompt_tokens": 1}},
        {"at": datetime(2026, 11, 22)},  # noqa: DTZ001
        {"at": "2026-11-22T15:00:00Z"},
        {"at": datetime.fromtimestamp(0, UTC)},
        {"at": datetime(9999, 12, 31, tzinfo=UTC)},
    ],
)
async def test_what_cannot_be_meant_raises_one_line_also_in_a_call(world: World, wrong: dict[str, Any]) -> None:
    """The fault is in the code: its first run shows it."""
    own = world.track()
    with pytest.raises(BadSetting) as refused:
        own.record_usage(model="gpt-4.1", **wrong)
    assert "\n" not in str(refused.value)
    assert world.records == []
    await own.aclose()


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_tokens": 5, "cached_tokens": 9},
        {"output_tokens": -1},
        {"units": {"tokens": 4}},
        {"units": [4]},
        {"usage": object()},
        {"usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}},
        {"audio_seconds": float("nan")},
    ],
)
async def test_figures_that_cannot_be_read_raise_outside_and_are_unknown_in_a_call(
    world: World, wrong: dict[str, Any]
) -> None:
    """A caller is waiting: the request is counted, its size is not known, and doctor tells of the fault."""
    with pytest.raises(ImpossibleUsage) as refused:
        world.record_usage(model="gpt-4.1", session_id="t", **wrong)
    assert "\n" not in str(refused.value)
    assert world.records == []
    own, before = world.track(), faults_of(UNREADABLE)
    record = own.record_usage(model="gpt-4.1", request_id="req_1", **wrong)
    assert world.records == [record]
    assert (record.units, record.provenance, record.request_id) == ({}, "unknown", "req_1")
    assert record.metadata == {"fault": str(refused.value)}
    assert faults_of(UNREADABLE) == before + 1
    await own.aclose()


async def test_a_score_that_is_no_number_does_not_cost_the_figures(world: World) -> None:
    """In a call only what cannot be read is left out."""
    own = world.track()
    record = own.record_usage(
        model="gpt-4.1", input_tokens=3, quality_score=float("nan"), processing_time_ms=-1, metadata={"a": 1}
    )
    assert (record.units, record.provenance) == ({"input_text": 3}, "reported")
    assert (record.quality_score, record.processing_ms, record.metadata) == (None, None, {"a": 1})
    own.record_usage(model=None, input_tokens=3)
    assert world.records[-1].model == "unknown"
    await own.aclose()
    with pytest.raises(BadSetting, match="model is None"):
        world.record_usage(model=None, input_tokens=3, session_id="t")


# -- whose it is ------------------------------------------------------------------------------------------------------


async def test_in_a_job_the_session_is_found_by_itself(world: World) -> None:
    """Also from a thread; each of two calls has its own; the record is in the live summary at once."""
    with fake_job_context(job_id="hand_1") as ctx:
        one = world.track(ctx=ctx, user="ada")
        await asyncio.to_thread(world.record_usage, model="gpt-4.1", input_tokens=1)
    with fake_job_context(job_id="hand_2") as ctx:
        two = world.track(ctx=ctx, user="bob")
        world.record_usage(model="gpt-4.1", input_tokens=2)
        one.record_usage(model="gpt-4.1", input_tokens=4)  # by its Tracking, whatever the context says
    assert [world.part_of(record).user for record in world.records] == ["ada", "bob", "ada"]
    assert (one.summary().totals.units, two.summary().totals.units) == ({"input_text": 5}, {"input_text": 2})
    await one.aclose()
    await two.aclose()


async def test_in_a_thread_without_a_context_it_is_the_only_calls(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `loop.run_in_executor` starts them."""
    monkeypatch.setattr(spending, "_payers", WeakSet())
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "LiveKit's")
    with fake_job_context(job_id="hand_9") as ctx:
        own = world.track(ctx=ctx)
    told = await asyncio.get_running_loop().run_in_executor(
        None, lambda: world.record_usage(model="gpt-4.1", input_tokens=1)
    )
    await own.aclose()
    assert world.part_of(told).session_id == own.session_id


async def test_in_a_tool_it_is_the_agents_that_called_it(world: World) -> None:
    """A real AgentSession without a job."""

    class Clerk(Agent):
        @function_tool
        async def look_up(self, context: RunContext[Any]) -> str:
            """Look it up."""
            world.record_usage(model="text-embedding-3-small", input_tokens=9, operation="embedding")
            return "found"

    session: AgentSession[Any] = AgentSession(llm=Script("call look_up", "Here it is."))
    own = world.track(session)
    await session.start(Clerk(instructions="Help."))
    await session.generate_reply(user_input="Hello?")
    await session.aclose()
    await own.aclose()
    (record,) = (record for record in world.records if record.service == "tool")
    assert (record.agent, world.part_of(record).session_id) == ("clerk", own.session_id)


async def test_a_session_that_is_named_and_open_here_gets_it_with_its_user(world: World) -> None:
    """By `session_id`, from anywhere in the process."""
    own = world.track(user="ada")
    record = world.record_usage(model="gpt-4.1", input_tokens=1, session_id=own.session_id)
    assert world.part_of(record).user == "ada"
    assert own.summary().totals.requests == 1
    await own.aclose()


async def test_what_a_call_spends_after_its_end_is_a_part_of_its_own(world: World) -> None:
    """A summary in a shutdown callback: same session, same user; the receipt that was given out stays true."""
    seen: list[UsageRecord] = []
    with fake_job_context(job_id="hand_3") as ctx:
        own = world.track(ctx=ctx, user="ada", on_usage=seen.append)
        final = await own.aclose()
        records = [world.record_usage(model="gpt-4.1", input_tokens=1) for _ in range(2)]
        records.append(own.record_usage(model="gpt-4.1", input_tokens=1))
    (part,) = {world.part_of(record).key: world.part_of(record) for record in records}.values()
    assert (part.session_id, part.user, part.status, part.close_reason) == (
        own.session_id,
        "ada",
        "closed",
        "afterwards",
    )
    assert part.ended_at == records[-1].at
    assert own.summary() == final
    assert seen == records


def test_a_session_that_is_only_named_does_not_seem_to_go_on(world: World) -> None:
    """Its part is closed from the start and reaches from its first record to its last, also when one is older."""
    old = datetime.now(UTC) - timedelta(days=1)
    first = world.record_usage(model="gpt-4.1", input_tokens=1, session_id="thread-1")
    second = world.record_usage(model="gpt-4.1", input_tokens=1, session_id="thread-1", at=old)
    other = world.record_usage(model="gpt-4.1", input_tokens=1, session_id="x" * 300)
    assert first.part == second.part != other.part
    part = world.part_of(first)
    assert (part.status, part.started_at, part.ended_at) == ("closed", to_micros(old), first.at)
    assert (part.session_id, part.tags, part.user) == ("thread-1", {"env": "test"}, None)
    assert world.part_of(other).session_id == "x" * 300
    assert world.recorder.open_parts() == []


def test_a_session_that_was_left_gets_it_with_its_user_tenant_and_tags(world: World) -> None:
    """As a web backend records: a message opens the session, a later one only names it."""
    with world.session("thread-1", user="ada", user_name="Ada", tenant="acme", tags={"plan": "pro"}):
        pass
    with world.session("thread-1", user="bob"):
        pass
    told = world.part_of(world.record_usage(model="gpt-4.1", input_tokens=1, session_id="thread-1"))
    assert (told.user, told.user_name, told.tenant) == ("ada", "Ada", "acme")
    assert told.tags == {"env": "test", "plan": "pro"}
    of_another = ByHand(lambda: world.process, user="eve").record_usage(
        model="gpt-4.1", input_tokens=1, session_id="thread-1"
    )
    own = world.part_of(of_another)
    assert (own.user, own.user_name, own.tenant) == ("eve", None, "acme")


def test_without_any_session_it_is_kept_with_one_warning(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """One id a process; the line says what to do."""
    with caplog.at_level(logging.WARNING, "livekit_tokens"):
        first, second = (world.record_usage(model="gpt-4.1", input_tokens=1) for _ in range(2))
    (warning,) = caplog.messages
    assert first.part == second.part
    assert world.part_of(first).session_id.startswith("unattributed_")
    assert world.part_of(first).session_id in warning
    assert "usage_session" in warning


def test_a_key_counts_once_a_session_whoever_repeats_it(world: World) -> None:
    """In the live sums too, over two parts of one session; another session has its own."""
    seen: list[UsageRecord] = []
    with world.session("thread-1") as one:
        first = one.record_usage(model="gpt-4.1", input_tokens=5, idempotency_key="k")
        assert one.record_usage(model="gpt-4.1", input_tokens=5, idempotency_key="k") is first
        seen.append(world.record_usage(model="gpt-4.1", input_tokens=5, idempotency_key="k"))
        assert one.summary().totals.requests == 1
    with world.session("thread-1") as again:
        seen.append(again.record_usage(model="gpt-4.1", input_tokens=5, idempotency_key="k"))
        assert again.summary().totals.requests == 0
    with world.session("thread-2") as other:
        other.record_usage(model="gpt-4.1", input_tokens=5, idempotency_key="k")
    assert seen == [first, first]
    assert len(world.records) == 2


def test_the_features_context_labels_it(world: World, tmp_path: Path) -> None:
    """Unless the record says its own."""
    from livekit_tokens import feature

    record: Callable[..., UsageRecord] = world.record_usage
    with feature("introspection"):
        inside = record(model="gpt-4.1", input_tokens=1, session_id="t")
        own = record(model="gpt-4.1", input_tokens=1, session_id="t", feature="search")
    assert (inside.feature, own.feature) == ("introspection", "search")


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        Provider().running() as provider,
        openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client,
    ):
        yield client


async def asked(client: openai.AsyncOpenAI, model: str = "gpt-4.1") -> Any:
    return await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])


async def test_what_the_wire_has_seen_counts_once_by_either_of_its_ids(
    world: World, client: openai.AsyncOpenAI
) -> None:
    """A tool that has always recorded its own OpenAI calls, in a call that sees them by itself now."""
    with fake_job_context(job_id="hand_4") as ctx:
        own = world.track(ctx=ctx)
        answer = await asked(client)
        assert await asyncio.to_thread(counting.settle, None, PATIENCE_SECONDS)
        by_id = world.record_usage(model="gpt-4.1", usage=answer.usage, request_id=answer.id)
        by_header = world.record_usage(model="gpt-4.1", usage=answer.usage, request_id=answer._request_id)
        other = world.record_usage(model="gpt-4.1", input_tokens=1, request_id=answer.id)  # an id that is used again
    await own.aclose()
    assert answer.id != answer._request_id
    assert world.records == [by_id, other]
    assert by_header is by_id
    assert by_id.processing_ms is not None  # the one that was seen


async def test_a_key_counts_once_also_where_the_wire_has_seen_its_request(
    world: World, client: openai.AsyncOpenAI
) -> None:
    """Whoever repeats it gets the one that was seen."""
    with fake_job_context(job_id="hand_6") as ctx:
        own = world.track(ctx=ctx)
        answer = await asked(client)
        assert await asyncio.to_thread(counting.settle, None, PATIENCE_SECONDS)
        told = [
            world.record_usage(model="gpt-4.1", usage=answer.usage, request_id=answer.id, idempotency_key="k")
            for _ in range(2)
        ]
    await own.aclose()
    assert world.records == [told[0]]
    assert told[1] is told[0]


async def test_what_another_session_has_seen_is_another_request(world: World, client: openai.AsyncOpenAI) -> None:
    """The servers of one's own number every answer alike."""
    with fake_job_context(job_id="hand_7") as ctx:
        own = world.track(ctx=ctx)
        answer = await asked(client)
        assert await asyncio.to_thread(counting.settle, None, PATIENCE_SECONDS)
        world.record_usage(model="gpt-4.1", usage=answer.usage, request_id=answer.id, session_id="thread-1")
    await own.aclose()
    assert [world.part_of(record).session_id for record in world.records] == [own.session_id, "thread-1"]


@pytest.mark.parametrize("killed", [True, False])
async def test_recording_by_hand_waits_for_nobody_who_counts(
    world: World, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """Nor does a summary. It counts once when the wire has counted, too, and also if the process is killed first."""
    counts, go_on = threading.Event(), threading.Event()
    prompt_of = prompts.prompt_of

    def slowly(*given: Any) -> Any:
        counts.set()
        assert go_on.wait(10)
        return prompt_of(*given)

    monkeypatch.setattr(prompts, "prompt_of", slowly)
    vocabulary.load("o200k")
    with fake_job_context(job_id=f"hand_8_{killed}") as ctx:
        own = world.track(ctx=ctx)
        answer = await asked(client)
        assert await asyncio.to_thread(counts.wait, 10)
        monkeypatch.setattr(counting, "settle", lambda *_: 1 / 0)
        told = world.record_usage(model="gpt-4.1", usage=answer.usage, request_id=answer.id)
        assert world.records == [told]
        assert own.summary().totals.requests == 1
        assert not go_on.is_set()
        if killed:
            assert (await read_remains(world.recorder.folder)).pending == {}
        go_on.set()
        await own.aclose()
    assert world.records == [told]
    assert world.recorder._pending == {}


async def test_a_stream_that_is_recorded_inside_its_own_loop_counts_once(world: World) -> None:
    """The usage comes with the last chunk, and the stream has not ended when it is told."""
    async with Provider().running() as provider:
        client = openai.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key")
        with fake_job_context(job_id="hand_5") as ctx:
            own = world.track(ctx=ctx)
            asked: Any = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
            async for chunk in await client.chat.completions.create(**asked, stream_options={"include_usage": True}):
                if chunk.usage:
                    told = world.record_usage(model="gpt-4.1", usage=chunk.usage, request_id=chunk.id)
        final = await own.aclose()
        await client.close()
    assert world.records == [told]
    assert final.totals.requests == 1
    assert world.recorder._pending == {}  # nothing of it is in flight any more


@pytest.mark.parametrize("early", [True, False])
async def test_a_stream_that_tells_no_figures_and_is_recorded_by_hand_counts_once(
    world: World, client: openai.AsyncOpenAI, early: bool
) -> None:
    """Told before its end, what was told counts; after it the estimate does, and what was told is kept beside it."""
    vocabulary.load("o200k")
    asked: Any = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with fake_job_context(job_id=f"hand_10_{early}") as ctx:
        own = world.track(ctx=ctx)
        stream = await client.chat.completions.create(**asked)
        name = (await anext(stream)).id
        if not early:
            async for _ in stream:
                pass
            assert await asyncio.to_thread(counting.settle, None, 5.0)
        told = world.record_usage(model="gpt-4.1", input_tokens=12, output_tokens=400, request_id=name)
        await stream.close()
    final = await own.aclose()
    assert world.records == [told]
    assert final.totals.requests == 1
    assert told.provenance == ("reported" if early else "estimated")
    late = [line.units for line in lines_in(world.recorder.folder) if isinstance(line, Late)]
    assert late == ([] if early else [{"input_text": 12, "output_text": 400}])


@pytest.mark.parametrize("early", [True, False])
async def test_what_is_told_inexactly_counts_once(world: World, client: openai.AsyncOpenAI, early: bool) -> None:
    """As it came first; the provider's figures are kept beside what was told before them."""
    with fake_job_context(job_id=f"hand_12_{early}") as ctx:
        own = world.track(ctx=ctx)
        answer = await asked(client)
        if not early:
            assert await asyncio.to_thread(counting.settle, None, PATIENCE_SECONDS)
        told = world.record_usage(model="gpt-4.1", input_tokens=answer.usage.prompt_tokens, request_id=answer.id)
    final = await own.aclose()
    assert world.records == [told]
    assert final.totals.requests == 1
    figures = figures_of("gpt-4.1", usage=answer.usage).units
    late = [line.units for line in lines_in(world.recorder.folder) if isinstance(line, Late)]
    assert (told.units == figures, late) in ((True, []), (False, [figures]))


@pytest.mark.parametrize("model", ["gpt-4.1-mini", "gpt-4.1"])
async def test_a_stream_outlives_what_is_told_of_another_request(
    world: World, client: openai.AsyncOpenAI, model: str
) -> None:
    """Also if the process is killed then: it is in flight in the spool, whatever another client's answer is called."""
    stream: Any = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    vocabulary.load("o200k")
    with fake_job_context(job_id=f"hand_13_{model}") as ctx:
        own = world.track(ctx=ctx)
        answers = await client.chat.completions.create(**stream)
        await anext(answers)
        world.record_usage(model=model, input_tokens=5, output_tokens=1, request_id="chatcmpl-other")

        async def in_flight() -> list[str]:
            return [pend.record.model for pend in (await read_remains(world.recorder.folder)).pending.values()]

        async with asyncio.timeout(PATIENCE_SECONDS):
            while await in_flight() != ["gpt-4.1"]:
                await asyncio.sleep(0.01)
        await answers.close()
    await own.aclose()
    assert [record.model for record in world.records] == [model, "gpt-4.1"]


async def test_on_usage_may_wait_for_a_thread_that_records_under_a_key(world: World) -> None:
    """Nobody else's recording waits for the host's own code."""
    waited: list[bool] = []

    def records_elsewhere(_: UsageRecord) -> None:
        if not waited:
            waited.append(False)
            other = threading.Thread(target=world.record_usage, kwargs={**counts, "session_id": "t"}, daemon=True)
            other.start()
            other.join(5)
            waited[:] = [not other.is_alive()]

    counts: dict[str, Any] = {"model": "gpt-4.1", "input_tokens": 1}
    with fake_job_context(job_id="hand_11") as ctx:
        own = world.track(ctx=ctx, on_usage=records_elsewhere)
        counts["idempotency_key"] = "theirs"
        world.record_usage(**{**counts, "idempotency_key": "ours"})
        await own.aclose()
    assert waited == [True]
