"""What a response had put out: what arrived of it, and what was generated and billed before that could arrive.

Generation is faster than speech, so a cut leaves output behind that nobody hears: its pace times the time that a sign
takes to the provider and back. Measured on 36 interruptions without that term: cost -2.7% at close, -3.0% at a socket
drop. How the conversation's earlier answers went (pace, length, framing) is learned from their own figures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean, median

from livekit_tokens.core.estimates.bounds import NOTHING, Estimate, kept
from livekit_tokens.core.estimates.framing import AUDIO_MS_PER_TOKEN, OUTPUT_FRAMING, said_tokens

REAL_TIME = 1.0
"""Milliseconds of audio a millisecond: the slowest pace at which a voice can be listened to."""
KNOWN_PACE_MS = 300
"""How much of a response's own time weighs as much as what earlier answers taught."""
FIRST_WORDS_MS = 1000
"""At most so much audio may exist of a response of which nothing has arrived."""
SLACK_MS = 400
"""About two deltas: what arrives comes in pieces."""
AHEAD_AT_MOST = 2.5
UNSEEN_AT_MOST = 0.25
"""Upper bound of what did not arrive, against the estimate of it and against what did."""
FRAMING_SLACK = 4
"""Text tokens: a delta's tokens are counted one by one, and may merge where two deltas meet."""
REMEMBERED = 12


@dataclass(frozen=True, slots=True)
class Usual:
    """What this conversation's answers are like, as far as its figures have told.

    `framing`: text tokens billed beyond the transcript. `pace`: milliseconds of audio a millisecond. `round_trip_ms`:
    from the client to the provider and back. `behind_ms`: for how long the provider keeps what it has generated
    before it sends it. `lengths_ms`: audio of the last whole answers.
    """

    framing: int = OUTPUT_FRAMING
    pace: float = REAL_TIME
    round_trip_ms: float = 0.0
    behind_ms: float = 0.0
    lengths_ms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrived:
    """What has arrived of a response: milliseconds of audio, and tokens of its transcript, text or arguments.

    `ahead`: the estimate of what exists beyond it, in milliseconds of audio, or in tokens where it has no audio.
    `whole`: the provider has said that its output is complete.
    """

    audio_ms: int = 0
    tokens: int = 0
    ahead: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose figures came: what had `arrived`, the first piece of that, and how long the rest took.

    `output_text` and `output_audio` are the real ones; `cut`: it did not end by itself.
    """

    arrived: Arrived
    first_piece_ms: int
    span_ms: float
    output_text: int
    output_audio: int
    cut: bool


@dataclass(frozen=True, slots=True)
class Answers:
    """The conversation's last answers with figures, as they count for what is usual."""

    framings: tuple[int, ...] = ()
    spoken: tuple[tuple[int, float], ...] = ()
    lengths_ms: tuple[int, ...] = ()
    behind_ms: tuple[float, ...] = ()


def output_of(usual: Usual, arrived: Arrived) -> Estimate:
    """A response's output. Low: what arrived and no more. High: `AHEAD_AT_MOST` of what is likely ahead, and slack."""
    audio_ms, tokens = arrived.audio_ms, arrived.tokens
    if not audio_ms and not tokens:
        first_words = 0 if arrived.whole else said_tokens(FIRST_WORDS_MS)
        return replace(NOTHING, high=kept(output_text=2 * usual.framing, output_audio=first_words))
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


def _text(framing: int, arrived: float, likely: float, most: float) -> Estimate:
    return Estimate(
        kept(output_text=framing + likely),
        kept(output_text=arrived + max(0, framing - FRAMING_SLACK)),
        kept(output_text=framing + most * 1.05 + FRAMING_SLACK),
    )


def _expected_more(arrived: Arrived, lengths_ms: tuple[int, ...]) -> float:
    """How much more there is likely to be, given that an answer may also have come to its end meanwhile."""
    rest = [min(arrived.ahead, length - arrived.audio_ms) for length in lengths_ms if length > arrived.audio_ms]
    return fmean([*rest, arrived.ahead])


def generated_ahead(pace: float, arrived: float, first_piece: float, span_ms: float, lag_ms: float) -> int:
    """What a provider has generated and billed within the last `lag_ms`, in the unit of what has `arrived`.

    The pace is the response's own, measured over `span_ms` from its first piece on, and for as long as that is short
    the usual one.
    """
    own = (arrived - first_piece + pace * KNOWN_PACE_MS) / (span_ms + KNOWN_PACE_MS)
    return round(own * lag_ms)


def with_answer(answers: Answers, answer: Answer) -> Answers:
    """One answer more to learn from."""
    arrived, framings, spoken = answer.arrived, answers.framings, answers.spoken
    if arrived.tokens and arrived.whole and not answer.cut:
        framings = (*framings, answer.output_text - arrived.tokens)[-REMEMBERED:]
    if answer.span_ms > 0 and arrived.audio_ms > answer.first_piece_ms:
        spoken = (*spoken, (arrived.audio_ms - answer.first_piece_ms, answer.span_ms))[-REMEMBERED:]
    pace = _pace(spoken)
    lengths, behind = answers.lengths_ms, answers.behind_ms
    real_ms = answer.output_audio * AUDIO_MS_PER_TOKEN
    if answer.output_audio and not answer.cut:
        lengths = (*lengths, real_ms)[-REMEMBERED:]
    if answer.cut and arrived.audio_ms:
        behind = (*behind, max(0.0, real_ms - arrived.audio_ms) / pace)[-REMEMBERED:]
    return Answers(framings, spoken, lengths, behind)


def usual_of(answers: Answers, round_trip_ms: float) -> Usual:
    """What the conversation's answers are like."""
    return Usual(
        framing=max(0, round(median(answers.framings))) if answers.framings else OUTPUT_FRAMING,
        pace=_pace(answers.spoken),
        round_trip_ms=round_trip_ms,
        behind_ms=fmean(answers.behind_ms) if answers.behind_ms else 0.0,
        lengths_ms=answers.lengths_ms,
    )


def _pace(spoken: tuple[tuple[int, float], ...]) -> float:
    span = sum(span for _, span in spoken)
    return sum(audio for audio, _ in spoken) / span if span else REAL_TIME
