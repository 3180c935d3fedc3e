"""What the stand-in provider is about to do, drawn from its seed, and the knobs that bend it.

A response's course is settled before it begins, so what was generated at any moment is arithmetic, and a
response that is cut off is billed alike however late the cut is noticed.
"""

from __future__ import annotations

import array
import base64
import functools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from livekit_tokens.demo.bill import Tokens

RATE = 24_000
CHUNK_MS = 200
WORD_MS = 400

Range = tuple[float, float]

_SPEECH = (
    "Certainly let me look that up for you the appointment on Thursday morning is still open and costs forty "
    "euros which includes the first consultation I can also offer Friday afternoon at half past three would "
    "that suit you better please tell me your name and telephone number so that we can reach you"
)
_WORDS = _SPEECH.split()


@dataclass(frozen=True, slots=True)
class Knobs:
    """How the provider behaves. A pair is a range from which each request draws; seconds unless said otherwise."""

    created: Range = (0.01, 0.08)
    """From `response.create` to `response.created`."""
    first_output: Range = (0.1, 0.35)
    ahead: Range = (0.02, 0.3)
    """How long the provider keeps a generated piece: what is cut off within it is billed and never sent."""
    latency: float = 0.0
    """How long an event takes, each way. A connection draws no other: the network is what it is."""
    burst: int = 1
    """So many pieces are sent at a time."""
    done_delay: Range = (0.0, 0.05)
    speech: Range = (1.5, 4.0)
    """Length of an answer's audio."""
    script: tuple[float, ...] = ()
    """Lengths of a connection's first answers, instead of drawing them."""
    speed: Range = (2.0, 4.0)
    """Generation, in seconds of speech per second."""
    cached_share: Range = (0.6, 1.0)
    transcription: Range = (0.05, 0.3)
    silence_ms: int = 400
    """A caller who is quiet for so long has finished."""
    ends: Literal["completed", "incomplete", "failed"] = "completed"
    call_tools: bool = False
    """Answer with a call of the session's first tool, unless the last item is a tool's output."""
    bills: tuple[Tokens, Tokens, Tokens] | None = None
    """What each response is billed, whatever it was: all input, the cached part of it, output."""
    context: tuple[int, float] | None = None
    """Above so many tokens after the instructions, the oldest items are left out until this share of it remains."""
    hears_early_cancel: bool = True
    """False: a cancel that comes before `response.created` is refused, and the response goes on."""
    announced: bool = True
    """False: of a response that is cut off early only `response.done` is ever sent (seen by LiveKit as a race)."""
    done_missing: bool = False
    transcription_missing: bool = False
    drop_after: int | None = None
    """Drop the socket after this many pieces of one response; happens once."""


QUICK = Knobs(
    created=(0.0, 0.01),
    first_output=(0.005, 0.02),
    ahead=(0.005, 0.02),
    done_delay=(0.0, 0.005),
    speech=(0.8, 2.4),
    speed=(20.0, 40.0),
    transcription=(0.0, 0.02),
    silence_ms=200,
)
"""For tests that look at the figures, not at the time."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one delta carries."""

    text: str
    audio_ms: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One response's course. Times are seconds since `response.create` arrived."""

    pieces: tuple[Piece, ...]
    created: float
    first: float
    step: float
    ahead: float
    done_delay: float
    cached_share: float
    burst: int = 1

    def generated(self, elapsed: float) -> int:
        """How many pieces exist after `elapsed` seconds, delivered or not."""
        if elapsed < self.first:
            return 0
        # The grain of dust keeps a piece that is due now from being rounded away.
        return min(len(self.pieces), 1 + int((elapsed - self.first) / self.step + 1e-6))

    def deliveries(self) -> Iterator[tuple[float, Piece]]:
        """Each piece and when it is sent: together with those of its burst."""
        for n, piece in enumerate(self.pieces):
            last = min(n - n % self.burst + self.burst, len(self.pieces)) - 1
            yield self.first + last * self.step + self.ahead, piece


def draw_plan(rng: random.Random, knobs: Knobs, number: int, *, spoken: bool) -> Plan:
    """The course of a connection's response `number`, counted from 0."""
    speech_s = knobs.script[number] if number < len(knobs.script) else rng.uniform(*knobs.speech)
    created = rng.uniform(*knobs.created)
    return Plan(
        pieces=tuple(_pieces(rng, round(speech_s * 1000 / CHUNK_MS), spoken=spoken)),
        created=created,
        first=created + rng.uniform(*knobs.first_output),
        step=CHUNK_MS / 1000 / rng.uniform(*knobs.speed),
        ahead=rng.uniform(*knobs.ahead),
        done_delay=rng.uniform(*knobs.done_delay),
        cached_share=rng.uniform(*knobs.cached_share),
        burst=knobs.burst,
    )


def _pieces(rng: random.Random, count: int, *, spoken: bool) -> Iterator[Piece]:
    start = rng.randrange(len(_WORDS))
    for n in range(max(1, count)):
        # A word brings the space before it, as OpenAI's deltas do: each is whole tokens.
        word = ("" if n == 0 else " ") + _WORDS[(start + n) % len(_WORDS)]
        if spoken:
            yield Piece(word if n * CHUNK_MS % WORD_MS == 0 else "", CHUNK_MS)
        else:
            yield Piece(word, 0)


def transcript_of(audio_ms: int) -> str:
    """What a caller is taken to have said in so much time."""
    return " ".join(_WORDS[: max(1, audio_ms // WORD_MS)])


@functools.cache
def tone(audio_ms: int, pitch: int = 440, loudness: int = 3000) -> bytes:
    """A soft sine, 24 kHz pcm16. 440 Hz fits a whole number of times into 200 ms: pieces join without a click."""
    samples = (round(loudness * math.sin(2 * math.pi * pitch * n / RATE)) for n in range(RATE * audio_ms // 1000))
    return array.array("h", samples).tobytes()


@functools.cache
def tone_base64(audio_ms: int) -> str:
    return base64.b64encode(tone(audio_ms)).decode()
