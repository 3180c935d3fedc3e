"""One realtime session's raw events, each response and each input transcription turned into one usage record.

The provider's own figures are read from the public `openai_server_event_received` event, before LiveKit decides
which response it wants: cancelled, discarded, late and unclaimed responses are billed too. The client's own events
(`openai_client_event_queued`) tell what was asked for and never announced, and what items hold.
Source: OpenAI API reference, Realtime events. Seen on livekit-agents 1.8.9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

from livekit_tokens.capture.conversation import ConversationListener
from livekit_tokens.capture.expectations import Expectations
from livekit_tokens.capture.labels import labelled
from livekit_tokens.capture.listening import listener
from livekit_tokens.capture.raw import Event, mapping, text
from livekit_tokens.capture.responses import Responses
from livekit_tokens.capture.spending import Writer
from livekit_tokens.capture.transcriptions import Transcriptions
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core import faults

Handler = Callable[[Event], None]


class RealtimeWitness:
    """Listens to one realtime session for one part. `model` answers the model and provider that serve it now."""

    def __init__(self, writer: Writer, model: Callable[[], tuple[str, str]], pending_prefix: str) -> None:
        self._serving = model
        self._unsettled = Unsettled(writer, self._named, pending_prefix)
        self._conversation = ConversationListener()
        expectations = Expectations(self._conversation)
        self._responses = Responses(self._unsettled, self._conversation, expectations)
        self._transcriptions = Transcriptions(self._unsettled, self._conversation)
        self.on_event = _told_of(
            expectations.server_handlers,
            self._conversation.server_handlers,
            self._responses.server_handlers,
            self._transcriptions.server_handlers,
            {"error": self._on_error},
        )
        """Take one server event as JSON gave it."""
        self.on_client_event = _told_of(
            self._transcriptions.client_handlers,
            expectations.client_handlers,
            self._conversation.client_handlers,
            self._responses.client_handlers,
        )
        """Take one event that the client is about to send."""

    def write_to(self, writer: Writer) -> None:
        """Write for another part from now on, also of what is in flight: the call goes on in a new one."""
        if self._unsettled.writer is writer:
            return
        self._unsettled.writer = writer
        self._responses.pend_again()
        self._transcriptions.pend_again()

    def attach(self, session: Any) -> None:
        """Listen to a livekit RealtimeSession from its first event on."""
        session.on("openai_server_event_received", listener(self.on_event, "a realtime event could not be read"))
        session.on("openai_client_event_queued", listener(self.on_client_event, "a client event could not be read"))
        session.on("session_reconnected", listener(lambda _: self.give_up(), "a reconnection could not be followed"))
        if callable(send := getattr(session, "send_event", None)):
            session.send_event = self._labelling(send)

    def _labelling(self, send: Callable[[Any], None]) -> Callable[[Any], None]:
        """Notes for which feature a response is asked for: the context that asks is not the one that sends."""
        note = listener(self._note_feature, "a response's feature could not be noted")

        @wraps(send)
        def send_event(event: Any) -> None:
            note(event)
            send(event)

        return send_event

    def _note_feature(self, event: Any) -> None:
        if (name := labelled()) is None:
            return
        told = event.get if isinstance(event, dict) else partial(getattr, event)
        if told("type", None) == "response.create" and (asked := text(told("event_id", None))) is not None:
            self._responses.label(asked, name)

    def _on_error(self, event: Event) -> None:
        """The server refuses an event of the client's."""
        error = mapping(event.get("error"))
        asked, code = text(error.get("event_id")), text(error.get("code"))
        if code == "input_audio_buffer_commit_empty":
            self._transcriptions.refused()
        if asked is not None:
            self._responses.refused(asked, (code or "refused")[:100])

    def _named(self) -> tuple[str, str]:
        model, provider = self._serving()
        # LiveKit knows of an Azure deployment only its name; the session says what it runs (1.8.9).
        if provider == "azure" and self._conversation.model is not None:
            model = self._conversation.model
        return model, provider

    # -- the end --------------------------------------------------------------------------------------------------

    @property
    def awaited(self) -> int:
        """How many requests may still bring their figures."""
        return self._unsettled.awaited

    async def finish(self, seconds: float) -> None:
        """Wait until all that is in flight has brought its figures, at most so long."""
        try:
            await asyncio.wait_for(self._unsettled.all_settled(), seconds)
        except TimeoutError:
            faults.note("a response brought no figures before its session closed", open=self.awaited)

    def give_up(self, *, broken: bool = True) -> None:
        """The channel can bring nothing more: what is still in flight becomes an estimate. Not `broken`: it was waited
        for until all that was sent must have arrived."""
        self._responses.give_up(broken=broken)
        self._transcriptions.give_up()


def _told_of(*handlers: Mapping[str, Handler]) -> Callable[[Any], None]:
    """Hands an event to those who take its type, in this order; unknown types are passed over."""
    together: dict[str, tuple[Handler, ...]] = {}
    for one in handlers:
        for kind, handler in one.items():
            together[kind] = (*together.get(kind, ()), handler)

    def tell(event: Any) -> None:
        if isinstance(event, dict) and isinstance(kind := event.get("type"), str):
            for handler in together.get(kind, ()):
                handler(event)

    return tell
