"""What came of one answer: its usage, wherever it stands, and counts of the output that has arrived.

Bodies come whole (JSON, text), as server-sent events, as audio; compressed or not; complete or cut off anywhere.
A text is kept only until it is counted, an audio body not at all.
Source: OpenAI API reference, Chat completions, Responses, Audio and Embeddings, and their streaming events.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from livekit_tokens.capture.wire import sound
from livekit_tokens.capture.wire.bodies import body_of
from livekit_tokens.capture.wire.compression import decoder
from livekit_tokens.capture.wire.requests import Kind
from livekit_tokens.core.estimates.framing import text_tokens
from livekit_tokens.core.prompts import TOOL_CALL_FRAMING

_COUNT_AT = 8_192
"""Characters that are gathered before they are counted for good: the longer the text, the more exact the count."""
_LONGEST_TEXT = 1 << 20
_LONGEST_ID = 200
CONTENT_FILTER = "content_filter"
"""Azure's code for a prompt that it refuses for what it says."""

Count = Callable[[str], int]


class Pace(NamedTuple):
    """How fast an output comes: tokens, and milliseconds of audio, a second."""

    tokens: float
    audio_ms: float


def _says_something(usage: Mapping[str, Any]) -> bool:
    """Some servers put zeros where they have not counted yet."""
    return any(value for value in usage.values() if isinstance(value, (int, float)))


class Reading:
    """Fed with a body piece by piece; what it holds can be read at any time.

    `media` is the audio format that was asked for, `count` counts a text's tokens.
    """

    def __init__(self, kind: Kind, content_type: str, encoding: str, count: Count, media: str = "") -> None:
        self.usage: Mapping[str, Any] | None = None
        self.so_far: Mapping[str, Any] | None = None
        """Usage that came before the end of a stream: some servers tell it with every piece."""
        self.is_foreign = False
        """It is no answer of this protocol: somebody else's path was like one of OpenAI's."""
        self.answered = False
        """A model's answer is complete; what it came to may follow."""
        self.request_id: str | None = None
        self.model: str | None = None
        self.service_tier: str | None = None
        """How fast and how dear it was served."""
        self.calls: Counter[str] = Counter()
        """Calls of tools that the provider hosts."""
        self.status: str | None = None
        self._in_background = False
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
        self._decoded = decoder(encoding)
        self._body = body_of(kind, content_type, self)

    def feed(self, raw: bytes) -> None:
        """Take the next bytes as they came from the socket."""
        piece = self._decoded(raw)
        if piece:
            self._body.feed(piece)

    def close(self) -> None:
        """Nothing more comes."""
        self._body.close()

    @property
    def runs_on(self) -> bool:
        """Whether a response goes on when its answer has ended, or has been cut off."""
        return self.status == "queued" or (self.status == "in_progress" and self._in_background)

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

    def told(self, source: Mapping[str, Any], *, ended: bool = True) -> None:
        """Usage, id, model, status and tier, wherever an object has them; `ended`: no output follows."""
        if isinstance(usage := source.get("usage"), dict) and _says_something(usage):
            self.usage, self.so_far = (usage, None) if ended else (None, usage)
        if isinstance(name := source.get("id"), str) and name:
            self.request_id = name[:_LONGEST_ID]
        if isinstance(model := source.get("model"), str) and model:
            self.model = model[:_LONGEST_ID]
        if isinstance(status := source.get("status"), str):
            self.status = status
        self._in_background |= source.get("background") is True
        if isinstance(tier := source.get("service_tier"), str) and tier:
            self.service_tier = tier[:_LONGEST_ID]

    def end(self) -> None:
        """The provider says that this was all: what was told last is the bill."""
        self.finished = True
        self.usage = self.usage or self.so_far

    def failed(self, error: object) -> None:
        """`error`: an error object of the provider's. Only its class is kept, never its message."""
        told = error if isinstance(error, dict) else {}
        name = CONTENT_FILTER if told.get("code") == CONTENT_FILTER else told.get("type") or told.get("code")
        self.error = name[:100] if isinstance(name, str) and name else "error"
