"""What a response had put out: what arrived of it, and what was generated and billed before that could arrive.

Generation is faster than speech, so a cut leaves output behind that nobody hears: its pace times the time that a sign
takes to the provider and back. Measured on 36 interruptions without that term: cost -2.7% at close, -3.0% at a socket
drop. How the conversation's earlier answers went (pace, length, framing) is learned from their own figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from livekit_tokens.core.estimates.bounds import NOTHING, Estimate, kept
from livekit_tokens.core.estimates.framing import AUDIO_MS_PER_TOKEN, OUTPUT_FRAMING, said_tokens
from livekit_tokens.domain.usage import frozen_for_readers

REAL_TIME = 1.0
"""Milliseconds of audio a millisecond: the slowest pace at which a voice can be listened to."""
KNOWN_PACE_MS = 300
"""How much of a response's own time weighs as much as what earlier answers taught."""
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
    behind_ms: float = 0.0
    making_ms: float = 0.0
    first_ms: float | None = None
    lengths_ms: tuple[int, ...] = ()

    @property
    def lag_ms(self) -> float:
        """How far back that was generated which would arrive now, were the connection to break."""
        return self.round_trip_ms + self.behind_ms


@frozen_for_readers
class Arrived:
    """What has arrived of a response: milliseconds of audio, and tokens of its transcript, text or arguments.

    `ahead`: the estimate of what exists beyond it, in milliseconds of audio, or in tokens where it has no audio.
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
    making_ms: tuple[float, ...] = ()
    behind_ms: tuple[float, ...] = ()


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
    return text + Estimate(
        kept(output_audio=said_tokens(round(audio_ms + likely))),
        kept(output_audio=audio_ms // AUDIO_MS_PER_TOKEN),
        kept(output_audio=said_tokens(round(audio_ms + most))),
    )


def _unheard(usual: Usual, arrived: Arrived) -> Estimate:
    """Nothing has arrived, and something may exist: at most what `ahead` says and a piece in the making.

    Likely is the mean over a cut at any moment since the announcement: in the last part of that wait something exists,
    half of it in the mean.
    """
    if arrived.whole:
        return NOTHING
    pace = usual.pace or REAL_TIME
    likely_ms = 0.0
    if usual.first_ms and usual.pace:
        within = min(arrived.ahead / pace + usual.making_ms, usual.first_ms)
        likely_ms = pace * within / 2 * within / usual.first_ms
    most_ms = AHEAD_AT_MOST * (arrived.ahead + pace * usual.making_ms) + SLACK_MS
    if usual.pace is None:
        most_ms = max(most_ms, FIRST_WORDS_MS)
    likely = kept(output_text=usual.framing + 1, output_audio=said_tokens(round(likely_ms))) if likely_ms else {}
    return Estimate(
        likely, {}, kept(output_text=2 * OUTPUT_FRAMING + usual.framing, output_audio=said_tokens(round(most_ms)))
    )


def _text(framing: int, arrived: float, likely: float, most: float) -> Estimate:
    return Estimate(
        kept(output_text=framing + likely),
        kept(output_text=arrived + max(0, framing - FRAMING_SLACK)),
        kept(output_text=framing + most * 1.05 + FRAMING_SLACK),
    )


def _expected_more(arrived: Arrived, lengths_ms: tuple[int, ...]) -> float:
    """How much more there is likely to be, given that an answer may also have come to its end meanwhile."""
    rest = [min(arrived.ahead, length - arrived.audio_ms) for length in lengths_ms if length > arrived.audio_ms]
    return _mean([*rest, arrived.ahead])


def generated_ahead(usual: Usual, arrived: float, first_piece: float, span_ms: float, lag_ms: float) -> int:
    """What a provider generates and bills within `lag_ms`, in the unit of what has `arrived`.

    The pace is the response's own, measured over `span_ms` from its first piece on, and for as long as that is short
    the usual one.
    """
    known = 0.0 if usual.pace is None else KNOWN_PACE_MS
    measured = arrived - first_piece + known * (usual.pace or 0.0)
    pace = measured / (span_ms + known) if measured > 0 else REAL_TIME
    return round(pace * lag_ms)


def with_answer(answers: Answers, answer: Answer) -> Answers:
    """One answer more to learn from."""
    arrived, framings, spoken = answer.arrived, answers.framings, answers.spoken
    if arrived.tokens and arrived.whole and not answer.cut:
        framings = (*framings, answer.output_text - arrived.tokens)[-REMEMBERED:]
    if answer.span_ms > 0 and arrived.audio_ms > answer.first_piece_ms:
        spoken = (*spoken, (arrived.audio_ms - answer.first_piece_ms, answer.span_ms))[-REMEMBERED:]
    learned = _pace(spoken)
    pace = learned or REAL_TIME
    firsts = answers.firsts_ms if answer.first_ms is None else (*answers.firsts_ms, answer.first_ms)[-REMEMBERED:]
    lengths, behind = answers.lengths_ms, answers.behind_ms
    real_ms = answer.output_audio * AUDIO_MS_PER_TOKEN
    if answer.output_audio and not answer.cut:
        lengths = (*lengths, real_ms)[-REMEMBERED:]
    making = answers.making_ms
    if arrived.audio_ms:  # of what is sent at a time, half is in the making at any moment
        making = (*making, answer.first_piece_ms / 2 / pace)[-REMEMBERED:]
    if answer.cut and arrived.audio_ms:
        behind = (*behind, max(0.0, real_ms - arrived.audio_ms) / pace)[-REMEMBERED:]
    return Answers(learned, framings, spoken, firsts, lengths, making, behind)


def usual_of(answers: Answers, round_trip_ms: float) -> Usual:
    """What the conversation's answers are like."""
    return Usual(
        framing=max(0, sorted(answers.framings)[len(answers.framings) // 2]) if answers.framings else OUTPUT_FRAMING,
        pace=answers.pace,
        round_trip_ms=round_trip_ms,
        behind_ms=_mean(answers.behind_ms or answers.making_ms or (0.0,)),
        making_ms=_mean(answers.making_ms or (0.0,)),
        first_ms=_mean(answers.firsts_ms) if answers.firsts_ms else None,
        lengths_ms=answers.lengths_ms,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _pace(spoken: tuple[tuple[int, float], ...]) -> float | None:
    span = sum([span for _, span in spoken])
    return sum([audio for audio, _ in spoken]) / span if span else None
