"""Hearing what one of aiohttp's WebSockets sends and receives; also what nobody else listens to any more.

Only public names: `send_str`, `receive`, `close`. Seen on aiohttp 3.14.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import aiohttp

from livekit_tokens.core import faults

_MOST_KEPT = 20_000


class Ears:
    """For one socket. A fault of ours never reaches who uses it."""

    def __init__(self) -> None:
        self._kept: deque[Any] = deque()
        self._listening: asyncio.Task[None] | None = None

    def on(self, socket: Any) -> None:
        kind: Any = type(socket)
        socket.__class__ = _heard(kind)
        socket.livekit_tokens_ears = self

    # -- what they are for ----------------------------------------------------------------------------------------

    @property
    def expects_more(self) -> bool:
        """Whether it is worth to listen on where nobody else does."""
        return False

    def sends(self, text: str) -> None:
        raise NotImplementedError

    def receives(self, text: str) -> None:
        raise NotImplementedError

    def is_over(self, _: None) -> None:
        """Nothing more comes, or nothing more is wanted."""
        raise NotImplementedError

    def hear(self, message: Any) -> None:
        """A message that was received."""
        if message.type is aiohttp.WSMsgType.TEXT:
            safely(self.receives, message.data)
        elif message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
            safely(self.is_over, None)

    # -- where whoever used the socket has stopped ----------------------------------------------------------------

    def listen_on(self, receive: Callable[[], Any]) -> None:
        """The provider goes on, and bills, until the socket is closed.

        LiveKit only puts a cancelled response's socket aside, and closes it when it takes the next one from its pool
        (`ConnectionPool.remove`, livekit-agents 1.8.9): its whole answer is billed, and its figures still come.
        """
        if self.expects_more:
            listening = self._listen(receive, self._listening)
            self._listening = asyncio.create_task(listening, name="livekit_tokens_listening")

    async def _listen(self, receive: Callable[[], Any], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})  # it was told to stop, and who told it has not waited
        with suppress(Exception):
            while self.expects_more and len(self._kept) < _MOST_KEPT:
                message = await receive()
                self._kept.append(message)
                self.hear(message)

    async def stop_listening(self) -> None:
        """Somebody else wants to. Who waits for this may be cancelled meanwhile, and then is."""
        listening = self._listening
        if listening is not None and listening is not asyncio.current_task():  # a socket closes within `receive`, too
            listening.cancel()
            await asyncio.wait({listening})
            self._listening = None

    def kept(self) -> Any:
        """What came while nobody else listened, for who listens again after all; None if nothing did."""
        return self._kept.popleft() if self._kept else None


def safely(see: Callable[[Any], None], seen: Any) -> None:
    try:
        see(seen)
    except Exception as error:  # noqa: BLE001 - a fault of ours must not reach the call
        faults.note("a socket's message could not be read", error)


@cache
def _heard(kind: Any) -> Any:
    """This class of sockets, heard. A socket's own methods replaced would hold it in a circle."""

    class Heard(kind):  # type: ignore[misc]
        livekit_tokens_ears: Ears

        async def send_str(self, data: str, *args: Any, **options: Any) -> None:
            safely(self.livekit_tokens_ears.sends, data)
            await super().send_str(data, *args, **options)

        async def receive(self, *args: Any, **options: Any) -> Any:
            ears = self.livekit_tokens_ears
            receive = super().receive
            try:
                await ears.stop_listening()
                if (kept := ears.kept()) is not None:
                    return kept
                message = await receive(*args, **options)
            except (asyncio.CancelledError, TimeoutError):
                safely(ears.listen_on, receive)
                raise
            ears.hear(message)
            return message

        async def close(self, *args: Any, **options: Any) -> Any:
            ears = self.livekit_tokens_ears
            await ears.stop_listening()
            safely(ears.is_over, None)
            return await super().close(*args, **options)

    Heard.__name__, Heard.__qualname__, Heard.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Heard
