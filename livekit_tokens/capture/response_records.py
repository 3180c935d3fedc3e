"""The record of a realtime response: as it begins, by what its end tells, or estimated where that tells no figures."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from livekit_tokens.capture.flights import Flight
from livekit_tokens.capture.raw import Event, mapping, text
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core.lines import Done, Pend, counts_in
from livekit_tokens.core.pending import estimated, settled
from livekit_tokens.domain.usage import UsageRecord


class ResponseRecords:
    """One realtime session's."""

    def __init__(self, unsettled: Unsettled) -> None:
        self._unsettled = unsettled

    def begun(self, response_id: str | None, feature: str | None = None) -> UsageRecord:
        """As far as it is known before anything was put out: under the model that serves it, the agent and the feature
        that ask for it, whichever are current now."""
        writer = self._unsettled.writer
        model, provider = self._unsettled.model()
        return UsageRecord(
            part=writer.part.key,
            at=writer.now(),
            service="agent",
            provider=provider,
            model=model,
            operation="realtime_response",
            units={},
            provenance="estimated",
            agent=writer.agent(),
            feature=feature or writer.feature(),
            request_id=response_id,
        )

    def done(self, response: Event, response_id: str | None, flight: Flight | None) -> Done:
        """What `response.done` tells."""
        status = text(response.get("status")) or "unknown"
        processing_ms, first_output_ms = (None, None) if flight is None else flight.timing()
        return Done(
            "" if flight is None else flight.pend.id,
            self._unsettled.writer.now(),
            counts_in(response.get("usage")),
            status,
            _error_of(response) if status == "failed" else None,
            processing_ms,
            first_output_ms,
            response_id,
        )

    def ended(self, done: Done, usage: object, flight: Flight | None) -> UsageRecord:
        """By what its end tells, else estimated."""
        if flight is None:
            return settled(Pend("", done.at, self.begun(done.request_id)), done, usage)
        if usage is None and done.error is None:
            record = self.given_up(flight, broken=False)
            metadata = {**record.metadata, "status": done.status}
            return replace(record, request_id=done.request_id, metadata=metadata)
        return settled(flight.pend, done, usage)

    def refused(self, flight: Flight, code: str) -> UsageRecord:
        """The server has refused to begin it: a failed request, which is not billed."""
        writer = self._unsettled.writer
        return replace(
            flight.pend.record,
            part=writer.part.key,
            at=writer.now(),
            provenance="reported",
            success=False,
            error=code,
        )

    def given_up(self, flight: Flight, *, broken: bool) -> UsageRecord:
        """Nothing more comes of it."""
        processing_ms, first_output_ms = flight.timing()
        record = self.estimated(flight, broken=broken)
        return replace(record, processing_ms=processing_ms, first_output_ms=first_output_ms)

    def estimated(self, flight: Flight, *, broken: bool) -> UsageRecord:
        """From what has arrived by now. `broken`: what was sent did not have time to."""
        pend = flight.pend
        all_arrived = not broken or flight.overtaken or flight.stopped is not None
        if all_arrived:
            pend = msgspec.structs.replace(pend, usual=msgspec.structs.replace(flight.usual, round_trip_ms=0.0))
        return estimated(pend, flight.more(self._unsettled.writer.now(), all_arrives=all_arrived))


def _error_of(response: Event) -> str:
    error = mapping(mapping(response.get("status_details")).get("error"))
    return (text(error.get("code")) or text(error.get("type")) or "failed")[:100]
