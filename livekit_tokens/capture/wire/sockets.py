"""A tee on the public `ws_connect` and `post` of aiohttp's sessions, which LiveKit's own code speaks by.

A WebSocket for responses carries many of them, one after the other, for whoever took it from a pool: whose money it
is, is asked when a response is sent for. One for transcription brings what a realtime session's events bring; one of
LiveKit Inference's, what its component does not tell. Of what
is posted only LiveKit's own embeddings are (`create_embeddings`). A conversation's socket is left alone: its events
are public (`realtime.py`), and parsing each audio frame once more would cost 9 us.
Seen on livekit-agents 1.8.9 with aiohttp 3.14.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from operator import itemgetter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec

from livekit_tokens.capture import spending, witnesses
from livekit_tokens.capture.realtime import RealtimeWitness
from livekit_tokens.capture.wire.exchange import Channel
from livekit_tokens.capture.wire.hearing import Ears
from livekit_tokens.capture.wire.hold import Follow, Hold
from livekit_tokens.capture.wire.inference_stt import InferenceEars, untold_of_stream
from livekit_tokens.capture.wire.made import Made
from livekit_tokens.capture.wire.patches import Patches
from livekit_tokens.capture.wire.pieces import END, Ends
from livekit_tokens.capture.wire.posts import tee_post
from livekit_tokens.capture.wire.requests import RESPONSES, UNKNOWN_MODEL, Asked, Endpoint, read_json
from livekit_tokens.capture.witnesses import Seen
from livekit_tokens.domain.providers import provider_of

_patches = Patches()
_prefixes = itertools.count(1)
_EVENTS = {"content-type": "text/event-stream"}
_TO_OPEN = {"ws": 2, "http": 2}
"""Round trips until a socket is open: of TCP, of HTTP's upgrade, and one more of TLS where it is encrypted."""
_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})
_TRANSCRIPTION = "conversation.item.input_audio_transcription."


def install(follow: Follow) -> None:
    """Put the tee in; idempotent, from any thread."""
    _patches.put(aiohttp.ClientSession, "ws_connect", lambda before: _ws_connect(before, follow))
    _patches.put(aiohttp.ClientSession, "post", lambda before: tee_post(before, follow))


def uninstall() -> None:
    """Put back what was there before, where the method is still ours."""
    _patches.take_out()


def _ws_connect(before: Callable[..., Any], follow: Follow) -> Callable[..., Any]:
    def ws_connect(session: Any, url: Any, **options: Any) -> Any:
        place = urlsplit(str(url))
        if place.path.endswith("/responses"):
            began, trips = time.monotonic(), _TO_OPEN.get(place.scheme, 3)

            def opened(socket: Any) -> None:
                _Responses(follow, place.netloc, (time.monotonic() - began) / trips).on(socket)

            return Made(before(session, url, **options), opened)
        if place.path.endswith("/realtime") and parse_qs(place.query).get("intent") == ["transcription"]:
            return Made(before(session, url, **options), lambda socket: _Transcriptions(place.netloc).on(socket))
        if place.path.endswith("/stt") and (untold := untold_of_stream(parse_qs(place.query))) is not None:
            return Made(before(session, url, **options), InferenceEars(untold).on)
        return before(session, url, **options)

    return ws_connect


def _read_text(endpoint: Endpoint, sent: tuple[str, str]) -> tuple[Asked | None, bytes]:
    body = sent[1].encode()
    return read_json(endpoint, "", body), body


_SOCKET = Channel(itemgetter(0), _read_text)


class _Type(msgspec.Struct):
    type: str = ""


_read_type = msgspec.json.Decoder(_Type).decode


def _type_of(event: bytes) -> str | None:
    """Of one with an image in it, by its beginning: the call's own loop waits for this."""
    return _read_type(event).type if len(event) <= END else Ends(event[:END], b"").named("type")


class _Responses(Ears):
    """The responses of one socket: each `response.create` is a request."""

    def __init__(self, follow: Follow, host: str, round_trip: float) -> None:
        super().__init__()
        self._follow = follow
        self._host = host
        self._round_trip = round_trip
        self._hold: Hold | None = None
        self._take: Callable[[bytes], None] | None = None

    @property
    def expects_more(self) -> bool:
        return self._hold is not None

    def sends(self, text: str) -> None:
        if '"response.create"' not in text:
            return
        self.is_over(None)
        self._hold = self._follow(RESPONSES, _SOCKET, (self._host, text))
        if self._hold is not None:
            self._hold.sent()
            self._hold.answered(200, _EVENTS, self._round_trip)
            self._take = self._hold.take_first

    def receives(self, text: str) -> None:
        hold, take = self._hold, self._take
        if hold is None or take is None:
            return
        raw = text.encode()
        take(b"data:" + raw + b"\n")
        self._take = hold.take
        if _type_of(raw) in _ENDS:
            self._hold = None
            hold.end("whole")

    def is_over(self, _: None) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.end("closed")


class _Transcriptions(Ears):
    """The transcriptions of one socket, read as those of a conversation are."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self._provider = provider_of(host)
        named = (self._provider, UNKNOWN_MODEL)
        self._seen = Seen("transcription", lambda: named)
        self._witness: RealtimeWitness | None = None

    def sends(self, text: str) -> None:
        event = msgspec.json.decode(text)
        if (witness := self._heard_for()) is None:
            return
        if event.get("type") == "session.update":
            # What is asked for; the provider tells it again once it has taken it over.
            witness.on_event(event | {"type": "session.updated"})
        else:
            witness.on_client_event(event)

    def receives(self, text: str) -> None:
        event = msgspec.json.decode(text)
        if (witness := self._heard_for()) is None:
            return
        if event.get("type", "").startswith(_TRANSCRIPTION):
            self._be_seen()
        witness.on_event(event)

    def is_over(self, _: None) -> None:
        if self._witness is not None:
            self._witness.give_up()

    def _heard_for(self) -> RealtimeWitness | None:
        """Writes for who uses the socket now; None if nobody pays."""
        if (spender := spending.current()) is None:
            return None
        if self._witness is None:
            named = (UNKNOWN_MODEL, self._provider)
            self._witness = RealtimeWitness(spender.writer, lambda: named, f"s{next(_prefixes)}")
        self._witness.write_to(spender.writer)
        return self._witness

    def _be_seen(self) -> None:
        if (mark := witnesses.here()) is not None:
            mark.see(self._seen)
        else:
            witnesses.leave_with_part(self._seen.operation, self._provider)
