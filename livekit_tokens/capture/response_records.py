"""The record of a realtime response: as it begins, by what its end tells, or estimated where that tells no figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from livekit_tokens.capture.flights import Flight
from livekit_tokens.capture.raw import Event, mapping, text
from livekit_tokens.capture.unsettled import Unsettled
from livekit_tokens.core import faults
from livekit_tokens.core.pending import estimated
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_realtime_usage
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import Provenance, UsageRecord


class ResponseRecords:
    """One realtime session's. `UsageRecord` is called by name and at once: most of them are made on a call's path."""

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

    def ended(self, response: Event, response_id: str | None, flight: Flight | None) -> UsageRecord:
        """By what `response.done` tells."""
        status, usage = text(response.get("status")) or "unknown", response.get("usage")
        error = _error_of(response) if status == "failed" else None
        metadata = {"status": status}
        if usage is None and flight is not None and error is None:
            return self._without_usage(response_id, flight, metadata)
        units: Units = {}
        provenance: Provenance = "reported"
        try:
            if usage is not None:
                units = split_realtime_usage(usage)
            elif error is None:  # if it failed, it was refused before anything was generated: nothing is billed
                provenance = "unknown"
        except ImpossibleUsage as fault:
            faults.note("a response.done holds impossible usage; recorded as unknown", fault)
            provenance, metadata = "unknown", {"status": status, "fault": str(fault)}
        return self._record(response_id, flight, units, provenance, metadata=metadata, error=error)

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

    def _without_usage(self, response_id: str | None, flight: Flight, metadata: Mapping[str, str]) -> UsageRecord:
        record = self.given_up(flight, broken=False)
        return replace(record, request_id=response_id, metadata={**record.metadata, **metadata})

    def _record(
        self,
        response_id: str | None,
        flight: Flight | None,
        units: Units,
        provenance: Provenance,
        *,
        metadata: Mapping[str, str],
        error: str | None,
    ) -> UsageRecord:
        begun = flight.pend.record if flight is not None else self.begun(response_id)
        processing_ms, first_output_ms = flight.timing() if flight is not None else (None, None)
        writer = self._unsettled.writer
        return UsageRecord(
            part=writer.part.key,
            at=writer.now(),
            service=begun.service,
            provider=begun.provider,
            model=begun.model,
            operation=begun.operation,
            units=units,
            provenance=provenance,
            agent=begun.agent,
            feature=begun.feature,
            success=error is None,
            error=error,
            processing_ms=processing_ms,
            first_output_ms=first_output_ms,
            request_id=response_id,
            metadata=metadata,
        )


def _error_of(response: Event) -> str:
    error = mapping(mapping(response.get("status_details")).get("error"))
    return (text(error.get("code")) or text(error.get("type")) or "failed")[:100]
