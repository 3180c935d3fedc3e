"""A stand-in for OpenAI's chat completions that keeps a bill of its own. Nothing here imports the tracker's code."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Billed:
    """One completion, as the provider charges it."""

    model: str
    prompt: int
    cached: int
    completion: int
    told: bool


class ChatProvider:
    """Streams `answer` word by word; bills 7 tokens a message of the prompt, half of it cached, and one a word.

    `refusals` requests are answered by 500 first; with `hesitation` it waits before the last word, in seconds.
    """

    def __init__(self) -> None:
        self.answer = "It is a fine day."
        self.refusals = 0
        self.hesitation = 0.0
        self.bill: list[Billed] = []
        self.base_url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        asked: dict[str, Any] = await request.json()
        if self.refusals:
            self.refusals -= 1
            return web.json_response({"error": {"message": "overloaded", "type": "server_error"}}, status=500)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        prompt, words = 7 * len(asked["messages"]), self.answer.split()
        told = False
        try:
            for word in words[:-1]:
                await self._send(response, asked["model"], {"role": "assistant", "content": f"{word} "})
            await asyncio.sleep(self.hesitation)
            await self._send(response, asked["model"], {"content": words[-1]}, "stop")
            await self._send(response, asked["model"], usage=self._usage(prompt, len(words)))
            await response.write(b"data: [DONE]\n\n")
            told = True
        finally:
            self.bill.append(Billed(asked["model"], prompt, prompt // 2, len(words), told))
        return response

    @staticmethod
    def _usage(prompt: int, completion: int) -> dict[str, Any]:
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": prompt // 2},
        }

    @staticmethod
    async def _send(
        response: web.StreamResponse,
        model: str,
        delta: dict[str, Any] | None = None,
        finish: str | None = None,
        usage: dict[str, Any] | None = None,
    ) -> None:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
            "choices": choices,
            "usage": usage,
        }
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
