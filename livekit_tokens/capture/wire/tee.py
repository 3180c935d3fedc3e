"""A tee on the public `send` of httpx and httpx2 clients, sync and async: below every SDK, above every transport.

openai 2.x speaks httpx, openai 3.x its fork httpx2; both are patched at class level where they can be imported, once
a process, when the first session is tracked or the first client metered. Without a spender a request passes untouched.
Only public names: `send`, `request.content`, `response.stream`, and the stream base classes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib import import_module
from typing import Any

from livekit_tokens.capture.wire.exchange import Exchange
from livekit_tokens.core import faults

Begin = Callable[[Any], Exchange | None]
"""Given a request: the exchange that is to be told of it, or None."""

_MODULES = ("httpx2", "httpx")
_installed: list[tuple[type, Any, Any]] = []
"""Class, our method, and the one that was there before."""


def libraries() -> list[Any]:
    """Those of the libraries that are there."""
    found = []
    for name in _MODULES:
        try:
            found.append(import_module(name))
        except ImportError:
            continue
    return found


def install(begin: Begin) -> None:
    """Put the tee in; once a process is for the caller to see to."""
    for module in libraries():
        for owner, make in ((module.AsyncClient, _async_send), (module.Client, _sync_send)):
            before = owner.send
            ours = make(before, begin, module)
            owner.send = ours
            _installed.append((owner, ours, before))


def uninstall() -> None:
    """Put back what was there before, where the method is still ours: another one's patch on top of it stays."""
    for owner, ours, before in _installed:
        if owner.__dict__.get("send") is ours:
            owner.send = before  # type: ignore[attr-defined]
    _installed.clear()


def _begun(begin: Begin, request: Any) -> Exchange | None:
    try:
        return begin(request)
    except Exception as error:  # noqa: BLE001 - the request goes out in any case
        faults.note("a request could not be followed", error)
        return None


def _follow(response: Any, exchange: Exchange, tee: Callable[[Any, Exchange], Any]) -> bool:
    """Follow the answer that begins; False if it is over already, as one that a test's transport makes up."""
    if response.is_closed:
        exchange.answered(response.status_code, {"content-type": response.headers.get("content-type", "")})
        exchange.take_first(response.content)
        exchange.end("whole")
        return False
    exchange.answered(response.status_code, response.headers)
    response.stream = tee(response.stream, exchange)
    return True


def _async_send(before: Callable[..., Awaitable[Any]], begin: Begin, module: Any) -> Callable[..., Any]:
    tee = _async_tee(module.AsyncByteStream)

    async def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        exchange = _begun(begin, request)
        if exchange is None:
            return await before(client, request, stream=stream, **options)
        try:
            # As a stream in any case, read below as `send` itself reads it: so a cut-off body is seen too.
            response = await before(client, request, stream=True, **options)
        except BaseException as error:
            exchange.end("broken", error)
            raise
        if not _follow(response, exchange, tee):
            return response
        if not stream:
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        return response

    return send


def _sync_send(before: Callable[..., Any], begin: Begin, module: Any) -> Callable[..., Any]:
    tee = _sync_tee(module.SyncByteStream)

    def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        exchange = _begun(begin, request)
        if exchange is None:
            return before(client, request, stream=stream, **options)
        try:
            response = before(client, request, stream=True, **options)
        except BaseException as error:
            exchange.end("broken", error)
            raise
        if not _follow(response, exchange, tee):
            return response
        if not stream:
            try:
                response.read()
            except BaseException:
                response.close()
                raise
        return response

    return send


def _async_tee(base: type) -> Callable[[Any, Exchange], Any]:
    class Tee(base):  # type: ignore[misc]
        """Passes the bytes of a stream on, and tells of each of them and of how it ended."""

        def __init__(self, stream: Any, exchange: Exchange) -> None:
            self._stream, self._exchange = stream, exchange

        @property
        def elapsed(self) -> Any:
            return getattr(self._stream, "elapsed", None)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            exchange = self._exchange
            stream = self._stream.__aiter__()
            take: Callable[[bytes], None] = exchange.take_first
            try:
                async for piece in stream:
                    take(piece)
                    take = exchange.take
                    yield piece
            except GeneratorExit:
                exchange.end("closed")
                raise
            except BaseException as error:
                exchange.end("broken", error)
                raise
            else:
                exchange.end("whole")
            finally:
                if (close := getattr(stream, "aclose", None)) is not None:
                    await close()

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                self._exchange.end("closed")

    return Tee


def _sync_tee(base: type) -> Callable[[Any, Exchange], Any]:
    class Tee(base):  # type: ignore[misc]
        """The same for a client that blocks."""

        def __init__(self, stream: Any, exchange: Exchange) -> None:
            self._stream, self._exchange = stream, exchange

        @property
        def elapsed(self) -> Any:
            return getattr(self._stream, "elapsed", None)

        def __iter__(self) -> Iterator[bytes]:
            exchange = self._exchange
            take: Callable[[bytes], None] = exchange.take_first
            try:
                for piece in self._stream:
                    take(piece)
                    take = exchange.take
                    yield piece
            except GeneratorExit:
                exchange.end("closed")
                raise
            except BaseException as error:
                exchange.end("broken", error)
                raise
            else:
                exchange.end("whole")

        def close(self) -> None:
            try:
                self._stream.close()
            finally:
                self._exchange.end("closed")

    return Tee
