"""Following what a realtime conversation holds, from the server's events and, where they tell more, the client's.

The server's items name themselves when they are added; what they hold is told by the client's own events (audio and
images are not sent back), by voice detection (what the caller said), and by `response.done` (what the model said).
Source: OpenAI API reference, Realtime client and server events. Seen on livekit-agents 1.8.9.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from livekit_tokens.capture.raw import Event, base64_bytes, items, mapping, text, tokens_of, whole
from livekit_tokens.core.estimates import conversation as held
from livekit_tokens.core.estimates.conversation import Conversation, Item, Trimming
from livekit_tokens.core.estimates.framing import PCM16_BYTES_PER_MS
from livekit_tokens.core.prompts import typescript
from livekit_tokens.core.vocabulary import tokens_in

_LONGEST_SPEECH_MS = 3_600_000
_MOST_SENT = 256
_ROUND_TRIPS = 9


class ConversationListener:
    """One realtime session's conversation. `connections` grows when the server begins with an empty one."""

    def __init__(self) -> None:
        self.now = Conversation()
        self.connections = 0
        self.model: str | None = None
        self.transcription_model: str | None = None
        self.spoken_ms: dict[str, int] = {}
        self._answers_by_itself = False
        self._heard_out: str | None = None
        self._told: dict[str, Item] = {}
        self._texts: dict[str, tuple[int, int]] = {}
        self._sent: dict[object, float] = {}
        self._round_trips_ms: deque[float] = deque(maxlen=_ROUND_TRIPS)
        self._quickest_begin_ms: float | None = None
        self.round_trip_ms = 0.0
        """How long a sign takes to the provider and back, as it usually did; 0 where nothing has told."""
        self._written_ms = 0.0
        self._committed_to_ms = 0.0
        self._speech_from_ms: int | None = None
        self._unnamed = 0
        self.server_handlers = {
            "session.created": self._on_created,
            "session.updated": self._on_updated,
            "conversation.item.added": self._on_item,
            "conversation.item.created": self._on_item,  # its name in the beta
            "conversation.item.deleted": self._on_deleted,
            "conversation.item.truncated": self._on_truncated,
            "input_audio_buffer.speech_started": self._on_speech_started,
            "input_audio_buffer.speech_stopped": self._on_speech_stopped,
            "input_audio_buffer.committed": self._on_committed,
        }
        self.client_handlers = {
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create,
            "conversation.item.delete": self._change,
            "conversation.item.truncate": self._change,
            "session.update": self._update,
        }

    # -- how long the provider takes to answer --------------------------------------------------------------------

    def sent(self, what: object) -> None:
        """A client event that the server will answer."""
        self._sent.setdefault(what, time.monotonic())
        if len(self._sent) > _MOST_SENT:
            del self._sent[next(iter(self._sent))]

    def answered(self, what: object, *, begins: bool = False) -> None:
        """The server has answered. A response that `begins` took work too: only the quickest says something."""
        if (at := self._sent.pop(what, None)) is None:
            return
        took = (time.monotonic() - at) * 1000
        if begins:
            self._quickest_begin_ms = min(self._quickest_begin_ms or took, took)
        else:
            self._round_trips_ms.append(took)
        self.round_trip_ms = median(self._round_trips_ms) if self._round_trips_ms else self._quickest_begin_ms or 0.0

    # -- the session ----------------------------------------------------------------------------------------------

    def _on_created(self, event: Event) -> None:
        self.connections += 1
        self.now = Conversation()
        self._written_ms = self._committed_to_ms = 0.0
        self._speech_from_ms = None
        self._read_session(event)

    def _on_updated(self, event: Event) -> None:
        self.answered("session.update")
        self._read_session(event)

    def _update(self, _: Event) -> None:
        self.sent("session.update")

    def _read_session(self, event: Event) -> None:
        session = mapping(event.get("session"))
        self.model = text(session.get("model")) or self.model
        hearing = mapping(mapping(session.get("audio")).get("input")) or {
            name.removeprefix("input_audio_"): value  # the beta's flat session, and Azure's
            for name, value in session.items()
        }
        if "transcription" in hearing:  # null where it is switched off
            self.transcription_model = text(mapping(hearing["transcription"]).get("model"))
        turns = hearing.get("turn_detection")
        converses = session.get("type") != "transcription"
        self._answers_by_itself = converses and bool(turns) and mapping(turns).get("create_response") is not False
        instructions, tools = self.preamble_of(session, "session")
        self.now = replace(
            self.now,
            instructions=self.now.instructions if instructions is None else instructions,
            tools=self.now.tools if tools is None else tools,
            trimming=_trimming(session.get("truncation")) if "truncation" in session else self.now.trimming,
        )

    def preamble_of(self, given: Event, of: str) -> tuple[int | None, int | None]:
        """Tokens of the instructions and of the tools that a session or a response is given; None: the same."""
        instructions, tools = given.get("instructions"), given.get("tools")
        return (
            self._counted(f"{of}'s instructions", instructions, instructions)
            if isinstance(instructions, str)
            else None,
            self._counted(f"{of}'s tools", repr(tools), tools) if isinstance(tools, list) else None,
        )

    def _counted(self, name: str, same: str, value: Any) -> int:
        """Every `session.updated` repeats them all: counted once, and remembered by their hash."""
        key = hash(same)
        known = self._texts.get(name)
        if known is None or known[0] != key:
            tokens = tokens_in(value if isinstance(value, str) else typescript(value) if value else "")
            known = self._texts[name] = (key, tokens)
        return known[1]

    def answers(self, item_id: str | None) -> bool:
        """Whether the provider begins a response by itself to what it has heard. Not to what was committed by hand."""
        return self._answers_by_itself and item_id is not None and item_id == self._heard_out

    # -- items ----------------------------------------------------------------------------------------------------

    def _create(self, event: Event) -> None:
        item = mapping(event.get("item"))
        if (item_id := text(item.get("id"))) is None:
            return
        self.sent(item_id)
        made = self._told[item_id] = _item(item_id, item)
        if len(self._told) > _MOST_SENT:
            del self._told[next(iter(self._told))]
        self.now = held.with_item(self.now, made, text(event.get("previous_item_id")))

    def _on_item(self, event: Event) -> None:
        item = mapping(event.get("item"))
        item_id = text(item.get("id")) or self._new_id()
        self.answered(item_id)
        if item_id in self.now.items:  # what the caller said is, from its end on
            return
        known = self._told.get(item_id) or _item(item_id, item, self.spoken_ms.get(item_id, 0))
        self.now = held.with_item(self.now, known, text(event.get("previous_item_id")))

    def _change(self, event: Event) -> None:
        self.sent((event.get("type"), event.get("item_id")))

    def _on_deleted(self, event: Event) -> None:
        if (item_id := text(event.get("item_id"))) is not None:
            self.answered(("conversation.item.delete", item_id))
            self.now = held.without_items(self.now, [item_id])

    def _on_truncated(self, event: Event) -> None:
        item_id, heard = text(event.get("item_id")), whole(event.get("audio_end_ms"))
        if item_id is not None and heard is not None:
            self.answered(("conversation.item.truncate", item_id))
            self.now = held.truncated(self.now, item_id, heard)

    def _new_id(self) -> str:
        self._unnamed += 1
        return f"unnamed {self._unnamed}"

    # -- what the caller says -------------------------------------------------------------------------------------

    def _append(self, event: Event) -> None:
        self._written_ms += base64_bytes(event.get("audio")) / PCM16_BYTES_PER_MS

    def _clear(self, _: Event) -> None:
        self._committed_to_ms = self._written_ms

    @property
    def unheard_ms(self) -> int:
        """How much has been said, or appended, that no item holds yet."""
        began = self._committed_to_ms if self._speech_from_ms is None else self._speech_from_ms
        return max(0, round(self._written_ms - began))

    def _on_speech_started(self, event: Event) -> None:
        self._speech_from_ms = whole(event.get("audio_start_ms"))

    def _on_speech_stopped(self, event: Event) -> None:
        began, ended = self._speech_from_ms, whole(event.get("audio_end_ms"))
        self._speech_from_ms = None
        self._heard_out = text(event.get("item_id"))
        if began is not None and ended is not None:
            self._hear(text(event.get("item_id")), ended - began)

    def _on_committed(self, event: Event) -> None:
        """Without voice detection, or committed by hand: what was appended since the last time."""
        item_id = text(event.get("item_id"))
        began = self._committed_to_ms if self._speech_from_ms is None else self._speech_from_ms
        self._committed_to_ms, self._speech_from_ms = self._written_ms, None
        if item_id is not None and item_id not in self.spoken_ms:
            self._hear(item_id, round(self._written_ms - began))

    def _hear(self, item_id: str | None, milliseconds: int) -> None:
        if not 0 < milliseconds <= _LONGEST_SPEECH_MS:
            return
        if item_id is not None:
            self.spoken_ms[item_id] = milliseconds
            if len(self.spoken_ms) > _MOST_SENT:
                del self.spoken_ms[next(iter(self.spoken_ms))]
        self.now = held.with_item(self.now, held.message(item_id or self._new_id(), audio_ms=milliseconds))


def _item(item_id: str, item: Mapping[str, Any], spoken_ms: int = 0) -> Item:
    parts = [mapping(part) for part in items(item.get("content"))]
    audio_ms = sum(base64_bytes(part.get("audio")) for part in parts) // PCM16_BYTES_PER_MS
    images = sum(part.get("type") == "input_image" for part in parts)
    return held.message(item_id, tokens_of(item), audio_ms or spoken_ms, images)


def _trimming(given: object) -> Trimming | None:
    limits = mapping(mapping(given).get("token_limits"))
    limit, keep = whole(limits.get("post_instructions")), mapping(given).get("retention_ratio")
    return Trimming(limit, keep) if limit and isinstance(keep, (int, float)) and 0 <= keep <= 1 else None
