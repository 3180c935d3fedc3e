"""Time that is billed by the connection: one record a connection and 15 minutes, written when these are over.

Per-second models (GPT-Live) tell how long a connection has been, cumulatively and while it goes on; LiveKit passes on
the growth. In between it is a request in flight: should the process be killed, what was told by then is recorded, and
half of what is usually told at a time.
Source: OpenAI's guide on the costs of voice; livekit-agents 1.8.9, `llm/_realtime/gpt_live.py`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livekit_tokens.capture.listening import listener
from livekit_tokens.capture.metrics import Fields
from livekit_tokens.capture.spending import Writer
from livekit_tokens.core.lines import Pend
from livekit_tokens.domain.times import Micros, quarter_of
from livekit_tokens.domain.usage import UsageRecord

_numbers = itertools.count(1)
_UNIT = "session_ms"
_SLACK_MS = 1000
"""How much longer than by our clock a connection may have lived that broke."""


@dataclass(slots=True)
class _Stretch:
    """The part of a connection that falls into 15 UTC minutes: how long it has been by now, as the provider told."""

    pend: str
    began: Micros
    fields: Fields
    told_ms: int
    last_ms: int
    told_at: Micros
    heard: float


class SessionTime:
    """One realtime session's time. `writer` answers the part that is written for now."""

    def __init__(self, writer: Callable[[], Writer]) -> None:
        self._writer = writer
        self._stretch: _Stretch | None = None
        self._tells_its_end = False
        self._has_told_its_end = False

    def attach(self, session: Any) -> None:
        """Listen for the end that the provider tells, where LiveKit shows it: only then all of the time is told."""
        self._tells_its_end = True
        session.on("openai_server_event_received", listener(self._on_raw, "a connection's end could not be noticed"))

    def _on_raw(self, event: Any) -> None:
        if isinstance(event, dict) and event.get("type") in ("session.started", "session.closed"):
            self._has_told_its_end = event["type"] == "session.closed"

    def grow(self, fields: Fields, milliseconds: int) -> None:
        """The provider tells that the connection has gone on for so long since it told last."""
        writer = self._writer()
        now = writer.now()
        stretch = self._stretch
        if stretch is not None and (
            quarter_of(now) != quarter_of(stretch.began) or stretch.fields["request_id"] != fields["request_id"]
        ):
            self._settle(stretch, stretch.told_ms)
            stretch = None
        if stretch is None:
            stretch = _Stretch(f"t{next(_numbers)}", now, fields, 0, 0, now, 0.0)
        self._stretch = stretch
        stretch.told_ms += milliseconds
        stretch.last_ms, stretch.told_at, stretch.heard = milliseconds, now, time.monotonic()
        record = self._estimate(stretch, milliseconds // 2, milliseconds)
        writer.pend(Pend(stretch.pend, now, record, complete=True))

    def end(self) -> None:
        """The connection is over. If the provider has not told its end, what has passed since is an estimate."""
        stretch, self._stretch = self._stretch, None
        if stretch is None:
            return
        if self._has_told_its_end or not self._tells_its_end:
            self._settle(stretch, stretch.told_ms)
        else:
            since = round((time.monotonic() - stretch.heard) * 1000)
            self._writer().write(self._estimate(stretch, since, since + _SLACK_MS), stretch.pend)

    def _settle(self, stretch: _Stretch, milliseconds: int) -> None:
        writer = self._writer()
        units = {_UNIT: milliseconds} if milliseconds else {}
        record = writer.new_record(at=stretch.told_at, units=units, provenance="reported", **stretch.fields)
        writer.write(record, stretch.pend)

    def _estimate(self, stretch: _Stretch, likely_ms: int, most_ms: int) -> UsageRecord:
        told = stretch.told_ms
        return self._writer().new_record(
            at=stretch.told_at,
            units={_UNIT: told + likely_ms},
            low={_UNIT: told} if told else {},
            high={_UNIT: told + most_ms},
            provenance="estimated",
            **stretch.fields,
        )
