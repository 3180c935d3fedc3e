"""What is expected of a conversation's next response, as its own earlier figures have taught."""

from __future__ import annotations

from collections import deque

from livekit_tokens.capture.flights import Flight
from livekit_tokens.capture.held import Held, Own
from livekit_tokens.core.estimates import prompt
from livekit_tokens.core.estimates.conversation import (
    Conversation,
    message,
    trimmed,
    with_answer,
    with_item,
    without_item,
)
from livekit_tokens.core.estimates.output import Answer, Answers, Usual, usual_of
from livekit_tokens.core.estimates.output import with_answer as with_one_more
from livekit_tokens.core.estimates.prompt import Figures, Reading
from livekit_tokens.domain.units import Units

_READ = 4
"""So many prompts are kept to see what of the next one may be cached."""


class Expectations:
    """Follows one realtime session's figures."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._connection = 0
        self._figures = Figures()
        self._read: deque[prompt.Prompt] = deque(maxlen=_READ)
        self._answers = Answers()

    def of(self, round_trip_ms: float, own: Own = (None, None)) -> tuple[Reading, Usual]:
        """What a response reads that begins now, and what answers are like; `own`: see `Own`."""
        self._held.now = trimmed(self._held.now)
        return self._of(self._held.now, round_trip_ms, own)

    def ahead(self, round_trip_ms: float) -> tuple[Reading, Usual]:
        """The same of one that may begin at any moment: nothing is left out of the conversation for it yet."""
        return self._of(trimmed(self._held.now), round_trip_ms, (None, None))

    def _of(self, conversation: Conversation, round_trip_ms: float, own: Own) -> tuple[Reading, Usual]:
        if self._connection != self._held.connections:
            self._connection = self._held.connections
            self._figures = prompt.on_a_new_connection(self._figures)
            self._read.clear()
        reading = prompt.reading_of(self._figures, prompt.prompt_of(conversation, *own), self._read)
        return reading, usual_of(self._answers, round_trip_ms)

    def begun(self, reading: Reading) -> None:
        """The provider has begun to read that: it may be cached from now on."""
        self._read.append(reading.prompt)

    def keep(self, flight: Flight, output: Units) -> None:
        """The next response reads what this one put out."""
        if flight.in_conversation:
            self._held.now = with_answer(self._held.now, flight.items, output)

    def learn(self, flight: Flight, units: Units, *, cut: bool) -> None:
        """The real figures of a response that was announced."""
        if not flight.in_conversation or flight.reading is None:
            return
        reading = self._leave_out(flight.reading, units)
        self._figures = prompt.taught(self._figures, reading, units)
        self._answers = with_one_more(self._answers, _answer(flight, units, cut=cut))
        self.keep(flight, output_of(units))

    def learn_of_unannounced(self, item_id: str, units: Units, round_trip_ms: float) -> None:
        """The same of a response that was never announced: nothing of its output can have been deleted meanwhile."""
        reading, _ = self.of(round_trip_ms)
        self.begun(reading)
        self._figures = prompt.taught(self._figures, reading, units)
        now = with_item(self._held.now, message(item_id))
        self._held.now = with_answer(now, [item_id], output_of(units))

    def _leave_out(self, reading: Reading, units: Units) -> Reading:
        """The server may have left out the oldest messages, and it will not take them in again."""
        count = prompt.left_out(reading, units) if self._figures.seen else 0
        for item in reading.prompt.items[:count]:
            self._held.now = without_item(self._held.now, item.id)
        return prompt.without_oldest(reading, count)


def _answer(flight: Flight, units: Units, *, cut: bool) -> Answer:
    return Answer(
        flight.more(0, 0.0).arrived,
        first_piece_ms=flight.first_piece,
        first_ms=flight.first_ms,
        span_ms=flight.span_ms,
        output_text=units.get("output_text", 0) + units.get("output_reasoning", 0),
        output_audio=units.get("output_audio", 0),
        cut=cut,
    )


def output_of(units: Units) -> Units:
    return {name: quantity for name, quantity in units.items() if name.startswith("output_")}
