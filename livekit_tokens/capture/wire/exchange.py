"""One request's life on the wire: pending from the moment it is sent, settled once.

Where the call runs it only notes what it sees (`answered`, `take`, `end`), in microseconds; what that means is read
in the counting thread (`advance`). A request is settled by the provider's own figures, however its stream ended; by
an estimate when its channel can bring no more. Each attempt of a client's or LiveKit's retries is a request.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from livekit_tokens.capture.spending import Spender
from livekit_tokens.capture.wire import counting, outcome
from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.capture.wire.outcome import Ending, Seen
from livekit_tokens.capture.wire.requests import Asked
from livekit_tokens.core import cut_requests, faults, prompts, vocabulary
from livekit_tokens.core.calibration import Calibration, Expected
from livekit_tokens.core.estimates.bounds import Estimate
from livekit_tokens.core.lines import More, Pend
from livekit_tokens.core.prompts import Prompt
from livekit_tokens.domain.usage import UsageRecord

_numbers = itertools.count(1)
_calibration = Calibration()  # both are the counting thread's own
_round_trips: dict[str, float] = {}


class Exchange:
    """One request to `provider`, for one spender. `body` is counted and let go."""

    def __init__(self, spender: Spender, service: str, provider: str, asked: Asked, body: bytes | None) -> None:
        self.part = spender.writer.part.key
        self.ended = False
        self._writer = spender.writer
        self._asked = asked
        self._body = body
        self._counted = False
        self._began = time.monotonic()
        self._first: float | None = None
        self._pieces: deque[bytes] = deque()
        self._head: tuple[int, Mapping[str, str]] | None = None
        self._head_at = 0.0
        self._ending: tuple[float, Ending, str | None] | None = None
        self._reading: Reading | None = None
        self._prompt: Prompt | None = None
        self._told = (0, 0)
        record = spender.new_record(
            service=service,
            provider=provider,
            model=asked.model,
            operation=asked.endpoint.operation,
            units={},
            provenance="unknown",
            metadata=asked.counts,
        )
        self._pend = Pend(f"w{next(_numbers)}", record.at, record)
        self._writer.pend(self._pend)
        counting.follow(self)

    # -- where the call runs --------------------------------------------------------------------------------------

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer begins."""
        self._head_at = time.monotonic()
        self._head = (status, headers)

    @property
    def take(self) -> Callable[[bytes], None]:
        """Takes a piece of the body that came after the first."""
        return self._pieces.append

    def take_first(self, piece: bytes) -> None:
        self._first = time.monotonic()
        self._pieces.append(piece)

    def end(self, ending: Ending, error: BaseException | None = None) -> None:
        """Nothing more comes; only the first end counts."""
        if self._ending is None:
            self._ending = (time.monotonic(), ending, type(error).__name__ if error is not None else None)
            self.ended = True
            counting.look()

    # -- in the counting thread -----------------------------------------------------------------------------------

    def advance(self) -> bool:
        """Count what has come since the last time; True when the request is settled."""
        over = self._ending is not None  # before the pieces are taken: none comes after it
        try:
            self._read_pieces()
            if over:
                self._settle()
            elif vocabulary.is_ready(self._asked.model):
                self._count_prompt()
                self._tell_progress()
        except Exception as error:
            if not over:
                raise
            faults.note("an answer could not be read; recorded as unknown", error)
            self._write(replace(self._pend.record, units={}, low=None, high=None, provenance="unknown"))
        return over

    def _count_prompt(self) -> None:
        """What was sent is counted once, and let go."""
        if self._counted:
            return
        self._counted = True
        body, self._body = self._body, None
        record = cut_requests.sent(self._pend.record, self._input(body))
        self._pend = Pend(self._pend.id, self._pend.at, record)
        if self._ending is None:
            self._writer.pend(self._pend)

    def _input(self, body: bytes | None) -> Estimate:
        asked, record = self._asked, self._pend.record
        told: Any = msgspec.json.decode(body) if body else {}
        match asked.endpoint.kind:
            case "transcription":
                return cut_requests.audio_units(asked.model, asked.audio_ms)
            case "speech":
                spoken = f"{told.get('input', '')}"
                return cut_requests.speech_units(asked.model, asked.characters, self._count_text(spoken))
            case "embedding":
                tokens = prompts.embedded(told, self._count_text)
                return cut_requests.prompt_units(Expected(tokens, 0.0, calibrated=True))
            case _:
                self._prompt = prompts.prompt_of(told, asked.model, self._count_text)
                return cut_requests.prompt_units(_calibration.expect(record.provider, record.model, self._prompt))

    def _read_pieces(self) -> None:
        if self._head is None or not self._pieces:
            return
        if self._reading is None:
            status, headers = self._head
            kind = headers.get("content-type", "") if status < 400 else "application/json"
            encoding = headers.get("content-encoding", "")
            self._reading = Reading(self._asked.endpoint.kind, kind, encoding, self._count_text, self._asked.media)
        while self._pieces:
            self._reading.feed(self._pieces.popleft())

    def _tell_progress(self) -> None:
        if self._reading is None or self._reading.usage is not None:
            return
        told = (self._reading.audio_ms, self._reading.tokens)
        if told != self._told:
            self._told = told
            self._writer.more(More(self._pend.id, self._writer.now(), *told))

    def _settle(self) -> None:
        assert self._ending is not None
        ended, ending, error = self._ending
        if self._reading is not None:
            self._reading.close()
        if self._reading is None or self._reading.usage is None or vocabulary.is_ready(self._asked.model):
            self._count_prompt()
        status, headers = self._head or (None, {})
        seen = Seen(
            record=self._pend.record,
            asked=self._asked,
            status=status,
            headers=headers,
            reading=self._reading,
            ending=ending,
            error=error,
            began=self._began,
            first=self._first,
            ended=ended,
            round_trip=self._round_trip(headers),
        )
        record = outcome.settled(seen)
        if record.provenance == "reported" and record.units and self._prompt is not None:
            _calibration.learn(record.provider, record.model, self._prompt, record.units, record.request_id)
        self._write(record)

    def _round_trip(self, headers: Mapping[str, str]) -> float:
        """Seconds between us and the provider: the shortest time to an answer's head, less what it took to make it.

        Source: OpenAI API reference, header `openai-processing-ms`. Unknown is 0.
        """
        provider, made_in = self._pend.record.provider, headers.get("openai-processing-ms", "")
        if made_in.isdecimal():
            between = max(0.0, self._head_at - self._began - int(made_in) / 1000)
            _round_trips[provider] = min(between, _round_trips.get(provider, between))
        return _round_trips.get(provider, 0.0)

    def _write(self, record: UsageRecord) -> None:
        self._writer.write(replace(record, at=self._writer.now()), settles=self._pend.id)

    def _count_text(self, text: str) -> int:
        return vocabulary.count_tokens(text, self._asked.model) if text else 0
