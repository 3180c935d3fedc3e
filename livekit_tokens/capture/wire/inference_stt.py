"""What LiveKit Inference is given to hear, and its component tells nobody of.

`inference.STT` tells the audio that it has sent where a final transcript comes, and only then: what follows the last
one (silence, music, words that were cut off) is billed, and told by nobody. Here it is in flight from its first
second on, and an estimate when its stream ends. Seen on livekit-agents 1.8.9, `inference/stt.py`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace
from weakref import WeakKeyDictionary

import msgspec

from livekit_tokens.capture import spending
from livekit_tokens.capture.spending import Writer
from livekit_tokens.capture.wire.hearing import Ears
from livekit_tokens.core import faults
from livekit_tokens.core.lines import Pend
from livekit_tokens.domain.units import make_units
from livekit_tokens.domain.usage import UsageRecord

_SAMPLE_BYTES = {"pcm_s16le": 2}
"""Of the encodings whose length tells their duration."""
_LINE_MS = 1000
"""How much more may have gone than the spool knows of."""
_numbers = itertools.count(1)


class _Settings(msgspec.Struct, frozen=True):
    sample_rate: str = ""
    encoding: str = ""


class _Sent(msgspec.Struct):
    """Source: livekit-agents 1.8.9, `inference/stt.py`: `session.create` and `input_audio`."""

    type: str = ""
    settings: _Settings = _Settings()
    audio: str = ""


_read_sent = msgspec.json.Decoder(_Sent).decode


class Untold:
    """The audio of one stream that its component has not told of, over all of its connections."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._ms = self._noted_ms = 0.0
        self._in_flight: tuple[Writer, Pend] | None = None

    def sent(self, ms: float) -> None:
        self._ms += ms
        if self._ms - self._noted_ms >= _LINE_MS:
            self._note()

    def told(self) -> None:
        """All that was sent until now."""
        self._ms = self._noted_ms = 0.0
        if self._in_flight is not None:
            writer, pend = self._in_flight
            self._in_flight = None
            writer.unpend(pend.id)

    def settle(self) -> None:
        """Nothing more is sent, and nothing told."""
        if round(self._ms) > 0:
            self._note()
        if self._in_flight is not None:
            writer, pend = self._in_flight
            self._in_flight = None
            writer.write(replace(pend.record, at=writer.now()), pend.id)

    def _note(self) -> None:
        self._noted_ms = self._ms
        if self._in_flight is None:
            if (spender := spending.current()) is None:
                return
            writer, at = spender.writer, spender.writer.now()
            self._in_flight = (writer, Pend(f"i{next(_numbers)}", at, self._record(writer, at), complete=True))
        writer, pend = self._in_flight
        units = make_units({"audio_ms": round(self._ms)})
        pend = msgspec.structs.replace(pend, record=replace(pend.record, units=units, high=units))
        self._in_flight = (writer, pend)
        writer.pend(pend)

    def _record(self, writer: Writer, at: int) -> UsageRecord:
        return writer.new_record(
            at=at,
            service="transcriber",
            provider="livekit",
            model=self._model,
            operation="transcription",
            units={},
            provenance="estimated",
            low={},  # whether silence is billed is not published
        )


_streams: WeakKeyDictionary[asyncio.Task[object], Untold] = WeakKeyDictionary()
"""By the task that a stream runs in: it may connect more than once, and goes on counting."""


def untold_of_stream(query: Mapping[str, list[str]]) -> Untold | None:
    """That of the stream which connects now, by such a query; settled when its task is over. None where no model is
    named, or no task runs."""
    task, named = asyncio.current_task(), query.get("model")
    if task is None or named is None:
        return None
    if (found := _streams.get(task)) is None:
        untold = found = _streams[task] = Untold(named[0])

        def over(_: object) -> None:
            try:
                untold.settle()
            except Exception as error:  # noqa: BLE001 - the host's loop is not to hear of it
                faults.note("the end of a transcription could not be written", error)

        task.add_done_callback(over)
    return found


class InferenceEars(Ears):
    """Of one of its sockets."""

    def __init__(self, untold: Untold) -> None:
        super().__init__()
        self._untold = untold
        self._bytes_per_ms = 0.0

    def sends(self, text: str) -> None:
        sent = _read_sent(text)
        if sent.type == "session.create":
            rate = int(sent.settings.sample_rate) if sent.settings.sample_rate.isdecimal() else 0
            self._bytes_per_ms = rate * _SAMPLE_BYTES.get(sent.settings.encoding, 0) / 1000
        elif sent.type == "input_audio" and self._bytes_per_ms:
            size = len(sent.audio) // 4 * 3 - sent.audio[-2:].count("=")
            self._untold.sent(size / self._bytes_per_ms)

    def receives(self, text: str) -> None:
        if '"final_transcript"' in text:  # what was said cannot have it: its quotes are escaped
            self._untold.told()

    def is_over(self, _: None) -> None:
        """Its stream may connect again."""
