"""What came of one answer: its usage, wherever it stands, and counts of the output that has arrived.

Bodies come whole (JSON, text), as server-sent events, as audio; compressed or not; complete or cut off anywhere.
A text is kept only until it is counted, an audio body not at all.
Source: OpenAI API reference, Chat completions, Responses, Audio and Embeddings, and their streaming events.
"""

from __future__ import annotations

import binascii
import json
import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import msgspec

from livekit_tokens.capture.wire import sound
from livekit_tokens.capture.wire.requests import Kind
from livekit_tokens.core.estimates.framing import text_tokens
from livekit_tokens.core.prompts import TOOL_CALL_FRAMING

_COUNT_AT = 8_192
"""Characters that are gathered before they are counted for good: the longer the text, the more exact the count."""
_LONGEST_TEXT = 1 << 20
_LONGEST_BODY = 1 << 24
_TAIL = 1 << 16
"""Of a body that is longer than any (a provider's fault), its end is kept: the usage stands there."""
_LONGEST_ID = 200

Count = Callable[[str], int]


class Pace(NamedTuple):
    """How fast an output comes: tokens, and milliseconds of audio, a second."""

    tokens: float = 0.0
    audio_ms: float = 0.0


class Reading:
    """Fed with a body piece by piece; what it holds can be read at any time.

    `media` is the audio format that was asked for, `count` counts a text's tokens.
    """

    def __init__(self, kind: Kind, content_type: str, encoding: str, count: Count, media: str = "") -> None:
        self.usage: Mapping[str, Any] | None = None
        self.request_id: str | None = None
        self.model: str | None = None
        self.finished = False
        """The provider said that this was all; a body that ends without saying so may be all as well."""
        self.error: str | None = None
        """The class of an error that the provider tells within an answer that had begun well."""
        self.sound_bytes = self._sounds = 0
        self._sound_head = b""
        self._sound_media = media or content_type  # events do not say what is in them
        self._count = count
        self._counted = 0
        self._texts: list[str] = []
        self._characters = 0
        self._decoded = _decoder(encoding)
        self._body = _body_of(kind, content_type, self)

    def feed(self, raw: bytes) -> None:
        """Take the next bytes as they came from the socket."""
        piece = self._decoded(raw)
        if piece:
            self._body.feed(piece)

    def close(self) -> None:
        """Nothing more comes."""
        self._body.close()

    @property
    def tokens(self) -> int:
        """Tokens of all text that has arrived."""
        if not self._texts:
            return self._counted
        text = "".join(self._texts)
        tokens = self._count(text)
        if self._characters >= _COUNT_AT:
            self._counted += tokens
            self._texts, self._characters = [], 0
            return self._counted
        self._texts = [text]
        return self._counted + tokens

    @property
    def begun(self) -> bool:
        """Whether any output has arrived."""
        return bool(self._texts or self._counted or self.sound_bytes)

    @property
    def audio_ms(self) -> int:
        """Milliseconds of all audio that has arrived; 0 where its format does not tell."""
        return sound.milliseconds(self._sound_head, self.sound_bytes, self._sound_media) or 0

    def pace(self, seconds: float) -> Pace:
        """How fast the output came that has been coming for so long: half a piece, on average, since the last."""
        if seconds <= 0:
            return Pace()
        audio_ms = self.audio_ms * (1 - 0.5 / self._sounds) if self._sounds else 0.0
        return Pace(max(0.0, self.tokens - 0.5) / seconds, audio_ms / seconds)

    # -- what the bodies tell -------------------------------------------------------------------------------------

    def said(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._texts.append(text)
            self._characters += len(text)
            if self._characters > _LONGEST_TEXT:  # nobody has asked for so long: no vocabulary is there
                self._counted += text_tokens(self._characters)
                self._texts, self._characters = [], 0

    def called_a_tool(self) -> None:
        self._counted += TOOL_CALL_FRAMING

    def sounded(self, piece: bytes) -> None:
        if len(self._sound_head) < sound.HEAD_BYTES:
            self._sound_head += piece[: sound.HEAD_BYTES]
        self.sound_bytes += len(piece)
        self._sounds += 1

    def spoke(self, base64: object) -> None:
        if isinstance(base64, str):
            with suppress(binascii.Error, ValueError):
                self.sounded(b64decode(base64))

    def told(self, source: Mapping[str, Any]) -> None:
        """Usage, id and model, wherever an object has them."""
        if isinstance(usage := source.get("usage"), dict):
            self.usage = usage
        if isinstance(name := source.get("id"), str) and name:
            self.request_id = name[:_LONGEST_ID]
        if isinstance(model := source.get("model"), str) and model:
            self.model = model[:_LONGEST_ID]

    def failed(self, error: object) -> None:
        """`error`: an error object of the provider's. Only its class is kept, never its message."""
        told = error if isinstance(error, dict) else {}
        name = told.get("type") or told.get("code")
        self.error = name[:100] if isinstance(name, str) and name else "error"


class _Body(Protocol):
    def feed(self, piece: bytes) -> None: ...
    def close(self) -> None: ...


def _body_of(kind: Kind, content_type: str, reading: Reading) -> _Body:
    media = content_type.partition(";")[0].strip().lower()
    if media == "text/event-stream":
        return _Events(kind, reading)
    if kind == "speech" and media != "application/json":
        return _Audio(reading)
    return _Text(reading) if media.startswith("text/") else _Whole(reading)


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


class _Answer(msgspec.Struct):
    """The fields of a JSON answer that are looked at; an embedding's vectors are skipped unread."""

    id: object = None
    model: object = None
    usage: object = None
    text: object = None
    choices: object = None
    output: object = None
    error: object = None


_read_answer = msgspec.json.Decoder(_Answer).decode


class _Whole:
    """One JSON object, read when nothing more comes; cut off, only its usage is looked for."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > _LONGEST_BODY:
            self._pieces = [b"".join(self._pieces)[-_TAIL:]]
            self._size = _TAIL

    def close(self) -> None:
        body, self._pieces = b"".join(self._pieces), []
        try:
            answer = _read_answer(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._reading.usage = usage_near_the_end(body)
            return
        self._reading.finished = True
        self._reading.told({"usage": answer.usage, "id": answer.id, "model": answer.model})
        if answer.error:
            self._reading.failed(answer.error)
        if self._reading.usage is None or answer.text is not None:
            self._reading.said(answer.text)
            _say_all(self._reading, answer.choices)
            _say_all(self._reading, answer.output)


def usage_near_the_end(body: bytes) -> Mapping[str, Any] | None:
    """The usage object in what is left of a JSON answer."""
    at = body.rfind(b'"usage"')
    if at < 0:
        return None
    try:
        usage, _ = json.JSONDecoder().raw_decode(body[at + 7 :].decode("utf-8", "replace").lstrip(" \r\n\t:"))
    except ValueError:
        return None
    return usage if isinstance(usage, dict) else None


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
        self._rest = b""
        self._reading = reading
        self._on_event = _chat_chunk if kind == "chat" else _event

    def feed(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > _LONGEST_BODY:
            self._rest = b""

    def close(self) -> None:
        rest, self._rest = self._rest, b""
        self._line(rest)

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        told = line[5:].strip()
        if told == b"[DONE]":
            self._reading.finished = True
            return
        try:
            event = msgspec.json.decode(told)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # cut off within a line
        if isinstance(event, dict):
            self._on_event(self._reading, event)


def _chat_chunk(reading: Reading, chunk: dict[str, Any]) -> None:
    reading.told(chunk)
    if chunk.get("error"):
        reading.failed(chunk["error"])
    for choice in _list(chunk.get("choices")):
        delta = _dict(_dict(choice).get("delta"))
        reading.said(delta.get("content"))
        reading.said(delta.get("refusal"))
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
    elif kind == "error":
        reading.failed(event.get("error") or event)
        reading.finished = True
    elif kind in _ENDS or kind == "response.created":
        response = _dict(event.get("response")) or event
        reading.told(response)
        reading.finished = kind in _ENDS
        if kind == "response.failed":
            reading.failed(response.get("error"))


def _decoder(encoding: str) -> Callable[[bytes], bytes]:
    """Undoes a Content-Encoding, also of a body that is cut off. LookupError for one that nobody here knows."""
    match encoding.strip().lower():
        case "" | "identity":
            return bytes
        case "gzip" | "deflate":
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
        case "br":
            # Asked for by httpx only where one of these is installed.
            made: Any = _first_of("brotli", "brotlicffi").Decompressor()
            process: Callable[[bytes], bytes] = getattr(made, "decompress", None) or made.process
            return process
        case "zstd":
            made = _first_of("compression.zstd", "backports.zstd").ZstdDecompressor()
            return lambda raw: bytes(made.decompress(raw))
        case other:
            raise LookupError(other)


def _first_of(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise LookupError(names[0])


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
