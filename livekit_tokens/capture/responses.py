"""A realtime session's responses: each becomes one usage record, by the provider's figures wherever they come.

`response.done` is billing's own word, also for responses that were cancelled, discarded, late, or never announced.
What brings none becomes an estimate once the connection can bring nothing more.

An event of theirs costs a call one short line in the spool, which is enough for whoever finishes a killed process;
what follows from it is noted, and worked out by `Reckoning`.
"""

from __future__ import annotations

import time

import msgspec

from livekit_tokens.capture.conversation import ConversationListener
from livekit_tokens.capture.flights import Flight, Flights
from livekit_tokens.capture.following import Follower
from livekit_tokens.capture.raw import Event, base64_bytes, items, mapping, text
from livekit_tokens.capture.reckoning import Reckoning, unannounced
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core.estimates.output import Usual
from livekit_tokens.core.lines import Begun, Ended, Usage
from livekit_tokens.core.pending import usage_of
from livekit_tokens.core.vocabulary import tokens_in
from livekit_tokens.domain.errors import ImpossibleUsage

_MOST_LABELS = 64


class Responses:
    """Listens to one realtime session's responses."""

    def __init__(
        self, unsettled: Unsettled, conversation: ConversationListener, follower: Follower, reckoning: Reckoning
    ) -> None:
        self._unsettled = unsettled
        self._conversation = conversation
        self._follower = follower
        self._reckoning = reckoning
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
        self.client_handlers = {"response.create": self._on_asked}

    # -- it begins ------------------------------------------------------------------------------------------------

    def _on_asked(self, event: Event) -> None:
        """The client asks for a response: from now on it may be billed, whether or not it is ever announced."""
        asked = text(event.get("event_id"))
        if asked is None:
            return
        self._conversation.sent(asked)
        given = mapping(event.get("response"))
        flight = self._await(given, self._labels.pop(asked, None))
        flight.in_conversation = given.get("conversation") != "none"
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
            self._flights.expected = self._await({})

    def _await(self, given: Event, feature: str | None = None) -> Flight:
        """A response that is not announced yet."""
        expected, usual = self._reckoning.ahead
        flight = self._take_off(self._unsettled.response(None, feature, (expected, unannounced(usual))))
        self._follower.note(self._reckoning.await_beginning, flight, given, self._conversation.round_trip_ms)
        return flight

    def _forget_expected(self) -> None:
        """The provider tells the end of everything that it begins: what it told nothing of, it did not begin."""
        if (expected := self._flights.expected) is not None:
            self._flights.expected = None
            self._unsettled.await_no_more(expected.begun.id)
            self._follower.note(self._unsettled.forget, expected.begun.id)

    def _on_created(self, event: Event) -> None:
        response = mapping(event.get("response"))
        response_id = text(response.get("id"))
        asked = text(mapping(response.get("metadata")).get("client_event_id"))
        if response_id in self._flights.announced or self._flights.is_over(response_id):
            return
        self._conversation.answered(asked, begins=True)
        flight = self._flights.take(asked)
        if flight is None:
            flight = self._take_off(self._unsettled.response(response_id, None, self._reckoning.ahead))
            flight.announced = flight.began
        else:
            self._announce(flight, response_id)
        self._follower.note(self._reckoning.begin, flight, self._conversation.round_trip_ms)
        if flight.in_conversation and self._flights.announced:
            self._overtake()
        self._flights.announce(response_id, flight)

    def _take_off(self, begun: Begun) -> Flight:
        self._unsettled.begin(begun)
        return Flight(begun, begun.usual or Usual(), time.monotonic())

    def _announce(self, flight: Flight, response_id: str | None) -> None:
        """It was expected, and now it begins."""
        flight.announced = time.monotonic()
        expected, flight.usual = self._reckoning.ahead
        flight.begun = msgspec.structs.replace(flight.begun, request_id=response_id, input=expected, usual=flight.usual)
        self._unsettled.again(flight.begun)

    def _overtake(self) -> None:
        """A conversation has one response at a time: of those before it nothing is awaited, and their output stays."""
        now = self._unsettled.writer.now()
        for flight in self._flights.announced.values():
            flight.overtaken = True
            self._unsettled.await_no_more(flight.begun.id)
            self._follower.note(self._reckoning.keep, flight, now)

    def refused(self, asked: str, code: str) -> None:
        """The server refuses what the client asked for: a failed request, which is not billed."""
        flight = self._flights.asked.pop(asked, None)
        if flight is not None:
            ended = Ended(flight.begun.id, self._unsettled.writer.now(), error=code)
            self._unsettled.end(ended)
            self._follower.note(self._reckoning.tell, flight, ended)

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
        writer.more(flight.more(writer.now(), flight.usual.lag_ms))

    # -- it ends --------------------------------------------------------------------------------------------------

    def _on_done(self, event: Event) -> None:
        response = mapping(event.get("response"))
        response_id, usage = text(response.get("id")), response.get("usage")
        if self._flights.is_over(response_id):
            if usage is not None:
                self._follower.note(self._reckoning.come_late, response_id, usage)
            return
        flight = self._flights.of(response_id)
        announced = flight is not None
        flight = flight or self._flights.take(text(mapping(response.get("metadata")).get("client_event_id")))
        known = flight is not None
        flight = flight or self._take_off(self._unsettled.response(response_id, None, self._reckoning.ahead))
        ended = self._ended(response, response_id, flight)
        self._flights.land(response_id, flight)
        if ended.says_all:
            self._unsettled.end(ended)
        else:
            self._unsettled.await_no_more(ended.id)
        if known and not ended.says_all:
            self._follower.note(self._reckoning.end_without_figures, flight, ended)
        elif announced:
            self._follower.note(self._reckoning.tell, flight, ended)
        else:
            outputs = (text(mapping(item).get("id")) for item in items(response.get("output")))
            first = next(filter(None, outputs), response_id or "")
            self._follower.note(
                self._reckoning.tell_of_unannounced, flight, ended, first, self._conversation.round_trip_ms
            )
        if not ended.says_all:  # nothing in the spool stands for its record
            self._follower.catch_up()

    def _ended(self, response: Event, response_id: str | None, flight: Flight) -> Ended:
        status, told = text(response.get("status")) or "unknown", response.get("usage")
        usage: Usage | None = None
        fault: str | None = None
        try:
            usage = usage_of(told) if told is not None else None
        except ImpossibleUsage as error:
            fault = str(error)
        return Ended(
            flight.begun.id,
            self._unsettled.writer.now(),
            usage,
            response_id,
            status,
            _error_of(response) if status == "failed" else None,
            fault,
            *flight.timing(),
        )

    def give_up(self, *, broken: bool) -> None:
        """The connection can bring nothing more. `broken`: it did so at once; else what was sent had time to arrive."""
        if not broken:
            self._forget_expected()
        now = self._unsettled.writer.now()
        for flight in self._flights.land_all():
            self._unsettled.await_no_more(flight.begun.id)
            self._follower.note(self._reckoning.give_up, flight, now, broken)


def _error_of(response: Event) -> str:
    error = mapping(mapping(response.get("status_details")).get("error"))
    return (text(error.get("code")) or text(error.get("type")) or "failed")[:100]
