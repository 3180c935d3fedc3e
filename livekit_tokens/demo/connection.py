"""The stand-in provider's side of one websocket, in the GA events that livekit-agents 1.8 speaks.

The client's side is livekit/agents/llm/_realtime/openai.py.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from livekit_tokens.demo import bill as b
from livekit_tokens.demo.asking import arguments, default_config, given, item_tokens, merge, trimming
from livekit_tokens.demo.bill import Bill, Billed, Conversation, Json, Tokens
from livekit_tokens.demo.hearing import Ear
from livekit_tokens.demo.line import Line
from livekit_tokens.demo.plan import Knobs, Piece, draw_plan, tone_base64, transcript_of
from livekit_tokens.demo.response import Response, output_item, place, response_json

_REASONS = {"incomplete": "max_output_tokens", "failed": "server_error"}


@dataclass
class Till:
    """What all connections to one provider share. `knobs` may be replaced at any time: a request reads them first."""

    seed: int = 0
    knobs: Knobs = field(default_factory=Knobs)
    count_text: Callable[[str], int] = b.rough_count
    frames: b.Frames = field(default_factory=b.Frames)
    bill: Bill = field(default_factory=Bill)

    def random_for(self, *what: object) -> random.Random:
        """Each request has its own stream, so that the order of arrival changes nobody's draws."""
        return random.Random("/".join(map(str, (self.seed, *what))))  # noqa: S311

    def use_up_drop(self) -> None:
        self.knobs = replace(self.knobs, drop_after=None)


class Connection:
    """One websocket: a model's conversation with one client."""

    def __init__(
        self,
        till: Till,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        model: str,
        number: int,
    ) -> None:
        self.till, self.model, self.number = till, model, number
        self.id = f"sess_{number}"
        self.config: Json = default_config(model)
        self.conversation = Conversation(till.frames)
        self.ear = Ear(silence_ms=till.knobs.silence_ms)
        self.responses: list[Response] = []
        self.active: Response | None = None
        self._line = Line(ws, transport, till.knobs.latency)
        self._events = self._items = 0
        self._speech_item = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[str, Callable[[Json], Awaitable[None]]] = {
            "session.update": self._update_session,
            "conversation.item.create": self._create_item,
            "conversation.item.delete": self._delete_item,
            "conversation.item.truncate": self._truncate_item,
            "input_audio_buffer.append": self._append_audio,
            "input_audio_buffer.commit": self._commit_audio,
            "input_audio_buffer.clear": self._clear_audio,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
        }

    async def run(self) -> None:
        """Serve until the socket is gone; what was under way then is billed as far as it was generated."""
        await self.send("session.created", session=self.config)
        try:
            async for data in self._line.received():
                await self._answer(json.loads(data))
        finally:
            if self.active:
                self._cut(self.active, "socket_closed")
            await self._line.aclose()

    async def send(self, event: str, **fields: object) -> None:
        """Send one event."""
        await self._send_of(None, event, **fields)

    async def _send_of(self, entry: Billed | None, event: str, **fields: object) -> None:
        """Send one event; of an entry on the bill it is told whether its figures were written to a live socket."""
        self._events += 1

        def written(live: bool) -> None:
            if entry is not None:
                entry.delivered = live
                self.till.bill.tell()

        await self._line.send({"type": event, "event_id": f"event_{self.number}_{self._events}", **fields}, written)

    def drop(self) -> None:
        """Break the socket as a network does: no close frame."""
        self._line.drop()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, event: Json) -> None:
        answer = self._answers.get(event["type"])
        if answer is None:
            await self._refuse(event, "unknown_event", f"unknown event {event['type']}")
        else:
            await answer(event)

    async def _refuse(self, event: Json, code: str, message: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "event_id": event.get("event_id")}
        await self.send("error", error=error)

    # session and items

    async def _update_session(self, event: Json) -> None:
        merge(self.config, event["session"])
        await self.send("session.updated", session=self.config)

    @property
    def _hearing(self) -> Json:
        hearing: Json = self.config["audio"]["input"]
        return hearing

    def _new_item_id(self) -> str:
        self._items += 1
        return f"item_{self.number}_{self._items}"

    async def _create_item(self, event: Json) -> None:
        item, after = event["item"], event.get("previous_item_id")
        item.setdefault("id", self._new_item_id())
        if item["id"] in self.conversation:
            await self._refuse(event, "item_create_duplicate_item_id", f"item {item['id']} exists")
        elif after not in (None, "root") and after not in self.conversation:
            await self._refuse(event, "item_create_previous_item_not_found", f"no item {after}")
        else:
            await self._add_item(item, item_tokens(item, self.till.count_text, self.till.frames), after)

    async def _add_item(self, item: Json, tokens: Tokens, after: str | None = None) -> None:
        self.conversation.put(item["id"], tokens, after)
        item = {"object": "realtime.item", "status": "completed", **item}
        await self.send("conversation.item.added", previous_item_id=self.conversation.before(item["id"]), item=item)

    async def _delete_item(self, event: Json) -> None:
        if event["item_id"] not in self.conversation:
            await self._refuse(event, "item_delete_invalid_item_id", f"no item {event['item_id']}")
            return
        self.conversation.remove(event["item_id"])
        await self.send("conversation.item.deleted", item_id=event["item_id"])

    async def _truncate_item(self, event: Json) -> None:
        item_id, audio_end_ms = event["item_id"], event["audio_end_ms"]
        if item_id not in self.conversation:
            await self._refuse(event, "item_truncate_invalid_item_id", f"no item {item_id}")
            return
        self.conversation.keep_audio(item_id, audio_end_ms)
        await self.send("conversation.item.truncated", item_id=item_id, content_index=0, audio_end_ms=audio_end_ms)

    # what the caller says

    async def _append_audio(self, event: Json) -> None:
        pcm, turns = base64.b64decode(event["audio"]), self._hearing.get("turn_detection")
        if turns is None:
            self.ear.fill(pcm)
            return
        heard = self.ear.append(pcm)
        if heard == "started":
            await self._speech_started(turns)
        elif heard == "stopped":
            await self._speech_stopped(turns)

    async def _speech_started(self, turns: Json) -> None:
        self._speech_item = self._new_item_id()
        start = self.ear.began_ms
        await self.send("input_audio_buffer.speech_started", audio_start_ms=start, item_id=self._speech_item)
        if self.active and turns.get("interrupt_response") is not False:
            self._cut(self.active, "turn_detected")

    async def _speech_stopped(self, turns: Json) -> None:
        end = self.ear.now_ms
        await self.send("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=self._speech_item)
        await self._commit(self._speech_item)
        if turns.get("create_response") is not False:
            await self._create_response({"response": {}})

    async def _commit_audio(self, event: Json) -> None:
        if self.ear.buffered_ms < 100:
            await self._refuse(event, "input_audio_buffer_commit_empty", "buffer too small")
        else:
            await self._commit(self._new_item_id())

    async def _clear_audio(self, _: Json) -> None:
        self.ear.take()
        await self.send("input_audio_buffer.cleared")

    async def _commit(self, item_id: str) -> None:
        audio_ms = self.ear.take()
        await self.send("input_audio_buffer.committed", item_id=item_id, previous_item_id=self.conversation.last)
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": item_id, "type": "message", "role": "user", "content": content}
        await self._add_item(item, b.heard(audio_ms, self.till.frames))
        if model := (self._hearing.get("transcription") or {}).get("model"):
            self._start(self._transcribe(item_id, model, audio_ms))

    async def _transcribe(self, item_id: str, model: str, audio_ms: int) -> None:
        transcript, knobs = transcript_of(audio_ms), self.till.knobs
        units, usage = b.transcription_of(model, audio_ms, transcript)
        entry = Billed("transcription", model, item_id, self.id, "completed", units, usage)
        self.till.bill.add(entry)
        await asyncio.sleep(self.till.random_for(self.number, item_id).uniform(*knobs.transcription))
        if not knobs.transcription_missing:
            name = "conversation.item.input_audio_transcription.completed"
            await self._send_of(entry, name, item_id=item_id, content_index=0, transcript=transcript, usage=usage)

    # what the model answers

    async def _create_response(self, event: Json) -> None:
        if self.active:
            code = "conversation_already_has_active_response"
            await self._refuse(event, code, f"Conversation already has an active response: {self.active.id}")
            return
        before = self.responses[-1] if self.responses else None
        self.active = self._plan_response({**self.config, **given(event.get("response") or {})})
        self.responses.append(self.active)
        if before is None or before.over.is_set():
            self._begin(self.active)
        self._start(self._respond(self.active, before))

    def _begin(self, response: Response) -> None:
        """The model reads the conversation: from here on the input is billed."""
        if (limits := trimming(self.config.get("truncation")) or self.till.knobs.context) is not None:
            self.conversation.trim(*limits)
        response.begin(*self.conversation.read(self._preamble(response.config), response.plan.cached_share))

    def _plan_response(self, config: Json) -> Response:
        number, knobs = len(self.responses), self.till.knobs
        tool = self._tool_to_call(config)
        rng = self.till.random_for(self.number, "response", number)
        spoken = config.get("output_modalities") == ["audio"]
        plan = draw_plan(rng, knobs, number, spoken=spoken)
        if tool:
            plan = replace(plan, pieces=(Piece(json.dumps(arguments(tool)), 0),))
        elif knobs.ends == "incomplete":
            plan = replace(plan, pieces=plan.pieces[: max(1, len(plan.pieces) // 2)])
        return Response(f"resp_{rng.getrandbits(64):016x}", self._new_item_id(), plan, config, tool)

    def _tool_to_call(self, config: Json) -> Json | None:
        tools, choice = config.get("tools") or [], config.get("tool_choice")
        named = choice.get("name") if isinstance(choice, dict) else None
        wanted = named or choice == "required" or (self.till.knobs.call_tools and not self._answering_a_tool())
        if not wanted or choice == "none":
            return None
        return next((tool for tool in tools if named in (None, tool["name"])), None)

    def _answering_a_tool(self) -> bool:
        return bool(self.responses) and self.responses[-1].tool is not None

    async def _cancel_response(self, event: Json) -> None:
        wanted = event.get("response_id")
        early = self.active is not None and not self.active.announced and not self.till.knobs.hears_early_cancel
        if self.active is None or early or wanted not in (None, self.active.id):
            message = "Cancellation failed: no active response found"
            await self._refuse(event, "response_cancel_not_active", message)
        else:
            self._cut(self.active, "client_cancelled")

    async def _respond(self, response: Response, before: Response | None) -> None:
        knobs = self.till.knobs
        try:
            if before and not before.over.is_set():
                await before.over.wait()  # or its late response.done would be taken for ours
                self._begin(response)
            await response.reaches(response.plan.created)
            if knobs.announced:
                response.announced = True
                await self.send("response.created", response=response_json(response))
                if knobs.ends != "failed":
                    await self._deliver(response, knobs)
            else:
                await response.reaches(response.plan.first + len(response.plan.pieces) * response.plan.step)
            self._settle(response, knobs.ends, _REASONS.get(knobs.ends), pieces=len(response.plan.pieces))
            await self._finish(response, knobs)
        finally:
            response.over.set()

    async def _deliver(self, response: Response, knobs: Knobs) -> None:
        for n, (due, piece) in enumerate(response.plan.deliveries(), start=1):
            if not await response.reaches(due):
                return
            if not response.has_item:
                await self._open_item(response)
            await self._send_piece(response, piece)
            if n == knobs.drop_after:
                self.till.use_up_drop()
                self._settle(response, "cancelled", "socket_closed", pieces=response.plan.generated(due))
                self.drop()
                return

    async def _open_item(self, response: Response) -> None:
        item, where = output_item(response, "in_progress"), place(response)
        response.has_item = True
        await self.send("response.output_item.added", response_id=response.id, output_index=0, item=item)
        await self._add_item(item, Tokens())
        if response.tool is None:
            part = {"type": "audio", "transcript": ""} if response.spoken else {"type": "text", "text": ""}
            await self.send("response.content_part.added", part=part, **where)

    async def _send_piece(self, response: Response, piece: Piece) -> None:
        where = place(response)
        if response.tool:
            await self.send("response.function_call_arguments.delta", delta=piece.text, **where)
        elif not response.spoken:
            await self.send("response.output_text.delta", delta=piece.text, **where)
        else:
            if piece.text:
                await self.send("response.output_audio_transcript.delta", delta=piece.text, **where)
            await self.send("response.output_audio.delta", delta=tone_base64(piece.audio_ms), **where)

    def _cut(self, response: Response, reason: str) -> None:
        """Stop generating now and bill what there is, seen by the client or not."""
        self._settle(response, "cancelled", reason, pieces=response.plan.generated(response.elapsed()))
        response.cut()

    def _settle(self, response: Response, status: str, reason: str | None, pieces: int) -> None:
        """Bill the response, once; the first ending counts."""
        if response.entry:
            return
        response.status, response.reason, response.made = status, reason, pieces
        read, cached = response.read, response.cached
        output = response.output(self.till.count_text, self.till.frames)
        if response.has_item:
            self.conversation.put(response.item_id, b.kept(output, self.till.frames))
        read, cached, output = self.till.knobs.bills or (read, cached, output)
        failed = status == "failed"
        units = {} if failed else b.response_units(read, cached, output)
        usage = None if failed else b.response_usage(read, cached, output)
        response.entry = Billed("realtime_response", self.model, response.id, self.id, status, units, usage, reason)
        self.till.bill.add(response.entry)
        self.active = None if self.active is response else self.active

    async def _finish(self, response: Response, knobs: Knobs) -> None:
        """Close what was opened, then `response.done` with the figures, as late as the plan says."""
        if response.has_item:
            await self._close_item(response)
        await asyncio.sleep(response.plan.done_delay)
        if not knobs.done_missing and response.entry:
            await self._send_of(response.entry, "response.done", response=response_json(response))

    async def _close_item(self, response: Response) -> None:
        where, text = place(response), response.text
        if response.tool:
            await self.send("response.function_call_arguments.done", arguments=text, **where)
        elif response.spoken:
            await self.send("response.output_audio.done", **where)
            await self.send("response.output_audio_transcript.done", transcript=text, **where)
        else:
            await self.send("response.output_text.done", text=text, **where)
        status = "completed" if response.status == "completed" else "incomplete"
        item = output_item(response, status)
        await self.send("response.output_item.done", response_id=response.id, output_index=0, item=item)

    def _preamble(self, config: Json) -> list[tuple[str, Tokens]]:
        """What precedes every item: instructions and tools. A change of either empties the cache."""
        count, frames = self.till.count_text, self.till.frames
        instructions, tools = config.get("instructions"), config.get("tools") or []
        texts = [(instructions, 1.0)] if instructions else []
        texts += [(json.dumps(tool), frames.tools) for tool in tools]
        return [(text, Tokens(text=frames.item + round(count(text) * factor))) for text, factor in texts]
