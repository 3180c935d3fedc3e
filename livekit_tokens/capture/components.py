"""The metrics of pipelines: every llm, stt and tts that a session or its agents use, each request recorded once.

Who speaks for which request, in one place:

| spent by | witness |
|---|---|
| a realtime conversation whose raw OpenAI events are heard | those events (`realtime.py`); its metrics only for time that is billed by connection |
| any other realtime or duplex conversation | the metrics of its realtime session |
| an llm, stt or tts, alone or in a FallbackAdapter or StreamAdapter, whose request goes over OpenAI's protocol | the wire (`wire/`): attempts, cut-off streams and usage that LiveKit leaves out; the metrics of that call are then silent (`witnesses.py`) |
| any other llm, stt or tts | the metrics of the outermost component, which passes on those of the inner ones under their own names |
| calls by the agent's own code, and by `metered` clients | the wire |

A component may serve several calls at once, and tells its metrics to all of them. Whose they are is said by the
context of the stream's own tasks: measured on livekit-agents 1.8.9, metrics are emitted in a task that inherits the
context in which the stream was made. So each agent's nodes (public, called in a task of their own) put call and agent
into a context variable. Setting it at AgentHandoff alone misses what is asked for from outside (`generate_reply` in
an entrypoint) and what is swapped in later (`Agent.update_options`), and a transcriber's stream outlives the agent.
"""  # noqa: E501 - a table

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from livekit.agents import get_job_context, llm, stt, tts
from livekit.agents.metrics import LLMMetrics, STTMetrics, TTSMetrics

from livekit_tokens.capture import spending, witnesses
from livekit_tokens.capture.listening import listener
from livekit_tokens.capture.metrics import Fields, cut_off, failed, session_time, spent, unavailable
from livekit_tokens.capture.session_time import SessionTime
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.utterances import Utterance
from livekit_tokens.core import faults

_NODES = ("stt_node", "llm_node", "tts_node")
_KINDS = {"llm": (llm.LLM, "agent"), "stt": (stt.STT, "transcriber"), "tts": (tts.TTS, "tts")}
"""What an owner of components calls them, their class, and the service that they are."""
_FALLBACKS = {
    llm.FallbackAdapter: "llm_availability_changed",
    stt.FallbackAdapter: "stt_availability_changed",
    tts.FallbackAdapter: "tts_availability_changed",
}
_ADAPTERS = (*_FALLBACKS, stt.StreamAdapter, tts.StreamAdapter)


@dataclass(frozen=True, slots=True)
class _Reply:
    """For which reply of whose call this context works, and which utterance of it."""

    witness: ComponentWitness
    utterances: list[Utterance]
    utterance: Utterance | None = None


_reply: ContextVar[_Reply | None] = ContextVar("livekit_tokens_reply", default=None)
_ears: WeakKeyDictionary[Any, _Ear] = WeakKeyDictionary()
_followed: WeakKeyDictionary[Any, ComponentWitness] = WeakKeyDictionary()
_attaching = threading.Lock()  # calls in threads of one process may share a component
_lately: deque[object] = deque(maxlen=4)
"""The last metrics. An adapter passes on its inner component's event at once, and both may be listened to."""


class ComponentWitness:
    """Records what one call's components tell."""

    def __init__(self, payer: Payer) -> None:
        self.payer = payer
        self._speaking: str | None = None
        self.over = False
        self.times: list[SessionTime] = []

    # -- where to listen ------------------------------------------------------------------------------------------

    def begin(self, session: Any | None) -> None:
        """From here on, what the running code spends is this call's; its session has not started yet, if it has one."""
        self._spend()
        if session is not None:
            self.listen_to(session)

    def follow(self, session: Any, agent_id: str | None = None) -> None:
        """Listen to the session's components and to those of its current agent, which starts now.

        Called where the agent is announced: what its tasks spend from here on is this call's.
        """
        self.over = False  # a session may be started again
        agent = session.current_agent
        self._speaking = agent_id or agent.id
        self._spend()
        self.listen_to(session)
        self.listen_to(agent)
        with _attaching:
            _followed[agent] = self
        _mark_nodes(agent)

    def on_speech(self, event: Any) -> None:
        """A reply begins, in the context that asked for it: its tools may use the components by themselves."""
        reply: list[Utterance] = []
        self._spend(_Reply(self, reply))
        event.speech_handle.add_done_callback(
            listener(lambda handle: self._after(handle, reply), "the end of a reply could not be followed")
        )

    def _spend(self, reply: _Reply | None = None) -> None:
        spending.spend(Spending(self.payer, self._speaking))
        _reply.set(reply)

    def _after(self, handle: Any, reply: list[Utterance]) -> None:
        """The reply is over: what an interrupted voice was given, and nobody told of, is estimated."""
        for utterance in reply if handle.interrupted else ():
            if utterance.is_missing:
                self.write(cut_off(utterance.voice, utterance.characters), utterance.agent)

    def listen_to(self, owner: Any) -> None:
        """Listen to the llm, stt and tts of a session or an agent. What is listened to already stays so."""
        for component, service in _components_of(owner):
            with _attaching:
                witnesses.mark(component, service, of_several=isinstance(component, _ADAPTERS))
                if (ear := _ears.get(component)) is None:
                    ear = _ears[component] = _Ear(component)
                ear.witnesses.add(self)

    def listen_to_realtime(self, session: Any) -> None:
        """Listen to the metrics of a realtime session, for what its raw events do not tell."""
        _RealtimeEar(self, session)

    def stop(self) -> None:
        """The session is over: listen no more."""
        for time in self.times:
            time.end()
        self.times.clear()
        self.over = True
        with _attaching:
            for ear in list(_ears.values()):
                ear.forget(self)
            for agent in [agent for agent, witness in _followed.items() if witness is self]:
                del _followed[agent]

    # -- what is told ---------------------------------------------------------------------------------------------

    def write(self, fields: Fields | None, agent: str | None = None) -> None:
        """Record what an event told, if it was a request; by the agent that speaks now where no other is named."""
        if fields is None:
            return
        if self.over:
            faults.note("a component told its usage after its call was over; not counted")
            return
        writer = self.payer.writer
        writer.write(writer.new_record(**fields, **({"agent": agent} if agent is not None else {})))


class _Ear:
    """The one listener on one component, whichever calls it serves."""

    def __init__(self, component: Any) -> None:
        self._component = ref(component)
        self.witnesses: WeakSet[ComponentWitness] = WeakSet()
        self._streams: deque[TTSMetrics] = deque(maxlen=32)
        # A FallbackAdapter's own error is no request: it only says that all of its components have failed.
        fallback = next((event for kind, event in _FALLBACKS.items() if isinstance(component, kind)), None)
        self._listeners = {
            "metrics_collected": listener(self._on_metrics, "a component's metrics could not be read"),
            fallback or "error": listener(
                self._on_unavailable if fallback else self._on_error, "a component's error could not be read"
            ),
        }
        for event, handler in self._listeners.items():
            component.on(event, handler)

    def forget(self, witness: ComponentWitness) -> None:
        """Listen no more for this call; for the last one, no more at all."""
        if witness not in self.witnesses:
            return
        self.witnesses.discard(witness)
        component = self._component()
        if not self.witnesses and component is not None:
            for event, handler in self._listeners.items():
                component.off(event, handler)
            _ears.pop(component, None)

    def _on_metrics(self, event: Any) -> None:
        if any(event is seen for seen in list(_lately)):
            return
        _lately.append(event)
        if isinstance(event, TTSMetrics) and self._was_told_as_stream(event):
            return
        self._tell(spent(event, self._component()), isinstance(event, STTMetrics))

    def _on_error(self, event: Any) -> None:
        self._tell(failed(event, self._component()), isinstance(event, stt.STTError))

    def _on_unavailable(self, event: Any) -> None:
        self._tell(unavailable(event), hasattr(event, "stt"))

    def _was_told_as_stream(self, event: TTSMetrics) -> bool:
        """Voices that synthesize by streaming (inference.TTS) report the stream, and once more the whole around it.

        Seen on livekit-agents 1.8.9: `TTS._synthesize_with_stream`.
        """
        if event.streamed:
            self._streams.append(event)
            return False
        began = event.timestamp - event.duration
        for stream in self._streams:
            if stream.characters_count == event.characters_count and began <= stream.timestamp <= event.timestamp:
                self._streams.remove(stream)
                return True
        return False

    def _tell(self, fields: Fields | None, heard: bool) -> None:
        """`heard`: a transcriber's stream is handed on from agent to agent, so it is the current agent's."""
        if fields is None or witnesses.is_told(fields):
            return
        reply, told = _reply.get(), spending.told()
        if reply is not None and reply.utterance is not None:
            reply.utterance.told |= fields["service"] == "tts"
        if told is not None and (witness := self._witness_of(told.payer)) is not None:
            witness.write(fields, None if heard else told.agent)
        elif told is not None and told.payer.by_hand:
            if (spender := spending.current()) is not None:
                spender.writer.write(spender.new_record(**fields))
        elif told is not None and told.payer.over:
            faults.note("a component told its usage after its call was over; not counted")
        elif (witness := self._only_witness()) is not None:
            witness.write(fields)

    def _witness_of(self, payer: Payer) -> ComponentWitness | None:
        return next((witness for witness in list(self.witnesses) if witness.payer is payer), None)

    def _only_witness(self) -> ComponentWitness | None:
        """Whose it is where no context says so: what the app itself asked of the component, outside of any reply."""
        witnesses = list(self.witnesses)
        if len(witnesses) > 1 and (ctx := get_job_context(required=False)) is not None:
            witnesses = [witness for witness in witnesses if witness.payer.job == ctx.job.id] or witnesses
        if len(witnesses) > 1:
            faults.note("a component that calls share was used outside of them; counted for the one that began first")
        return min(witnesses, key=lambda witness: witness.payer.number, default=None)


class _RealtimeEar:
    """Listens to one realtime session's metrics, and to whether its raw events speak for it.

    A RealtimeModelFallbackAdapter may go on with another provider: after each reconnection it is open again.
    """

    def __init__(self, witness: ComponentWitness, session: Any) -> None:
        self._witness = witness
        self._session = ref(session)
        self._raw = False
        self._time = SessionTime(lambda: witness.payer.writer)
        if (duplex := getattr(session, "duplex_session", None)) is not None:
            self._time.attach(duplex)
        witness.times.append(self._time)
        self._await_raw()
        session.on("metrics_collected", listener(self._on_metrics, "a realtime session's metrics could not be read"))
        session.on("session_reconnected", listener(self._on_reconnected, "a reconnection could not be followed"))

    def _await_raw(self) -> None:
        if (session := self._session()) is not None:
            handler = listener(self._on_raw, "a realtime event could not be noticed")
            session.once("openai_server_event_received", handler)

    def _on_raw(self, _: object) -> None:
        self._raw = True

    def _on_reconnected(self, _: object) -> None:
        self._time.end()
        if self._raw:
            self._raw = False
            self._await_raw()

    def _on_metrics(self, event: Any) -> None:
        session = self._session()
        model = session.realtime_model if session is not None else None
        if (grown := session_time(event, model)) is not None and not self._witness.over:
            self._time.grow(*grown)
        # A duplex model's backend is told of by metrics alone.
        if not self._raw or isinstance(event, LLMMetrics):
            self._witness.write(spent(event, model))


def _components_of(owner: Any) -> Iterator[tuple[Any, str]]:
    # An agent's may be NOT_GIVEN (the session's is used) or None (none is); a realtime model has no metrics.
    for name, (kind, service) in _KINDS.items():
        component = getattr(owner, name, None)
        if isinstance(component, kind):
            yield component, service


def _mark_nodes(agent: Any) -> None:
    """Let the agent's nodes say whose money they spend, and notice a component that was swapped in since."""
    for name in _NODES:
        node = getattr(agent, name)
        if not hasattr(node, "livekit_tokens_marks"):
            setattr(agent, name, _marking(agent, node, name))


def _marking(agent: Any, node: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(node)
    def marked(given: Any, *args: Any, **kwargs: Any) -> Any:
        witness = _followed.get(agent)
        if witness is not None:
            try:
                witness.listen_to(agent)
                utterance = _begin(witness, agent, speaks=name == "tts_node")
                given = given if utterance is None else utterance.overhear(given)
            except Exception as error:  # noqa: BLE001 - the node runs in any case
                faults.note("an agent's components could not be listened to", error)
        return node(given, *args, **kwargs)

    marked.livekit_tokens_marks = True  # type: ignore[attr-defined]
    return marked


def _begin(witness: ComponentWitness, agent: Any, *, speaks: bool) -> Utterance | None:
    """A node of this agent begins, in a task of its own."""
    before = _reply.get()
    spending.spend(Spending(witness.payer, agent.id))
    if before is None or before.witness is not witness:
        _reply.set(None)
        return None
    utterance = None
    if speaks and (voice := _voice_of(agent)) is not None:
        utterance = Utterance(voice, agent.id)
        before.utterances.append(utterance)
    _reply.set(replace(before, utterance=utterance))
    return utterance


def _voice_of(agent: Any) -> tts.TTS[Any] | None:
    """The voice that streams what this agent says; one that is asked sentence by sentence tells of each, cut or not."""
    own = agent.tts
    voice = own if own is None or isinstance(own, tts.TTS) else agent.session.tts
    streams = isinstance(voice, tts.TTS) and voice.capabilities.streaming and not isinstance(voice, tts.StreamAdapter)
    return voice if streams else None
