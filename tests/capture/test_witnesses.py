"""One request, one record: components that the wire sees beside such that only their metrics tell of, in one call."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import openai as sdk
import pytest
from livekit.agents import Agent, function_tool, llm, stt, tts, vad
from livekit.plugins import openai

from livekit_tokens.capture import spending, witnesses
from livekit_tokens.capture.components import ComponentWitness
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.wire import watch
from livekit_tokens.core import vocabulary
from livekit_tokens.demo.plan import QUICK
from livekit_tokens.demo.provider import Provider as Realtime
from livekit_tokens.domain.units import input_tokens, output_tokens
from livekit_tokens.domain.usage import UsageRecord
from tests.capture.calls import NO_WAIT, Call, Greeter, recovered
from tests.capture.own_components import OwnEar, OwnMind, OwnVoice, RoutedMind
from tests.capture.pipeline import Ear, Script, Speaker, Voice, is_speech
from tests.capture.wire.conftest import Paper
from tests.capture.wire.provider import Provider
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture(scope="module", autouse=True)
def _vocabulary() -> None:
    """As in a job process."""
    vocabulary.load("o200k")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider().running() as provider:
        yield provider


FRAMES_A_SECOND = 50


class Seconds(vad.VAD):
    """Takes every second of speech for a sentence."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=1.0))

    def stream(self) -> vad.VADStream:
        return _SecondsStream(self)


class _SecondsStream(vad.VADStream):
    async def _main_task(self) -> None:
        frames: list[Any] = []
        async for frame in self._input_ch:
            if isinstance(frame, self._FlushSentinel) or not is_speech(frame):
                continue
            if not frames:
                self._tell(vad.VADEventType.START_OF_SPEECH, [frame])
            frames.append(frame)
            if len(frames) == FRAMES_A_SECOND:
                self._tell(vad.VADEventType.END_OF_SPEECH, frames)
                frames = []

    def _tell(self, kind: vad.VADEventType, frames: list[Any]) -> None:
        event = vad.VADEvent(kind, 0, 0.0, sum(one.duration for one in frames), 0.0, frames)
        self._event_ch.send_nowait(event)


def ear(provider: Provider) -> stt.STT:
    return openai.STT(model="gpt-4o-transcribe", base_url=provider.base_url, api_key="not-a-key")


def mind(provider: Provider, name: str = "gpt-4.1") -> llm.LLM:
    return openai.LLM(model=name, base_url=provider.base_url, api_key="not-a-key")


def voice(provider: Provider) -> tts.TTS[Any]:
    return openai.TTS(base_url=provider.base_url, api_key="not-a-key", response_format="pcm")


def billed(provider: Provider) -> Counter[tuple[str, int, int]]:
    return Counter((entry.model, entry.input, entry.output) for entry in provider.bill if entry.told)


def reported(records: list[UsageRecord]) -> Counter[tuple[str, int, int]]:
    return Counter(
        (record.model, input_tokens(record.units), output_tokens(record.units))
        for record in records
        if record.success and record.provenance == "reported"
    )


async def calling(agent: Agent | None = None, **components: Any) -> Call:
    call = Call(**components)
    call.session.conn_options.llm_conn_options = NO_WAIT
    call.session.conn_options.tts_conn_options = NO_WAIT
    if components.get("tts") is None:
        call.session.output.audio = None
    return await call.start(agent or Greeter())


async def test_a_pipeline_of_openais_own_is_told_by_the_wire_alone(provider: Provider) -> None:
    """Transcriptions and speech as well: what their components report beside is silent."""
    call = await calling(stt=ear(provider), llm=mind(provider), tts=voice(provider), vad=Seconds())
    call.mic.speak(2.0)
    await until(lambda: len(call.by("transcriber")) == 2)
    await call.say()
    await call.end()
    assert reported(call.records) == billed(provider)
    assert len(call.records) == len(provider.bill) == 4
    assert {record.service for record in call.records} == {"agent", "transcriber", "tts"}
    assert {record.agent for record in call.records} == {"greeter"}


async def test_a_mixed_pipeline_is_told_by_each_ones_own_witness(provider: Provider) -> None:
    """An ear and a voice with sockets of their own around OpenAI's model."""
    ears, voices = Ear(), Voice()
    call = await calling(stt=ears, llm=mind(provider), tts=voices)
    call.mic.speak(1.1)
    await until(lambda: call.by("transcriber"))
    await call.say()
    await call.end()
    assert reported(call.by("agent")) == billed(provider)
    assert [record.units for record in call.by("tts")] == [{"characters": sum(voices.bill)}]
    assert [record.units for record in call.by("transcriber")] == [{"audio_ms": round(sum(ears.bill) * 1000)}]
    assert len(call.records) == 3


async def test_replies_begun_ahead_of_time_are_each_recorded(provider: Provider) -> None:
    """What no longer fits is thrown away in the middle: billed all the same, and estimated."""
    call = Call(stt=Ear(), llm=mind(provider), turn_handling={"turn_detection": "stt"})
    call.session.output.audio = None
    await call.start(Greeter())
    provider.quiet_after = 4
    for turn in (1, 2):
        call.mic.speak(1.1)
        await until(lambda turn=turn: sum(entry.output == 4 for entry in provider.bill) >= turn)
    provider.quiet_after = None
    call.mic.speak(1.1)
    await until(lambda: any(record.provenance == "reported" for record in call.by("agent")))
    await call.end()
    minds = call.by("agent")
    assert len(minds) == len(provider.bill) > 2
    assert reported(minds) == billed(provider)
    assert Counter(record.provenance for record in minds) == {"estimated": len(minds) - 1, "reported": 1}


@pytest.mark.parametrize("first", ["seen", "unseen"])
async def test_a_fallback_between_witnesses_is_recorded_once(provider: Provider, first: str) -> None:
    """From a model that the wire sees to one that only its metrics tell of, and the other way round."""
    script = Script("fail", "Good day.") if first == "unseen" else Script("Good day.")
    minds = [mind(provider), script] if first == "seen" else [script, mind(provider)]
    adapter = llm.FallbackAdapter(minds, max_retry_per_llm=0)
    call, again = await calling(llm=adapter), recovered(adapter)
    provider.refusals = int(first == "seen")
    await call.say()
    await again  # the adapter sees, beside the call, whether the first one has recovered
    await call.end()
    refused = [record for record in call.records if not record.success]
    assert [record.model for record in refused] == [minds[0].model]
    answered = Counter(record.model for record in call.records if record.success)
    assert answered == {"script-1": 1, "gpt-4.1": len(provider.bill)}


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[sdk.AsyncOpenAI]:
    async with sdk.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("named", ["unknown", "MyCompany"])
async def test_a_hosts_own_components_around_the_openai_client_are_told_by_the_wire_alone(
    provider: Provider, client: sdk.AsyncOpenAI, named: str
) -> None:
    """Whatever they call their provider: what they report beside is silent."""
    call = await calling(stt=OwnEar(client), llm=OwnMind(client, named), tts=OwnVoice(client), vad=Seconds())
    await call.say()
    call.mic.speak(1.0)
    await until(lambda: call.by("transcriber"))
    await call.end()
    assert Counter(record.service for record in call.records) == {"transcriber": 1, "agent": 1, "tts": 1}
    assert len(provider.bill) == 3
    assert {record.provider for record in call.records} == {"openai"}


async def test_what_another_model_tells_counts_beside_what_its_component_has_asked_of_openais(
    provider: Provider, client: sdk.AsyncOpenAI
) -> None:
    """Neither its names nor its tokens are those of the request that the wire has seen in the same call."""
    call = await calling(llm=RoutedMind(client, "anthropic"))
    await call.say()
    await call.end()
    told = RoutedMind.TOLD
    theirs = Counter({("claude-sonnet-4-5", told.prompt_tokens, told.completion_tokens): 1})
    assert reported(call.records) == billed(provider) + theirs
    assert len(provider.bill) == 1


@pytest.mark.parametrize("failing", [True, False])
async def test_a_fallback_of_a_hosts_own_models_is_recorded_once(
    provider: Provider, client: sdk.AsyncOpenAI, failing: bool
) -> None:
    """Where no name tells its components apart, each is taken for what the wire has seen of nobody else."""
    minds = [OwnMind(client), OwnMind(client, asks="gpt-4.1-mini")]
    adapter = llm.FallbackAdapter(minds, max_retry_per_llm=0)
    call, again = await calling(llm=adapter), recovered(adapter)
    provider.refusals = int(failing)
    await call.say()
    if failing:
        await again  # whether the first one has recovered is asked, and billed, too
    await call.end()
    assert reported(call.records) == billed(provider)
    assert Counter(record.success for record in call.records) == Counter(
        [True] * len(provider.bill) + [False] * failing
    )


@pytest.mark.parametrize("named", ["api.script.example", "unknown"])
async def test_a_model_that_the_wire_does_not_see_speaks_beside_a_hosts_own_that_it_does(
    provider: Provider, client: sdk.AsyncOpenAI, named: str
) -> None:
    """The refused one of an adapter is not taken for the other one that answers, though it names nobody, too."""
    minds = [OwnMind(client), Script("Good day.", provider=named)]
    call = await calling(llm=llm.FallbackAdapter(minds, max_retry_per_llm=0))
    provider.refusals = 9
    await call.say()
    await call.end()
    answered = [record for record in call.records if record.success]
    assert [record.model for record in answered] == ["script-1"]
    assert len(call.records) - 1 == provider.asked


async def test_a_request_that_was_made_before_its_component_was_followed_is_told_once(provider: Provider) -> None:
    """As of a stream that was open when its session was tracked."""
    watch.install()
    paper, model = Paper(), mind(provider)
    payer = Payer(lambda paper=paper: paper)
    spending.spend(Spending(payer, "greeter"))
    begun = model.chat(chat_ctx=llm.ChatContext.empty())
    witness = ComponentWitness(payer)
    witness.listen_to(SimpleNamespace(llm=model))
    await begun.collect()
    await asyncio.sleep(0)
    assert reported(paper.records) == billed(provider)
    (record,) = paper.records
    assert record.metadata["messages_count"] == 0  # as the wire tells it


def test_what_was_seen_outside_of_a_marked_call_goes_with_its_part() -> None:
    """A process may serve many calls in its life."""

    def ask() -> weakref.ref[Paper]:
        paper = Paper()
        spending.spend(Spending(Payer(lambda: paper), "greeter"))
        witnesses.leave_with_part("chat_completion", "openai")
        assert paper in witnesses._outside
        return weakref.ref(paper)

    left = copy_context().run(ask)
    gc.collect()
    assert left() is None


def test_what_was_just_sent_outside_of_a_marked_call_is_known_to_who_asks() -> None:
    """Though nobody has read it yet: whose it is, is found out when somebody asks."""
    paper = Paper()

    def ask() -> list[bool]:
        spending.spend(Spending(Payer(lambda: paper), "greeter"))
        fields = {"operation": "chat_completion", "provider": "openai", "model": "gpt-4o"}
        before = witnesses.is_told(fields)
        witnesses.see_outside(lambda: witnesses.leave_with_part("chat_completion", "openai"))
        return [before, witnesses.is_told(fields), witnesses.is_told(fields | {"provider": "groq"})]

    assert copy_context().run(ask) == [False, True, False]


def test_a_forked_child_does_not_wait_for_its_parents_look() -> None:
    """The thread that looked is not in it."""
    looking, go_on = threading.Event(), threading.Event()

    def look() -> None:
        looking.set()
        go_on.wait(PATIENCE_SECONDS)

    witnesses.see_outside(look)
    thread = threading.Thread(target=witnesses.look_outside)
    thread.start()
    assert looking.wait(PATIENCE_SECONDS)
    child = os.fork()
    if child == 0:
        os._exit(int(not witnesses._looking.acquire(timeout=5)))
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_a_component_that_cannot_say_its_provider_is_asked_all_the_same(
    client: sdk.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracking raises nothing into who asks it."""
    own = OwnMind(client)
    witnesses.mark(own, "agent")
    monkeypatch.setattr(OwnMind, "provider", property(lambda _: 1 / 0))
    assert own.chat(chat_ctx=llm.ChatContext.empty()) is not None


class NamesItself(llm.FallbackAdapter):
    """As livekit-agents 1.8.0 has it: its model and provider are nobody's."""

    model = property(lambda _: "FallbackAdapter")
    provider = property(lambda _: "livekit")


async def test_an_adapter_that_names_itself_is_no_provider(provider: Provider) -> None:
    """What is asked through it goes to the provider of the one that is asked, and is recorded once."""
    call = await calling(llm=NamesItself([mind(provider)]))
    await call.say()
    await call.end()
    assert reported(call.records) == billed(provider)
    assert {record.provider for record in call.records} == {"openai"}


async def test_after_a_handoff_each_agents_model_has_its_witness(provider: Provider) -> None:
    class Second(Agent):
        def __init__(self) -> None:
            super().__init__(instructions="Go on.", llm=Script("And I go on."))

        async def on_enter(self) -> None:
            await self.session.generate_reply(instructions="Say that you are here.")

    class First(Agent):
        def __init__(self) -> None:
            super().__init__(instructions="Begin.", llm=mind(provider))

        @function_tool
        async def hand_over(self) -> Agent:
            """Hand over."""
            return Second()

    call = await calling(First(), llm=mind(provider, "gpt-4.1-mini"))
    await call.say()
    call.session.update_agent(Second())
    await until(lambda: len(call.records) == 2)
    await call.end()
    assert {(record.model, record.agent) for record in call.records} == {("gpt-4.1", "first"), ("script-1", "second")}
    assert len(call.records) == 2


async def test_a_models_own_calls_in_a_tool_are_its_components(provider: Provider) -> None:
    """The session's model, used beside the reply by a tool: by the wire, and not by its metrics once more."""

    class Clerk(Agent):
        async def on_enter(self) -> None:
            model: Any = self.session.llm
            await model.chat(chat_ctx=llm.ChatContext.empty()).collect()

    call = await calling(Clerk(instructions="Help."), llm=mind(provider))
    await until(lambda: len(call.records) == 1)
    await call.say()
    await call.end()
    assert reported(call.records) == billed(provider)
    assert len(call.records) == len(provider.bill) == 2
    assert {record.service for record in call.records} == {"agent"}


async def test_a_realtime_conversation_is_told_by_its_events_and_its_tools_by_the_wire(provider: Provider) -> None:
    """Its socket is left alone by the wire, also with a voice of OpenAI's behind it."""

    class Librarian(Agent):
        async def on_enter(self) -> None:
            async with sdk.AsyncOpenAI(base_url=provider.base_url, api_key="not-a-key") as client:
                await client.embeddings.create(model="text-embedding-3-small", input="one two")

    async with Realtime(QUICK) as realtime:
        model = openai.realtime.RealtimeModel(model="gpt-realtime", base_url=realtime.base_url, api_key="not-a-key")
        call = Call(llm=model)
        call.session.output.audio = Speaker()
        await call.start(Librarian(instructions="Help."))
        await call.say()
        await call.end()
        units: Counter[str] = Counter()
        for record in call.by("agent"):
            units.update(record.units)
        assert dict(units) == realtime.billed_units(model="gpt-realtime") != {}
    assert reported(call.by("tool")) == billed(provider)


async def test_a_refused_voice_is_recorded_for_each_attempt(provider: Provider) -> None:
    provider.refusals = 1
    call = await calling(llm=Script("Good day to you."), tts=voice(provider))
    await call.say()
    await call.end()
    refused, spoken = call.by("tts")
    assert (refused.success, refused.error, refused.units) == (False, "InternalServerError", {})
    assert (spoken.success, spoken.provenance) == (True, "reported")
