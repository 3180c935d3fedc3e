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

from collections.abc import Iterator
from typing import Any

from livekit.agents import llm, stt, tts

from livekit_tokens.capture import ears, nodes, spending
from livekit_tokens.capture.listening import listener
from livekit_tokens.capture.metrics import Fields, cut_off
from livekit_tokens.capture.nodes import Reply
from livekit_tokens.capture.session_time import SessionTime
from livekit_tokens.capture.spending import Payer, Spending
from livekit_tokens.capture.utterances import Utterance

_KINDS = {"llm": (llm.LLM, "agent"), "stt": (stt.STT, "transcriber"), "tts": (tts.TTS, "tts")}
"""What an owner of components calls them, their class, and the service that they are."""


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
        nodes.follow(agent, self)

    def on_speech(self, event: Any) -> None:
        """A reply begins, in the context that asked for it: its tools may use the components by themselves."""
        reply: list[Utterance] = []
        self._spend(Reply(self, reply))
        event.speech_handle.add_done_callback(
            listener(lambda handle: self._after(handle, reply), "the end of a reply could not be followed")
        )

    def _spend(self, reply: Reply | None = None) -> None:
        spending.spend(Spending(self.payer, self._speaking))
        nodes.current.set(reply)

    def _after(self, handle: Any, reply: list[Utterance]) -> None:
        """The reply is over: what an interrupted voice was given, and nobody told of, is estimated."""
        for utterance in reply if handle.interrupted else ():
            if utterance.is_missing:
                self.write(cut_off(utterance.voice, utterance.characters), utterance.agent)

    def listen_to(self, owner: Any) -> None:
        """Listen to the llm, stt and tts of a session or an agent. What is listened to already stays so."""
        for component, service in _components_of(owner):
            ears.listen(component, service, self)

    def listen_to_realtime(self, session: Any) -> None:
        """Listen to the metrics of a realtime session, for what its raw events do not tell."""
        ears.RealtimeEar(self, session)

    def stop(self) -> None:
        """The session is over: what is still told of it, in its context, is spent afterwards."""
        for time in self.times:
            time.end()
        self.times.clear()
        self.over = True
        ears.forget(self)
        nodes.forget(self)

    # -- what is told ---------------------------------------------------------------------------------------------

    def write(self, fields: Fields | None, agent: str | None = None) -> None:
        """Record what an event told, if it was a request; by the agent that speaks now where no other is named."""
        if fields is None:
            return
        writer = self.payer.writer
        writer.write(writer.new_record(**fields, **({"agent": agent} if agent is not None else {})))


def _components_of(owner: Any) -> Iterator[tuple[Any, str]]:
    # An agent's may be NOT_GIVEN (the session's is used) or None (none is); a realtime model has no metrics.
    for name, (kind, service) in _KINDS.items():
        component = getattr(owner, name, None)
        if isinstance(component, kind):
            yield component, service
