"""Pipelines and agents on real AgentSessions: nothing twice, nothing missed, each under the agent that spoke."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import openai as sdk
import pytest
from livekit import rtc
from livekit.agents import Agent, AgentSession, AgentTask, RunContext, function_tool, inference, llm, stt, tts
from livekit.agents.llm import RealtimeModelFallbackAdapter
from livekit.agents.metrics import LLMMetrics, STTMetrics, TTSMetrics
from livekit.agents.testing import fake_job_context
from livekit.plugins import openai

from livekit_tokens import feature
from livekit_tokens.demo.plan import QUICK
from livekit_tokens.demo.provider import Provider
from livekit_tokens.domain.usage import UsageRecord
from tests.capture.calls import NO_WAIT, Call, Closer, Greeter, Listener
from tests.capture.chat_provider import ChatProvider
from tests.capture.pipeline import RATE, SILENCE, Ear, Script, Voice
from tests.waiting import until


def spoken(records: Iterable[UsageRecord]) -> Counter[tuple[str, str | None]]:
    """How many requests each model served for each agent."""
    return Counter((record.model, record.agent) for record in records)


def billed(script: Script) -> tuple[int, int]:
    return sum(prompt for prompt, _ in script.bill), sum(output for _, output in script.bill)


def counted(records: Iterable[UsageRecord]) -> tuple[int, int]:
    """Input and output tokens."""
    units: Counter[str] = Counter()
    for record in records:
        units.update(record.units)
    return units["input_text"] + units["cached_input_text"], units["output_text"]


# -- one call ---------------------------------------------------------------------------------------------------------


async def test_each_request_of_a_pipeline_is_counted_as_billed() -> None:
    """A transcriber by audio, a language model by tokens, a voice by characters; nothing else."""
    ear, script, voice = Ear(), Script("Good day to you.", "And good night."), Voice()
    call = await Call(stt=ear, llm=script, tts=voice).start(Greeter())
    call.mic.speak(2.1)
    await until(lambda: len(call.by("transcriber")) == 2)
    await call.say()
    await call.say()
    await call.end()
    assert counted(call.by("agent")) == billed(script)
    assert sum(record.units["characters"] for record in call.by("tts")) == sum(voice.bill)
    assert sum(record.units["audio_ms"] for record in call.by("transcriber")) == round(sum(ear.bill) * 1000)
    assert len(call.records) == len(script.bill) + len(voice.bill) + len(ear.bill)
    assert {record.provenance for record in call.records} == {"reported"}


async def test_replies_begun_ahead_of_time_are_counted_too() -> None:
    """LiveKit answers before the caller has finished, and throws away what no longer fits: all of it is billed."""
    script = Script()
    call = await Call(llm=script, stt=Ear(), tts=Voice(), turn_handling={"turn_detection": "stt"}).start(Greeter())
    for turn in (1, 2):
        call.mic.speak(1.1)
        await until(lambda turn=turn: script.asked >= turn)
    await until(lambda: call.session.agent_state == "listening" and not call.session.current_speech)
    await call.end()
    assert len(call.by("agent")) == script.asked
    assert counted(call.by("agent")) == billed(script)


async def test_a_run_in_a_test_is_counted() -> None:
    """`session.run()`: no room, no audio, no job."""
    script = Script("Good day.")
    call = await Call(llm=script).start(Greeter())
    await call.session.run(user_input="Hello?")
    await call.end()
    assert counted(call.records) == billed(script)


async def test_a_cut_completion_is_one_unknown_request() -> None:
    """Interrupted, or open when the session closes: billed by the provider, figures told by nobody."""
    listener = Listener()
    call = await Call(llm=Script("slow one two three", "slow one two three")).start(listener)
    handle = call.session.generate_reply(user_input="Hello?")
    await until(lambda: listener.read == "slow one two ")
    await handle.interrupt(force=True)
    await until(lambda: len(call.records) == 1)
    listener.read = ""
    call.session.generate_reply(user_input="Hello?")
    await until(lambda: listener.read == "slow one two ")
    await call.end()
    assert [(record.provenance, record.units) for record in call.records] == [("unknown", {})] * 2


@pytest.mark.parametrize("closes", [False, True])
async def test_a_voice_that_is_interrupted_is_estimated_by_what_it_was_given(closes: bool) -> None:
    """Its provider has the text and bills it; LiveKit tells nothing. By the caller's voice, or by the session's end."""
    voice = Voice(seconds=30)
    call = await Call(llm=Script("A rather long answer."), tts=voice).start(Greeter())
    handle = call.session.generate_reply(user_input="Hello?")
    await until(lambda: voice.bill)
    if not closes:
        await handle.interrupt(force=True)
    await call.end()
    (record,) = call.by("tts")
    assert (record.provenance, record.units, record.agent) == ("estimated", {"characters": voice.bill[0]}, "greeter")
    assert (record.low, record.high) == ({}, record.units)


async def test_only_what_nobody_told_of_is_estimated() -> None:
    """A voice that was heard to its end is reported; one that had only begun to be given its text may cost nothing."""
    voice, listener = Voice(), Listener()
    call = await Call(llm=Script("Good day.", "slow one two"), tts=voice).start(listener)
    await call.say()
    listener.given = ""
    handle = call.session.generate_reply(user_input="And?")
    await until(lambda: listener.given.rstrip() == "slow one")
    await handle.interrupt(force=True)
    await call.end()
    told, cut = call.by("tts")
    assert (told.provenance, [told.units["characters"]]) == ("reported", voice.bill)
    assert (cut.provenance, cut.low) == ("estimated", {})
    assert cut.units["characters"] in (len("slow one"), len("slow one "))  # a space at the end may wait for its word


async def test_a_node_that_speaks_without_the_voice_is_not_counted_as_the_voice() -> None:
    """An agent may play what it has; nobody bills it."""

    class Player(Agent):
        async def tts_node(self, text: Any, model_settings: Any) -> AsyncIterator[rtc.AudioFrame]:
            async for _ in text:
                yield rtc.AudioFrame(SILENCE, RATE, 1, RATE // 50)

    call = await Call(llm=Script("Good day."), tts=Voice()).start(Player(instructions="Play."))
    await call.say()
    await call.end()
    assert call.by("tts") == []


async def test_a_voice_asked_sentence_by_sentence_tells_by_itself_that_it_was_cut() -> None:
    """What had not been a sentence yet was never sent."""
    voice, listener = Voice(), Listener()
    call = await Call(llm=Script("slow one two"), tts=tts.StreamAdapter(tts=voice)).start(listener)
    handle = call.session.generate_reply(user_input="And?")
    await until(lambda: listener.given.rstrip() == "slow one")
    await handle.interrupt(force=True)
    await call.end()
    assert call.by("tts") == voice.bill == []


async def test_a_retried_request_is_a_failed_one_and_a_good_one() -> None:
    """The attempt that failed is counted and costs nothing; no metric comes for it."""
    script = Script("fail", "Good day.")
    call = Call(llm=script)
    call.session.conn_options.llm_conn_options = NO_WAIT
    await call.start(Greeter())
    await call.say()
    await call.end()
    assert [(record.success, record.error) for record in call.records] == [(False, "APIStatusError"), (True, None)]
    assert counted(call.records) == billed(script)


async def test_what_a_tool_asks_of_the_models_itself_is_counted() -> None:
    """The same components, used beside the reply."""

    class Clerk(Agent):
        @function_tool
        async def summarize(self, context: RunContext[Any]) -> str:
            """Summarize."""
            model = context.session.llm
            assert isinstance(model, llm.LLM)
            return (await model.chat(chat_ctx=llm.ChatContext.empty()).collect()).text

    script = Script("call summarize", "A summary.", "Here it is.")
    call = await Call(llm=script).start(Clerk(instructions="Help."))
    await call.say()
    await call.end()
    assert len(call.records) == len(script.bill) == 3
    assert counted(call.records) == billed(script)


# -- agents -----------------------------------------------------------------------------------------------------------


async def test_a_handoff_to_an_agent_with_its_own_model() -> None:
    """Each request once, under its model and the agent that spoke; the voice and the ear are the session's."""
    first, second, voice, ear = Script("call hand_over"), Script(model="script-2"), Voice(), Ear()
    greeter = Greeter()
    greeter.next_llm = second
    call = await Call(llm=first, tts=voice, stt=ear).start(greeter)
    await call.say()
    await until(lambda: len(second.bill) == 1)
    await call.say()
    call.mic.speak(1.1)
    await until(lambda: call.by("transcriber"))
    await call.end()
    assert spoken(call.by("agent")) == {("script-1", "greeter"): 1, ("script-2", "closer"): 2}
    assert spoken(call.by("tts")) == {("voice-1", "closer"): 2}
    assert spoken(call.by("transcriber")) == {("ear-1", "closer"): 1}
    assert counted(record for record in call.records if record.model == "script-2") == billed(second)


async def test_an_agent_that_comes_back_is_not_listened_to_twice() -> None:
    """The same objects again, handoff after handoff."""
    entered: list[Agent] = []

    class Returning(Greeter):
        async def on_enter(self) -> None:
            entered.append(self)

    script, voice = Script(), Voice()
    greeter, closer = Returning(llm=script), Returning(llm=script, tts=voice)
    call = await Call(llm=script, tts=voice).start(greeter)
    for turn, agent in enumerate((closer, greeter, closer), 2):
        call.session.update_agent(agent)
        await until(lambda turn=turn: len(entered) == turn)
        await call.say()
    await call.end()
    assert len(call.by("agent")) == len(script.bill) == 3
    assert len(call.by("tts")) == len(voice.bill) == 3


async def test_a_task_speaks_for_itself_and_then_its_agent_goes_on() -> None:
    """An AgentTask with a model of its own, awaited on entering; afterwards the first agent is heard again."""
    own = Script("What is your name?", "call finish", model="script-task")

    class AskName(AgentTask[str]):
        def __init__(self) -> None:
            super().__init__(instructions="Ask for the name.", llm=own)

        async def on_enter(self) -> None:
            await self.session.generate_reply(instructions="Ask.")

        @function_tool
        async def finish(self) -> None:
            """The name is known."""
            self.complete("Ada")

    class Host(Agent):
        async def on_enter(self) -> None:
            await AskName()
            await self.session.generate_reply(instructions="Thank them.")

    script = Script()
    call = await Call(llm=script).start(Host(instructions="Welcome."))
    await until(lambda: len(own.bill) == 1 and not call.session.current_speech)
    await call.say("Ada.")
    await until(lambda: len(script.bill) == 1 and not call.session.current_speech)
    await call.say()
    await call.end()
    assert spoken(call.records) == {("script-task", "ask_name"): 2, ("script-1", "host"): 2}
    assert counted(call.records)[1] == billed(script)[1] + billed(own)[1]


async def test_a_reply_asked_for_while_the_agent_changes_is_the_old_agents() -> None:
    """`update_agent` says the new one is current at once; LiveKit still lets the old one answer."""
    first, second = Script(), Script(model="script-2")
    call = await Call(llm=first).start(Greeter())
    call.session.update_agent(Closer(llm=second))
    await call.session.generate_reply(user_input="Still there?")
    await until(lambda: len(second.bill) == 1)
    await call.end()
    assert spoken(call.records) == {("script-1", "greeter"): 1, ("script-2", "closer"): 1}


async def test_components_swapped_in_during_the_call_are_heard() -> None:
    """`Agent.update_options`: LiveKit announces nothing."""
    old, new, ear, voice = Script(), Script(model="script-2"), Ear(model="ear-2"), Voice(model="voice-2")
    greeter = Greeter()
    call = await Call(llm=old, stt=Ear(), tts=Voice()).start(greeter)
    greeter.update_options(llm=new, stt=ear, tts=voice)
    await call.say()
    call.mic.speak(1.1)
    await until(lambda: ear.bill)
    await until(lambda: call.by("transcriber"))
    await call.end()
    assert {record.model for record in call.records} == {"script-2", "ear-2", "voice-2"}
    assert len(call.records) == 3


async def test_a_pipeline_tracked_after_its_start_is_counted_from_then_on() -> None:
    """With a warning; what was before is lost."""
    script = Script()
    session: AgentSession[Any] = AgentSession(llm=script)
    await session.start(Greeter())
    late = Call.__new__(Call)
    late.session, late.records = session, []
    late.tracking = late._track()
    await late.say()
    await late.end()
    assert len(late.records) == 1


async def test_a_session_started_again_is_heard_again() -> None:
    """The same session, agents and components, in a part of its own."""
    script = Script()
    call = Call(llm=script)
    for _ in range(2):
        await call.session.start(Greeter())
        await call.say()
        await call.session.aclose()
    await call.tracking.aclose()
    assert len(call.records) == len(script.bill) == 2
    assert len({record.part for record in call.records}) == 2


async def test_what_its_components_spend_after_a_calls_end_is_still_its_own() -> None:
    """A summary that a shutdown callback asks for, in the call's context or in its job: a part that is closed from the
    start, so the receipt stays true."""
    script = Script()

    async def in_its_job() -> None:
        with fake_job_context(job_id="afterwards"):
            await asked(script)

    with fake_job_context(job_id="afterwards") as ctx:
        call = await Call(ctx, llm=script).start(Greeter())
        await call.say()
        await call.end()
        await asked(script)
    await asyncio.create_task(in_its_job(), context=contextvars.Context())
    assert len(call.records) == len(script.bill) == 3
    assert len({record.part for record in call.records}) == 2
    assert call.tracking.summary().totals.requests == 1


async def test_what_a_calls_components_spend_for_others_is_not_its_own() -> None:
    """Nor after its end, when nobody else listens to them."""
    script = Script()
    call = await Call(llm=script).start(Greeter())
    await call.say()
    await call.end()
    await asyncio.create_task(asked(script), context=contextvars.Context())
    assert (len(call.records), len(script.bill)) == (1, 2)


async def asked(model: llm.LLM) -> None:
    """By code of the app's own; the request's metrics have been told when it returns."""
    async with model.chat(chat_ctx=llm.ChatContext.empty()) as stream:
        await stream.collect()


# -- several calls in one process -------------------------------------------------------------------------------------


async def _talk(call: Call, turns: int) -> None:
    for _ in range(turns):
        await call.say()
    call.mic.speak(turns * 1.04)
    await until(lambda: len(call.by("transcriber")) == turns)


def _shared() -> tuple[dict[str, Any], Callable[[], Call]]:
    components: dict[str, Any] = {"llm": Script(), "tts": Voice(), "stt": Ear()}
    return components, lambda: Call(**components)


async def test_calls_at_once_that_share_all_components_each_get_their_own() -> None:
    """Each component tells every call; the context of its stream says whose it is."""
    components, new_call = _shared()

    async def one(turns: int) -> Call:
        call = await new_call().start(Greeter())
        await _talk(call, turns)
        await call.end()
        return call

    calls = await asyncio.gather(*(one(turns) for turns in (1, 2, 3)))
    for turns, call in zip((1, 2, 3), calls, strict=True):
        assert {s: len(call.by(s)) for s in ("agent", "tts", "transcriber")} == dict.fromkeys(
            ("agent", "tts", "transcriber"), turns
        )
    assert len(components["llm"].bill) == 6


async def test_calls_led_by_one_task_that_share_all_components_each_get_their_own() -> None:
    """Replies asked for from outside inherit the asker's context, which knows of no call or of the other one."""
    _, new_call = _shared()
    first, second = await new_call().start(Greeter()), await new_call().start(Greeter())
    await first.say()
    await second.say()
    await first.session.run(user_input="And?")
    await asyncio.gather(_talk(first, 1), _talk(second, 2))
    empty = contextvars.Context()
    await asyncio.get_running_loop().create_task(first.say(), context=empty)
    await second.end()
    await first.say()
    await first.end()
    assert (len(first.by("agent")), len(second.by("agent"))) == (5, 3)
    assert (len(first.by("tts")), len(second.by("tts"))) == (5, 3)
    assert (len(first.by("transcriber")), len(second.by("transcriber"))) == (1, 2)


async def test_tools_that_use_a_shared_model_spend_their_own_calls_money() -> None:
    """Both calls are led by one task, and the reply of the first is asked for while the second is on."""

    class Clerk(Agent):
        @function_tool
        async def summarize(self, context: RunContext[Any]) -> str:
            """Summarize."""
            model = context.session.llm
            assert isinstance(model, llm.LLM)
            return (await model.chat(chat_ctx=llm.ChatContext.empty()).collect()).text

    script = Script("call summarize", "A summary.", "Here it is.")
    first = await Call(llm=script).start(Clerk(instructions="Help."))
    second = await Call(llm=script).start(Clerk(instructions="Help."))
    await first.say()
    await first.end()
    await second.end()
    assert (len(first.records), len(second.records)) == (3, 0)


# -- adapters ---------------------------------------------------------------------------------------------------------


async def test_a_fallback_is_counted_once_under_the_model_that_served() -> None:
    """The one that failed is a failed request of its own; the adapter is no model."""
    first, second = Script("fail", "fail"), Script(model="script-2")
    adapter = llm.FallbackAdapter([first, second])
    call = await Call(llm=adapter).start(Greeter())
    await call.say()
    await until(lambda: first.asked == 2)  # the adapter has looked whether it is well again
    await call.say()
    await call.end()
    good = [record for record in call.records if record.success]
    bad = [record for record in call.records if not record.success]
    assert spoken(bad) == {("script-1", "greeter"): 1}
    assert counted(good) == tuple(map(sum, zip(billed(first), billed(second), strict=True)))
    assert spoken(good)["script-2", "greeter"] == len(second.bill)
    await adapter.aclose()


async def test_fallbacks_of_ears_and_voices_are_counted_once() -> None:
    """Adapters pass on the metrics of what they hold."""
    ear, voice = Ear(), Voice()
    ears, voices = stt.FallbackAdapter([ear, Ear(model="ear-2")]), tts.FallbackAdapter([voice, Voice(model="voice-2")])
    call = await Call(llm=Script(), stt=ears, tts=voices).start(Greeter())
    await call.say()
    call.mic.speak(1.1)
    await until(lambda: call.by("transcriber"))
    await call.end()
    assert spoken(call.by("tts")) == {("voice-1", "greeter"): len(voice.bill)}
    assert spoken(call.by("transcriber")) == {("ear-1", "greeter"): len(ear.bill)}


async def test_a_voice_behind_a_stream_adapter_is_counted_sentence_by_sentence() -> None:
    """A request a sentence, each once."""
    voice = Voice()
    script = Script("This is the first sentence of it. And this here is the second sentence.")
    call = await Call(llm=script, tts=tts.StreamAdapter(tts=voice)).start(Greeter())
    await call.say()
    await call.end()
    assert [record.units["characters"] for record in call.by("tts")] == voice.bill == [33, 37]


async def test_realtime_fallbacks_are_counted_by_their_raw_events_alone() -> None:
    """One record a response, though the adapter passes on both the events and the metrics."""
    async with Provider(seed=1, knobs=QUICK) as provider:
        models = [
            openai.realtime.RealtimeModel(
                model=name, base_url=provider.base_url, api_key="not-a-key", modalities=["text"]
            )
            for name in ("gpt-realtime", "gpt-realtime-mini")
        ]
        adapter = RealtimeModelFallbackAdapter(models)
        call = await Call(llm=adapter).start(Greeter())
        await call.say()
        await adapter.restart_session(switch_model=True)
        await call.say()
        await call.end()
        for model in ("gpt-realtime", "gpt-realtime-mini"):
            units: Counter[str] = Counter()
            for record in call.records:
                units.update(record.units if record.model == model else {})
            assert dict(units) == provider.billed_units(model=model) != {}
        assert {record.agent for record in call.records} == {"greeter"}
        await adapter.aclose()


# -- openai's own components, and model strings -----------------------------------------------------------------------


@pytest.fixture
async def chat() -> AsyncIterator[ChatProvider]:
    async with ChatProvider() as chat:
        yield chat


def openai_llm(chat: ChatProvider) -> llm.LLM:
    return openai.LLM(model="gpt-4.1-mini", base_url=chat.base_url, api_key="not-a-key")


def inference_llm(chat: ChatProvider) -> llm.LLM:
    return inference.LLM("openai/gpt-4.1-mini", base_url=chat.base_url, api_key="not-a-key", api_secret="x" * 32)


@pytest.mark.parametrize(("make", "provider"), [(openai_llm, "openai"), (inference_llm, "livekit")])
async def test_what_is_counted_is_what_chat_completions_bill(
    chat: ChatProvider, make: Callable[[ChatProvider], llm.LLM], provider: str
) -> None:
    """LiveKit's own client, by its plugin and by LiveKit Inference, against a provider that keeps a bill."""
    model = make(chat)
    call = await Call(llm=model).start(Greeter())
    await call.say()
    await call.say()
    await call.end()
    prompt, cached = sum(b.prompt for b in chat.bill), sum(b.cached for b in chat.bill)
    units: Counter[str] = Counter()
    for record in call.records:
        units.update(record.units)
    assert units == {
        "input_text": prompt - cached,
        "cached_input_text": cached,
        "output_text": sum(b.completion for b in chat.bill),
    }
    assert {(record.model, record.provider) for record in call.records} == {(model.model, provider)}
    assert len(call.records) == len(chat.bill) == 2


async def test_what_goes_over_the_wire_is_of_the_agent_that_asked(chat: ChatProvider) -> None:
    """One model for two agents, and a tool's own client beside it: nothing twice, and a feature where one is said."""
    model, client = openai_llm(chat), sdk.AsyncOpenAI(base_url=chat.base_url, api_key="not-a-key")

    class Clerk(Greeter):
        async def on_enter(self) -> None:
            await self.session.generate_reply(instructions="Greet them.")
            with feature("search"):
                await client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "Which?"}])
            self.session.update_agent(Closer())

    call = await Call(llm=model).start(Clerk())
    await until(lambda: len(chat.bill) == 3)
    await call.end()
    assert [(record.service, record.model, record.agent, record.feature) for record in call.records] == [
        ("agent", "gpt-4.1-mini", "clerk", "unknown"),
        ("tool", "gpt-4.1", "clerk", "search"),
        ("agent", "gpt-4.1-mini", "closer", "unknown"),
    ]
    await client.close()


async def test_what_goes_over_the_wire_after_the_end_is_counted_once(chat: ChatProvider) -> None:
    """By the wire; the component, which is still listened to, tells it in vain."""
    model = openai_llm(chat)
    call = await Call(llm=model).start(Greeter())
    await call.say()
    await call.end()
    await asked(model)
    await until(lambda: len(call.records) == 2)
    await asyncio.sleep(0.2)  # shows that nothing more comes
    assert len(call.records) == len(chat.bill) == 2


async def test_a_refused_and_a_cut_chat_completion(chat: ChatProvider) -> None:
    """The refusal is a failed request; the cut one is billed by the provider, and estimated by what had come."""
    call = Call(llm=openai_llm(chat))
    call.session.conn_options.llm_conn_options = NO_WAIT
    listener = Listener()
    await call.start(listener)
    chat.refusals = 1
    await call.say()
    listener.read, chat.hesitation = "", 60.0
    handle = call.session.generate_reply(user_input="Tell me more.")
    await until(lambda: len(listener.read.split()) == len(chat.answer.split()) - 1)
    await handle.interrupt(force=True)
    await call.end()
    assert [(record.success, record.provenance) for record in call.records] == [
        (False, "reported"),
        (True, "reported"),
        (True, "estimated"),
    ]
    assert call.records[-1].units["output_text"] == pytest.approx(len(chat.answer.split()), abs=1)


async def test_model_strings_are_livekits_own_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiveKit Inference bills them: the provider is livekit, the model keeps its vendor."""
    monkeypatch.setenv("LIVEKIT_API_KEY", "not-a-key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "x" * 32)
    call = Call(llm="openai/gpt-4.1-mini", stt="deepgram/nova-3", tts="cartesia/sonic-3")
    session = call.session
    for component, event in ((session.llm, _llm_event()), (session.stt, _stt_event()), (session.tts, _tts_event())):
        component.emit("metrics_collected", event)
    await call.tracking.aclose()
    assert [(record.provider, record.model) for record in call.records] == [
        ("livekit", "openai/gpt-4.1-mini"),
        ("livekit", "deepgram/nova-3"),
        ("livekit", "cartesia/sonic-3"),
    ]


def _llm_event() -> LLMMetrics:
    return LLMMetrics(
        label="",
        request_id="",
        timestamp=0,
        duration=1,
        ttft=1,
        cancelled=False,
        completion_tokens=1,
        prompt_tokens=1,
        prompt_cached_tokens=0,
        total_tokens=2,
        tokens_per_second=1,
    )


def _stt_event() -> STTMetrics:
    return STTMetrics(label="", request_id="", timestamp=0, duration=0, audio_duration=1, streamed=True)


def _tts_event() -> TTSMetrics:
    return TTSMetrics(
        label="",
        request_id="",
        timestamp=0,
        ttfb=1,
        duration=1,
        audio_duration=1,
        cancelled=False,
        characters_count=1,
        streamed=True,
    )
