"""What a response had put out: what arrived of it, and what was generated and billed before that could arrive.

Generation is faster than speech, so a cut leaves output behind that nobody hears: its pace times the time that a sign
takes to the provider and back, and that the provider keeps what it has generated. How the conversation's earlier
answers went (pace, length, framing) is learned from their own figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import expm1

import msgspec

from livekit_tokens.core.estimates.bounds import NOTHING, Estimate, kept
from livekit_tokens.core.estimates.framing import AUDIO_MS_PER_TOKEN, OUTPUT_FRAMING, said_tokens
from livekit_tokens.domain.usage import frozen_for_readers

REAL_TIME = 1.0
"""Milliseconds of audio a millisecond: the slowest pace at which a voice can be listened to."""
KNOWN_PACE_MS = 300
"""How much of a response's own time weighs as much as what earlier answers taught."""
KEPT_MS = 45.0
"""For how long a provider keeps what it has generated, before a conversation's own answers tell. 36 recorded
interruptions (2026-11): without this term their cost was 2.7% low where all that was sent had arrived, and 31.6% low
where what had arrived was known half a second late. So 2.7% are 43 to 47 ms."""
FIRST_WORDS_MS = 1000
"""So much audio may at least exist of a response of which nothing has arrived, where no pace is known yet."""
SLACK_MS = 400
"""About two deltas: what arrives comes in pieces."""
AHEAD_AT_MOST = 2.5
UNSEEN_AT_MOST = 0.25
"""Upper bound of what did not arrive, against the estimate of it and against what did."""
FRAMING_SLACK = 4
"""Text tokens: a delta's tokens are counted one by one, and may merge where two deltas meet."""
REMEMBERED = 8


class Usual(msgspec.Struct, frozen=True, array_like=True):
    """What this conversation's answers are like, as far as its figures have told.

    `framing`: text tokens billed beyond the transcript. `pace`: milliseconds of audio a millisecond. `round_trip_ms`:
    from the client to the provider and back. `behind_ms`: for how long the provider keeps what it has generated
    before it sends it, `making_ms`: half of the time that it takes to make what it sends at a time. `first_ms`: from
    a response's announcement to its first output. `lengths_ms`: audio of the last whole answers. None: not known yet.
    """

    framing: int = OUTPUT_FRAMING
    pace: float | None = None
    round_trip_ms: float = 0.0
    behind_ms: float = KEPT_MS
    making_ms: float = 0.0
    first_ms: float | None = None
    lengths_ms: tuple[int, ...] = ()

    @property
    def lag_ms(self) -> float:
        """How far back that was generated which arrives last, where the connection breaks."""
        return self.round_trip_ms + self.behind_ms


@frozen_for_readers
class Arrived:
    """What has arrived of a response: milliseconds of audio, and tokens of its transcript, text or arguments.

    `ahead`: what most likely exists beyond it, in milliseconds of audio, or in tokens where only text has arrived.
    `whole`: the provider has said that its output is complete.
    """

    audio_ms: int = 0
    tokens: int = 0
    ahead: int = 0
    whole: bool = False


@frozen_for_readers
class Answer:
    """A response whose figures came: what had `arrived`, what of it came at first and when (since the announcement),
    and how long the rest took.

    `output_text` and `output_audio` are the real ones; `cut`: it did not end by itself.
    """

    arrived: Arrived
    first_piece_ms: int
    first_ms: float | None
    span_ms: float
    output_text: int
    output_audio: int
    cut: bool


@frozen_for_readers
class Answers:
    """The conversation's last answers with figures, as they count for what is usual."""

    pace: float | None = None
    framings: tuple[int, ...] = ()
    spoken: tuple[tuple[int, float], ...] = ()
    firsts_ms: tuple[float, ...] = ()
    lengths_ms: tuple[int, ...] = ()
    pieces_ms: tuple[int, ...] = ()
    unsent_ms: tuple[int, ...] = ()


def output_of(usual: Usual, arrived: Arrived) -> Estimate:
    """A response's output. Low: what arrived and no more. High: `AHEAD_AT_MOST` of what is likely ahead, and slack."""
    audio_ms, tokens = arrived.audio_ms, arrived.tokens
    if not audio_ms and not tokens:
        return _unheard(usual, arrived)
    if arrived.whole:
        likely = most = 0.0
    else:
        likely = _expected_more(arrived, usual.lengths_ms) if audio_ms else arrived.ahead
        most = max(AHEAD_AT_MOST * arrived.ahead, UNSEEN_AT_MOST * (audio_ms or tokens)) + (SLACK_MS if audio_ms else 8)
    if not audio_ms:
        return _text(usual.framing, tokens, tokens + likely, tokens + most)
    text = _text(usual.framing, tokens, tokens * (1 + likely / audio_ms), tokens * (1 + most / audio_ms))
    said = said_tokens(audio_ms)
    return text + Estimate(
        kept(output_audio=said + likely / AUDIO_MS_PER_TOKEN),
        kept(output_audio=audio_ms // AUDIO_MS_PER_TOKEN),
        kept(output_audio=said + most / AUDIO_MS_PER_TOKEN),
    )


def _unheard(usual: Usual, arrived: Arrived) -> Estimate:
    """Nothing has arrived, and something may exist: at most what is not sent yet, and what is on its way."""
    if arrived.whole:
        return NOTHING
    unseen_ms = (usual.pace or REAL_TIME) * (usual.lag_ms + usual.making_ms)
    most_ms = AHEAD_AT_MOST * max(unseen_ms, arrived.ahead) + SLACK_MS
    if usual.pace is None:
        most_ms = max(most_ms, FIRST_WORDS_MS)
    likely = arrived.ahead / AUDIO_MS_PER_TOKEN
    return Estimate(
        kept(output_text=usual.framing + 1, output_audio=likely) if likely else {},
        {},
        kept(output_text=2 * OUTPUT_FRAMING + usual.framing, output_audio=most_ms / AUDIO_MS_PER_TOKEN),
    )


def _text(framing: int, arrived: float, likely: float, most: float) -> Estimate:
    return Estimate(
        kept(output_text=framing + likely),
        kept(output_text=arrived + max(0, framing - FRAMING_SLACK)),
        kept(output_text=framing + most * 1.05 + FRAMING_SLACK),
    )


def _expected_more(arrived: Arrived, lengths_ms: tuple[int, ...]) -> float:
    """How much more there is likely to be, given that an answer may also have come to its end meanwhile.

    As each of the earlier ones that were longer would have; and as one that outlasts them all: so far past its
    beginning an answer goes on for as long as they took in the mean.
    """
    ahead = arrived.ahead
    if not any(lengths_ms):
        return ahead
    rest = [min(ahead, length - arrived.audio_ms) for length in lengths_ms if length > arrived.audio_ms]
    usually = _mean(lengths_ms)
    return _mean([*rest, -usually * expm1(-ahead / usually)])


def generated_ahead(
    usual: Usual, arrived: float, first_piece: float, span_ms: float, lag_ms: float, *, spoken: bool = True
) -> int:
    """What a provider generates and bills within `lag_ms`, in the unit of what has `arrived`.

    The pace is the response's own, measured over `span_ms` from its first piece on, and for as long as that is short
    the usual one; of text, which nobody paces, only its own.
    """
    measured = arrived - first_piece
    if spoken and usual.pace is not None:
        measured += usual.pace * KNOWN_PACE_MS
        span_ms += KNOWN_PACE_MS
    if measured > 0 and span_ms > 0:
        return round(measured / span_ms * lag_ms)
    return round(REAL_TIME * lag_ms) if spoken else 0


def generated_unheard(usual: Usual) -> int:
    """What exists of a response of which nothing has arrived when the connection breaks, in milliseconds of audio.

    The mean over a break at any moment of the wait for its first output: what a break at its end leaves behind grows
    from nothing on. Nothing where it is not known how long that wait is.
    """
    if not usual.first_ms or usual.pace is None:
        return 0
    at_its_end = usual.lag_ms + usual.making_ms
    at_its_beginning = max(0.0, at_its_end - usual.first_ms)
    return round(usual.pace * (at_its_end**2 - at_its_beginning**2) / 2 / usual.first_ms)


def generated_by(usual: Usual, age_ms: float) -> int:
    """The same of one that the provider stopped `age_ms` after it had announced it: no more than is not sent yet."""
    if not usual.first_ms or usual.pace is None:
        return 0
    unsent_ms = usual.behind_ms + usual.making_ms
    begins_ms = max(0.0, usual.first_ms - unsent_ms)
    return round(usual.pace * min(max(0.0, age_ms - begins_ms), unsent_ms))


def with_answer(answers: Answers, answer: Answer) -> Answers:
    """One answer more to learn from."""
    arrived, framings, spoken = answer.arrived, answers.framings, answers.spoken
    if arrived.tokens and arrived.whole and not answer.cut:
        framings = (*framings, answer.output_text - arrived.tokens)[-REMEMBERED:]
    if answer.span_ms > 0 and arrived.audio_ms > answer.first_piece_ms:
        spoken = (*spoken, (arrived.audio_ms - answer.first_piece_ms, answer.span_ms))[-REMEMBERED:]
    firsts = answers.firsts_ms if answer.first_ms is None else (*answers.firsts_ms, answer.first_ms)[-REMEMBERED:]
    lengths, pieces, unsent = answers.lengths_ms, answers.pieces_ms, answers.unsent_ms
    real_ms = answer.output_audio * AUDIO_MS_PER_TOKEN
    if answer.output_audio and not answer.cut:
        lengths = (*lengths, real_ms)[-REMEMBERED:]
    if arrived.audio_ms:
        pieces = (*pieces, answer.first_piece_ms)[-REMEMBERED:]
    if answer.cut and arrived.audio_ms:
        unsent = (*unsent, max(0, real_ms - arrived.audio_ms))[-REMEMBERED:]
    return Answers(_pace(spoken), framings, spoken, firsts, lengths, pieces, unsent)


def usual_of(answers: Answers, round_trip_ms: float) -> Usual:
    """What the conversation's answers are like.

    A provider keeps at least what it is making: of what it sends at a time, half in the mean. That, or `KEPT_MS`, is
    what was known before any cut answer told, and weighs as much as one of them.
    """
    pace = answers.pace or REAL_TIME
    making_ms = _mean(answers.pieces_ms or (0,)) / 2 / pace
    return Usual(
        framing=max(0, sorted(answers.framings)[len(answers.framings) // 2]) if answers.framings else OUTPUT_FRAMING,
        pace=answers.pace,
        round_trip_ms=round_trip_ms,
        behind_ms=_mean((max(KEPT_MS, making_ms), *(unsent / pace for unsent in answers.unsent_ms))),
        making_ms=making_ms,
        first_ms=_mean(answers.firsts_ms) if answers.firsts_ms else None,
        lengths_ms=answers.lengths_ms,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _pace(spoken: tuple[tuple[int, float], ...]) -> float | None:
    span = sum([span for _, span in spoken])
    return sum([audio for audio, _ in spoken]) / span if span else None
