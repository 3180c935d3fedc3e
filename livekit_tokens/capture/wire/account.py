"""One request's account, kept in the counting thread: pending as soon as it is sent, settled once.

It is settled by the provider's own figures, however its stream ended; by an estimate when its channel can bring no
more. Its prompt is counted while the answer is awaited, its output as it comes: what the spool knows of it is never
older than a look of the thread.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from livekit_tokens.capture.spending import Spender
from livekit_tokens.capture.wire import counting, outcome
from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.capture.wire.outcome import Ending, Seen
from livekit_tokens.capture.wire.requests import Asked
from livekit_tokens.capture.wire.shown import Shown
from livekit_tokens.core import cut_requests, prompts, vocabulary
from livekit_tokens.core.calibration import Calibration, Expected, Told
from livekit_tokens.core.cut_requests import Arrived
from livekit_tokens.core.estimates.bounds import Estimate
from livekit_tokens.core.lines import More, Pend
from livekit_tokens.core.prompts import Prompt
from livekit_tokens.domain.usage import UsageRecord

if TYPE_CHECKING:
    from livekit_tokens.capture.wire.exchange import Exchange

_numbers = itertools.count(1)
_calibration = Calibration()
_shown = Shown()
"""Both are the counting thread's own."""


class Account:
    """Reads one exchange, which asks for `asked` with `body`: pending from here on."""

    def __init__(self, exchange: Exchange, spender: Spender, asked: Asked, body: bytes | None) -> None:
        self._exchange = exchange
        self.writer = spender.writer
        self._asked = asked
        self._body = body
        self._counted = False
        self._prompt: tuple[Prompt, Expected] | None = None
        self._reading: Reading | None = None
        self._spoke: float | None = None
        self._told = (0, 0)
        self._named = False
        self.runs_on = False
        """Its response runs on in the background; `come` tells of its end, or nobody does."""
        self.response_id = ""
        self.given_up_as = 0
        """The number of its record, if nobody has told of its end."""
        at = self.writer.now()
        record = spender.new_record(
            at=at,
            service=exchange.service,
            provider=exchange.provider,
            model=asked.model,
            operation=asked.endpoint.operation,
            units={},
            provenance="unknown",
            metadata=asked.counts,
        )
        self._pend = Pend(f"w{next(_numbers)}", at, record)
        self.writer.pend(self._pend)

    def advance(self, *, over: bool) -> None:
        """Count what has come since the last time; settle the request if it is over."""
        try:
            if self.runs_on:
                if over:
                    self.given_up_as = self._write(self._unknown())
                return
            self._read_pieces()
            if over:
                self._end()
                return
            self._tell_ids()
            if vocabulary.is_ready(self._asked.model):
                self._count_prompt()
                self._tell_progress()
        except BaseException:
            # It happened, it is billed, and nothing more will be known of it.
            self._write(self._unknown())
            raise

    def come(self, reading: Reading) -> None:
        """The response that ran on in the background has ended; where it tells neither figures nor a fault, nobody
        knows what of it is billed, as of a cancelled one."""
        self._reading = reading
        try:
            if reading.usage is None and reading.error is None:
                self._write(self._unknown())
            else:
                self._settle()
        except Exception:
            self._write(self._unknown())
            raise

    def drop(self) -> None:
        """It is no request of its own."""
        self.writer.unpend(self._pend.id)

    def _unknown(self) -> UsageRecord:
        return replace(self._pend.record, units={}, low=None, high=None, provenance="unknown")

    def _run_on(self, response_id: str) -> None:
        """Whoever finds it so in the spool knows no more of it."""
        self.runs_on, self.response_id = True, response_id
        record = replace(self._unknown(), request_id=response_id)
        self._pend = Pend(self._pend.id, self._pend.at, record, complete=True)
        self.writer.pend(self._pend)

    def _read_pieces(self) -> None:
        head, pieces = self._exchange.head, self._exchange.pieces
        if head is None or not pieces:
            return
        if self._reading is None:
            status, headers = head
            kind = headers.get("content-type", "") if status < 400 else "application/json"
            encoding = headers.get("content-encoding", "")
            self._note_round_trip(headers)
            self._reading = Reading(self._asked.endpoint.kind, kind, encoding, self._count, self._asked.media)
        while pieces:
            self._reading.feed(pieces.popleft())
        if self._spoke is None and self._reading.begun:
            self._spoke = time.monotonic()

    def _tell_ids(self) -> None:
        reading, head = self._reading, self._exchange.head
        if not self._named and reading is not None and reading.request_id is not None and head is not None:
            self._named = True
            ids = (reading.request_id, head[1].get("x-request-id", ""))
            self.writer.name(self._pend, [name for name in ids if name])

    def _tell_progress(self) -> None:
        """To the spool, with what a kill at a moment before the next look would leave unseen."""
        exchange, reading = self._exchange, self._reading
        if reading is None or reading.usage is not None or exchange.first is None or self._asked.unread:
            return
        told = (reading.audio_ms, reading.tokens)
        if told == self._told:
            return
        self._told = told
        arrived = Arrived(reading.tokens, reading.audio_ms)
        unseen = _shown.round_trip(exchange.host) + counting.TICK_SECONDS / 2
        usual = _shown.pace((exchange.host, self._asked.model))
        pace = outcome.pace_of(reading, time.monotonic() - exchange.first, usual)
        arrived = outcome.on_its_way(arrived, pace, unseen)
        self.writer.more(More(self._pend.id, self.writer.now(), *told, arrived.ahead))

    # -- the prompt -----------------------------------------------------------------------------------------------

    def _count_prompt(self) -> None:
        """What the request's input amounts to, once; the body is let go."""
        if self._counted:
            return
        self._counted = True
        body, self._body = self._body, None
        record = cut_requests.sent(self._pend.record, self._input(body))
        self._pend = Pend(self._pend.id, self._pend.at, record)
        if not self._exchange.ended:
            self.writer.pend(self._pend)

    def _input(self, body: bytes | None) -> Estimate:
        asked = self._asked
        if asked.unread or asked.endpoint.kind == "image":
            return Estimate({}, {}, {})
        told: Any = msgspec.json.decode(body) if body else {}
        match asked.endpoint.kind:
            case "transcription":
                return cut_requests.audio_units(asked.model, asked.audio_ms)
            case "speech":
                spoken = f"{told.get('input', '')}"
                return cut_requests.speech_units(asked.model, asked.characters, self._count(spoken))
            case _:
                return cut_requests.prompt_units(self._expected(told))

    def _expected(self, told: Any) -> Expected:
        asked, record = self._asked, self._pend.record
        match asked.endpoint.kind:
            case "embedding":
                return Expected(prompts.embedded(told.get("input"), self._count), calibrated=True)
            case "completion":
                return Expected(prompts.embedded(told.get("prompt"), self._count))
        prompt = prompts.prompt_of(told, asked.model, self._count)
        if asked.endpoint.kind == "compaction":  # what it is told beside is not published, and no conversation's
            return Expected(prompt.tokens)
        expected = _calibration.expect(record.provider, record.model, prompt)
        self._prompt = (prompt, expected)
        return expected

    def _count(self, text: str) -> int:
        return vocabulary.count_tokens(text, self._asked.model) if text else 0

    # -- the end --------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        reading, ending = self._reading, self._exchange.ending
        if reading is not None:
            reading.close()
            if ending is not None and ending[1] == "whole":
                reading.end()
        if reading is not None and reading.runs_on and reading.request_id is not None:
            self._run_on(reading.request_id)
        else:
            self._settle()

    def _settle(self) -> None:
        exchange, asked, reading = self._exchange, self._asked, self._reading
        assert exchange.ending is not None
        ended, ending, error = exchange.ending
        status, headers = exchange.head or (None, {})
        if reading is not None and reading.is_foreign and status is not None and status < 300:
            self.drop()
            return
        if reading is None or reading.usage is None or vocabulary.is_ready(asked.model):
            self._count_prompt()
        of = (exchange.host, asked.model)
        record = outcome.settled(
            Seen(
                record=self._pend.record,
                asked=asked,
                status=status,
                headers=headers,
                reading=reading,
                ending=ending,
                error=error,
                began=exchange.began,
                first=exchange.first,
                ended=ended,
                spoke=self._spoke,
                round_trip=_shown.round_trip(exchange.host),
                usual=_shown.pace(of),
                thinks=_shown.thinking(of),
            )
        )
        if record.provenance == "reported" and record.units and self._prompt is not None:
            name = record.request_id if asked.endpoint.kind == "responses" else None
            _calibration.learn(record.provider, self._pend.record.model, *self._prompt, Told(record.units, name))
        exchange.is_told(record)
        self._remember(record, ended, ending)
        self._write(record, headers.get("x-request-id"))

    def _remember(self, record: UsageRecord, ended: float, ending: Ending) -> None:
        """What a whole answer, and a bill, have shown of the model."""
        exchange, reading, spoke = self._exchange, self._reading, self._spoke
        of = (exchange.host, self._asked.model)
        if ending == "whole" and exchange.first is not None and reading is not None and reading.begun:
            lasted = ended - exchange.first
            if lasted >= outcome.LONG_ENOUGH:
                _shown.answered(of, reading.pace(lasted))
        thought = record.units.get("output_reasoning", 0) if record.provenance == "reported" else 0
        if thought and spoke is not None and spoke > exchange.began:
            _shown.thought(of, thought / (spoke - exchange.began))

    def _note_round_trip(self, headers: Mapping[str, str]) -> None:
        """Between us and the provider: the shortest time to an answer's head, less what it took to make it.

        Source: OpenAI API reference, header `openai-processing-ms`. A socket has none; it has shown it as it opened.
        """
        exchange, made_in = self._exchange, headers.get("openai-processing-ms", "")
        between = exchange.round_trip
        if made_in.isdecimal():
            between = max(0.0, exchange.head_at - exchange.began - int(made_in) / 1000)
        if between is not None:
            _shown.reached(exchange.host, between)

    def _write(self, record: UsageRecord, also_known_as: str | None = None) -> int:
        """The openai client tells an answer's id, and as `_request_id` that of its header."""
        return self.writer.write(replace(record, at=self.writer.now()), self._pend.id, also_known_as)
