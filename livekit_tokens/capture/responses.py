"""A realtime session's responses: each becomes one usage record, by the provider's figures wherever they come.

`response.done` is billing's own word, also for responses that were cancelled, discarded, late, or never announced.
What brings none becomes an estimate once the connection can bring nothing more.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from livekit_tokens.capture.conversation import ConversationListener
from livekit_tokens.capture.raw import Event, Recent, base64_bytes, items, mapping, text
from livekit_tokens.capture.spending import feature
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core import faults
from livekit_tokens.core.estimates import prompt
from livekit_tokens.core.estimates.conversation import message, trimmed, with_answer, with_item
from livekit_tokens.core.estimates.framing import PCM16_BYTES_PER_MS
from livekit_tokens.core.estimates.output import Answer, Answers, Usual, generated_ahead, usual_of
from livekit_tokens.core.estimates.output import with_answer as with_one_more
from livekit_tokens.core.estimates.prompt import Figures, Reading
from livekit_tokens.core.lines import More, Pend
from livekit_tokens.core.pending import estimated
from livekit_tokens.core.vocabulary import tokens_in
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_realtime_usage
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import Provenance, UsageRecord

_FIRST_PIECE_SECONDS = 0.01
"""What arrives within so long of the first delta came with it, and says nothing about the pace."""

_MOST_LABELS = 64

Own = tuple[int | None, int | None]
"""Tokens of a response's own instructions and tools; None: the session's."""


@dataclass(slots=True)
class _Flight:
    """A response that was begun and whose figures have not come."""

    pend: Pend
    reading: Reading
    figures: Figures
    usual: Usual
    began: float
    own: Own
    in_conversation: bool = True
    first_output: float | None = None
    spoke_at: float = 0.0
    last_output: float = 0.0
    first_piece: int = 0
    audio_bytes: int = 0
    tokens: int = 0
    whole: bool = False
    items: list[str] = field(default_factory=list)

    @property
    def audio_ms(self) -> int:
        return self.audio_bytes // PCM16_BYTES_PER_MS

    @property
    def span_ms(self) -> float:
        return (self.last_output - self.spoke_at) * 1000

    def more(self, at: Micros, lag_ms: float) -> More:
        """What has arrived by now; `lag_ms`: how far back that was generated which is not here yet."""
        audio_ms = self.audio_ms
        ahead = 0
        if not self.whole and lag_ms:
            amount = audio_ms or self.tokens
            ahead = generated_ahead(self.usual.pace, amount, self.first_piece, self.span_ms, lag_ms)
        return More(self.pend.id, at, audio_ms, self.tokens, ahead, self.whole)


class Responses:
    """Listens to one realtime session's responses."""

    def __init__(self, unsettled: Unsettled, conversation: ConversationListener) -> None:
        self._unsettled = unsettled
        self._conversation = conversation
        self._connection = 0
        self._figures = Figures()
        self._answers = Answers()
        self._asked: dict[str, _Flight] = {}
        self._labels: dict[str, AbstractContextManager[None]] = {}
        self._in_flight: dict[str, _Flight] = {}
        self._settled = Recent()
        self.server_handlers = {
            "response.created": self._on_created,
            "response.output_item.added": self._on_output_item,
            "response.output_audio.delta": self._on_audio,
            "response.output_audio_transcript.delta": self._on_text,
            "response.output_text.delta": self._on_text,
            "response.function_call_arguments.delta": self._on_text,
            "response.output_item.done": self._on_output_item_done,
            "response.done": self._on_done,
            # their names in the beta
            "response.audio.delta": self._on_audio,
            "response.audio_transcript.delta": self._on_text,
            "response.text.delta": self._on_text,
        }
        self.client_handlers = {"response.create": self._on_asked}

    # -- it begins ------------------------------------------------------------------------------------------------

    def _on_asked(self, event: Event) -> None:
        """The client asks for a response: from now on it may be billed, whether or not it is ever announced."""
        asked = text(event.get("event_id"))
        if asked is None:
            return
        self._conversation.sent(asked)
        given = mapping(event.get("response"))
        with self._labels.pop(asked, nullcontext()):
            flight = self._take_off(None, self._conversation.preamble_of(given, "response"))
        flight.in_conversation = given.get("conversation") != "none"
        self._asked[asked] = flight

    def label(self, asked: str, name: str) -> None:
        """What is asked for by the client event of this id is a part of that feature."""
        self._labels[asked] = feature(name)
        if len(self._labels) > _MOST_LABELS:
            del self._labels[next(iter(self._labels))]

    def _on_created(self, event: Event) -> None:
        response = mapping(event.get("response"))
        response_id = text(response.get("id"))
        asked = text(mapping(response.get("metadata")).get("client_event_id"))
        if response_id in self._in_flight or (response_id and response_id in self._settled):
            return
        self._conversation.answered(asked)
        flight = self._asked.pop(asked, None) if asked is not None else None
        if flight is None:
            flight = self._take_off(response_id)
        else:
            self._expect(flight, response_id)
        self._figures = flight.figures
        if flight.in_conversation:
            self._overtake()
        self._in_flight[response_id or flight.pend.id] = flight

    def _take_off(self, response_id: str | None, own: Own = (None, None)) -> _Flight:
        reading, figures = self._begin(own)
        usual = usual_of(self._answers, self._conversation.round_trip_ms)
        pend = self._unsettled.begin(self._expected(response_id, reading), usual)
        return _Flight(pend, reading, figures, usual, time.monotonic(), own)

    def _expect(self, flight: _Flight, response_id: str | None) -> None:
        """It was asked for, and now it begins: what it reads may have changed meanwhile, and what is known of that."""
        flight.reading, flight.figures = self._begin(flight.own)
        flight.usual = usual_of(self._answers, self._conversation.round_trip_ms)
        record = self._expected(response_id, flight.reading, flight)
        flight.pend = Pend(flight.pend.id, flight.pend.at, record, flight.usual)
        self._unsettled.again(flight.pend)

    def _begin(self, own: Own = (None, None)) -> tuple[Reading, Figures]:
        """What a response reads that begins now; `own`: tokens of instructions and tools of its own."""
        if self._connection != self._conversation.connections:
            self._connection = self._conversation.connections
            self._figures = prompt.on_a_new_connection(self._figures)
        self._conversation.now = trimmed(self._conversation.now)
        return prompt.begin(self._figures, prompt.prompt_of(self._conversation.now, *own))

    def _expected(self, response_id: str | None, reading: Reading, asked: _Flight | None = None) -> UsageRecord:
        """Its record as far as it is known before anything was put out."""
        expected = reading.estimate
        metadata = {"uncounted_images": reading.uncounted_images} if reading.uncounted_images else {}
        return self._record(
            response_id, expected.units, "estimated", asked, low=expected.low, high=expected.high, metadata=metadata
        )

    def _overtake(self) -> None:
        """A conversation has one response at a time: of those before it nothing is awaited, and their output stays."""
        for flight in self._in_flight.values():
            self._unsettled.await_no_more(flight.pend.id)
            self._keep_answer(flight, _output(self._estimate(flight, broken=False).units))

    def refused(self, asked: str, code: str) -> bool:
        """The server refuses what the client asked for: counted as a failed request, and billed nothing."""
        flight = self._asked.pop(asked, None)
        if flight is not None:
            record = self._record(None, {}, "reported", flight, success=False, error=code)
            self._unsettled.settle(flight.pend.id, record)
        return flight is not None

    # -- its output arrives ---------------------------------------------------------------------------------------

    def _on_output_item(self, event: Event) -> None:
        flight = self._flight_of(event.get("response_id"))
        item = text(mapping(event.get("item")).get("id"))
        if flight is not None:
            flight.whole = False
            if item is not None:
                flight.items.append(item)

    def _on_output_item_done(self, event: Event) -> None:
        """Its output is complete, unless a next item begins; that of a cancelled one is `incomplete`."""
        flight = self._flight_of(event.get("response_id"))
        if flight is not None and mapping(event.get("item")).get("status") == "completed":
            flight.whole = True
            self._tell_more(flight)

    def _on_audio(self, event: Event) -> None:
        flight = self._flight_of(event.get("response_id"))
        if flight is not None and (arrived := base64_bytes(event.get("delta"))):
            first = not flight.audio_bytes
            flight.audio_bytes += arrived
            self._arrived(flight, flight.audio_ms, first=first)

    def _on_text(self, event: Event) -> None:
        flight = self._flight_of(event.get("response_id"))
        if flight is not None and isinstance(delta := event.get("delta"), str):
            first = not flight.tokens and not flight.audio_bytes
            flight.tokens += tokens_in(delta)
            self._arrived(flight, flight.tokens if not flight.audio_bytes else None, first=first)

    def _arrived(self, flight: _Flight, amount: int | None, *, first: bool) -> None:
        """`amount` is all of what the pace is measured by; None where that did not grow."""
        now = time.monotonic()
        if flight.first_output is None:
            flight.first_output = now
        if amount is not None:
            if first:
                flight.spoke_at = now
            flight.last_output = now
            if now - flight.spoke_at <= _FIRST_PIECE_SECONDS:
                flight.first_piece = amount
        self._tell_more(flight)

    def _tell_more(self, flight: _Flight) -> None:
        writer = self._unsettled.writer
        writer.more(flight.more(writer.now(), flight.usual.round_trip_ms + flight.usual.behind_ms))

    # -- it ends --------------------------------------------------------------------------------------------------

    def _on_done(self, event: Event) -> None:
        response = mapping(event.get("response"))
        response_id = text(response.get("id"))
        if response_id and response_id in self._settled:
            if response.get("usage") is not None:
                self._come_late(response_id, response["usage"])
            return
        key, flight = self._ending(response_id, response)
        record = self._done_record(response, response_id, flight)
        if record.provenance == "reported" and record.units:
            self._learn(response, record, flight)
        elif flight is not None:
            self._keep_answer(flight, _output(record.units))
        self._settle(key, flight, record)
        if response_id and response_id != key:
            self._settled.add(response_id)

    def _ending(self, response_id: str | None, response: Event) -> tuple[str | None, _Flight | None]:
        asked = text(mapping(response.get("metadata")).get("client_event_id"))
        if response_id not in self._in_flight and asked in self._asked and asked is not None:
            return response_id, self._asked.pop(asked)
        key = self._key_of(response_id)
        return key, self._in_flight.get(key) if key is not None else None

    def _done_record(self, response: Event, response_id: str | None, flight: _Flight | None) -> UsageRecord:
        status = text(response.get("status")) or "unknown"
        failed = status == "failed"
        told: dict[str, Any] = {
            "metadata": {"status": status},
            "success": not failed,
            "error": _error_of(response) if failed else None,
            **(_timing(flight) if flight is not None else {}),
        }
        usage = response.get("usage")
        if usage is None:
            return self._without_usage(response_id, flight, told)
        try:
            units = split_realtime_usage(usage)
        except ImpossibleUsage as error:
            faults.note("a response.done holds impossible usage; recorded as unknown", error)
            told["metadata"] = {"status": status, "fault": str(error)}
            return self._record(response_id, {}, "unknown", flight, **told)
        return self._record(response_id, units, "reported", flight, **told)

    def _without_usage(self, response_id: str | None, flight: _Flight | None, told: dict[str, Any]) -> UsageRecord:
        if not told["success"]:  # refused before anything was generated: the provider bills nothing
            return self._record(response_id, {}, "reported", flight, **told)
        if flight is None:
            return self._record(response_id, {}, "unknown", **told)
        record = self._estimate(flight, broken=False)
        metadata = {**record.metadata, **told["metadata"]}
        return replace(record, **(told | {"metadata": metadata, "request_id": response_id}))

    def _learn(self, response: Event, record: UsageRecord, flight: _Flight | None) -> None:
        if flight is not None and not flight.in_conversation:
            return
        if flight is None:  # it was never announced
            reading, self._figures = self._begin()
        else:
            reading = flight.reading
        self._figures = prompt.taught(self._figures, reading, record.units)
        if flight is not None:
            output = record.units.get("output_text", 0) + record.units.get("output_reasoning", 0)
            self._answers = with_one_more(
                self._answers,
                Answer(
                    flight.more(0, 0.0).arrived,
                    flight.first_piece,
                    flight.span_ms,
                    output,
                    record.units.get("output_audio", 0),
                    cut=response.get("status") != "completed",
                ),
            )
            self._keep_answer(flight, _output(record.units))
        else:  # nothing of it was announced, so nothing of it can have been deleted
            told = (text(mapping(item).get("id")) for item in items(response.get("output")))
            item_id = next(filter(None, told), record.request_id or "")
            now = with_item(self._conversation.now, message(item_id))
            self._conversation.now = with_answer(now, [item_id], _output(record.units))

    def _keep_answer(self, flight: _Flight, output: Units) -> None:
        """The next response reads what this one put out."""
        if flight.in_conversation:
            self._conversation.now = with_answer(self._conversation.now, flight.items, output)

    def give_up(self, *, broken: bool) -> None:
        """The connection can bring nothing more. `broken`: it did so at once; else what was sent had time to arrive."""
        for flight in self._asked.values():  # it may not even have been sent
            self._settle(None, flight, replace(self._estimate(flight, broken=broken), low={}, **_timing(flight)))
        for key, flight in list(self._in_flight.items()):
            self._settle(key, flight, replace(self._estimate(flight, broken=broken), **_timing(flight)))
        self._asked.clear()

    def _estimate(self, flight: _Flight, *, broken: bool) -> UsageRecord:
        lag = flight.usual.behind_ms + (flight.usual.round_trip_ms if broken else 0.0)
        return estimated(flight.pend, flight.more(self._unsettled.writer.now(), lag))

    def _settle(self, key: str | None, flight: _Flight | None, record: UsageRecord) -> None:
        if key is not None:
            self._in_flight.pop(key, None)
            self._settled.add(key)
        self._unsettled.settle(flight.pend.id if flight is not None else None, record)

    def _come_late(self, response_id: str, usage: object) -> None:
        """Figures of a response that is settled. Told twice, they are those that were counted."""
        try:
            self._unsettled.come_late(response_id, split_realtime_usage(usage))
        except ImpossibleUsage as error:
            faults.note("late figures are impossible; not kept", error)

    # -- which one ------------------------------------------------------------------------------------------------

    def _key_of(self, response_id: str | None) -> str | None:
        if response_id in self._in_flight:
            return response_id
        # An id that is missing at either end: then only the one that is open can be meant.
        (only,) = self._in_flight.items() if len(self._in_flight) == 1 else ((None, None),)
        if only[0] is not None and only[1] is not None and (response_id is None or only[0] == only[1].pend.id):
            return only[0]
        return response_id

    def _flight_of(self, response_id: object) -> _Flight | None:
        flight = self._in_flight.get(response_id) if isinstance(response_id, str) else None
        if flight is None:
            key = self._key_of(text(response_id))
            flight = self._in_flight.get(key) if key is not None else None
        return flight

    def _record(
        self,
        response_id: str | None,
        units: Units,
        provenance: Provenance,
        flight: _Flight | None = None,
        **fields: Any,
    ) -> UsageRecord:
        """Under the model that serves it and the agent and feature that asked for it, whichever are current now."""
        begun = flight.pend.record if flight is not None else None
        model, provider = (begun.model, begun.provider) if begun is not None else self._unsettled.model()
        if begun is not None:
            fields |= {"agent": begun.agent, "feature": begun.feature}
        return self._unsettled.writer.new_record(
            service="agent",
            provider=provider,
            model=model,
            operation="realtime_response",
            units=units,
            provenance=provenance,
            request_id=response_id,
            **fields,
        )


def _output(units: Units) -> Units:
    return {name: quantity for name, quantity in units.items() if name.startswith("output_")}


def _timing(flight: _Flight) -> dict[str, Any]:
    first = flight.first_output
    return {
        "processing_ms": round((time.monotonic() - flight.began) * 1000),
        "first_output_ms": None if first is None else round((first - flight.began) * 1000),
    }


def _error_of(response: Event) -> str:
    error = mapping(mapping(response.get("status_details")).get("error"))
    return (text(error.get("code")) or text(error.get("type")) or "failed")[:100]
