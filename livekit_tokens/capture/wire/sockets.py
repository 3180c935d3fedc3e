"""A tee on the public `ws_connect` and `post` of aiohttp's sessions, which LiveKit's own code speaks by.

A WebSocket for responses carries many of them, one after the other, for whoever took it from a pool: whose money it
is, is asked when a response is sent for. One for transcription brings what a realtime session's events bring. Of what
is posted only LiveKit's own embeddings are (`create_embeddings`). A conversation's socket is left alone: its events
are public (`realtime.py`), and parsing each audio frame once more would cost 9 us.
Seen on livekit-agents 1.8.9 with aiohttp 3.14. Only public names: `receive`, `send_str`, `close`, `read`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec

from livekit_tokens.capture import spending, witnesses
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.capture.spending import Spender
from livekit_tokens.capture.wire.exchange import Exchange, Follow
from livekit_tokens.capture.wire.made import Made
from livekit_tokens.capture.wire.posts import tee_post
from livekit_tokens.capture.wire.requests import RESPONSES, UNKNOWN_MODEL, Asked, read_json
from livekit_tokens.capture.witnesses import Seen
from livekit_tokens.core import faults
from livekit_tokens.domain.providers import provider_of

_installed: list[tuple[str, Any, Any]] = []
_prefixes = itertools.count(1)
_MOST_KEPT = 20_000
_EVENTS = {"content-type": "text/event-stream"}
_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})
_TRANSCRIPTION = "conversation.item.input_audio_transcription."


def install(follow: Follow) -> None:
    """Put the tee in; once a process is for the caller to see to."""
    for name, ours in (("ws_connect", _ws_connect), ("post", tee_post)):
        before = getattr(aiohttp.ClientSession, name)
        made = ours(before, follow)
        setattr(aiohttp.ClientSession, name, made)
        _installed.append((name, made, before))


def uninstall() -> None:
    """Put back what was there before, where the method is still ours."""
    for name, ours, before in _installed:
        if aiohttp.ClientSession.__dict__.get(name) is ours:
            setattr(aiohttp.ClientSession, name, before)
    _installed.clear()


def _ws_connect(before: Callable[..., Any], follow: Follow) -> Callable[..., Any]:
    def ws_connect(session: Any, url: Any, **options: Any) -> Any:
        place = urlsplit(str(url))
        if place.path.endswith("/responses"):
            return Made(before(session, url, **options), lambda socket: _Responses(follow, place.netloc).tee(socket))
        if place.path.endswith("/realtime") and parse_qs(place.query).get("intent") == ["transcription"]:
            return Made(before(session, url, **options), lambda socket: _Transcriptions(place.netloc).tee(socket))
        return before(session, url, **options)

    return ws_connect


def _read_text(text: str) -> tuple[Asked | None, bytes]:
    body = text.encode()
    return read_json(RESPONSES, "", body), body


class _Type(msgspec.Struct):
    type: str = ""


_type_of = msgspec.json.Decoder(_Type).decode


class _Socket:
    """Sees what one WebSocket sends and receives. A fault of ours never reaches who uses it."""

    def tee(self, socket: Any) -> None:
        send, receive, close = socket.send_str, socket.receive, socket.close
        listener = _Listener(receive, self)

        async def send_str(data: str, *args: Any, **options: Any) -> None:
            _safely(self.sends, data)
            await send(data, *args, **options)

        async def receive_message(*args: Any, **options: Any) -> Any:
            if (kept := await listener.taken()) is not None:
                return kept
            try:
                message = await receive(*args, **options)
            except asyncio.CancelledError:
                if self.expects_more:
                    listener.listen_on()
                raise
            self.sees(message)
            return message

        async def close_socket(*args: Any, **options: Any) -> Any:
            await listener.stop()
            _safely(self.is_over, None)
            return await close(*args, **options)

        socket.send_str, socket.receive, socket.close = send_str, receive_message, close_socket

    def sees(self, message: Any) -> None:
        if message.type is aiohttp.WSMsgType.TEXT:
            _safely(self.receives, message.data)
        elif message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
            _safely(self.is_over, None)

    @property
    def expects_more(self) -> bool:
        return False

    def sends(self, text: str) -> None:
        raise NotImplementedError

    def receives(self, text: str) -> None:
        raise NotImplementedError

    def is_over(self, _: None) -> None:
        raise NotImplementedError


class _Listener:
    """Listens on where whoever used a socket has stopped: the provider goes on, and bills, until it is closed.

    LiveKit only puts a cancelled response's socket aside, and closes it when it takes the next one from its pool
    (`ConnectionPool.remove`, livekit-agents 1.8.9): its whole answer is billed, and its figures still come.
    """

    def __init__(self, receive: Callable[[], Any], socket: _Socket) -> None:
        self._receive = receive
        self._socket = socket
        self._kept: deque[Any] = deque()
        self._listening: asyncio.Task[None] | None = None

    def listen_on(self) -> None:
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="livekit_tokens_listening")

    async def _listen(self) -> None:
        with suppress(Exception):
            while self._socket.expects_more and len(self._kept) < _MOST_KEPT:
                message = await self._receive()
                self._kept.append(message)
                self._socket.sees(message)

    async def stop(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def taken(self) -> Any:
        """What came while nobody else listened, for who listens again after all."""
        await self.stop()
        return self._kept.popleft() if self._kept else None


def _safely(see: Callable[[Any], None], seen: Any) -> None:
    try:
        see(seen)
    except Exception as error:  # noqa: BLE001 - a fault of ours must not reach the call
        faults.note("a socket's message could not be read", error)


class _Responses(_Socket):
    """The responses of one socket: each `response.create` is a request."""

    def __init__(self, follow: Follow, host: str) -> None:
        self._follow = follow
        self._host = host
        self._exchange: Exchange | None = None
        self._take: Callable[[bytes], None] | None = None

    @property
    def expects_more(self) -> bool:
        return self._exchange is not None

    def sends(self, text: str) -> None:
        if '"response.create"' not in text:
            return
        self.is_over(None)
        self._exchange = self._follow(RESPONSES, lambda: self._host, lambda: _read_text(text))
        if self._exchange is not None:
            self._exchange.answered(200, _EVENTS)
            self._take = self._exchange.take_first

    def receives(self, text: str) -> None:
        exchange, take = self._exchange, self._take
        if exchange is None or take is None:
            return
        raw = text.encode()
        take(b"data:" + raw + b"\n")
        self._take = exchange.take
        if _type_of(raw).type in _ENDS:
            self._exchange = None
            exchange.end("whole")

    def is_over(self, _: None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.end("closed")


class _Transcriptions(_Socket):
    """The transcriptions of one socket, read as those of a conversation are."""

    def __init__(self, host: str) -> None:
        self._provider = provider_of(host)
        named = (self._provider, UNKNOWN_MODEL)
        self._seen = Seen("transcription", lambda: named)
        self._witness: RealtimeWitness | None = None

    def sends(self, text: str) -> None:
        # What is asked for; the provider tells it again once it has taken it over.
        if '"session.update"' in text and (event := json.loads(text)).get("type") == "session.update":
            self._tell(event | {"type": "session.updated"})

    def receives(self, text: str) -> None:
        self._tell(json.loads(text))

    def is_over(self, _: None) -> None:
        if self._witness is not None:
            self._witness.give_up()

    def _tell(self, event: Any) -> None:
        if (spender := spending.current()) is None:
            return
        if self._witness is None:
            named = (UNKNOWN_MODEL, self._provider)
            self._witness = RealtimeWitness(spender.writer, lambda: named, f"s{next(_prefixes)}")
        self._witness.write_to(spender.writer)
        if event.get("type", "").startswith(_TRANSCRIPTION):
            self._be_seen(spender)
        self._witness.on_event(event)

    def _be_seen(self, spender: Spender) -> None:
        if (mark := witnesses.here()) is not None:
            mark.see(self._seen)
        else:
            witnesses.see_outside(spender.writer, self._seen.operation, self._provider)
