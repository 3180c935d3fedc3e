"""Responses that run on in the background: their figures come with an answer to who asks for them again.

Source: OpenAI API reference, Responses, `background` and `GET /responses/{response_id}`.
"""

from __future__ import annotations

from typing import Any

from livekit_tokens.capture.wire.answers import Reading
from livekit_tokens.capture.wire.exchange import Channel, Exchange, awaited
from livekit_tokens.capture.wire.requests import RESPONSES


def retrieved(method: str, path: str) -> str | None:
    """The id of the response that a request asks for; None where it asks for none."""
    before, _, name = path.rpartition("/")
    return name if method == "GET" and before.endswith("/responses") and name else None


_HTTP = Channel(lambda url: str(url.netloc, "ascii"), lambda *_: (None, None))


class Retrieval(Exchange):
    """No billed request of its own: what it brings is that of the one which began the response, whoever asks for it."""

    __slots__ = ("_response_id",)

    def __init__(self, url: Any, response_id: str) -> None:
        super().__init__(RESPONSES, _HTTP, url, lambda: None)
        self._response_id = response_id

    def advance(self) -> bool:
        """Read when nothing more can come: who polls is answered in one piece, and mostly that there is nothing yet."""
        if not self.ended:
            return False
        head, waiting = self.head, awaited.get((self.host, self._response_id))
        if head is not None and head[0] < 400 and waiting is not None:
            content_type, encoding = (head[1].get(name, "") for name in ("content-type", "content-encoding"))
            reading = Reading(RESPONSES.kind, content_type, encoding, len)
            while self.pieces:
                reading.feed(self.pieces.popleft())
            reading.close()
            if not reading.runs_on and reading.status is not None:
                waiting.come(reading)
        self.pieces.clear()
        self._let_go()
        return True
