"""A tee on the public `send` of httpx and httpx2 clients, sync and async: below every SDK, above every transport.

openai 2.x speaks httpx, openai 3.x its fork httpx2; both are patched at class level, once a process, when the first
session is tracked or the first client metered, or, what the host has not imported by then, when it is imported: clients
that were made before are seen too. Without a spender a request passes untouched.
Only public names: `send`, `request.content`, `response.stream`, and the stream base classes.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from livekit_tokens.capture.wire.arrivals import no_longer, when_imported
from livekit_tokens.capture.wire.hold import Hold
from livekit_tokens.capture.wire.patches import Patches
from livekit_tokens.capture.wire.sending import when_it_waits
from livekit_tokens.core import faults

Begin = Callable[[Any], Hold | None]
"""Given a request: the hold on its exchange, or None."""

LIBRARIES = ("httpx2", "httpx")
_patches = Patches()


def is_in_memory(stream: Any) -> bool:
    """Whether a request's body can be read without taking it from the request."""
    imported = (getattr(sys.modules.get(name), "ByteStream", ()) for name in LIBRARIES)
    return isinstance(stream, tuple(imported))


def install(begin: Begin) -> None:
    """Put the tee into what the host has imported, and into the rest when it does; idempotent, from any thread."""
    for name in LIBRARIES:
        when_imported(name, partial(_follow, begin))


def uninstall() -> None:
    """Put back what was there before, where the method is still ours."""
    for name in LIBRARIES:
        no_longer(name)
    _patches.take_out()


def _follow(begin: Begin, module: Any) -> None:
    _patches.put(module.AsyncClient, "send", lambda before: _async_send(before, begin, module))
    _patches.put(module.Client, "send", lambda before: _sync_send(before, begin, module))


def _begun(begin: Begin, request: Any) -> Hold | None:
    try:
        return begin(request)
    except Exception as error:  # noqa: BLE001 - the request goes out in any case
        faults.note("a request could not be followed", error)
        return None


def _answered(response: Any, hold: Hold, tee: Callable[[Any, Hold], Any]) -> None:
    """Follow the answer that begins."""
    try:
        if response.is_closed:
            _over_already(response, hold)
        else:
            hold.answered(response.status_code, response.headers)
            response.stream = tee(response.stream, hold)
    except Exception as error:  # noqa: BLE001 - the answer is the host's in any case
        faults.note("an answer could not be followed", error)
        hold.end("unseen")


def _over_already(response: Any, hold: Hold) -> None:
    """As one that a test's transport makes up, or that a hook of the host's has read, or closed unread."""
    hold.answered(response.status_code, {k: v for k, v in response.headers.items() if k != "content-encoding"})
    try:
        body = response.content
    except RuntimeError:  # `ResponseNotRead`: where it went, or whether it was read, nobody knows
        hold.end("unseen")
    else:
        hold.take_first(body)
        hold.end("whole")


def _failed(request: Any, hold: Hold, error: BaseException) -> None:
    """No answer for the host. Where a hook of its own has refused one (`raise_for_status`), its status is known."""
    try:
        response = getattr(error, "response", None)
        if response is not None and [*response.history, response][0].request is request:
            hold.answered(response.status_code, {})
    except Exception as fault:  # noqa: BLE001 - the host is to see its own error
        faults.note("an error could not be read", fault)
    hold.end("broken", error)


def _async_send(before: Callable[..., Awaitable[Any]], begin: Begin, module: Any) -> Callable[..., Any]:
    tee = _async_tee(module.AsyncByteStream)

    async def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        hold = _begun(begin, request)
        if hold is None:
            return await before(client, request, stream=stream, **options)
        try:
            # As a stream in any case, read below as `send` itself reads it: so a cut-off body is seen too.
            response = await when_it_waits(before(client, request, stream=True, **options), hold.sent)
        except BaseException as error:
            _failed(request, hold, error)
            raise
        _answered(response, hold, tee)
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
        hold = _begun(begin, request)
        if hold is None:
            return before(client, request, stream=stream, **options)
        hold.sent()
        try:
            response = before(client, request, stream=True, **options)
        except BaseException as error:
            _failed(request, hold, error)
            raise
        _answered(response, hold, tee)
        if not stream:
            try:
                response.read()
            except BaseException:
                response.close()
                raise
        return response

    return send


def _async_tee(base: type) -> Callable[[Any, Hold], Any]:
    class Tee(base):  # type: ignore[misc]
        """Passes the bytes of a stream on, and tells of each of them and of how it ended."""

        def __init__(self, stream: Any, hold: Hold) -> None:
            self._stream, self._hold = stream, hold

        @property
        def elapsed(self) -> Any:
            return getattr(self._stream, "elapsed", None)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            hold = self._hold
            stream = self._stream.__aiter__()
            others: Callable[[bytes], None] = hold.take  # asked for once: each piece pays for what is done here
            take: Callable[[bytes], None] = hold.take_first
            try:
                async for piece in stream:
                    take(piece)
                    take = others
                    yield piece
            except GeneratorExit:
                hold.end("closed")
                raise
            except BaseException as error:
                hold.end("broken", error)
                raise
            else:
                hold.end("whole")
            finally:
                if (close := getattr(stream, "aclose", None)) is not None:
                    await close()

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                self._hold.end("closed")

    return Tee


def _sync_tee(base: type) -> Callable[[Any, Hold], Any]:
    class Tee(base):  # type: ignore[misc]
        """The same for a client that blocks."""

        def __init__(self, stream: Any, hold: Hold) -> None:
            self._stream, self._hold = stream, hold

        @property
        def elapsed(self) -> Any:
            return getattr(self._stream, "elapsed", None)

        def __iter__(self) -> Iterator[bytes]:
            hold = self._hold
            others: Callable[[bytes], None] = hold.take  # asked for once: each piece pays for what is done here
            take: Callable[[bytes], None] = hold.take_first
            try:
                for piece in self._stream:
                    take(piece)
                    take = others
                    yield piece
            except GeneratorExit:
                hold.end("closed")
                raise
            except BaseException as error:
                hold.end("broken", error)
                raise
            else:
                hold.end("whole")

        def close(self) -> None:
            try:
                self._stream.close()
            finally:
                self._hold.end("closed")

    return Tee
