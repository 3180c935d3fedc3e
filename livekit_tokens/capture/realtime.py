"""One realtime session's raw events, each response and each input transcription turned into one usage record.

The provider's own figures are read from the public `openai_server_event_received` event, before LiveKit decides
which response it wants: cancelled, discarded, late and unclaimed responses are billed too.
Source: OpenAI API reference, Realtime server events. Seen on livekit-agents 1.8.9.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from livekit_tokens.capture.listening import listener
from livekit_tokens.core import estimates, faults, whisper
from livekit_tokens.core.estimates import Conversation
from livekit_tokens.core.lines import Pend
from livekit_tokens.core.pending import estimated
from livekit_tokens.core.vocabulary import count_in_call, tokens_in
from livekit_tokens.core.whisper import Transcription
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_realtime_usage, split_transcription_usage
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import Provenance, UsageRecord

FINISH_SECONDS = 2.0
"""How long open responses may take to bring their figures when the whole AgentSession closes."""

_REMEMBERED = 512
_LONGEST_SPEECH_MS = 3_600_000
_UNKNOWN_MODEL = "unknown"


class Writer(Protocol):
    """What a witness needs of the part it works for."""

    def now(self) -> Micros: ...
    def agent(self) -> str | None: ...
    def new_record(self, **fields: Any) -> UsageRecord: ...
    def write(self, record: UsageRecord, settles: str | None = None) -> None: ...
    def pend(self, pend: Pend) -> None: ...
    def more(self, pending: str, at: Micros, audio_ms: int, tokens: int) -> None: ...


@dataclass(slots=True)
class _InFlight:
    pend: Pend
    began: float
    first_output: float | None = None
    audio_bytes: int = 0
    tokens: int = 0


class _Recent:
    """The last few hundred ids that were seen, so that nothing is counted twice and memory stays bounded."""

    def __init__(self) -> None:
        self._seen: dict[object, None] = {}

    def add(self, key: object) -> None:
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def __contains__(self, key: object) -> bool:
        return key in self._seen


class RealtimeWitness:
    """Listens to one realtime session for one part. `model` answers the model and provider that serve it now."""

    def __init__(self, writer: Writer, model: Callable[[], tuple[str, str]], pending_prefix: str) -> None:
        self._writer = writer
        self._model = model
        self._prefix = pending_prefix
        self._numbers = 0
        self._in_flight: dict[str, _InFlight] = {}
        self._settled = _Recent()
        self._transcribed = _Recent()
        self._items = _Recent()
        self._conversation = Conversation()
        self._prompt_tokens = 0
        self._speech_started_ms: int | None = None
        self._spoken_ms: dict[str, int] = {}
        self._transcription_model = _UNKNOWN_MODEL
        self._all_settled = asyncio.Event()
        self._all_settled.set()
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "session.created": self._on_session,
            "session.updated": self._on_session,
            "conversation.item.added": self._on_item,
            "conversation.item.created": self._on_item,
            "input_audio_buffer.speech_started": self._on_speech_started,
            "input_audio_buffer.speech_stopped": self._on_speech_stopped,
            "response.created": self._on_created,
            "response.output_audio.delta": self._on_audio,
            "response.output_audio_transcript.delta": self._on_text,
            "response.output_text.delta": self._on_text,
            "response.function_call_arguments.delta": self._on_text,
            "response.done": self._on_done,
            "conversation.item.input_audio_transcription.completed": self._on_transcription,
            "conversation.item.input_audio_transcription.failed": self._on_transcription_failed,
        }

    def write_to(self, writer: Writer) -> None:
        """Write for another part from now on: the call goes on in a new one."""
        self._writer = writer

    def attach(self, session: Any) -> None:
        """Listen to a livekit RealtimeSession from its first event on."""
        session.on("openai_server_event_received", listener(self.on_event, "a realtime event could not be read"))
        session.on("session_reconnected", listener(lambda _: self.give_up(), "a reconnection could not be followed"))

    def on_event(self, event: Any) -> None:
        """Take one server event as JSON gave it; unknown types are passed over."""
        if isinstance(event, dict) and isinstance(kind := event.get("type"), str):
            handler = self._handlers.get(kind)
            if handler is not None:
                handler(event)

    # -- the end --------------------------------------------------------------------------------------------------

    @property
    def open_responses(self) -> int:
        return len(self._in_flight)

    async def finish(self, seconds: float = FINISH_SECONDS) -> None:
        """Wait until every open response has brought its figures, at most so long."""
        try:
            await asyncio.wait_for(self._all_settled.wait(), seconds)
        except TimeoutError:
            faults.note("a response brought no figures before its session closed", open=self.open_responses)

    def give_up(self) -> None:
        """The channel can bring nothing more: what is still in flight becomes an estimate."""
        for key, flight in list(self._in_flight.items()):
            record = estimated(with_counts(flight))
            self._settle(key, replace(record, at=self._writer.now(), **self._timing(flight)))

    # -- what the conversation holds ------------------------------------------------------------------------------

    def _on_session(self, event: Mapping[str, Any]) -> None:
        session = _mapping(event.get("session"))
        transcription = _mapping(
            _mapping(_mapping(session.get("audio")).get("input")).get("transcription")
            or session.get("input_audio_transcription")
        )
        if isinstance(model := transcription.get("model"), str):
            self._transcription_model = model
        tokens = _tokens_in(session.get("instructions")) + _tokens_in(session.get("tools"))
        if tokens > self._prompt_tokens:
            self._conversation = estimates.with_text(self._conversation, tokens - self._prompt_tokens)
            self._prompt_tokens = tokens

    def _on_item(self, event: Mapping[str, Any]) -> None:
        item = _mapping(event.get("item"))
        item_id = _text(item.get("id"))
        if item_id is not None and item_id in self._items:
            return  # sent again after a reconnection
        tokens = _tokens_in(item.get("output")) + _tokens_in(item.get("content"))
        if item_id is not None:
            self._items.add(item_id)
        if tokens:
            self._conversation = estimates.with_text(self._conversation, tokens)

    def _on_speech_started(self, event: Mapping[str, Any]) -> None:
        started = event.get("audio_start_ms")
        self._speech_started_ms = started if isinstance(started, int) else None

    def _on_speech_stopped(self, event: Mapping[str, Any]) -> None:
        started, stopped = self._speech_started_ms, event.get("audio_end_ms")
        self._speech_started_ms = None
        if started is not None and isinstance(stopped, int) and 0 <= started <= stopped <= started + _LONGEST_SPEECH_MS:
            self._conversation = estimates.with_user_audio(self._conversation, stopped - started)
            if (item := _text(event.get("item_id"))) is not None:
                self._keep_spoken(item, stopped - started)

    def _keep_spoken(self, item: str, milliseconds: int) -> None:
        self._spoken_ms[item] = milliseconds
        if len(self._spoken_ms) > _REMEMBERED:
            del self._spoken_ms[next(iter(self._spoken_ms))]

    # -- responses ------------------------------------------------------------------------------------------------

    def _on_created(self, event: Mapping[str, Any]) -> None:
        response_id = _text(_mapping(event.get("response")).get("id"))
        if response_id in self._in_flight or (response_id and response_id in self._settled):
            return
        self._numbers += 1
        pend = Pend(
            id=f"{self._prefix}.{self._numbers}",
            at=self._writer.now(),
            record=self._response_record(response_id, {}, "unknown"),
            conversation=self._conversation,
        )
        self._in_flight[response_id or pend.id] = _InFlight(pend, time.monotonic())
        self._all_settled.clear()
        self._writer.pend(pend)

    def _on_audio(self, event: Mapping[str, Any]) -> None:
        flight = self._flight_of(event.get("response_id"))
        delta = event.get("delta")
        if flight is not None and isinstance(delta, str):
            flight.audio_bytes += len(delta) * 3 // 4  # base64
            self._arrived(flight)

    def _on_text(self, event: Mapping[str, Any]) -> None:
        flight = self._flight_of(event.get("response_id"))
        delta = event.get("delta")
        if flight is not None and isinstance(delta, str):
            flight.tokens += tokens_in(delta)
            self._arrived(flight)

    def _arrived(self, flight: _InFlight) -> None:
        if flight.first_output is None:
            flight.first_output = time.monotonic()
        self._writer.more(flight.pend.id, self._writer.now(), _audio_ms(flight), flight.tokens)

    def _on_done(self, event: Mapping[str, Any]) -> None:
        response = _mapping(event.get("response"))
        response_id = _text(response.get("id"))
        if response_id and response_id in self._settled:
            return  # a response is billed once, however often its end is told
        key = self._key_of(response_id)
        flight = self._in_flight.get(key) if key is not None else None
        record = self._done_record(response, response_id, flight)
        if record.provenance == "reported" and record.units:
            self._conversation = estimates.conversation_after(record.units)
        self._settle(key, record)
        if response_id and response_id != key:
            self._settled.add(response_id)

    def _done_record(
        self, response: Mapping[str, Any], response_id: str | None, flight: _InFlight | None
    ) -> UsageRecord:
        status = _text(response.get("status")) or "unknown"
        failed = status == "failed"
        told = {"metadata": {"status": status}, "success": not failed, "error": _error_of(response) if failed else None}
        timing = self._timing(flight) if flight is not None else {}
        usage = response.get("usage")
        if usage is None:
            return self._done_without_usage(response_id, flight, told | timing, failed=failed)
        try:
            units = split_realtime_usage(usage)
        except ImpossibleUsage as error:
            faults.note("a response.done holds impossible usage; recorded as unknown", error)
            told["metadata"] = {"status": status, "fault": str(error)}
            return self._response_record(response_id, {}, "unknown", **told, **timing)
        return self._response_record(response_id, units, "reported", **told, **timing)

    def _done_without_usage(
        self, response_id: str | None, flight: _InFlight | None, fields: dict[str, Any], *, failed: bool
    ) -> UsageRecord:
        if failed:  # refused before anything was generated: the provider bills nothing
            return self._response_record(response_id, {}, "reported", **fields)
        if flight is None:
            return self._response_record(response_id, {}, "unknown", **fields)
        return replace(estimated(with_counts(flight)), at=self._writer.now(), **fields)

    def _response_record(
        self, response_id: str | None, units: Units, provenance: Provenance, **fields: Any
    ) -> UsageRecord:
        model, provider = self._model()
        return self._writer.new_record(
            service="agent",
            provider=provider,
            model=model,
            operation="realtime_response",
            units=units,
            provenance=provenance,
            request_id=response_id,
            **fields,
        )

    def _settle(self, key: str | None, record: UsageRecord) -> None:
        flight = self._in_flight.pop(key, None) if key is not None else None
        if key is not None:
            self._settled.add(key)
        self._writer.write(record, settles=flight.pend.id if flight is not None else None)
        if not self._in_flight:
            self._all_settled.set()

    def _key_of(self, response_id: str | None) -> str | None:
        if response_id in self._in_flight:
            return response_id
        # An id that is missing at either end: then only the one that is open can be meant.
        (only,) = self._in_flight if len(self._in_flight) == 1 else (None,)
        if only is not None and (response_id is None or only.startswith(self._prefix)):
            return only
        return response_id

    def _flight_of(self, response_id: object) -> _InFlight | None:
        key = self._key_of(_text(response_id))
        return self._in_flight.get(key) if key is not None else None

    @staticmethod
    def _timing(flight: _InFlight) -> dict[str, Any]:
        first = flight.first_output
        return {
            "processing_ms": round((time.monotonic() - flight.began) * 1000),
            "first_output_ms": None if first is None else round((first - flight.began) * 1000),
        }

    # -- input transcriptions -------------------------------------------------------------------------------------

    def _on_transcription(self, event: Mapping[str, Any]) -> None:
        item = _text(event.get("item_id"))
        index = event.get("content_index")
        if item is not None:
            place = (item, index if isinstance(index, int) else 0)
            if place in self._transcribed:
                return
            self._transcribed.add(place)
        try:
            transcription = self._transcription(event, item)
        except ImpossibleUsage as error:
            faults.note("a transcription holds impossible usage; recorded as unknown", error)
            transcription = Transcription({}, "unknown", metadata={"fault": str(error)})
        self._write_transcription(item, transcription)

    def _transcription(self, event: Mapping[str, Any], item: str | None) -> Transcription:
        usage, text = event.get("usage"), event.get("transcript")
        spoken_ms = self._spoken_ms.pop(item, None) if item is not None else None
        units = split_transcription_usage(usage) if usage is not None else {}
        if usage is not None and "seconds" not in usage:
            return Transcription(units, "reported")
        model = self._transcription_model
        count = count_in_call(text, model) if isinstance(text, str) else None
        return whisper.without_usage(model, count, spoken_ms) if usage is None else whisper.with_duration(units, count)

    def _on_transcription_failed(self, event: Mapping[str, Any]) -> None:
        error = _text(_mapping(event.get("error")).get("code")) or "transcription_failed"
        item = _text(event.get("item_id"))
        self._write_transcription(item, Transcription({}, "reported"), success=False, error=error[:100])

    def _write_transcription(self, item: str | None, told: Transcription, **fields: Any) -> None:
        _, provider = self._model()
        self._writer.write(
            self._writer.new_record(
                service="transcriber",
                provider=provider,
                model=self._transcription_model,
                operation="transcription",
                units=told.units,
                provenance=told.provenance,
                informational=told.informational,
                low=told.low,
                high=told.high,
                metadata=told.metadata,
                request_id=item,
                **fields,
            )
        )


def with_counts(flight: _InFlight) -> Pend:
    """The pending request with what has arrived of its output by now."""
    pend = flight.pend
    return Pend(pend.id, pend.at, pend.record, pend.conversation, _audio_ms(flight), flight.tokens)


def _audio_ms(flight: _InFlight) -> int:
    return flight.audio_bytes // estimates.PCM16_BYTES_PER_MS


def _mapping(value: object) -> Mapping[str, Any]:
    return value if type(value) is dict or isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def _tokens_in(value: object) -> int:
    """Tokens of all texts in instructions, an item's content or a tool's definition; audio and images left out."""
    if isinstance(value, str):
        return tokens_in(value)
    if isinstance(value, Mapping):
        return sum(_tokens_in(part) for name, part in value.items() if name not in ("audio", "image_url", "type"))
    return sum(_tokens_in(part) for part in _list(value))


def _error_of(response: Mapping[str, Any]) -> str:
    error = _mapping(_mapping(response.get("status_details")).get("error"))
    return (_text(error.get("code")) or _text(error.get("type")) or "failed")[:100]
