"""Responses that run on in the background: their figures come with an answer to who asks for them again.

Source: OpenAI API reference, Responses, `background` and `GET /responses/{response_id}`.
"""

from __future__ import annotations

from typing import Any

from livekit_tokens.capture.wire import counting
from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.capture.wire.exchange import Channel, Exchange, awaited, given_up
from livekit_tokens.capture.wire.requests import RESPONSES
from livekit_tokens.core.lines import Late


def retrieved(method: str, raw_path: bytes) -> str | None:
    """The id of the response that a request asks for; None where it asks for none."""
    if method != "GET":
        return None
    before, _, name = raw_path.partition(b"?")[0].rpartition(b"/")
    return name.decode("ascii", "replace") if before.endswith(b"/responses") and name else None


_HTTP = Channel(lambda url: str(url.netloc, "ascii"), lambda *_: (None, None))


class Retrieval(Exchange):
    """No billed request of its own: what it brings is that of the one which began the response, whoever asks for it."""

    __slots__ = ("_reading", "_response_id")

    def __init__(self, url: Any, response_id: str) -> None:
        super().__init__(RESPONSES, _HTTP, url, lambda: None)
        self._response_id = response_id
        self._reading: Reading | None = None

    def _be_seen(self) -> None:
        """No component tells of it, and nobody pays for it."""

    def advance(self) -> bool:
        """It has brought something when nothing more can come: who polls is mostly told that there is nothing yet."""
        over = self.ended  # before the pieces are taken: none comes after it
        self._read_pieces()
        if not over:
            return False
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()
            if not reading.runs_on and reading.status is not None:
                _come((self.host, self._response_id), reading)
        self._let_go()
        return True

    def _read_pieces(self) -> None:
        if self._reading is None and self.head is not None and self.head[0] < 400:
            content_type, encoding = (self.head[1].get(name, "") for name in ("content-type", "content-encoding"))
            self._reading = Reading(RESPONSES.kind, content_type, encoding, len)
        while self.pieces:
            piece = self.pieces.popleft()
            if self._reading is not None:
                self._reading.feed(piece)


def _come(name: tuple[str, str], reading: Reading) -> None:
    """To who waits for it; beside the record that was written because nobody asked."""
    if (waiting := awaited.get(name)) is not None:
        waiting.come(reading)
    elif reading.usage is not None and (written := given_up.pop(name, None)) is not None:
        writer, number = written
        writer.late(Late(number, writer.now(), RESPONSES.split(reading.usage)))


def is_waited_for(host: str, response_id: str) -> bool:
    """Whether a response may run on in the background: for certain, or one that has just begun is not read yet."""
    name = (host, response_id)
    return name in awaited or name in given_up or counting.unsettled(None)
