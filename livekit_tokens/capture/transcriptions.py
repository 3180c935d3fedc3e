"""A realtime session's input transcriptions: each item's becomes one usage record of the transcriber, by tokens or by
duration, whichever the provider tells. One that was under way when the connection ended is estimated: it is billed
when the audio is committed. Source: OpenAI API reference, `conversation.item.input_audio_transcription.*`.
"""

from __future__ import annotations

from dataclasses import replace

from livekit_tokens.capture.conversation import ConversationListener
from livekit_tokens.capture.raw import Event, Recent, mapping, text, whole
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core import faults, whisper
from livekit_tokens.core.lines import Pend
from livekit_tokens.core.pending import transcribed
from livekit_tokens.core.vocabulary import count_in_call
from livekit_tokens.core.whisper import Transcription
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_transcription_usage
from livekit_tokens.domain.usage import UsageRecord

UNKNOWN_MODEL = "unknown"
SHORTEST_MS = 100
"""OpenAI refuses to commit less audio: `input_audio_buffer_commit_empty`."""


class Transcriptions:
    """Listens to one realtime session's input transcriptions."""

    def __init__(self, unsettled: Unsettled, conversation: ConversationListener) -> None:
        self._unsettled = unsettled
        self._conversation = conversation
        self._in_flight: dict[str, Pend] = {}
        self._committed: Pend | None = None
        """What the client has committed, until that is told back, with the item that it has become."""
        self._told = Recent()
        self.client_handlers = {"input_audio_buffer.commit": self._on_commit}
        self.server_handlers = {
            "input_audio_buffer.committed": self._on_committed,
            "conversation.item.input_audio_transcription.completed": self._on_completed,
            "conversation.item.input_audio_transcription.failed": self._on_failed,
        }

    def _on_commit(self, _: Event) -> None:
        """The client ends a turn: it may be billed from now on, also where the connection ends before that is told."""
        spoken_ms = self._conversation.unheard_ms
        if self._conversation.transcription_model is not None and self._committed is None and spoken_ms >= SHORTEST_MS:
            self._committed = self._unsettled.transcription(self._begun(None), spoken_ms)

    def refused(self) -> None:
        """There was nothing to be committed."""
        committed, self._committed = self._committed, None
        if committed is not None:
            self._unsettled.forget(committed.id)

    def _on_committed(self, event: Event) -> None:
        self.refused()  # from here on it is that item's
        item = text(event.get("item_id"))
        if item is None or self._conversation.transcription_model is None or item in self._in_flight:
            return
        spoken_ms = self._conversation.spoken_ms.get(item)
        self._in_flight[item] = self._unsettled.transcription(self._begun(item), spoken_ms)

    def _on_completed(self, event: Event) -> None:
        item = text(event.get("item_id"))
        if not self._is_first(item, event):
            self._come_late(item, event.get("usage"))
            return
        pend = self._in_flight.pop(item or "", None)
        begun = self._begun(item) if pend is None else pend.record
        try:
            transcription = self._transcription(event, item, begun.model)
        except ImpossibleUsage as error:
            faults.note("a transcription holds impossible usage; recorded as unknown", error)
            transcription = Transcription({}, "unknown", metadata={"fault": str(error)})
        self._settle(pend, begun, transcription)

    def _transcription(self, event: Event, item: str | None, model: str) -> Transcription:
        usage, transcript = event.get("usage"), event.get("transcript")
        spoken_ms = self._conversation.spoken_ms.pop(item, None) if item is not None else None
        units = split_transcription_usage(usage) if usage is not None else {}
        if usage is not None and "seconds" not in usage:
            return Transcription(units, "reported")
        count = count_in_call(transcript, model) if isinstance(transcript, str) else None
        return whisper.without_usage(model, count, spoken_ms) if usage is None else whisper.with_duration(units, count)

    def _on_failed(self, event: Event) -> None:
        error = text(mapping(event.get("error")).get("code")) or "transcription_failed"
        item = text(event.get("item_id"))
        if self._is_first(item, event):
            pend = self._in_flight.pop(item or "", None)
            begun = self._begun(item) if pend is None else pend.record
            self._settle(pend, begun, Transcription({}, "reported"), error[:100])

    def _is_first(self, item: str | None, event: Event) -> bool:
        """Each item's content is transcribed and billed once, however often that is told."""
        if item is None:
            return True
        place = (item, whole(event.get("content_index")) or 0)
        first = place not in self._told
        self._told.add(place)
        return first

    def _come_late(self, item: str | None, usage: object) -> None:
        try:
            if item is not None and usage is not None:
                self._unsettled.come_late(item, split_transcription_usage(usage))
        except ImpossibleUsage as error:
            faults.note("late figures are impossible; not kept", error)

    def pend_again(self) -> None:
        """What is in flight is another part's now."""
        for pend in self._in_flight.values():
            self._unsettled.again(pend)

    def give_up(self) -> None:
        """The connection can bring nothing more."""
        now = self._unsettled.writer.now()
        if (committed := self._committed) is not None:
            self._committed = None
            record = transcribed(replace(committed.record, at=now), committed.spoken_ms)
            self._unsettled.settle(committed.id, replace(record, low={}))  # nobody knows whether it has been read
        for item, pend in list(self._in_flight.items()):
            del self._in_flight[item]
            self._told.add((item, 0))
            self._unsettled.settle(pend.id, transcribed(replace(pend.record, at=now), pend.spoken_ms))

    def _begun(self, item: str | None) -> UsageRecord:
        """As far as it is known before anything was heard of it; the model is what the session says now."""
        writer = self._unsettled.writer
        _, provider = self._unsettled.model()
        return UsageRecord(
            part=writer.part.key,
            at=writer.now(),
            service="transcriber",
            provider=provider,
            model=self._conversation.transcription_model or UNKNOWN_MODEL,
            operation="transcription",
            units={},
            provenance="unknown",
            agent=writer.agent(),
            feature=writer.feature(),
            request_id=item,
        )

    def _settle(self, pend: Pend | None, begun: UsageRecord, told: Transcription, error: str | None = None) -> None:
        writer = self._unsettled.writer
        record = UsageRecord(
            part=writer.part.key,
            at=writer.now(),
            service=begun.service,
            provider=begun.provider,
            model=begun.model,
            operation=begun.operation,
            units=told.units,
            provenance=told.provenance,
            informational=told.informational,
            low=told.low,
            high=told.high,
            agent=writer.agent(),
            feature=writer.feature(),
            success=error is None,
            error=error,
            request_id=begun.request_id,
            metadata=told.metadata,
        )
        self._unsettled.settle(pend.id if pend is not None else None, record)
