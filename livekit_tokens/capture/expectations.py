"""What is expected of a conversation's next response, as its own earlier figures have taught."""

from __future__ import annotations

from contextlib import suppress
from operator import is_
from typing import NamedTuple

import msgspec

from livekit_tokens.capture.conversation import ConversationListener
from livekit_tokens.capture.flights import NO_OWN, Flight, Own
from livekit_tokens.core.estimates import left_out, prompt
from livekit_tokens.core.estimates.conversation import (
    Conversation,
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
from livekit_tokens.core.lines import Done
from livekit_tokens.domain.errors import ImpossibleUsage
from livekit_tokens.domain.splitting import split_realtime_usage
from livekit_tokens.domain.units import Units

_READ = 4
"""So many prompts are kept to see what of the next one may be cached."""

_Lesson = tuple[Flight, Done]
"""A response whose real figures have come. No class: one is made at each of them."""


class _Ready(NamedTuple):
    """What lessons come to, worked out aside by what was known `before` them."""

    lessons: list[_Lesson]
    before: tuple[object, ...]
    figures: Figures
    answers: Answers
    conversation: Conversation
    reading: Reading
    usual: Usual


class Expectations:
    """Follows one realtime session's figures."""

    def __init__(self, conversation: ConversationListener) -> None:
        self._conversation = conversation
        self._connection = 0
        self._figures = Figures()
        self._read: tuple[prompt.Prompt, ...] = ()
        self._answers = Answers()
        self._reading: Reading
        self._usual: Usual
        self._basis: tuple[object, ...] = (None,) * 6
        """What these follow from: conversation, connections, round trip, figures, prompts that were read, `own`."""
        self._noticed: Trimming | None = None
        self._unlearned: list[_Lesson] = []
        self._ready: _Ready | None = None
        """The latest, also when it is taken: so what it replaces is not let go of (2 us) on the call's loop."""
        # Before the conversation goes on: what was worked out aside is of what it holds.
        self.server_handlers = {
            "input_audio_buffer.speech_started": self._take_ready,
            "input_audio_buffer.speech_stopped": self._take_ready,
            "conversation.item.deleted": self._take_ready,
            "conversation.item.truncated": self._take_ready,
        }
        self.client_handlers = {"conversation.item.create": self._take_ready}

    def of(self, own: Own = NO_OWN) -> tuple[Reading, Usual]:
        """What a response reads that begins now, and what answers are like; `own`: see `Own`.

        The same ones as the last time, if nothing has changed that they follow from.
        """
        told = self._conversation
        now, connections, round_trip_ms, figures, read, before = self._basis
        if (
            self._unlearned
            or told.now is not now
            or told.connections is not connections
            or told.round_trip_ms is not round_trip_ms
            or self._figures is not figures
            or self._read is not read
            or own is not before
        ):
            self._catch_up()
            self._work_out(own)
            self._basis = (told.now, told.connections, told.round_trip_ms, self._figures, self._read, own)
        return self._reading, self._usual

    def _work_out(self, own: Own) -> None:
        told = self._conversation
        if self._connection != told.connections:
            self._connection = told.connections
            self._figures = prompt.on_a_new_connection(self._figures)
            self._read = ()
        told.now = trimmed(told.now, self._noticed)
        _, _, round_trip_ms, figures, read, _ = self._basis
        before = self._reading if figures is self._figures and read is self._read else None
        self._reading = prompt.reading_of(self._figures, prompt.prompt_of(told.now, *own), self._read, before)
        if before is None or round_trip_ms is not told.round_trip_ms:
            self._usual = usual_of(self._answers, told.round_trip_ms)

    def begun(self, reading: Reading) -> None:
        """The provider has begun to read that: it may be cached from now on."""
        self._read = (*self._read, reading.prompt)[-_READ:]

    def keep(self, flight: Flight, output: Units) -> None:
        """The next response reads what this one put out."""
        self._conversation.now = _going_on(self._conversation.now, flight, output)

    def learn(self, flight: Flight, done: Done) -> None:
        """The real figures of a response. What they teach is worked out aside by `prepare`, or when the next one
        begins, whichever comes first."""
        if flight.in_conversation:
            self._unlearned.append((flight, done))

    def learn_of_unannounced(self, item_id: str, units: Units) -> None:
        """The same of a response that was never announced: nothing of its output can have been deleted meanwhile."""
        reading, _ = self.of()
        self.begun(reading)
        self._figures = prompt.taught(self._figures, reading, units)
        now = with_item(self._conversation.now, message(item_id))
        self._conversation.now = with_answer(now, [item_id], output_of(units))

    def prepare(self) -> None:
        """Work out, aside from the call's loop, what the figures teach that are not learned yet, and what a response
        would read that began now.

        Holds nothing, and waits for nothing: the loop takes it if it is of what is known by then, else works it out by
        itself. A surprise is left to it, which changes more than what is known.
        """
        lessons, before = list(self._unlearned), self._known()
        figures, answers, conversation, connections, round_trip_ms, read = before
        if not lessons or connections != self._connection:
            return
        for flight, done in lessons:
            if units := _units_of(done):
                if figures.seen and left_out.is_surprise(flight.reading, units):
                    return
                figures, answers = _learned(figures, answers, (flight, done), units, flight.reading)
            conversation = _going_on(conversation, flight, output_of(units))
        reading = prompt.reading_of(figures, prompt.prompt_of(conversation), read)
        usual = usual_of(answers, round_trip_ms)
        self._ready = _Ready(lessons, before, figures, answers, conversation, reading, usual)

    def _known(self) -> tuple[Figures, Answers, Conversation, int, float, tuple[prompt.Prompt, ...]]:
        """All that lessons are learned by."""
        told = self._conversation
        return self._figures, self._answers, told.now, told.connections, told.round_trip_ms, self._read

    def _take_ready(self, _: object = None) -> None:
        if not self._unlearned:
            return
        ready, told = self._ready, self._conversation
        if ready is None or ready.lessons != self._unlearned or not all(map(is_, self._known(), ready.before)):
            return
        _, _, self._figures, self._answers, told.now, self._reading, self._usual = ready
        # Of that conversation, but for what is left out of it when the next response begins.
        self._basis = (None, told.connections, told.round_trip_ms, self._figures, self._read, NO_OWN)
        self._unlearned.clear()

    def _catch_up(self) -> None:
        self._take_ready()
        for flight, done in self._unlearned:
            if units := _units_of(done):
                reading = self._leave_out(flight.reading, units)
                self._figures, self._answers = _learned(self._figures, self._answers, (flight, done), units, reading)
            self.keep(flight, output_of(units))
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


def _units_of(done: Done) -> Units:
    """Nothing where they contradict each other, which is said where they are recorded."""
    with suppress(ImpossibleUsage):
        return split_realtime_usage(msgspec.to_builtins(done.counts))
    return {}


def _going_on(conversation: Conversation, flight: Flight, output: Units) -> Conversation:
    """The next response reads what this one put out."""
    return with_answer(conversation, flight.items, output) if flight.in_conversation else conversation


def _learned(
    figures: Figures, answers: Answers, lesson: _Lesson, units: Units, reading: Reading
) -> tuple[Figures, Answers]:
    flight, done = lesson
    answer = Answer(
        flight.more(0).arrived,
        first_piece_ms=flight.first_piece,
        first_ms=flight.first_ms,
        span_ms=flight.span_ms,
        output_text=units.get("output_text", 0) + units.get("output_reasoning", 0),
        output_audio=units.get("output_audio", 0),
        cut=done.status != "completed",
    )
    return prompt.taught(figures, reading, units), with_one_more(answers, answer)


def output_of(units: Units) -> Units:
    return {name: quantity for name, quantity in units.items() if name.startswith("output_")}
