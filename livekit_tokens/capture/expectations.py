"""What is expected of a conversation's next response, as its own earlier figures have taught."""

from __future__ import annotations

from dataclasses import dataclass
from operator import is_
from typing import NamedTuple

from livekit_tokens.capture.conversation import ConversationListener
from livekit_tokens.capture.flights import NO_OWN, Flight, Own
from livekit_tokens.core.estimates import left_out, prompt
from livekit_tokens.core.estimates.conversation import (
    Trimming,
    message,
    trimmed,
    with_answer,
    with_item,
    without_items,
)
from livekit_tokens.core.estimates.output import Answer, Answers, Usual, usual_of
from livekit_tokens.core.estimates.output import with_answer as with_one_more
from livekit_tokens.core.estimates.prompt import Figures, Reading
from livekit_tokens.domain.units import Units

_READ = 4
"""So many prompts are kept to see what of the next one may be cached."""


class _Learned(NamedTuple):
    """What is known after a lesson, and what was known `before` it."""

    before: tuple[Figures, Answers]
    figures: Figures
    answers: Answers


@dataclass(slots=True)
class _Lesson:
    """A response whose real figures have come; what it teaches, once somebody has worked that out."""

    flight: Flight
    units: Units
    cut: bool
    learned: _Learned | None = None


class Expectations:
    """Follows one realtime session's figures."""

    def __init__(self, conversation: ConversationListener) -> None:
        self._conversation = conversation
        self._connection = 0
        self._figures = Figures()
        self._read: tuple[prompt.Prompt, ...] = ()
        self._answers = Answers()
        self._basis: tuple[object, ...] = (None,)
        self._reading: Reading
        self._usual: Usual
        self._noticed: Trimming | None = None
        self._unlearned: list[_Lesson] = []

    def of(self, own: Own = NO_OWN) -> tuple[Reading, Usual]:
        """What a response reads that begins now, and what answers are like; `own`: see `Own`.

        The same ones as the last time, if nothing has changed that they follow from.
        """
        if self._unlearned or not all(map(is_, self._basis_of(own), self._basis)):
            self._catch_up()
            self._work_out(own)
            self._basis = self._basis_of(own)
        return self._reading, self._usual

    def _basis_of(self, own: Own) -> tuple[object, ...]:
        """What these follow from."""
        told = self._conversation
        return told.now, told.connections, told.round_trip_ms, self._figures, self._read, own

    def _work_out(self, own: Own) -> None:
        told = self._conversation
        if self._connection != told.connections:
            self._connection = told.connections
            self._figures = prompt.on_a_new_connection(self._figures)
            self._read = ()
        told.now = trimmed(told.now, self._noticed)
        self._reading = prompt.reading_of(self._figures, prompt.prompt_of(told.now, *own), self._read)
        self._usual = usual_of(self._answers, told.round_trip_ms)

    def begun(self, reading: Reading) -> None:
        """The provider has begun to read that: it may be cached from now on."""
        self._read = (*self._read, reading.prompt)[-_READ:]

    def keep(self, flight: Flight, output: Units) -> None:
        """The next response reads what this one put out."""
        if flight.in_conversation:
            self._conversation.now = with_answer(self._conversation.now, flight.items, output)

    def learn(self, flight: Flight, units: Units, *, cut: bool) -> None:
        """The real figures of a response. What they teach is worked out aside by `prepare`, or when the next one
        begins, whichever comes first."""
        if flight.in_conversation:
            self._unlearned.append(_Lesson(flight, units, cut))

    def learn_of_unannounced(self, item_id: str, units: Units) -> None:
        """The same of a response that was never announced: nothing of its output can have been deleted meanwhile."""
        reading, _ = self.of()
        self.begun(reading)
        self._figures = prompt.taught(self._figures, reading, units)
        now = with_item(self._conversation.now, message(item_id))
        self._conversation.now = with_answer(now, [item_id], output_of(units))

    def prepare(self) -> None:
        """Work out, aside from the call's loop, what the figures teach that are not learned yet.

        Changes nothing but the lessons, and holds nothing: the loop takes what it finds there if it is of what is known
        by then, else works it out by itself. A surprise is left to it, which changes more than what is known.
        """
        figures, answers = self._figures, self._answers
        for lesson in tuple(self._unlearned):
            if figures.seen and left_out.is_surprise(lesson.flight.reading, lesson.units):
                return
            lesson.learned = learned = _learned(figures, answers, lesson, lesson.flight.reading)
            figures, answers = learned.figures, learned.answers

    def _catch_up(self) -> None:
        for lesson in self._unlearned:
            learned = lesson.learned
            if learned is None or learned.before[0] is not self._figures or learned.before[1] is not self._answers:
                reading = self._leave_out(lesson.flight.reading, lesson.units)
                learned = _learned(self._figures, self._answers, lesson, reading)
            self._figures, self._answers = learned.figures, learned.answers
            self.keep(lesson.flight, output_of(lesson.units))
        self._unlearned.clear()

    def _leave_out(self, reading: Reading, units: Units) -> Reading:
        """The server may have left out the oldest messages, and it will not take them in again."""
        if not self._figures.seen:
            return reading
        if left_out.left_out_too_many(reading, units):
            self._noticed = None
        count = left_out.left_out(reading, units)
        if not count:
            return reading
        self._noticed = left_out.trimming_of(reading, count, self._read)
        oldest = [item.id for item in reading.prompt.items[:count]]
        self._conversation.now = without_items(self._conversation.now, oldest)
        reading = left_out.without_oldest(reading, count)
        self.begun(reading)  # and not with them, as was expected: that is what the next one may find cached
        return reading


def _learned(figures: Figures, answers: Answers, lesson: _Lesson, reading: Reading) -> _Learned:
    flight, units = lesson.flight, lesson.units
    return _Learned(
        (figures, answers),
        prompt.taught(figures, reading, units),
        with_one_more(answers, _answer(flight, units, cut=lesson.cut)),
    )


def _answer(flight: Flight, units: Units, *, cut: bool) -> Answer:
    return Answer(
        flight.more(0).arrived,
        first_piece_ms=flight.first_piece,
        first_ms=flight.first_ms,
        span_ms=flight.span_ms,
        output_text=units.get("output_text", 0) + units.get("output_reasoning", 0),
        output_audio=units.get("output_audio", 0),
        cut=cut,
    )


def output_of(units: Units) -> Units:
    return {name: quantity for name, quantity in units.items() if name.startswith("output_")}
