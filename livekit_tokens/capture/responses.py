"""A realtime session's responses: each becomes one usage record, by the provider's figures wherever they come.

`response.done` is billing's own word, also for responses that were cancelled, discarded, late, or never announced.
What brings none becomes an estimate once the connection can bring nothing more.
"""

from __future__ import annotations

import time
from functools import partial

import msgspec

from livekit_tokens.capture.conversation import ConversationListener
from livekit_tokens.capture.expectations import Expectations, output_of
from livekit_tokens.capture.flights import NO_OWN, Flight, Flights, Own
from livekit_tokens.capture.raw import Event, base64_bytes, items, mapping, text
from livekit_tokens.capture.response_records import ResponseRecords
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core import faults
from livekit_tokens.core.lines import Done
from livekit_tokens.core.pending import settled
from livekit_tokens.core.vocabulary import tokens_in
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_realtime_usage
from livekit_tokens.domain.usage import UsageRecord

_MOST_LABELS = 64


class Responses:
    """Listens to one realtime session's responses."""

    def __init__(self, unsettled: Unsettled, conversation: ConversationListener, expectations: Expectations) -> None:
        self._unsettled = unsettled
        self._conversation = conversation
        self._expectations = expectations
        self._records = ResponseRecords(unsettled)
        self._flights = Flights()
        self._labels: dict[str, str] = {}
        self.server_handlers = {
            "input_audio_buffer.committed": self._on_heard,
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
        self.client_handlers = {"response.create": self._on_asked, "response.cancel": self._on_stopped}

    # -- it begins ------------------------------------------------------------------------------------------------

    def _on_asked(self, event: Event) -> None:
        """The client asks for a response: from now on it may be billed, whether or not it is ever announced."""
        asked = text(event.get("event_id"))
        if asked is None:
            return
        self._conversation.sent(asked)
        given = mapping(event.get("response"))
        own = self._conversation.preamble_of(given, "response")
        flight = self._take_off(None, own, self._labels.pop(asked, None))
        flight.in_conversation = given.get("conversation") != "none"
        flight.labels = mapping(given.get("metadata"))
        self._flights.asked[asked] = flight

    def label(self, asked: str, name: str) -> None:
        """What is asked for by the client event of this id is a part of that feature."""
        self._labels[asked] = name
        if len(self._labels) > _MOST_LABELS:
            del self._labels[next(iter(self._labels))]

    def _on_heard(self, event: Event) -> None:
        """The provider has heard the caller out: where it detects turns, it begins a response by itself."""
        if self._conversation.answers(text(event.get("item_id"))):
            self._forget_expected()
            self._flights.expected = self._take_off(None)

    def _forget_expected(self) -> None:
        """The provider tells the end of everything that it begins: what it told nothing of, it did not begin."""
        if self._flights.expected is not None:
            self._unsettled.forget(self._flights.expected.pend.id)
            self._flights.expected = None

    def _on_created(self, event: Event) -> None:
        response = mapping(event.get("response"))
        response_id = text(response.get("id"))
        if response_id in self._flights.announced or self._flights.is_over(response_id):
            return
        labels = mapping(response.get("metadata"))
        if labels and (asked := text(labels.get("client_event_id"))) is not None:
            self._conversation.answered(asked, begins=True)
        flight = self._flights.take(labels)
        if flight is None:
            flight = self._take_off(response_id)
        else:
            self._announce(flight, response_id)
        self._expectations.begun(flight.reading)
        if flight.in_conversation and self._flights.announced:
            self._overtake()
        self._flights.announce(response_id, flight)

    def _take_off(self, response_id: str | None, own: Own = NO_OWN, feature: str | None = None) -> Flight:
        reading, usual = self._expectations.of(own)
        pend = self._unsettled.response(self._records.begun(response_id, feature), reading.expected, usual)
        if response_id is None:  # not announced yet
            usual = msgspec.structs.replace(usual, first_ms=None)
        now = time.monotonic()
        return Flight(pend, reading, usual, now, now, own)

    def _announce(self, flight: Flight, response_id: str | None) -> None:
        """It was expected, and now it begins; only if what it reads has changed meanwhile, that is told anew."""
        flight.announced = time.monotonic()
        flight.request_id = response_id or ""
        reading, flight.usual = self._expectations.of(flight.own)
        if reading is not flight.reading:
            flight.reading = reading
            flight.pend = msgspec.structs.replace(flight.pend, input=reading.expected, usual=flight.usual)
            self._unsettled.again(flight.pend)
        self._tell_more(flight)

    def _overtake(self) -> None:
        """A conversation has one response at a time: of those before it nothing is awaited, and their output stays."""
        for flight in self._flights.announced.values():
            flight.overtaken = True
            self._unsettled.await_no_more(flight.pend.id)
            self._expectations.keep(flight, output_of(self._records.estimated(flight, broken=False).units))

    def _on_stopped(self, event: Event) -> None:
        """The client stops a response. What the provider sends until it hears of that still arrives."""
        for flight in self._flights.stop(text(event.get("response_id"))):
            self._tell_more(flight)

    def refused(self, asked: str, code: str) -> None:
        """The server refuses what the client asked for: a failed request, which is not billed."""
        flight = self._flights.asked.pop(asked, None)
        if flight is not None:
            self._settle(None, flight, self._records.refused(flight, code))

    # -- its output arrives ---------------------------------------------------------------------------------------

    def _on_output_item(self, event: Event) -> None:
        flight = self._flights.of(text(event.get("response_id")))
        if flight is not None:
            flight.whole = False
            if (item_id := text(mapping(event.get("item")).get("id"))) is not None:
                flight.items.append(item_id)

    def _on_output_item_done(self, event: Event) -> None:
        """Its output is complete, unless a next item begins; that of a cancelled one is `incomplete`."""
        flight = self._flights.of(text(event.get("response_id")))
        if flight is not None and mapping(event.get("item")).get("status") == "completed":
            flight.whole = True
            self._tell_more(flight)

    def _on_audio(self, event: Event) -> None:
        flight = self._flights.of(text(event.get("response_id")))
        if flight is not None and (arrived := base64_bytes(event.get("delta"))):
            flight.hear(arrived)
            self._tell_more(flight)

    def _on_text(self, event: Event) -> None:
        flight = self._flights.of(text(event.get("response_id")))
        if flight is not None and isinstance(delta := event.get("delta"), str):
            flight.read(tokens_in(delta))
            self._tell_more(flight)

    def _tell_more(self, flight: Flight) -> None:
        writer = self._unsettled.writer
        writer.more(flight.more(writer.now()))

    def pend_again(self) -> None:
        """What is in flight is another part's now."""
        for flight in self._flights.all():
            self._unsettled.again(flight.pend)
            self._tell_more(flight)

    # -- it ends --------------------------------------------------------------------------------------------------

    def _on_done(self, event: Event) -> None:
        response = mapping(event.get("response"))
        response_id = text(response.get("id"))
        flight = self._flights.of(response_id)
        if flight is not None and (done := self._records.done(response, response_id, flight)).counts is not None:
            self._billed(flight, done)
            return
        if self._flights.is_over(response_id):
            self._come_late(response_id or "", response.get("usage"))
            return
        known = flight
        if flight is None:
            flight = self._flights.take(mapping(response.get("metadata")))
        done = self._records.done(response, response_id, flight)
        record = self._records.ended(done, response.get("usage"), flight)
        if known is None and record.provenance == "reported" and record.units:
            told = (text(mapping(item).get("id")) for item in items(response.get("output")))
            self._expectations.learn_of_unannounced(next(filter(None, told), response_id or ""), record.units)
        elif flight is not None:
            self._expectations.keep(flight, output_of(record.units))
        self._settle(response_id, flight, record)

    def _billed(self, flight: Flight, done: Done) -> None:
        """Its figures have come: what they are and teach is worked out aside, once they are written down."""
        self._flights.land(done.request_id, flight)
        self._expectations.learn(flight, done)
        self._unsettled.done(done, partial(self._made, flight))

    def _made(self, flight: Flight, done: Done) -> UsageRecord:
        self._unsettled.writer.later(self._expectations.prepare)
        return settled(flight.pend, done)

    def give_up(self, *, broken: bool) -> None:
        """The connection can bring nothing more. `broken`: it did so at once; else what was sent had time to arrive."""
        if not broken:
            self._forget_expected()
        flights = self._flights.all()
        self._flights.forget_unannounced()
        for flight in flights:
            record = self._records.given_up(flight, broken=broken)
            self._settle(record.request_id, flight, record)

    def _settle(self, response_id: str | None, flight: Flight | None, record: UsageRecord) -> None:
        self._flights.land(response_id, flight)
        self._unsettled.settle(flight.pend.id if flight is not None else None, record)

    def _come_late(self, response_id: str, usage: object) -> None:
        """Figures of a response that is settled. Told twice, they are those that were counted."""
        if usage is None:
            return
        try:
            self._unsettled.come_late(response_id, split_realtime_usage(usage))
        except ImpossibleUsage as error:
            faults.note("late figures are impossible; not kept", error)
