"""Lines of a spool: self-delimiting JSON with a checksum, one line an event.

`<crc32 of the rest, 8 hex digits> <JSON>\\n`. A reader that meets a damaged line goes on after the next newline.
"""

from __future__ import annotations

from typing import TypeAlias
from zlib import crc32

import msgspec

from livekit_tokens.core.estimates.output import Arrived, Usual
from livekit_tokens.core.estimates.prompt import Expected
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UNKNOWN_FEATURE, UsageRecord

_PREFIX = 9  # eight digits and a space


class Head(msgspec.Struct, tag="head", frozen=True):
    """First line of every segment. `seq` is the last record's number before it, so that a gap can be counted."""

    source: str
    host: str
    pid: int
    started_at: Micros
    segment: int
    seq: int
    ledger: str = ""


class PartLine(msgspec.Struct, tag="part", frozen=True):
    """A part as it is now, whole; written at every change, and again at the head of every segment while it is open.

    `seq` is the last record's number before it: a record that is lost at the very end leaves a hole that is seen.
    """

    at: Micros
    part: Part
    seq: int = 0


class StayLine(msgspec.Struct, tag="stay", frozen=True):
    """A participant's stay as it is now, whole."""

    at: Micros
    stay: Stay


class Use(msgspec.Struct, tag="use", frozen=True, omit_defaults=True):
    """A usage record with its number; `settles` names the pending request that it ends."""

    seq: int
    record: UsageRecord
    settles: str | None = None


class Begun(msgspec.Struct, tag="begun", frozen=True, omit_defaults=True):
    """A request of a realtime conversation is in flight: what can be said of it at once, without making a record.

    Written again, it replaces itself. `input` and `usual` as in `Pend`, of a response; `heard_ms`: how much audio a
    transcription was given.
    """

    id: str
    at: Micros
    part: str
    service: str
    operation: str
    provider: str
    model: str
    agent: str | None = None
    feature: str = UNKNOWN_FEATURE
    request_id: str | None = None
    input: Expected | None = None
    usual: Usual | None = None
    heard_ms: int | None = None


class Pend(msgspec.Struct, tag="pend", frozen=True, omit_defaults=True):
    """A request in flight: its record as far as it can be estimated now. Written again, it replaces itself, and what
    has arrived of its output stays.

    `input` and `usual`: what a realtime response is expected to read, and what its conversation's answers are like.
    `complete`: no output follows; the record says all.
    """

    id: str
    at: Micros
    record: UsageRecord
    input: Expected | None = None
    usual: Usual | None = None
    complete: bool = False


class More(msgspec.Struct, tag="more", frozen=True, omit_defaults=True):
    """How much output of a pending request has arrived by now, in the counts of `Arrived`."""

    id: str
    at: Micros
    audio_ms: int = 0
    tokens: int = 0
    ahead: int = 0
    whole: bool = False

    @property
    def arrived(self) -> Arrived:
        return Arrived(self.audio_ms, self.tokens, self.ahead, self.whole)


Number: TypeAlias = int | float | None


class CachedDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """`cached_tokens_details` of a usage object."""

    text_tokens: Number = None
    audio_tokens: Number = None
    image_tokens: Number = None


class Details(msgspec.Struct, frozen=True, omit_defaults=True):
    """`input_token_details` or `output_token_details` of a usage object."""

    text_tokens: Number = None
    audio_tokens: Number = None
    image_tokens: Number = None
    reasoning_tokens: Number = None
    cached_tokens: Number = None
    cached_tokens_details: CachedDetails | None = None


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A provider's usage object, as inclusive as it came: its numbers, and nothing else that may be in it."""

    input_tokens: Number = None
    output_tokens: Number = None
    input_token_details: Details | None = None
    output_token_details: Details | None = None
    seconds: Number = None


class Ended(msgspec.Struct, tag="ended", frozen=True, omit_defaults=True):
    """A pending request has ended, and its record is about to be written: until it is, this line stands for it.

    `usage`: its figures; `fault`: why those that came are not believed; `error`: the class of its error, if it failed.
    Durations in milliseconds.
    """

    id: str
    at: Micros
    usage: Usage | None = None
    request_id: str | None = None
    status: str | None = None
    error: str | None = None
    fault: str | None = None
    processing_ms: int | None = None
    first_output_ms: int | None = None

    @property
    def says_all(self) -> bool:
        """Whether its record needs no estimate."""
        return self.usage is not None or self.error is not None or self.fault is not None


class Unpend(msgspec.Struct, tag="unpend", frozen=True):
    """A request that was expected and never began: it is in flight no more, and nothing is recorded of it."""

    id: str


class Late(msgspec.Struct, tag="late", frozen=True):
    """The provider's figures of a request, come after its estimate was written: kept beside it, never summed.

    `of` is the number of the estimate's record.
    """

    of: int
    at: Micros
    units: Units


Line: TypeAlias = Head | PartLine | StayLine | Use | Begun | Pend | More | Ended | Unpend | Late

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def to_bytes(line: Line) -> bytes:
    """One line, newline included. JSON holds no raw newline, so the line delimits itself."""
    try:
        payload = _encode(line)
    except (TypeError, ValueError):  # half a surrogate pair in an id, an object of the host's in a label
        payload = _encode(_encodable(msgspec.to_builtins(line, enc_hook=_type_name)))
    return b"%08x %b\n" % (crc32(payload), payload)


def _encodable(value: object) -> object:
    """The same with texts that UTF-8 can hold: a record is not lost for a letter."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(name): _encodable(part) for name, part in value.items()}
    return [_encodable(part) for part in value] if isinstance(value, list) else value


def _type_name(value: object) -> str:
    return type(value).__name__


def from_bytes(raw: bytes) -> Line | None:
    """Read one line, without its newline; None if it is damaged."""
    payload = raw[_PREFIX:]
    try:
        if int(raw[: _PREFIX - 1], 16) != crc32(payload):
            return None
        line: Line = _decode(payload)
    except (ValueError, msgspec.MsgspecError):
        return None
    return line
