"""What a component tells, and which call it is told for: one listener a component, whichever calls it serves.

By the context in which it is told; what the wire has recorded already is told in vain (`witnesses.py`).
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

from livekit.agents import get_job_context, llm, stt, tts
from livekit.agents.metrics import LLMMetrics, STTMetrics, TTSMetrics

from livekit_tokens.capture import nodes, spending, witnesses
from livekit_tokens.capture.listening import listener
from livekit_tokens.capture.metrics import Fields, failed, session_time, spent, unavailable
from livekit_tokens.capture.session_time import SessionTime
from livekit_tokens.capture.spending import Payer
from livekit_tokens.core import faults

if TYPE_CHECKING:
    from livekit_tokens.capture.components import ComponentWitness

_FALLBACKS = {
    llm.FallbackAdapter: "llm_availability_changed",
    stt.FallbackAdapter: "stt_availability_changed",
    tts.FallbackAdapter: "tts_availability_changed",
}
_ADAPTERS = (*_FALLBACKS, stt.StreamAdapter, tts.StreamAdapter)
_ears: WeakKeyDictionary[Any, _Ear] = WeakKeyDictionary()
_attaching = threading.Lock()  # calls in threads of one process may share a component
_lately: deque[object] = deque(maxlen=4)
"""The last metrics. An adapter passes on its inner component's event at once, and both may be listened to."""


def listen(component: Any, service: str, witness: ComponentWitness) -> None:
    """Listen to this llm, stt or tts for this call, too; `service` is what it is for."""
    with _attaching:
        witnesses.mark(component, service, of_several=isinstance(component, _ADAPTERS))
        if (ear := _ears.get(component)) is None:
            ear = _ears[component] = _Ear(component)
        ear.witnesses.add(witness)


def forget(witness: ComponentWitness) -> None:
    """The call is over: what is told without a context is not its any more. A component is listened to for as long as
    it lives: a shutdown callback may ask it for more, in its call's context."""
    with _attaching:
        for ear in list(_ears.values()):
            ear.witnesses.discard(witness)


class _Ear:
    """The one listener on one component, whichever calls it serves."""

    def __init__(self, component: Any) -> None:
        self._component = ref(component)
        self.witnesses: WeakSet[ComponentWitness] = WeakSet()
        self._streams: deque[TTSMetrics] = deque(maxlen=32)
        # A FallbackAdapter's own error is no request: it only says that all of its components have failed.
        fallback = next((event for kind, event in _FALLBACKS.items() if isinstance(component, kind)), None)
        component.on("metrics_collected", listener(self._on_metrics, "a component's metrics could not be read"))
        component.on(
            fallback or "error",
            listener(self._on_unavailable if fallback else self._on_error, "a component's error could not be read"),
        )

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
        reply, told = nodes.current.get(), spending.told()
        if reply is not None and reply.utterance is not None:
            reply.utterance.told |= fields["service"] == "tts"
        if told is not None and (witness := self._witness_of(told.payer)) is not None:
            witness.write(fields, None if heard else told.agent)
        elif (whose := spending.whose()) is not None and (whose.payer.by_hand or whose.payer.over):
            if (spender := spending.current()) is not None:
                spender.writer.write(spender.new_record(**fields))
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


class RealtimeEar:
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
