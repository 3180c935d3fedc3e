"""A stand-in for OpenAI's HTTP API that keeps a bill of its own. Nothing here imports the tracker's code.

What it bills: 7 tokens a message, 20 a tool, one a word put out; audio in by its seconds, audio out by 20 tokens a
second; an embedding by its words.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

Json = dict[str, Any]
SECOND = 48_000
"""Bytes of a second of 24 kHz pcm16."""


@dataclass(slots=True)
class Billed:
    """One request, as the provider charges it. `told`: its figures were sent."""

    path: str
    model: str
    input: int = 0
    cached: int = 0
    output: int = 0
    seconds: float = 0.0
    told: bool = False


class Provider:
    """Answers with `answer`, word by word where it streams.

    `refusals` requests are answered by 500 first, `breaks` streams end after `whole` events; `pause` is between words
    and `hesitation` before the head, in seconds. `compressed` answers are gzip. `usage` False leaves figures out.
    `sound` is what it says for a word, of 200 ms, in the format that it is asked for. A socket `hangs_up` after `whole`
    words; after `quiet_after` words a stream or a socket says nothing more until it may `go_on`.
    """

    def __init__(self) -> None:
        self.answer = "It is a fine day in our town"
        self.refusals = self.breaks = 0
        self.whole = 5
        self.quiet_after: int | None = None
        self.go_on = asyncio.Event()
        self.pause = self.hesitation = 0.0
        self.compressed = False
        self.usage = True
        self.hangs_up = False
        self.sound = bytes(SECOND // 5)
        self.asked = 0
        self.bill: list[Billed] = []
        self.base_url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Provider]:
        app = web.Application(client_max_size=1 << 26)
        for path, answer in self._paths().items():
            app.router.add_post(f"/v1{path}", answer)
            app.router.add_post(f"/openai/deployments/{{deployment}}{path}", answer)
        app.router.add_get("/v1/responses", self._responses_socket)
        app.router.add_get("/v1/realtime", self._realtime_socket)
        app.router.add_post("/v1/moderations", self._free)
        app.router.add_get("/v1/models", self._free)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()

    def _paths(self) -> dict[str, Callable[[web.Request], Any]]:
        return {
            "/chat/completions": self._chat,
            "/responses": self._responses,
            "/audio/transcriptions": self._transcribe,
            "/audio/speech": self._speak,
            "/embeddings": self._embed,
        }

    # -- what all have in common ----------------------------------------------------------------------------------

    async def _refused(self) -> web.Response | None:
        self.asked += 1
        if not self.refusals:
            return None
        self.refusals -= 1
        return web.json_response({"error": {"message": "the caller said", "type": "server_error"}}, status=500)

    def _billed(self, request: web.Request, body: Json, **figures: Any) -> Billed:
        entry = Billed(request.path, body["model"], **figures)
        self.bill.append(entry)
        return entry

    async def _free(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    def _json(self, body: Json) -> web.Response:
        raw, headers = json.dumps(body).encode(), {"x-request-id": "req_1"}
        if self.compressed:
            raw, headers = gzip.compress(raw), headers | {"Content-Encoding": "gzip"}
        return web.Response(body=raw, content_type="application/json", headers=headers)

    async def _stream(self, request: web.Request, entry: Billed, events: list[Json | str]) -> web.StreamResponse:
        """Send events; each that puts a word out is billed when it is made, whether or not it is heard."""
        headers = {"Content-Type": "text/event-stream", "x-request-id": "req_1"}
        if self.compressed:
            headers["Content-Encoding"] = "gzip"
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        squeeze = _squeezer() if self.compressed else bytes
        breaks, self.breaks = self.breaks > 0, max(0, self.breaks - 1)
        for number, event in enumerate(events):
            if breaks and number == self.whole:
                assert request.transport is not None
                request.transport.abort()
                return response
            text = event if isinstance(event, str) else json.dumps(event)
            if isinstance(event, dict) and event.get("_word"):
                entry.output += 1
            if isinstance(event, dict) and "usage" in text:
                entry.told = True
            await response.write(squeeze(f"data: {text}\n\n".encode()))
            await self._pause(entry)
        return response

    async def _pause(self, entry: Billed) -> None:
        if entry.output == self.quiet_after:
            await self.go_on.wait()
        await asyncio.sleep(self.pause)

    # -- chat completions -----------------------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if (refused := await self._refused()) is not None:
            return refused
        prompt = 7 * len(body["messages"]) + 20 * len(body.get("tools") or [])
        words = spoken(self.answer)
        entry = self._billed(request, body, input=prompt, cached=prompt // 2)
        await asyncio.sleep(self.hesitation)
        served = f"{body['model']}-2026-01-01" if "deployments" in request.path else body["model"]
        if not body.get("stream"):
            entry.output, entry.told = len(words), True
            message = {"role": "assistant", "content": self.answer}
            answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": served}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            return self._json(answer | {"choices": choices, "usage": self._chat_usage(entry)})

        def chunk(choices: list[Json], **more: Any) -> Json:
            fixed = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": served}
            return fixed | {"choices": choices} | more

        events: list[Json | str] = [chunk([_delta(role="assistant", content="")])]
        events += [chunk([_delta(content=word)], _word=True) for word in words]
        events.append(chunk([_delta() | {"finish_reason": "stop"}]))
        wanted = (body.get("stream_options") or {}).get("include_usage") and self.usage
        if wanted:
            done = Billed("", "", entry.input, entry.cached, len(words))
            events.append(chunk([], usage=self._chat_usage(done)))
        return await self._stream(request, entry, [*events, "[DONE]"])

    @staticmethod
    def _chat_usage(entry: Billed) -> Json:
        return {
            "prompt_tokens": entry.input,
            "completion_tokens": entry.output,
            "total_tokens": entry.input + entry.output,
            "prompt_tokens_details": {"cached_tokens": entry.cached},
        }

    # -- responses ------------------------------------------------------------------------------------------------

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if (refused := await self._refused()) is not None:
            return refused
        entry = self._billed(request, body, input=self._items(body) * 7)
        events = self._response_events(entry, body)
        if body.get("stream"):
            return await self._stream(request, entry, events)
        entry.output, entry.told = len(self.answer.split()), True
        return self._json(events[-1]["response"])

    async def _responses_socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await asyncio.sleep(self.hesitation)
        await socket.prepare(request)
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                break
            body = json.loads(message.data)
            self.asked += 1
            entry = self._billed(request, body, input=self._items(body) * 7)
            for event in self._response_events(entry, body):
                assert isinstance(event, dict)
                entry.output += bool(event.get("_word"))
                entry.told |= "usage" in (event.get("response") or {})
                try:
                    await socket.send_json(event)
                except ConnectionError:
                    return socket
                await self._pause(entry)
                if self.hangs_up and entry.output == self.whole:
                    await socket.close()
                    return socket
        return socket

    @staticmethod
    def _items(body: Json) -> int:
        return len(body["input"]) if isinstance(body["input"], list) else 1

    def _response_events(self, entry: Billed, body: Json) -> list[Json | str]:
        name, words = f"resp_{self.asked}", spoken(self.answer)
        usage = {
            "input_tokens": entry.input,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": len(words),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": entry.input + len(words),
        }
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
        content = [{"type": "output_text", "text": self.answer, "annotations": []}]
        response = {
            "id": name,
            "object": "response",
            "created_at": 1,
            "model": body["model"],
            "status": "in_progress",
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        done = response | {"status": "completed", "output": [item | {"content": content}], "usage": usage}
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
        events: list[Json | str] = [{"type": "response.created", "response": response, "sequence_number": 0}]
        for number, word in enumerate(words, 1):
            delta = {"type": "response.output_text.delta", "delta": word, "sequence_number": number}
            events.append(delta | place | {"_word": True})
        return [*events, {"type": "response.completed", "response": done, "sequence_number": 99}]

    # -- audio ----------------------------------------------------------------------------------------------------

    async def _transcribe(self, request: web.Request) -> web.Response:
        form = await request.post()
        if (refused := await self._refused()) is not None:
            return refused
        sound = form["file"].file.read()
        rate = int.from_bytes(sound[28:32], "little")
        seconds = (len(sound) - 44) / rate
        model, words = str(form["model"]), len(self.answer.split())
        entry = self._billed(request, {"model": model}, input=int(seconds * 10), output=words, seconds=seconds)
        answer: Json = {"text": self.answer}
        if self.usage:
            entry.told = True
            tokens = {"type": "tokens", "input_tokens": entry.input, "output_tokens": words}
            tokens["input_token_details"] = {"audio_tokens": entry.input, "text_tokens": 0}
            tokens["total_tokens"] = entry.input + words
            duration = {"type": "duration", "seconds": round(seconds)}
            answer["usage"] = duration if model == "whisper-1" else tokens
        if form.get("response_format") == "verbose_json":
            answer |= {"language": "english", "duration": seconds}
        return self._json(answer)

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if (refused := await self._refused()) is not None:
            return refused
        words = len(body["input"].split())
        entry = self._billed(request, body, input=words)
        if body["model"].startswith("tts-"):
            entry.input, entry.told = len(body["input"]), True
        sound = base64.b64encode(self.sound).decode()
        if body.get("stream_format") != "sse":
            response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
            await response.prepare(request)
            for _ in range(words):
                entry.output += 4
                await response.write(bytes(SECOND // 5))
                await asyncio.sleep(self.pause)
            return response
        events: list[Json | str] = [{"type": "speech.audio.delta", "audio": sound}] * words
        entry.output = 4 * words
        usage = {"input_tokens": words, "output_tokens": 4 * words, "total_tokens": 5 * words}
        return await self._stream(request, entry, [*events, {"type": "speech.audio.done", "usage": usage}])

    async def _realtime_socket(self, request: web.Request) -> web.WebSocketResponse:
        """Transcribes every second that it hears, and bills it by tokens, or whisper by seconds."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        model, heard, turn = "", 0, 0
        async for message in socket:
            event = json.loads(message.data)
            if event["type"] == "session.update":
                model = event["session"]["audio"]["input"]["transcription"]["model"]
                await socket.send_json({"type": "session.updated", "session": event["session"]})
            if event["type"] != "input_audio_buffer.append":
                continue
            heard += len(base64.b64decode(event["audio"]))
            if heard >= SECOND:
                heard, turn = 0, turn + 1
                words = len(self.answer.split())
                tokens: Json = {"type": "tokens", "input_tokens": 10, "output_tokens": words}
                tokens["input_token_details"] = {"audio_tokens": 8, "text_tokens": 2}
                usage = {"type": "duration", "seconds": 1} if "whisper" in model else tokens
                self._billed(request, {"model": model}, input=10, output=words, seconds=1.0).told = True
                for told in ({"type": "speech_stopped", "audio_end_ms": 1000 * turn}, {"type": "committed"}):
                    name = f"input_audio_buffer.{told['type']}"
                    await socket.send_json({**told, "type": name, "item_id": f"item_{turn}"})
                done = {"type": "conversation.item.input_audio_transcription.completed", "item_id": f"item_{turn}"}
                await socket.send_json(done | {"content_index": 0, "transcript": self.answer, "usage": usage})
        return socket

    # -- embeddings -----------------------------------------------------------------------------------------------

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        if (refused := await self._refused()) is not None:
            return refused
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        tokens = sum(len(text.split()) for text in texts)
        self._billed(request, body, input=tokens).told = True
        vector = base64.b64encode(bytes(16)).decode()
        data = [{"object": "embedding", "index": number, "embedding": vector} for number in range(len(texts))]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return self._json({"object": "list", "data": data, "model": body["model"], "usage": usage})


def spoken(text: str) -> list[str]:
    """Word by word, as models put them out: each but the first begins with its space."""
    first, *more = text.split()
    return [first, *(f" {word}" for word in more)]


def _delta(**delta: Any) -> Json:
    return {"index": 0, "delta": delta, "finish_reason": None}


def _squeezer() -> Callable[[bytes], bytes]:
    import zlib

    squeeze = zlib.compressobj(wbits=31)
    return lambda raw: squeeze.compress(raw) + squeeze.flush(zlib.Z_SYNC_FLUSH)
