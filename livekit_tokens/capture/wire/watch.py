"""Which requests are followed: those of a tracked context, and those of a metered client."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, TypeVar

from livekit_tokens.capture import spending
from livekit_tokens.capture.spending import Spender, Spending
from livekit_tokens.capture.wire import tee
from livekit_tokens.capture.wire.background import Retrieval, is_waited_for, retrieved
from livekit_tokens.capture.wire.connections import note_connections
from livekit_tokens.capture.wire.exchange import Channel, Exchange
from livekit_tokens.capture.wire.hold import Hold
from livekit_tokens.capture.wire.requests import Asked, Endpoint, endpoint_of, read_form, read_json, unread
from livekit_tokens.domain.errors import BadSetting

Nobodys = Callable[[], Spender]
"""Who pays for what nobody else does."""

_Client = TypeVar("_Client")

_COPIES = ("copy", "with_options")
_nobodys: ContextVar[Nobodys | None] = ContextVar("livekit_tokens_nobodys", default=None)
"""Set while a metered client asks."""


def install(*, sockets: bool = True) -> None:
    """Watch the wire from now on: when a session is tracked or a client metered; idempotent, from any thread.

    `sockets`: also what LiveKit's own code sends by aiohttp, which a process without LiveKit has not imported.
    """
    tee.install(begin)
    if sockets:
        from livekit_tokens.capture.wire import sockets as teed  # noqa: PLC0415 - see above

        teed.install(follow)


def uninstall() -> None:
    """Take out what `install` put in, where it is still ours."""
    tee.uninstall()
    if (sockets := sys.modules.get("livekit_tokens.capture.wire.sockets")) is not None:
        sockets.uninstall()


def meter(client: _Client, nobodys: Nobodys) -> _Client:
    """Follow every request of this client, and of the copies that it makes of itself, whoever asks; idempotent.

    By its public `request`, which all of its resources go through, also those that were made before.
    """
    request = getattr(client, "request", None)
    if request is None or not hasattr(client, "with_options"):
        raise BadSetting(
            f"metered() was given a {type(client).__name__}; expected a client of the openai package: OpenAI, "
            "AsyncOpenAI, AzureOpenAI or AsyncAzureOpenAI"
        )
    install(sockets=False)
    if hasattr(request, "livekit_tokens_metered"):
        return client
    metered = _metered_async(request, nobodys) if inspect.iscoroutinefunction(request) else _metered(request, nobodys)
    metered.livekit_tokens_metered = True  # type: ignore[attr-defined]
    client.request = metered  # type: ignore[attr-defined]
    for name in _COPIES:
        setattr(client, name, _copying(getattr(client, name), nobodys))
    note_connections(client, lambda: spending.current() or nobodys())
    return client


def _metered(request: Callable[..., Any], nobodys: Nobodys) -> Callable[..., Any]:
    @wraps(request)
    def ask(*args: Any, **options: Any) -> Any:
        token = _nobodys.set(nobodys)
        try:
            return request(*args, **options)
        finally:
            _nobodys.reset(token)

    return ask


def _metered_async(request: Callable[..., Any], nobodys: Nobodys) -> Callable[..., Any]:
    @wraps(request)
    async def ask(*args: Any, **options: Any) -> Any:
        token = _nobodys.set(nobodys)
        try:
            return await request(*args, **options)
        finally:
            _nobodys.reset(token)

    return ask


def _copying(copy: Callable[..., Any], nobodys: Nobodys) -> Callable[..., Any]:
    @wraps(copy)
    def copied(*args: Any, **options: Any) -> Any:
        return meter(copy(*args, **options), nobodys)

    return copied


def begin(request: Any) -> Hold | None:
    """Follow an httpx request if it is billable and somebody may pay for it."""
    if request.method != "POST":
        return _begin_retrieval(request)
    endpoint = endpoint_of(request.url.raw_path)  # `url.path` undoes its quoting first, for 10 us
    return follow(endpoint, _HTTP, request) if endpoint is not None else None


def _begin_retrieval(request: Any) -> Hold | None:
    """Follow who asks for a response that runs on in the background, for whomever it was begun."""
    url = request.url
    response_id = retrieved(request.method, url.raw_path)
    if response_id is None or not is_waited_for(_host(request), response_id):
        return None
    return Hold(Retrieval(url, response_id))


def follow(endpoint: Endpoint, channel: Channel, sent: Any) -> Hold | None:
    """One request that is sent now: the hold by which its tee tells of it as it goes on; None if nobody pays."""
    pays: Callable[[], Spender | None] = _spender
    if not spending.may_be_spent() and _nobodys.get() is None:
        call = spending.call_of_bare_thread()
        if call is None:
            return None
        pays = partial(spending.spender_of, Spending(call))
    return Hold(Exchange(endpoint, channel, sent, pays))


def _spender() -> Spender | None:
    found = spending.current()
    if found is None and (nobodys := _nobodys.get()) is not None:
        return nobodys()
    return found


def _read(endpoint: Endpoint, request: Any) -> tuple[Asked | None, bytes | None]:
    path = request.url.path
    if (fields := getattr(request.stream, "fields", None)) is not None:
        return read_form(endpoint, path, fields), None
    body = _body_of(request)
    if body is None or request.headers.get("content-type", "").startswith("multipart/"):  # a form that was read before
        return unread(endpoint, path), None
    return read_json(endpoint, path, body), body


def _body_of(request: Any) -> bytes | None:
    """The body that is sent; None where it is made while it is sent."""
    try:
        content: bytes = request.content
    except RuntimeError:  # `RequestNotRead`: also what a client has made to follow a redirect
        return b"".join(request.stream) if tee.is_in_memory(request.stream) else None
    return content


def _host(request: Any) -> str:
    return str(request.url.netloc, "ascii")


_HTTP = Channel(_host, _read)
