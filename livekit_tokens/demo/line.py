"""The line between the stand-in provider and its client: what is sent arrives in order, some time later, or never."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import WSMsgType, web

Written = Callable[[bool], None]
"""Told whether an event was written to a live socket."""


class Line:
    """One websocket with `latency` seconds each way. What is under way when it breaks is lost."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport | None, latency: float) -> None:
        self._ws, self._transport, self._latency = ws, transport, latency
        self._outgoing: asyncio.Queue[tuple[float, dict[str, Any], Written]] = asyncio.Queue()
        self._sender = asyncio.create_task(self._send_all()) if latency else None

    async def send(self, event: dict[str, Any], written: Written = lambda _: None) -> None:
        if self._sender is None:
            written(await self._write(event))
        else:
            self._outgoing.put_nowait((self._arrival(), event, written))

    async def received(self) -> AsyncIterator[str]:
        """What the client sends, as it arrives; ends when the provider notices that the socket is gone."""
        if not self._latency:
            async for message in self._ws:
                if message.type is WSMsgType.TEXT:
                    yield message.data
            return
        incoming: asyncio.Queue[tuple[float, str | None]] = asyncio.Queue()
        reader = asyncio.create_task(self._read_all(incoming))
        try:
            while True:
                arrival, data = await incoming.get()
                await _until(arrival)
                if data is None:
                    return
                yield data
        finally:
            reader.cancel()

    def drop(self) -> None:
        """Break as a network does: no close frame."""
        if self._transport:
            self._transport.abort()

    async def aclose(self) -> None:
        """Let what has been sent arrive, if the socket is still there."""
        if self._sender is not None:
            await self._outgoing.join()
            self._sender.cancel()

    def _arrival(self) -> float:
        return asyncio.get_running_loop().time() + self._latency

    async def _read_all(self, incoming: asyncio.Queue[tuple[float, str | None]]) -> None:
        async for message in self._ws:
            if message.type is WSMsgType.TEXT:
                incoming.put_nowait((self._arrival(), message.data))
        incoming.put_nowait((self._arrival(), None))

    async def _send_all(self) -> None:
        while True:
            arrival, event, written = await self._outgoing.get()
            await _until(arrival)
            written(await self._write(event))
            self._outgoing.task_done()

    async def _write(self, event: dict[str, Any]) -> bool:
        if self._ws.closed:
            return False
        try:
            await self._ws.send_json(event)
        except ConnectionError:
            return False
        return True


async def _until(moment: float) -> None:
    if (seconds := moment - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(seconds)
