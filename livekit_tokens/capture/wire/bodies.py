"""The forms that an answer's body has: JSON, text, server-sent events, audio. Each tells a `Reading` what it holds.

Source: OpenAI API reference, Chat completions, Responses, Audio and Embeddings, and their streaming events.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from livekit_tokens.capture.wire.hosted import IMAGE, call_of, calls_in
from livekit_tokens.capture.wire.pieces import Ends, Pieces, usage_near_the_end
from livekit_tokens.capture.wire.requests import Kind

if TYPE_CHECKING:
    from livekit_tokens.capture.wire.answers import Reading

_LONGEST_BODY, _LONGEST_EVENT = 1 << 22, 1 << 20
"""Bytes that are read in less than 5 ms, while which the interpreter is held; of what is longer, only both ends are."""


class Body(Protocol):
    def feed(self, piece: bytes) -> None: ...
    def close(self) -> None: ...


def body_of(kind: Kind, content_type: str, reading: Reading) -> Body:
    media = content_type.partition(";")[0].strip().lower()
    if media == "text/event-stream":
        return _Events(kind, reading)
    if kind == "speech" and media != "application/json":
        return _Audio(reading)
    return _Text(reading) if kind == "transcription" and media.startswith("text/") else _Whole(reading)


class _Audio:
    """Only its size matters."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def feed(self, piece: bytes) -> None:
        self._reading.sounded(piece)

    def close(self) -> None: ...


class _Text:
    """A transcript as plain text, or as subtitles (whose times are no tokens, but nobody is billed by them)."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def feed(self, piece: bytes) -> None:
        self._reading.said(piece.decode("utf-8", "replace"))

    def close(self) -> None: ...


_ABSENT = msgspec.Raw()


class _Answer(msgspec.Struct):
    """The fields of a JSON answer that are looked at. An embedding's vectors are skipped unread; what was said is, too,
    where its figures are there.
    """

    id: object = None
    model: object = None
    usage: object = None
    service_tier: object = None
    status: object = None
    background: object = None
    text: object = None
    duration: object = None
    choices: msgspec.Raw = _ABSENT
    output: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    error: object = None

    @property
    def is_of_openais_protocol(self) -> bool:
        return any((self.usage, self.text is not None, self.duration, self.error, self.choices, self.output, self.data))


class _Item(msgspec.Struct):
    """What of an output item says whether it is a hosted tool's call."""

    type: object = None
    action: object = None


_TOLD = ("id", "model", "service_tier", "status", "background")
_read_answer = msgspec.json.Decoder(_Answer).decode
_read_items = msgspec.json.Decoder(list[_Item]).decode


class _Whole:
    """One JSON object, read when nothing more comes; cut off, only its usage is looked for."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._body = Pieces(_LONGEST_BODY)
        self.feed = self._body.add

    def close(self) -> None:
        body = self._body.take()
        if isinstance(body, Ends):
            _tell_ends(self._reading, body)
            return
        try:
            answer = _read_answer(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._reading.usage = usage_near_the_end(body)
            self._reading.is_foreign = bool(body) and not body.lstrip().startswith(b"{")
            return
        self._reading.finished = True
        self._reading.is_foreign = not answer.is_of_openais_protocol
        usage = answer.usage
        if usage is None and isinstance(answer.duration, (int, float)):  # a transcription, `verbose_json`
            usage = {"type": "duration", "seconds": answer.duration}
        self._reading.told({name: getattr(answer, name) for name in _TOLD} | {"usage": usage})
        if answer.output:
            with suppress(msgspec.MsgspecError):  # somebody else's output
                self._reading.calls = calls_in((item.type, item.action) for item in _read_items(answer.output))
        if answer.error:
            self._reading.failed(answer.error)
        if self._reading.usage is None or answer.text is not None:
            self._reading.said(answer.text)
            for said in (answer.choices, answer.output):
                _say_all(self._reading, msgspec.json.decode(said) if said else None)


def _tell_ends(reading: Reading, ends: Ends) -> None:
    reading.told({"usage": ends.usage, "id": ends.named("id"), "model": ends.named("model")})


def _say_all(reading: Reading, value: object) -> None:
    """Every text that a model put into an answer's choices or output items."""
    if isinstance(value, list):
        for part in value:
            _say_all(reading, part)
    elif isinstance(value, dict):
        if isinstance(value.get("arguments"), str):
            reading.called_a_tool()
            reading.said(value.get("name"))
        for name in ("content", "text", "refusal", "arguments", "transcript"):
            reading.said(value.get(name))
        for name in ("message", "content", "tool_calls", "function", "audio"):
            if isinstance(inner := value.get(name), (dict, list)):
                _say_all(reading, inner)


class _Events:
    """Server-sent events, line by line."""

    def __init__(self, kind: Kind, reading: Reading) -> None:
        # Of speech, a long event is what is counted: its audio.
        self._line = Pieces(_LONGEST_BODY if kind == "speech" else _LONGEST_EVENT)
        self._reading = reading
        self._on_event = _chat_chunk if kind in ("chat", "completion") else _event

    def feed(self, piece: bytes) -> None:
        first, *others = piece.split(b"\n")
        self._line.add(first)
        for line in others:
            self._read(self._line.take())
            self._line.add(line)

    def close(self) -> None:
        self._read(self._line.take())

    def _read(self, line: bytes | Ends) -> None:
        if isinstance(line, Ends):
            if line.named("type") in _ENDS:
                _tell_ends(self._reading, line)
                self._reading.finished = True
            return
        if not line.startswith(b"data:"):
            return
        told = line[5:].strip()
        if told == b"[DONE]":
            self._reading.end()
            return
        try:
            event = msgspec.json.decode(told)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # cut off within a line
        if isinstance(event, dict):
            self._on_event(self._reading, event)


def _chat_chunk(reading: Reading, chunk: dict[str, Any]) -> None:
    choices = _list(chunk.get("choices"))
    reading.answered = reading.answered or any(_dict(choice).get("finish_reason") for choice in choices)
    reading.told(chunk, ended=reading.answered or (reading.begun and not choices))
    if chunk.get("error"):
        reading.failed(chunk["error"])
    for choice in choices:
        reading.said(_dict(choice).get("text"))  # of a completion that is no chat
        delta = _dict(_dict(choice).get("delta"))
        reading.said(delta.get("content"))
        reading.said(delta.get("refusal"))
        # Not OpenAI's, but of its protocol: DeepSeek's and vLLM's name, and Groq's and OpenRouter's.
        reading.said(delta.get("reasoning_content") or delta.get("reasoning"))
        audio = _dict(delta.get("audio"))
        reading.spoke(audio.get("data"))
        reading.said(audio.get("transcript"))
        for call in _list(delta.get("tool_calls")):
            function = _dict(_dict(call).get("function"))
            if function.get("name"):
                reading.called_a_tool()
            reading.said(function.get("name"))
            reading.said(function.get("arguments"))


_TEXTS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "transcript.text.delta",
    }
)
_ENDS = frozenset(
    {
        "response.completed",
        "response.incomplete",
        "response.failed",
        "transcript.text.done",
        "speech.audio.done",
    }
)


def _event(reading: Reading, event: dict[str, Any]) -> None:
    """An event of a response (also over a WebSocket), of a transcription or of speech."""
    kind = event.get("type")
    if kind in _TEXTS:
        reading.said(event.get("delta"))
    elif kind == "speech.audio.delta":
        reading.spoke(event.get("audio") or event.get("delta"))
    elif kind == "response.output_item.added" and (item := _dict(event.get("item"))).get("type") == "function_call":
        reading.called_a_tool()
        reading.said(item.get("name"))
    elif kind == "response.image_generation_call.completed":  # the item itself may be too long to be read
        reading.calls[IMAGE] += 1
    elif kind == "response.output_item.done":
        item = _dict(event.get("item"))
        if (name := call_of(item.get("type"), item.get("action"))) not in (None, IMAGE):
            reading.calls[name] += 1
    elif kind == "error":
        reading.failed(event.get("error") or event)
        reading.finished = True
    elif kind in _ENDS or kind == "response.created":
        response = _dict(event.get("response")) or event
        reading.told(response)
        reading.finished = kind in _ENDS
        if kind == "response.failed":
            reading.failed(response.get("error"))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
