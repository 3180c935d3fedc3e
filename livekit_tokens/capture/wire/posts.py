"""A tee on the public `post` of aiohttp's sessions: LiveKit's own embeddings are posted by it (`create_embeddings`).

Seen on livekit-agents 1.8.9 with aiohttp 3.14.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from livekit_tokens.capture.wire.exchange import Exchange, Follow
from livekit_tokens.capture.wire.made import Made
from livekit_tokens.capture.wire.requests import Asked, Endpoint, endpoint_of, read_json
from livekit_tokens.core import faults


def tee_post(before: Callable[..., Any], follow: Follow) -> Callable[..., Any]:
    def post(session: Any, url: Any, **options: Any) -> Any:
        place = urlsplit(str(url))
        endpoint = endpoint_of("POST", place.path)
        if endpoint is None or not isinstance(options.get("json"), dict):
            return before(session, url, **options)

        async def send() -> Any:
            exchange = None
            try:
                exchange = follow(endpoint, lambda: place.netloc, lambda: _read(endpoint, options["json"]))
            except Exception as error:  # noqa: BLE001 - the request goes out in any case
                faults.note("a request could not be followed", error)
            return await _answered(before(session, url, **options), exchange)

        return Made(send(), lambda _: None)

    return post


async def _answered(sending: Any, exchange: Exchange | None) -> Any:
    if exchange is None:
        return await sending
    try:
        response = await sending
    except BaseException as error:
        exchange.end("broken", error)
        raise
    # aiohttp undoes the compression itself.
    exchange.answered(response.status, {"content-type": response.headers.get("content-type", "")})
    read, close = response.read, response.close

    async def read_and_tell() -> bytes:
        try:
            body: bytes = await read()
        except BaseException as error:
            exchange.end("broken", error)
            raise
        exchange.take_first(body)
        exchange.end("whole")
        return body

    def close_and_tell() -> None:
        close()
        exchange.end("closed")

    response.read, response.close = read_and_tell, close_and_tell
    return response


def _read(endpoint: Endpoint, told: dict[str, Any]) -> tuple[Asked | None, bytes]:
    body = json.dumps(told).encode()
    return read_json(endpoint, "", body), body
