"""The stand-in provider's socket for realtime transcription: it hears who speaks, and bills what it commits."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from benchmarks.wire_accuracy.provider import Provider

BYTES_PER_MS = 48
"""24 kHz pcm16."""
SILENCE_MS = 200
"""That ends a turn."""


async def hear(provider: Provider, request: web.Request) -> web.WebSocketResponse:
    """Sound that is not all zero is speech."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    model, heard_ms, turn = "", 0, 0
    began: int | None = None
    silent_ms = 0
    async for message in socket:
        event = json.loads(message.data)
        if event["type"] == "session.update":
            model = event["session"]["audio"]["input"]["transcription"]["model"]
            await socket.send_json({"type": "session.updated", "session": event["session"]})
        if event["type"] != "input_audio_buffer.append":
            continue
        sound = base64.b64decode(event["audio"])
        heard_ms += len(sound) // BYTES_PER_MS
        if any(sound):
            silent_ms = 0
            if began is None:
                turn, began = turn + 1, heard_ms - len(sound) // BYTES_PER_MS
                await socket.send_json(_event("input_audio_buffer.speech_started", turn, audio_start_ms=began))
        elif began is not None:
            silent_ms += len(sound) // BYTES_PER_MS
            if silent_ms >= SILENCE_MS:
                with suppress(ConnectionError):
                    await _transcribe(provider, socket, model, turn, (began, heard_ms))
                began = None
    return socket


async def _transcribe(
    provider: Provider, socket: web.WebSocketResponse, model: str, turn: int, span: tuple[int, int]
) -> None:
    """Billed when it is committed, whether or not anybody hears of it."""
    ways, milliseconds = provider.ways, span[1] - span[0]
    await asyncio.sleep(ways.latency)
    entry, text = provider.bill_transcription(model, milliseconds)
    await asyncio.sleep(ways.latency)
    await socket.send_json(_event("input_audio_buffer.speech_stopped", turn, audio_end_ms=span[1]))
    await socket.send_json(_event("input_audio_buffer.committed", turn, previous_item_id=None))
    await asyncio.sleep(ways.thinking)
    place: dict[str, Any] = {"content_index": 0}
    if provider.told:
        place["usage"] = provider.usage_of(entry)
    done = "conversation.item.input_audio_transcription.completed"
    await socket.send_json(_event(done, turn, transcript=text, **place))


def _event(kind: str, turn: int, **told: Any) -> dict[str, Any]:
    return {"type": kind, "event_id": f"event_{turn}", "item_id": f"item_{turn}", **told}
