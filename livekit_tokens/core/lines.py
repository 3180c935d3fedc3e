"""Lines of a spool: self-delimiting JSON with a checksum, one line an event.

`<crc32 of the rest, 8 hex digits> <JSON>\\n`. A reader that meets a damaged line goes on after the next newline.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from math import isfinite
from operator import attrgetter
from typing import TypeAlias, cast
from zlib import crc32

import msgspec

from livekit_tokens.core.estimates.output import Arrived, Usual
from livekit_tokens.core.estimates.prompt import Expected
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.units import Units
from livekit_tokens.domain.usage import UsageRecord

FORMAT = 2
"""Of what is written here. A version that writes what this one would take for damage counts on, in segments of its
own: a spool with such a head is left alone."""

_PREFIX = 9  # eight digits and a space
_RECORD = re.compile(rb'(?:"type":"use",)?"seq":\d+,"record":|"type":"use"')


class Head(msgspec.Struct, tag="head", frozen=True):
    """First line of every segment. `seq` is the last record's number before it, so that a gap can be counted.

    `format` is that of the lines which follow, 1 where it is not said; every version can read a head.
    """

    source: str
    host: str
    pid: int
    started_at: Micros
    segment: int
    seq: int
    ledger: str = ""
    format: int = 1


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


class Pend(msgspec.Struct, tag="pend", frozen=True, omit_defaults=True):
    """A request in flight: its record as far as it can be estimated now. Written again, it replaces itself.

    `input` and `usual`: what a realtime response is expected to read, and what its conversation's answers are like.
    `spoken_ms`: the audio of a transcription. `complete`: no output follows; the record says all.
    """

    id: str
    at: Micros
    record: UsageRecord
    input: Expected | None = None
    usual: Usual | None = None
    complete: bool = False
    spoken_ms: int | None = None


class More(msgspec.Struct, tag="more", frozen=True, omit_defaults=True):
    """How much output of a pending request has arrived by now, in the counts of `Arrived`.

    `request_id`: the provider has announced it under that id since its own line was written; empty: under none.
    """

    id: str
    at: Micros
    audio_ms: int = 0
    tokens: int = 0
    ahead: int = 0
    whole: bool = False
    request_id: str | None = None

    @property
    def arrived(self) -> Arrived:
        return Arrived(self.audio_ms, self.tokens, self.ahead, self.whole)


Number: TypeAlias = int | None


class CachedCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of an input's cached tokens, by modality."""

    text_tokens: Number = None
    audio_tokens: Number = None
    image_tokens: Number = None


class DetailCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of an input or an output, by modality."""

    text_tokens: Number = None
    audio_tokens: Number = None
    image_tokens: Number = None
    reasoning_tokens: Number = None
    cached_tokens: Number = None
    cached_tokens_details: CachedCounts | None = None


class Counts(msgspec.Struct, frozen=True, omit_defaults=True):
    """A usage object's own counts, and nothing else of it: what else a server tells may be anything.

    Source: OpenAI API reference, Realtime server events, `response.done` and
    `conversation.item.input_audio_transcription.completed`.
    """

    input_tokens: Number = None
    output_tokens: Number = None
    input_token_details: DetailCounts | None = None
    output_token_details: DetailCounts | None = None
    seconds: int | float | None = None


def counts_in(usage: object) -> Counts | None:
    """None where there is no usage, or what should be a count is none."""
    if usage is None:
        return None
    try:
        counts = msgspec.convert(usage, Counts)
    except (msgspec.ValidationError, ValueError):  # half a surrogate pair in a name is the latter
        return None
    return counts if counts.seconds is None or isfinite(counts.seconds) else None


class Done(msgspec.Struct, tag="done", frozen=True, omit_defaults=True):
    """The end of a pending request as the provider has told it, in the provider's own counts.

    Its record follows in a line of its own, made of this (`pending.settled`) by whoever comes first: the background of
    its owner, or, where that was killed before, the taker.
    """

    id: str
    at: Micros
    counts: Counts | None = None
    status: str | None = None
    error: str | None = None
    processing_ms: int | None = None
    first_output_ms: int | None = None
    request_id: str | None = None

    @property
    def is_by_duration(self) -> bool:
        """Whether a transcription is billed by its length, and its tokens only inform."""
        return self.counts is not None and self.counts.seconds is not None


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


def _as_msgspec(of: Field[object]) -> object:
    if of.default_factory is not MISSING:
        return msgspec.field(default_factory=of.default_factory)
    return msgspec.field() if of.default is MISSING else msgspec.field(default=of.default)


_FIELDS = fields(UsageRecord)
_values = attrgetter(*(each.name for each in _FIELDS))
_Written = msgspec.defstruct(
    "_Written",
    [(each.name, object, _as_msgspec(each)) for each in _FIELDS],
    gc=False,
    omit_defaults=True,
)
"""A UsageRecord as it is written: without what it has nothing for, a third of its bytes and a half of its time."""

Line: TypeAlias = Head | PartLine | StayLine | Use | Pend | More | Done | Unpend | Late

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def to_bytes(line: Line) -> bytes:
    """One line, newline included. JSON holds no raw newline, so the line delimits itself."""
    if type(line) is Use:
        line = Use(line.seq, _written(line.record), line.settles)
    elif type(line) is Pend:
        record = _written(line.record)
        line = Pend(line.id, line.at, record, line.input, line.usual, line.complete, line.spoken_ms)
    try:
        payload = _encode(line)
    except (TypeError, ValueError):  # half a surrogate pair in an id, an object of the host's in a label
        payload = _encode(_encodable(msgspec.to_builtins(line, enc_hook=_type_name)))
    return b"%08x %b\n" % (crc32(payload), payload)


def _written(record: UsageRecord) -> UsageRecord:
    return cast("UsageRecord", _Written(*_values(record)))  # for who writes it, it is one


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


def number_in(line: Line) -> int | None:
    """The last record's number that a line tells of: its own, or that before it; None: it tells of none."""
    return line.seq if isinstance(line, (Use, Head, PartLine)) else None


def records_in(damaged: bytes) -> int:
    """How many records a line held that cannot be read, as far as can still be told."""
    return len(_RECORD.findall(damaged))
