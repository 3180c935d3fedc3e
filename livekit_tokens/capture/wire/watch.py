"""Which requests are followed: those of a tracked context, and those of a metered client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit_tokens.capture import spending, witnesses
from livekit_tokens.capture.spending import Spender
from livekit_tokens.capture.wire import tee
from livekit_tokens.capture.wire.exchange import Exchange
from livekit_tokens.capture.wire.requests import Asked, Endpoint, endpoint_of, read_form, read_json
from livekit_tokens.domain.providers import provider_of

_INFERENCE = "LiveKit Agents/"
"""How the User-Agent of LiveKit Inference's clients begins (livekit-agents 1.8.9), whatever host they are sent to."""

Nobodys = Callable[[], Spender | None]


def begin(request: Any, nobodys: Nobodys) -> Exchange | None:
    """Follow an httpx request if it is billable and somebody pays for it. `nobodys` is asked where nobody does."""
    path = request.url.path
    endpoint = endpoint_of(request.method, path)
    if endpoint is None or (spender := spending.current() or nobodys()) is None:
        return None
    asked, body = _read(endpoint, path, request)
    if asked is None:
        return None
    agent_string = request.headers.get("user-agent", "")
    provider = "livekit" if agent_string.startswith(_INFERENCE) else provider_of(request.url.netloc.decode())
    return follow(spender, provider, asked, body)


def follow(spender: Spender, provider: str, asked: Asked, body: bytes | None) -> Exchange:
    """One request that is sent now, for this spender: an exchange that its witness calls as it goes on."""
    mark = witnesses.here()
    service = mark.service if mark is not None else "tool"
    witnesses.see(spender.writer.part.key, asked.endpoint.operation, provider, asked.model)
    return Exchange(spender, service, provider, asked, body)


def _read(endpoint: Endpoint, path: str, request: Any) -> tuple[Asked | None, bytes | None]:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return read_form(endpoint, path, getattr(request.stream, "fields", ())), None
    body = request.content
    return read_json(endpoint, path, body), body


def install() -> None:
    """Watch the wire from now on: once a process, when the first session is tracked or the first client metered."""
    tee.install(lambda _, request: begin(request, lambda: None))


def uninstall() -> None:
    """Take out what `install` put in, where it is still ours."""
    tee.uninstall()
