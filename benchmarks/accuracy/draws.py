"""What the seed draws: the provider's ways, which the estimator is never told, and what happens in each call.

Times are about half of what is seen on a real network, so that a seed takes minutes; their proportions are kept.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from livekit_tokens.demo.bill import Frames
from livekit_tokens.demo.plan import Knobs

Kind = Literal[
    "whole", "cancelled", "before created", "discarded", "unclaimed", "socket drop", "at close", "killed", "no sign"
]
CUTS: tuple[Kind, ...] = (
    "cancelled",
    "before created",
    "discarded",
    "unclaimed",
    "socket drop",
    "at close",
    "killed",
)
ENDS: tuple[Kind, ...] = ("at close", "killed")

_MISSING = {"cancelled": 0.15, "before created": 0.15, "discarded": 0.15, "unclaimed": 0.0, "at close": 0.5}
"""How often `response.done` never comes: nobody has published that, so often enough to see the estimates. Of an
unclaimed response it is the only sign there is; without that of a whole one LiveKit 1.8.9 never speaks again."""
_LATE = 0.3
SPARE = 4
"""So many more: some cuts come before any sign, and some calls stall where LiveKit waits for what never comes."""
_TOPICS = (
    "Good morning, do you have time on Thursday?",
    "What does the first consultation cost, and do you take cards?",
    "I need to move my appointment because my train is late.",
    "Could you tell me how to get there from the main station, please?",
    "And on Sundays?",
    "My name is Ada, and the number is in your files.",
    "Do I have to bring anything, for example the letter that your colleague sent me in the spring?",
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: what the caller does, how the provider takes it, and where it is cut.

    `cut` is a fraction of the time that the whole answer would take, from its request on. `spoken`: by voice.
    """

    kind: Kind
    knobs: Knobs
    spoken: bool
    words: str
    voice_ms: int
    image: bool
    cut: float

    @property
    def whole_seconds(self) -> float:
        """From the request to the last piece's arrival."""
        knobs = self.knobs
        generation = knobs.speech[0] / knobs.speed[0]
        return 2 * knobs.latency + knobs.created[0] + knobs.first_output[0] + generation + knobs.ahead[0]


@dataclass(frozen=True, slots=True)
class Script:
    """One call from its greeting to its end."""

    number: int
    frames: Frames
    turns: tuple[Turn, ...]
    instructions: str
    tools: int
    transcriber: str
    truncation: tuple[int, float] | None

    @property
    def latency(self) -> float:
        return self.turns[0].knobs.latency


def scripts(seed: int, cuts: int) -> Iterator[Script]:
    """As many calls as it takes for at least `cuts` of each kind."""
    rng = random.Random(f"accuracy/{seed}")
    inner = [kind for kind in CUTS if kind not in ENDS]
    dealt: list[list[Kind]] = [[] for _ in range((cuts + SPARE) * len(ENDS))]
    for kind in inner * (cuts + SPARE):
        rng.choice(dealt).append(kind)
    for number, kinds in enumerate(dealt):
        yield _script(rng, number, kinds, ENDS[number % len(ENDS)])


def _script(rng: random.Random, number: int, kinds: list[Kind], end: Kind) -> Script:
    ways = _ways(rng)
    wholes: list[Kind] = ["whole"] * rng.randint(2, 5)
    middle = [*wholes[1:], *kinds]
    rng.shuffle(middle)
    order: list[Kind] = [wholes[0], *middle, end] if rng.random() < 0.9 else [*middle, end]
    trims = rng.random()
    context = (rng.randint(300, 900), rng.uniform(0.5, 0.9))
    images = 0.4 if rng.random() < 0.1 else 0.0
    unseen = context if trims < 0.15 else None
    return Script(
        number=number,
        frames=_frames(rng),
        turns=tuple(_turn(rng, kind, replace(ways, context=unseen), images) for kind in order),
        instructions=" ".join(rng.choices(_TOPICS, k=rng.randint(3, 40))),
        tools=rng.choice((0, 0, 1, 3)),
        transcriber=rng.choice(("gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1")),
        truncation=context if 0.15 <= trims < 0.25 else None,
    )


def _frames(rng: random.Random) -> Frames:
    output = rng.randint(4, 12)
    return Frames(
        item=rng.randint(3, 8),
        output=output,
        not_kept=rng.randint(2, output),
        tools=rng.uniform(0.4, 1.1),
        image=rng.choice((85, 255, 765)),
    )


def _ways(rng: random.Random) -> Knobs:
    """One call's provider and network; each turn varies around it."""
    cached = rng.uniform(0.75, 1.0)
    return Knobs(
        latency=rng.uniform(0.01, 0.08),
        ahead=_around(rng, 0.0, 0.08),
        burst=rng.choice((1, 1, 2, 4)),
        speed=_around(rng, 3.0, 8.0),
        created=_around(rng, 0.005, 0.04),
        first_output=_around(rng, 0.05, 0.2),
        cached_share=(max(0.0, cached - 0.1), cached),
        transcription=(0.02, 0.2),
        silence_ms=200,
    )


def _around(rng: random.Random, least: float, most: float) -> tuple[float, float]:
    middle = rng.uniform(least, most)
    return middle * 0.8, middle * 1.2


def _turn(rng: random.Random, kind: Kind, ways: Knobs, images: float) -> Turn:
    fixed = {name: (drawn := rng.uniform(*getattr(ways, name)), drawn) for name in ("created", "first_output", "speed")}
    speech = rng.uniform(1.5, 8.0)
    missing = rng.random() < _MISSING.get(kind, 0.0)
    late = kind in ("cancelled", "before created", "discarded", "at close") and rng.random() < _LATE
    delay = rng.uniform(0.3, 2.5 if kind == "at close" else 0.8) if late else rng.uniform(0, 0.05)
    knobs = replace(
        ways,
        **fixed,
        speech=(speech, speech),
        done_delay=(delay, delay),
        done_missing=missing,
        hears_early_cancel=kind != "discarded",
        announced=kind != "unclaimed",
    )
    if kind in ("before created", "discarded"):
        knobs = replace(knobs, created=(0.15, 0.15))
    return Turn(
        kind=kind,
        knobs=knobs,
        spoken=kind == "unclaimed" or (kind not in ("before created", "discarded") and rng.random() < 0.6),
        words=rng.choice(_TOPICS),
        voice_ms=rng.randrange(600, 5000, 100),
        image=rng.random() < images,
        cut=rng.random(),
    )
