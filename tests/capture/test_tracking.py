"""`track` on a real AgentSession, without a room, against a provider that keeps its own bill."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import logging
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, AgentTask, function_tool
from livekit.agents.testing import fake_job_context
from livekit.plugins import openai

from livekit_tokens import feature
from livekit_tokens.capture import spending, tracking
from livekit_tokens.capture.part import Process
from livekit_tokens.capture.tracking import Given, Tracking
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.lines import PartLine, Use
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.demo.plan import QUICK, Knobs
from livekit_tokens.demo.provider import Provider
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.summary import SessionSummary
from livekit_tokens.runtime import new_key, now
from tests.capture.pipeline import Script
from tests.core.makers import lines_in
from tests.waiting import PATIENCE_SECONDS, until

_ids = itertools.count()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider(seed=1, knobs=QUICK) as provider:
        yield provider


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path, Source(f"t{next(_ids)}", "here", 1, 0), now)


@pytest.fixture
def track(recorder: Recorder) -> Callable[..., Tracking]:
    async def flush(_: float) -> bool:
        return True

    process = Process(recorder, flush, now, new_key)

    def begin(session: AgentSession[Any] | None, ctx: Any = None, **given: Any) -> Tracking:
        return tracking.begin(session, ctx, lambda: process, Given(**given))

    return begin


def realtime(provider: Provider, model: str = "gpt-realtime") -> openai.realtime.RealtimeModel:
    return openai.realtime.RealtimeModel(
        model=model, base_url=provider.base_url, api_key="not-a-key", modalities=["text"]
    )


def uses(recorder: Recorder) -> list[Use]:
    recorder.make_records()
    return [line for line in lines_in(recorder.folder) if isinstance(line, Use)]


def counted(recorder: Recorder) -> dict[str, int]:
    """All units in the spool, of reported records."""
    units: Counter[str] = Counter()
    for use in uses(recorder):
        units.update(use.record.units)
    return dict(units)


async def test_what_is_counted_is_what_the_provider_bills(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """Unit by unit, over a conversation with an interruption before the response was even created."""
    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session)
    await session.start(Agent(instructions="Be kind."))
    await session.generate_reply(user_input="Hello?")
    handle = session.generate_reply(user_input="And then?")
    await asyncio.sleep(0.001)
    handle.interrupt(force=True)
    await session.generate_reply(user_input="Go on.")
    await session.aclose()
    summary = await own.aclose()
    assert counted(recorder) == provider.billed_units()
    assert summary.totals.units == provider.billed_units()
    assert summary.totals.estimated_requests == 0
    assert summary.close_reason == "user_initiated"


async def test_a_response_open_when_the_session_closes_brings_its_real_figures(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """LiveKit hangs up without waiting; we let it finish, and nothing is estimated."""
    provider.knobs = Knobs(created=(0, 0), first_output=(0, 0.01), ahead=(0.2, 0.2), speech=(3, 3), speed=(2, 2))
    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session)
    await session.start(Agent(instructions="Be kind."))
    session.generate_reply(user_input="Tell me a long story.")
    await until(lambda: any(one.elapsed() > 0.3 for each in provider.connections for one in each.responses))
    assert recorder._pending
    await session.aclose()
    await own.aclose()
    assert [use.record.provenance for use in uses(recorder)] == ["reported"]
    assert counted(recorder) == provider.billed_units()


async def test_handoffs_with_a_shared_and_an_own_model_miss_nothing_and_count_nothing_twice(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """Each agent's requests are counted once, under its own model and name."""

    class Second(Agent):
        def __init__(self) -> None:
            super().__init__(instructions="Take over.", llm=realtime(provider, "gpt-realtime-mini"))

        async def on_enter(self) -> None:
            await self.session.generate_reply(instructions="Say hello again.")

    class First(Agent):
        @function_tool
        async def hand_over(self) -> Agent:
            """Hand over."""
            return Second()

    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session)
    await session.start(First(instructions="Be kind."))
    await session.generate_reply(user_input="Hello?")
    session.update_agent(Second())
    await until(lambda: len(uses(recorder)) == 2)
    await session.generate_reply(user_input="Still there?")
    await session.aclose()
    await own.aclose()
    for model in ("gpt-realtime", "gpt-realtime-mini"):
        units: Counter[str] = Counter()
        for use in uses(recorder):
            if use.record.model == model:
                units.update(use.record.units)
        assert dict(units) == provider.billed_units(model=model)
    assert {(use.record.model, use.record.agent) for use in uses(recorder)} == {
        ("gpt-realtime", "first"),
        ("gpt-realtime-mini", "second"),
    }


async def test_two_sessions_that_share_a_model_each_get_their_own(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """One model object, two calls at once, in one process."""
    shared = realtime(provider)

    async def call(turns: int) -> SessionSummary:
        session: AgentSession[Any] = AgentSession(llm=shared)
        own = track(session)
        await session.start(Agent(instructions="Be kind."))
        for _ in range(turns):
            await session.generate_reply(user_input="Hello?")
        await session.aclose()
        return await own.aclose()

    first, second = await asyncio.gather(call(1), call(3))
    assert (first.totals.requests, second.totals.requests) == (1, 3)
    assert counted(recorder) == provider.billed_units()


async def test_the_end_is_durable_and_told_once(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking], caplog: pytest.LogCaptureFixture
) -> None:
    """The part's end is in the spool, `on_end` has run once with the final summary, and the receipt is in the log."""
    told: list[SessionSummary] = []

    async def on_end(summary: SessionSummary) -> None:
        told.append(summary)

    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session, on_end=on_end, user="ada@example.com")
    await session.start(Agent(instructions="Be kind."))
    await session.generate_reply(user_input="Hello?")
    with caplog.at_level(logging.INFO, "livekit_tokens"):
        await session.aclose()
        final = await own.aclose()
        assert await own.aclose() == final == own.summary()
    assert told == [final]
    ends = [line.part for line in lines_in(recorder.folder) if isinstance(line, PartLine)]
    assert (ends[-1].status, ends[-1].user) == ("closed", "ada@example.com")
    assert str(final) in caplog.text
    assert "ada" not in caplog.text


async def test_misuse_is_harmless(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking], caplog: pytest.LogCaptureFixture
) -> None:
    """Tracked after its start: what comes is counted. Tracked twice: the first counts. Each with one warning."""
    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    await session.start(Agent(instructions="Be kind."))
    own = track(session)
    assert track(session) is own
    await session.generate_reply(user_input="Hello?")
    await session.aclose()
    await own.aclose()
    assert counted(recorder) == provider.billed_units()
    assert [record.getMessage().partition(";")[0] for record in caplog.records if record.levelname == "WARNING"] == [
        "track() was called after session.start(): usage until now is not counted",
        "track() was called twice for one AgentSession",
    ]


async def test_a_session_started_again_is_a_new_part(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """The same AgentSession after its close: counted, in a part of its own."""
    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session)
    for _ in range(2):
        await session.start(Agent(instructions="Be kind."))
        # What is recorded elsewhere by its id is its own, too.
        assert contextvars.Context().run(spending.whose_is, own.session_id) is not None
        await session.generate_reply(user_input="Hello?")
        await session.aclose()
    await own.aclose()
    assert counted(recorder) == provider.billed_units()
    assert len({use.record.part for use in uses(recorder)}) == 2


async def test_callbacks_of_the_host_that_raise_harm_nothing(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """Neither the records nor the call."""

    def fail(_: object) -> None:
        raise TypeError("of the host")

    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session, on_usage=fail, on_end=fail)
    await session.start(Agent(instructions="Be kind."))
    await session.generate_reply(user_input="Hello?")
    await session.aclose()
    await own.aclose()
    assert counted(recorder) == provider.billed_units()


async def test_a_socket_that_drops_leaves_a_marked_estimate(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """The provider bills it, nobody tells: one estimated record with bounds, and the call goes on."""
    provider.knobs = Knobs(first_output=(0, 0.01), ahead=(0.01, 0.02), speed=(4, 4), drop_after=3)
    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session)
    await session.start(Agent(instructions="Be kind."))
    session.generate_reply(user_input="Hello?")
    await until(lambda: uses(recorder))
    provider.knobs = QUICK
    await session.aclose()
    await own.aclose()
    (estimate, *_) = (use.record for use in uses(recorder))
    assert estimate.provenance == "estimated"
    assert estimate.low is not None
    assert estimate.high is not None


async def test_a_tracked_session_can_be_collected(track: Callable[..., Tracking], provider: Provider) -> None:
    """Neither the tracker's book nor its listeners keep a session, and with it a conversation, alive."""
    session: AgentSession[Any] | None = AgentSession(llm=realtime(provider))
    own = track(session)
    await own.aclose()
    gone = weakref.ref(session)
    del session, own
    gc.collect()
    assert gone() is None


async def test_a_call_is_collected_with_its_job(track: Callable[..., Tracking]) -> None:
    """LiveKit's JobContext holds the session, and a Tracking its JobContext: nothing else may hold any of them."""

    async def call() -> tuple[weakref.ref[Any], ...]:
        with fake_job_context(job_id="j") as ctx:
            session: AgentSession[Any] = AgentSession(llm=Script("Good day."))
            own = track(session, ctx)
            await session.start(Agent(instructions="Be kind."))
            assert any(held is session for held in vars(ctx).values())
            await session.aclose()
            await own._ending
            return weakref.ref(session), weakref.ref(own)

    # In a context of its own, as a job has one; with what LiveKit's own tasks hold of it until they are over.
    gone = await asyncio.create_task(call())
    await until(lambda: gc.collect() >= 0 and not any(one() for one in gone))


async def test_a_job_waits_for_the_ends_of_all_its_parts(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller came back while the first part's end was still under way, and the job ends at once."""
    told: list[SessionSummary] = []
    waits = iter([0.3, 0.0])

    async def flush(_: float) -> bool:
        await asyncio.sleep(next(waits))
        return True

    callbacks: list[Callable[[str], Any]] = []
    with fake_job_context(job_id="j") as ctx:
        monkeypatch.setattr(ctx, "add_shutdown_callback", callbacks.append)
        session: AgentSession[Any] = AgentSession(llm=Script("Good day."))
        process = Process(recorder, flush, now, new_key)
        tracking.begin(session, ctx, lambda: process, Given(on_end=told.append))
        for _ in range(2):
            await session.start(Agent(instructions="Be kind."))
            await session.aclose()
        await callbacks[0]("room_closed")
    assert len({summary.parts[0].key for summary in told}) == 2


async def test_nothing_begins_again_after_the_host_has_closed_the_tracking(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """A handoff after `aclose` opens no new part; what is spent all the same is in one that is closed already."""
    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session)
    await session.start(Agent(instructions="Be kind."))
    await session.generate_reply(user_input="Hello?")
    final = await own.aclose()
    session.update_agent(Agent(instructions="Be kinder."))
    await session.generate_reply(user_input="Hello again?")
    await session.aclose()
    assert own.summary() == final
    parts = [line.part for line in lines_in(recorder.folder) if isinstance(line, PartLine)]
    assert [part.close_reason for part in parts if part.status == "open"] == [None]
    assert {part.close_reason for part in parts if part.status == "closed"} == {"user_initiated", "afterwards"}
    assert counted(recorder) == provider.billed_units()


async def test_a_session_that_is_tracked_anew_is_counted_anew(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking], caplog: pytest.LogCaptureFixture
) -> None:
    """The host has closed the first Tracking; the second one is another, with a part of its own."""
    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    counts = []
    for _ in range(2):
        own = track(session)
        await session.start(Agent(instructions="Be kind."))
        await session.generate_reply(user_input="Hello?")
        await session.aclose()
        counts.append((await own.aclose()).totals.requests)
    assert counts == [1, 1]
    assert counted(recorder) == provider.billed_units()
    assert "WARNING" not in caplog.text


async def test_what_cannot_be_tracked_leaves_no_open_part(recorder: Recorder, track: Callable[..., Tracking]) -> None:
    """Neither for what is no session, nor for one that cannot be listened to."""

    class Deaf(AgentSession[Any]):
        def on(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError

    for wrong, error in (
        (Agent(instructions="Be kind."), BadSetting),
        (AgentSession, BadSetting),
        (Deaf(), RuntimeError),
    ):
        with pytest.raises(error):
            track(wrong)
    assert recorder.open_parts() == []


async def test_without_a_session_what_the_code_spends_is_the_calls(track: Callable[..., Tracking]) -> None:
    """Of the code that comes after, in this context: `record_usage` finds it by itself."""
    own = track(None)
    payer = spending.current()
    assert payer is not None
    assert payer.writer.part.session_id == own.session_id
    await own.aclose()


async def test_a_cancelled_wait_still_closes_livekits_session(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """Who cancels the closing while we wait for a response's figures leaves no websocket behind."""
    provider.knobs = Knobs(created=(0, 0), first_output=(0, 0.01), speech=(9, 9), speed=(1, 1), done_delay=(5, 5))
    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session)
    await session.start(Agent(instructions="Be kind."))
    session.generate_reply(user_input="Tell me a long story.")
    await until(lambda: recorder._pending)
    live = session.current_agent.realtime_llm_session
    closing = asyncio.create_task(live.aclose())
    await asyncio.sleep(0.1)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert not recorder._pending
    await session.aclose()
    await own.aclose()


async def test_a_response_that_ends_after_a_handoff_is_of_the_agent_and_the_feature_that_asked(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """LiveKit makes the next agent current at once, and lets the old one's response come to its end."""
    provider.knobs = Knobs(first_output=(0, 0.01), speech=(2, 2), speed=(4, 4))

    class First(Agent): ...

    class Second(Agent):
        def __init__(self) -> None:
            super().__init__(instructions="Take over.", llm=realtime(provider, "gpt-realtime-mini"))
            self.entered = asyncio.Event()

        async def on_enter(self) -> None:
            self.entered.set()

    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session)
    await session.start(First(instructions="Be kind."))
    with feature("stories"):
        speaking = session.generate_reply(user_input="Tell me a story.")
    await until(lambda: recorder._pending)
    second = Second()
    session.update_agent(second)
    await speaking
    await until(lambda: own.summary().totals.requests == 1)
    await asyncio.wait_for(second.entered.wait(), PATIENCE_SECONDS)
    await session.generate_reply(user_input="Hello?")
    await session.aclose()
    await own.aclose()
    assert [(use.record.model, use.record.agent, use.record.feature) for use in uses(recorder)] == [
        ("gpt-realtime", "first", "stories"),
        ("gpt-realtime-mini", "second", "unknown"),
    ]


async def test_a_task_with_its_own_realtime_model_speaks_for_itself(
    provider: Provider, recorder: Recorder, track: Callable[..., Tracking]
) -> None:
    """An AgentTask, awaited on entering; afterwards the first agent is heard again, on its own session."""

    class AskName(AgentTask[str]):
        def __init__(self) -> None:
            super().__init__(instructions="Ask for the name.", llm=realtime(provider, "gpt-realtime-mini"))

        async def on_enter(self) -> None:
            await self.session.generate_reply(instructions="Ask.")
            self.complete("Ada")

    class Host(Agent):
        async def on_enter(self) -> None:
            await AskName()
            await self.session.generate_reply(instructions="Thank them.")

    session: AgentSession[Any] = AgentSession(llm=realtime(provider))
    own = track(session)
    await session.start(Host(instructions="Welcome."))
    await until(lambda: len(uses(recorder)) == 2)
    await session.generate_reply(user_input="Hello?")
    await session.aclose()
    await own.aclose()
    assert Counter((use.record.model, use.record.agent) for use in uses(recorder)) == {
        ("gpt-realtime-mini", "ask_name"): 1,
        ("gpt-realtime", "host"): 2,
    }
    assert counted(recorder) == provider.billed_units()
