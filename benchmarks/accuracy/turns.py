"""What can happen in a turn of a call: an answer that comes whole, or is cut in one of the ways that are billed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.draws import Kind, Turn

if TYPE_CHECKING:
    from benchmarks.accuracy.holding import Call

PATIENCE = 12.0
IMAGE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def _answers(call: Call) -> int:
    return sum(entry.kind == "realtime_response" for entry in call.provider.bill.entries)


async def _billed(call: Call, count: int) -> None:
    await call.provider.bill.until(lambda _: _answers(call) >= count, PATIENCE)


def _ask(call: Call, turn: Turn) -> Any:
    """By voice the provider answers by itself; else the agent is asked to."""
    if turn.image:
        _show(call)
    if turn.spoken:
        call.voice.speak(turn.voice_ms)
        call.voice.pause()
        return None
    return call.session.generate_reply(user_input=turn.words)


def _show(call: Call) -> None:
    part = {"type": "input_image", "image_url": IMAGE}
    item = {"id": f"image_{len(call.labels)}", "type": "message", "role": "user", "content": [part]}
    call.realtime.send_event({"type": "conversation.item.create", "item": item})


async def _requested(call: Call, before: int) -> None:
    """Until the provider has taken the request up."""
    await until(lambda: any(c.active for c in call.provider.connections) or _answers(call) > before)


async def whole(call: Call, turn: Turn) -> None:
    before = _answers(call)
    _ask(call, turn)
    await _billed(call, before + 1)
    await _quiet(call, turn)


async def _quiet(call: Call, turn: Turn) -> None:
    """Until what the provider has sent has arrived, and LiveKit is done with it."""
    await asyncio.sleep(turn.knobs.done_delay[0] + 4 * turn.knobs.latency + 0.1)
    if (speech := call.session.current_speech) is not None:
        await asyncio.wait([asyncio.ensure_future(_over(speech))], timeout=1.0)


async def cancelled(call: Call, turn: Turn) -> None:
    before = _answers(call)
    _ask(call, turn)
    await _requested(call, before)
    await asyncio.sleep(turn.cut * turn.whole_seconds)
    _interrupt(call)
    await _billed(call, before + 1)
    await _quiet(call, turn)


def _interrupt(call: Call) -> None:
    if call.session.current_speech is not None:
        call.session.interrupt(force=True)
    else:
        call.realtime.interrupt()


async def early(call: Call, turn: Turn) -> None:
    """Asked for, and dropped before it was announced."""
    before = _answers(call)
    asked = asyncio.Event()
    call.realtime.on("openai_client_event_queued", lambda e: asked.set() if e["type"] == "response.create" else None)
    handle = call.session.generate_reply(user_input=turn.words)
    await asyncio.wait_for(asked.wait(), PATIENCE)
    await asyncio.sleep(turn.cut * (turn.knobs.created[0] + 2 * turn.knobs.latency) * 0.8)
    handle.interrupt(force=True)
    await _billed(call, before + 1)
    await _quiet(call, turn)


async def unclaimed(call: Call, turn: Turn) -> None:
    """The caller goes on before the answer was announced; only its end is ever told."""
    before = _answers(call)
    _ask(call, turn)
    await _requested(call, before)
    await asyncio.sleep(turn.cut * turn.knobs.created[0])
    call.voice.speak(600)
    await _billed(call, before + 1)
    await asyncio.sleep(0.01)
    call.label("unclaimed")
    call.provider.knobs = turn.knobs.__class__(**{**_fields(turn.knobs), "announced": True, "done_missing": False})
    call.voice.pause()
    await _billed(call, before + 2)
    await _quiet(call, turn)
    call.label("whole")


async def _cut(call: Call, turn: Turn) -> Kind:
    """Begin, and wait until the moment of the cut. Answers what it is a cut of."""
    call.label("whole")
    before, heard = _answers(call), call.heard
    _ask(call, turn)
    await _requested(call, before)
    await asyncio.sleep(turn.cut * turn.whole_seconds)
    return turn.kind if not turn.spoken or call.heard > heard else "no sign"


async def dropped(call: Call, turn: Turn) -> None:
    before, connections = _answers(call), len(call.provider.connections)
    kind = await _cut(call, turn)
    call.provider.connections[-1].drop()
    await _billed(call, before + 1)
    call.label(kind)
    await until(lambda: len(call.provider.connections) > connections)
    await asyncio.sleep(0.3 + 6 * turn.knobs.latency)


async def at_close(call: Call, turn: Turn) -> None:
    before = _answers(call)
    kind = await _cut(call, turn)
    await call.hang_up()
    await _billed(call, before + 1)
    call.label(kind)


async def killed(call: Call, turn: Turn) -> None:
    before = _answers(call)
    kind = await _cut(call, turn)
    call.mortal.kill()
    for connection in call.provider.connections:
        connection.drop()
    await _billed(call, before + 1)
    call.label(kind)


TURNS = {
    "whole": whole,
    "cancelled": cancelled,
    "before created": early,
    "discarded": early,
    "unclaimed": unclaimed,
    "socket drop": dropped,
    "at close": at_close,
    "killed": killed,
}


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - of the provider's state there is no event
            await asyncio.sleep(0.002)


async def _over(speech: Any) -> None:
    await speech.wait_for_playout()


def _fields(knobs: Any) -> dict[str, Any]:
    return {name: getattr(knobs, name) for name in knobs.__dataclass_fields__}
