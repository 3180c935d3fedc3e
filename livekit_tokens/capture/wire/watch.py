"""Which requests are followed: those of a tracked context, and those of a metered client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from livekit_tokens.capture import spending, witnesses
from livekit_tokens.capture.spending import Spender
from livekit_tokens.capture.wire import sockets, tee
from livekit_tokens.capture.wire.exchange import Exchange
from livekit_tokens.capture.wire.requests import Asked, Endpoint, endpoint_of, read_form, read_json
from livekit_tokens.domain.providers import provider_of

_installing = threading.Lock()
_installed = False

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
    return follow(spender, request.url.netloc.decode(), asked, body)


def follow(spender: Spender, host: str, asked: Asked, body: bytes | None) -> Exchange:
    """One request that is sent now, for this spender: an exchange that its witness calls as it goes on."""
    mark = witnesses.here()
    service = mark.service if mark is not None else "tool"
    # A host on this machine may stand for LiveKit Inference: that is for the component to say.
    provider = provider_of(host, "livekit" if mark is not None and mark.provider == "livekit" else "openai")
    witnesses.see(spender.writer.part.key, asked.endpoint.operation, provider, asked.model)
    return Exchange(spender, service, provider, asked, body)


def _read(endpoint: Endpoint, path: str, request: Any) -> tuple[Asked | None, bytes | None]:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return read_form(endpoint, path, getattr(request.stream, "fields", ())), None
    body = request.content
    return read_json(endpoint, path, body), body


def install() -> None:
    """Watch the wire from now on: once a process, when the first session is tracked or the first client metered."""
    global _installed  # noqa: PLW0603 - one a process
    with _installing:
        if not _installed:
            tee.install(lambda _, request: begin(request, lambda: None))
            sockets.install(follow)
            _installed = True


def uninstall() -> None:
    """Take out what `install` put in, where it is still ours."""
    global _installed  # noqa: PLW0603
    with _installing:
        tee.uninstall()
        sockets.uninstall()
        _installed = False
