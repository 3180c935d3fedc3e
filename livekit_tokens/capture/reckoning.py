"""What a realtime session's responses come to, read from notes: what each reads, its record, what its figures teach."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from livekit_tokens.capture.expectations import Expectations, output_of
from livekit_tokens.capture.flights import Flight
from livekit_tokens.capture.held import Held
from livekit_tokens.capture.raw import Event
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core import faults
from livekit_tokens.core.estimates.output import Usual
from livekit_tokens.core.estimates.prompt import Expected
from livekit_tokens.core.lines import Begun, Ended
from livekit_tokens.core.pending import as_pend, estimated, told
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_realtime_usage
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

Ahead = tuple[Expected, Usual]
"""What a response would read if it began now, and what answers are like."""


class Reckoning:
    """One realtime session's. `ahead` is for its events themselves; all else is called by what they noted."""

    def __init__(self, unsettled: Unsettled, held: Held) -> None:
        self._unsettled = unsettled
        self._held = held
        self._expectations = Expectations(held)
        self.ahead: Ahead
        self.look_ahead(0.0)

    def look_ahead(self, round_trip_ms: float) -> None:
        """For the line of the next response, which is written before all that was noted until then is read."""
        reading, usual = self._expectations.ahead(round_trip_ms)
        self.ahead = reading.expected, usual

    # -- it begins ------------------------------------------------------------------------------------------------

    def await_beginning(self, flight: Flight, given: Event, round_trip_ms: float) -> None:
        """A response was asked for, with what it is `given` of its own, or is expected: it is not announced yet."""
        flight.own = self._held.preamble_of(given, "response")
        flight.reading, usual = self._expectations.of(round_trip_ms, flight.own)
        flight.usual = unannounced(usual)
        self._unsettled.again(flight.line)

    def begin(self, flight: Flight, round_trip_ms: float) -> None:
        """A response is announced: what it reads may have changed since it was asked for, and what is known of that."""
        flight.reading, flight.usual = self._expectations.of(round_trip_ms, flight.own)
        self._expectations.begun(flight.reading)
        self._unsettled.again(flight.line)

    def keep(self, flight: Flight, at: Micros) -> None:
        """It was overtaken by the next one; what it had put out by then stays in the conversation."""
        self._expectations.keep(flight, output_of(self._estimate(flight, at, broken=False).units))

    # -- it ends --------------------------------------------------------------------------------------------------

    def tell(self, flight: Flight, ended: Ended) -> None:
        """The provider has told the end of a response that it had announced, or refused one."""
        record = self._told(flight.line, ended)
        if record.provenance == "reported" and record.units:
            self._expectations.learn(flight, record.units, cut=ended.status != "completed")
        else:
            self._expectations.keep(flight, output_of(record.units))
        self._unsettled.settle(ended.id, record)

    def tell_of_unannounced(self, flight: Flight, ended: Ended, item_id: str, round_trip_ms: float) -> None:
        """The same of a response that was never announced; `item_id` is its first item's."""
        record = self._told(flight.line, ended)
        if record.provenance == "reported" and record.units:
            self._expectations.learn_of_unannounced(item_id, record.units, round_trip_ms)
        self._unsettled.settle(ended.id, record)

    def _told(self, begun: Begun, ended: Ended) -> UsageRecord:
        record = told(begun, ended)
        if "fault" in record.metadata:
            faults.note("a response.done holds impossible usage; recorded as unknown")
        return record

    def end_without_figures(self, flight: Flight, ended: Ended) -> None:
        """The provider has told the end of a response, and no figures."""
        record = self._estimate(flight, ended.at, broken=False)
        record = replace(
            record,
            metadata={**record.metadata, "status": ended.status},
            request_id=ended.request_id,
            processing_ms=ended.processing_ms,
            first_output_ms=ended.first_output_ms,
        )
        self._expectations.keep(flight, output_of(record.units))
        self._unsettled.settle(ended.id, record)

    def give_up(self, flight: Flight, at: Micros, broken: bool) -> None:
        """The connection can bring nothing more of it. `broken`: see `Responses.give_up`."""
        processing, first = flight.timing()
        record = self._estimate(flight, at, broken=broken)
        self._unsettled.settle(flight.begun.id, replace(record, processing_ms=processing, first_output_ms=first))

    def _estimate(self, flight: Flight, at: Micros, *, broken: bool) -> UsageRecord:
        pend, usual = as_pend(flight.line), flight.usual
        if broken and not flight.overtaken:
            return estimated(pend, flight.more(at, usual.lag_ms))
        if flight.first_output is None:  # what was sent has arrived; if that is nothing, most likely nothing was said
            pend = msgspec.structs.replace(pend, usual=unannounced(usual))
        return estimated(pend, flight.more(at, usual.behind_ms))

    def come_late(self, response_id: str, usage: object) -> None:
        """Figures of a response that is settled. Told twice, they are those that were counted."""
        try:
            self._unsettled.come_late(response_id, split_realtime_usage(usage))
        except ImpossibleUsage as error:
            faults.note("late figures are impossible; not kept", error)


def unannounced(usual: Usual) -> Usual:
    """Of a response from whose announcement nothing can be reckoned."""
    return msgspec.structs.replace(usual, first_ms=None)
