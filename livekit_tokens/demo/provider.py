"""A stand-in for OpenAI's Realtime API that keeps its own bill: an honest till to check the tracker against.

It bills what it *generated*, whether or not the figures ever reached the client, and draws its delays from a seed.

In a process of its own: `python -m livekit_tokens.demo.provider --port 0 --seed 1`; the first line is its URL,
`GET /bill` is the bill.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Callable
from typing import Self

from aiohttp import web

from livekit_tokens.demo.bill import Frames, rough_count
from livekit_tokens.demo.connection import Connection, Till
from livekit_tokens.demo.plan import Knobs


class Provider(Till):
    """`async with Provider(seed=1) as provider:` then point a RealtimeModel at `provider.base_url`.

    `knobs` may be replaced while it runs; each request reads them when it begins.
    """

    def __init__(
        self,
        seed: int = 0,
        knobs: Knobs | None = None,
        port: int = 0,
        count_text: Callable[[str], int] = rough_count,
        frames: Frames | None = None,
    ) -> None:
        super().__init__(seed, knobs or Knobs(), count_text, frames or Frames())
        self.connections: list[Connection] = []
        self._port = port
        app = web.Application()
        app.router.add_get("/bill", self._show_bill)
        app.router.add_get("/v1/realtime", self._hold_realtime)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def billed_units(self, kind: str | None = None, model: str | None = None) -> dict[str, int]:
        """Everything billed so far, unit by unit."""
        return self.bill.units(kind, model)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.drop()
        await self._runner.cleanup()

    async def _show_bill(self, _: web.Request) -> web.Response:
        return web.json_response(self.bill.to_dict())

    async def _hold_realtime(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(max_msg_size=0)
        await ws.prepare(request)
        model = request.query.get("model", "gpt-realtime")
        connection = Connection(self, ws, request.transport, model, number=len(self.connections))
        self.connections.append(connection)
        await connection.run()
        return ws


async def _serve(port: int, seed: int, knobs: Knobs) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Provider(seed, knobs, port) as provider:
        print(provider.url, flush=True)  # noqa: T201
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for OpenAI's Realtime API that keeps its own bill.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--knobs", type=json.loads, default={}, help='JSON, as {"speech": [1, 2]}')
    options = parser.parse_args()
    asyncio.run(_serve(options.port, options.seed, Knobs(**options.knobs)))


if __name__ == "__main__":
    main()
