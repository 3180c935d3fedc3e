"""A tee on the public `post` of aiohttp's sessions: LiveKit's own embeddings are posted by it (`create_embeddings`).

A body that its host reads past `read` (by `content`, piece by piece) is not seen: then the record is `unknown`.
Seen on livekit-agents 1.8.9 with aiohttp 3.14.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

from livekit_tokens.capture.wire.exchange import Channel
from livekit_tokens.capture.wire.hold import Follow, Hold
from livekit_tokens.capture.wire.made import Made
from livekit_tokens.capture.wire.requests import Asked, Endpoint, endpoint_of, read_json
from livekit_tokens.capture.wire.sending import when_it_waits
from livekit_tokens.core import faults


def tee_post(before: Callable[..., Any], follow: Follow) -> Callable[..., Any]:
    def post(session: Any, url: Any, **options: Any) -> Any:
        place = urlsplit(str(url))
        endpoint = endpoint_of(place.path.encode())
        if endpoint is None or not isinstance(options.get("json"), dict):
            return before(session, url, **options)

        async def send() -> Any:
            hold = None
            try:
                hold = follow(endpoint, _AIOHTTP, (place.netloc, options["json"]))
            except Exception as error:  # noqa: BLE001 - the request goes out in any case
                faults.note("a request could not be followed", error)
            return await _answered(before(session, url, **options), hold)

        return Made(send(), lambda _: None)

    return post


async def _answered(sending: Any, hold: Hold | None) -> Any:
    if hold is None:
        return await sending
    try:
        response = await when_it_waits(sending, hold.sent)
    except BaseException as error:
        hold.end("broken", error)
        raise
    hold.let_go = "unseen"
    try:
        # aiohttp undoes the compression itself.
        headers = {name.lower(): value for name, value in response.headers.items()}
        hold.answered(response.status, headers | {"content-encoding": ""})
        kind: Any = type(response)
        response.__class__ = _telling(kind)
        response.livekit_tokens_hold = hold
    except Exception as error:  # noqa: BLE001 - the answer is the host's in any case
        faults.note("an answer could not be followed", error)
    return response


@cache
def _telling(kind: Any) -> Any:
    """This class of responses, telling of the body that is read. A response whose own methods were replaced would hold
    itself in a circle.
    """

    class Telling(kind):  # type: ignore[misc]
        livekit_tokens_hold: Hold | None

        async def read(self) -> bytes:
            hold, self.livekit_tokens_hold = self.livekit_tokens_hold, None  # before it fails, it closes
            try:
                body: bytes = await super().read()
            except BaseException as error:
                if hold is not None:
                    hold.end("broken", error)
                raise
            if hold is not None:
                hold.take_first(body)
                hold.end("whole")
            return body

        def close(self) -> None:
            super().close()
            self.livekit_tokens_hold = None

        def release(self) -> Any:
            self.livekit_tokens_hold = None
            return super().release()

    Telling.__name__, Telling.__qualname__, Telling.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Telling


def _read(endpoint: Endpoint, sent: tuple[str, dict[str, Any]]) -> tuple[Asked | None, bytes]:
    body = json.dumps(sent[1]).encode()
    return read_json(endpoint, "", body), body


_AIOHTTP = Channel(itemgetter(0), _read)
