"""Responses in flight: those that were asked for, the one that is expected, and those that the provider announced."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from livekit_tokens.capture.raw import Event, Recent, text
from livekit_tokens.core.estimates.framing import PCM16_BYTES_PER_MS
from livekit_tokens.core.estimates.output import Usual, generated_ahead, generated_by, generated_unheard
from livekit_tokens.core.estimates.prompt import Reading
from livekit_tokens.core.lines import More, Pend
from livekit_tokens.domain.times import Micros

_FIRST_PIECE_SECONDS = 0.01
"""What arrives within so long of the first delta came with it, and says nothing about the pace."""

Own = tuple[int | None, int | None]
"""Tokens of a response's own instructions and tools; None: the session's."""
NO_OWN: Own = (None, None)


@dataclass(slots=True)
class Flight:
    """A response whose figures have not come: what it reads, and what has arrived of it.

    `request_id`: it was announced under that id since `pend` was written; empty: under none. `labels`: the metadata
    that the client has given it.
    """

    pend: Pend
    reading: Reading
    usual: Usual
    began: float
    announced: float = 0.0
    own: Own = NO_OWN
    labels: Event = field(default_factory=dict)
    request_id: str | None = None
    in_conversation: bool = True
    first_output: float | None = None
    spoke_at: float = 0.0
    last_output: float = 0.0
    first_piece: int = 0
    overtaken: bool = False
    audio_bytes: int = 0
    tokens: int = 0
    whole: bool = False
    items: list[str] = field(default_factory=list)
    stopped: float | None = None
    key: str = ""

    @property
    def audio_ms(self) -> int:
        return self.audio_bytes // PCM16_BYTES_PER_MS

    @property
    def span_ms(self) -> float:
        return (self.last_output - self.spoke_at) * 1000

    @property
    def first_ms(self) -> float | None:
        """From its announcement to its first output."""
        return None if self.first_output is None else (self.first_output - self.announced) * 1000

    def hear(self, audio_bytes: int) -> None:
        first = not self.audio_bytes
        self.audio_bytes += audio_bytes
        self._arrived(self.audio_ms, first=first)

    def read(self, tokens: int) -> None:
        """Text has arrived: it measures the pace only where there is no audio."""
        first = not self.tokens
        self.tokens += tokens
        if not self.audio_bytes:
            self._arrived(self.tokens, first=first)

    def _arrived(self, amount: int, *, first: bool) -> None:
        now = self.last_output = time.monotonic()
        if self.first_output is None:
            self.first_output = now
        if first:
            self.spoke_at = now
        if now - self.spoke_at <= _FIRST_PIECE_SECONDS:
            self.first_piece = amount

    def more(self, at: Micros, *, all_arrives: bool = False) -> More:
        """What has arrived by now, and what most likely exists beyond it.

        `all_arrives`: what the provider has sent is not lost, as it is where the connection breaks. Of a response that
        the client has stopped, all arrives before that can matter.
        """
        usual, audio_ms, ahead = self.usual, self.audio_ms, 0
        if self.whole:
            pass
        elif amount := audio_ms or self.tokens:
            lag_ms = usual.behind_ms if all_arrives or self.stopped is not None else usual.lag_ms
            ahead = generated_ahead(usual, amount, self.first_piece, self.span_ms, lag_ms, spoken=audio_ms > 0)
        elif self.stopped is not None:
            ahead = generated_by(usual, (self.stopped - self.announced) * 1000 + usual.round_trip_ms)
        elif not all_arrives:
            ahead = generated_unheard(usual)
        return More(self.pend.id, at, audio_ms, self.tokens, ahead, self.whole, self.request_id)

    def timing(self) -> tuple[int, int | None]:
        """How long it took by now, and until its first output, in milliseconds."""
        first = self.first_output
        took = round((time.monotonic() - self.began) * 1000)
        return took, None if first is None else round((first - self.began) * 1000)


class Flights:
    """Which response an event means. Ids may be missing at either end."""

    def __init__(self) -> None:
        self.asked: dict[str, Flight] = {}
        self.expected: Flight | None = None
        self.announced: dict[str, Flight] = {}
        self._over = Recent()

    def is_over(self, response_id: str | None) -> bool:
        """Whether it was settled. A response is billed once, however often its end is told."""
        return response_id is not None and response_id in self._over

    def take(self, labels: Event) -> Flight | None:
        """The flight of a response that is told of for the first time, by the metadata that it was asked for with.

        LiveKit gives it the asking event's id, which an app's own `response.create` does not: its metadata is told
        back as it was. Where there is none, it is the one that the provider was expected to begin by itself, or the
        one that has waited longest.
        """
        if labels and (asked := text(labels.get("client_event_id"))) is not None:
            return self.asked.pop(asked, None)
        if not labels and self.expected is not None:
            expected, self.expected = self.expected, None
            return expected
        asked = next((asked for asked, flight in self.asked.items() if flight.labels == labels), None)
        return None if asked is None else self.asked.pop(asked)

    def announce(self, response_id: str | None, flight: Flight) -> None:
        flight.key = response_id or flight.pend.id
        self.announced[flight.key] = flight

    def of(self, response_id: str | None) -> Flight | None:
        """The announced flight of that id; without one, the only flight that can be meant."""
        flight = self.announced.get(response_id or "")
        if flight is None and len(self.announced) == 1 and not self.is_over(response_id):
            ((key, only),) = self.announced.items()
            if response_id is None or key == only.pend.id:
                return only
        return flight

    def stop(self, response_id: str | None) -> list[Flight]:
        """The client stops that response; without an id, what it still waits for. Answers what was not stopped before.

        LiveKit stops by its id what it had stopped before it was announced: the first time is the one that counts.
        """
        if response_id is not None:
            meant = [flight for flight in (self.announced.get(response_id),) if flight is not None]
        else:
            meant = [*self.asked.values(), *(flight for flight in self.announced.values() if not flight.overtaken)]
        stopped = [flight for flight in meant if flight.stopped is None]
        for flight in stopped:
            flight.stopped = time.monotonic()
        return stopped

    def land(self, response_id: str | None, flight: Flight | None) -> None:
        """It is settled, under that id."""
        if flight is not None and self.announced.pop(flight.key, None) is not None:
            self._over.add(flight.key)
            if response_id == flight.key:
                return
        if response_id is not None:
            self._over.add(response_id)

    def all(self) -> list[Flight]:
        """Whatever is in flight, announced or not."""
        expected = [] if self.expected is None else [self.expected]
        return [*self.asked.values(), *expected, *self.announced.values()]

    def forget_unannounced(self) -> None:
        """Those may not even have reached the provider, and nobody will name them again."""
        self.asked.clear()
        self.expected = None
