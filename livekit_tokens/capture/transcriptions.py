"""A realtime session's input transcriptions: each item's becomes one usage record of the transcriber, by tokens or by
duration, whichever the provider tells. One that was under way when the connection ended is estimated: it is billed
when the audio is committed. Source: OpenAI API reference, `conversation.item.input_audio_transcription.*`.
"""

from __future__ import annotations

from dataclasses import replace

from livekit_tokens.capture.conversation import ConversationListener
from livekit_tokens.capture.following import Follower
from livekit_tokens.capture.raw import Event, Recent, mapping, text, whole
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core import faults, whisper
from livekit_tokens.core.lines import Begun, Ended, Usage
from livekit_tokens.core.pending import as_pend, heard, told, usage_of
from livekit_tokens.core.vocabulary import count_in_call
from livekit_tokens.core.whisper import Count
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_transcription_usage
from livekit_tokens.domain.times import Micros

UNKNOWN_MODEL = "unknown"


class Transcriptions:
    """Listens to one realtime session's input transcriptions."""

    def __init__(self, unsettled: Unsettled, conversation: ConversationListener, follower: Follower) -> None:
        self._unsettled = unsettled
        self._conversation = conversation
        self._follower = follower
        self._in_flight: dict[str, Begun] = {}
        self._told = Recent()
        self.server_handlers = {
            "input_audio_buffer.committed": self._on_committed,
            "conversation.item.input_audio_transcription.completed": self._on_completed,
            "conversation.item.input_audio_transcription.failed": self._on_failed,
        }

    # -- by the session's events ----------------------------------------------------------------------------------

    def _on_committed(self, event: Event) -> None:
        item = text(event.get("item_id"))
        if item is None or self._conversation.transcription_model is None or item in self._in_flight:
            return
        begun = self._in_flight[item] = self._begun(item, self._conversation.spoken_ms.get(item))
        self._unsettled.begin(begun)

    def _begun(self, item: str | None, spoken_ms: int | None) -> Begun:
        model = self._conversation.transcription_model or UNKNOWN_MODEL
        return self._unsettled.transcription(item, model, spoken_ms)

    def _on_completed(self, event: Event) -> None:
        item, usage = text(event.get("item_id")), event.get("usage")
        if not self._is_first(item, event):
            if item is not None and usage is not None:
                self._follower.note(self._come_late, item, usage)
            return
        spoken_ms = self._conversation.spoken_ms.pop(item, None) if item is not None else None
        begun = self._landing(item, spoken_ms)
        figures: Usage | None = None
        fault: str | None = None
        try:
            figures = usage_of(usage) if usage is not None else None
        except ImpossibleUsage as error:
            fault = str(error)
        ended = Ended(begun.id, self._unsettled.writer.now(), figures, fault=fault)
        self._end(begun, ended, spoken_ms, event.get("transcript"))

    def _on_failed(self, event: Event) -> None:
        item = text(event.get("item_id"))
        if self._is_first(item, event):
            begun = self._landing(item)
            error = text(mapping(event.get("error")).get("code")) or "transcription_failed"
            self._end(begun, Ended(begun.id, self._unsettled.writer.now(), error=error[:100]))

    def _landing(self, item: str | None, spoken_ms: int | None = None) -> Begun:
        """What has been in flight, or is from its end on."""
        begun = self._in_flight.pop(item, None) if item is not None else None
        if begun is None:
            begun = self._begun(item, spoken_ms)
            self._unsettled.begin(begun)
        return begun

    def _end(self, begun: Begun, ended: Ended, spoken_ms: int | None = None, transcript: object = None) -> None:
        if ended.says_all:
            self._unsettled.end(ended)
        else:
            self._unsettled.await_no_more(ended.id)
        self._follower.note(self._settle, begun, ended, spoken_ms, transcript)
        if not ended.says_all:  # nothing in the spool stands for its record
            self._follower.catch_up()

    def _is_first(self, item: str | None, event: Event) -> bool:
        """Each item's content is transcribed and billed once, however often that is told."""
        if item is None:
            return True
        place = (item, whole(event.get("content_index")) or 0)
        first = place not in self._told
        self._told.add(place)
        return first

    def give_up(self) -> None:
        """The connection can bring nothing more."""
        now = self._unsettled.writer.now()
        for item, begun in self._in_flight.items():
            self._told.add((item, 0))
            self._unsettled.await_no_more(begun.id)
            self._follower.note(self._estimate, begun, now)
        self._in_flight.clear()

    # -- by what they noted ---------------------------------------------------------------------------------------

    def _settle(self, begun: Begun, ended: Ended, spoken_ms: int | None, transcript: object) -> None:
        count: Count | None = None
        if isinstance(transcript, str) and (ended.usage is None or ended.usage.seconds is not None):
            count = count_in_call(transcript, begun.model)
        record = told(begun, ended, count)
        if not ended.says_all:
            record = heard(record, whisper.without_usage(begun.model, count, spoken_ms))
        if "fault" in record.metadata:
            faults.note("a transcription holds impossible usage; recorded as unknown")
        self._unsettled.settle(ended.id, record)

    def _estimate(self, begun: Begun, at: Micros) -> None:
        self._unsettled.settle(begun.id, replace(as_pend(begun).record, at=at))

    def _come_late(self, item: str, usage: object) -> None:
        try:
            self._unsettled.come_late(item, split_transcription_usage(usage))
        except ImpossibleUsage as error:
            faults.note("late figures are impossible; not kept", error)
