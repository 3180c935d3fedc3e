"""A realtime session's input transcriptions: each item's becomes one usage record of the transcriber, by tokens or by
duration, whichever the provider tells. One that was under way when the connection ended is estimated: it is billed
when the audio is committed. Source: OpenAI API reference, `conversation.item.input_audio_transcription.*`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from livekit_tokens.capture.conversation import ConversationListener
from livekit_tokens.capture.raw import Event, Recent, mapping, text, whole
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core import faults, whisper
from livekit_tokens.core.lines import Done, Pend, counts_in
from livekit_tokens.core.pending import settled, transcribed
from livekit_tokens.core.vocabulary import count_in_call
from livekit_tokens.core.whisper import Count
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
        spoken_ms = self._conversation.spoken_ms.pop(item or "", None)
        usage, transcript = event.get("usage"), event.get("transcript")
        at = self._unsettled.writer.now()
        done = Done("" if pend is None else pend.id, at, counts_in(usage), request_id=item)
        if pend is None:
            pend = Pend("", at, self._begun(item))
        if usage is None:
            told = whisper.without_usage(pend.record.model, _counted(pend, transcript), spoken_ms)
            self._settle(pend, replace(pend.record, at=at, **told._asdict()))
        elif pend.id and done.counts is not None:
            self._unsettled.done(done, partial(_made, pend, transcript if done.is_by_duration else None))
        else:
            self._settle(pend, settled(pend, done, usage, _counted(pend, transcript)))

    def _on_failed(self, event: Event) -> None:
        error = text(mapping(event.get("error")).get("code")) or "transcription_failed"
        item = text(event.get("item_id"))
        if self._is_first(item, event):
            at = self._unsettled.writer.now()
            pend = self._in_flight.pop(item or "", None) or Pend("", at, self._begun(item))
            self._settle(pend, settled(pend, Done(pend.id, at, error=error[:100], request_id=item)))

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

    def _settle(self, pend: Pend, record: UsageRecord) -> None:
        self._unsettled.settle(pend.id or None, record)


def _made(pend: Pend, transcript: object, done: Done) -> UsageRecord:
    """The transcript is counted and dropped."""
    return settled(pend, done, transcript=_counted(pend, transcript))


def _counted(pend: Pend, transcript: object) -> Count | None:
    return count_in_call(transcript, pend.record.model) if isinstance(transcript, str) else None
