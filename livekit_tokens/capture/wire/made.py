"""What aiohttp gives for a request that is being made, with one who is told of what it came to."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from livekit_tokens.core import faults


class Made(Coroutine[Any, Any, Any]):
    """What aiohttp gives for a request that is being made: can be awaited, entered, or run as a task."""

    def __init__(self, making: Any, tell: Callable[[Any], None]) -> None:
        self._making = making
        self._tell = tell
        self._running: Coroutine[Any, Any, Any] | None = None
        self._result: Any = None

    async def _make(self) -> Any:
        made = await self._making
        try:
            self._tell(made)
        except Exception as error:  # noqa: BLE001 - the socket is the call's, with or without our ears
            faults.note("a socket could not be followed", error)
        return made

    def _run(self) -> Coroutine[Any, Any, Any]:
        if self._running is None:
            self._running = self._make()
        return self._running

    def send(self, value: Any) -> Any:
        return self._run().send(value)

    def throw(self, *args: Any) -> Any:
        return self._run().throw(*args)

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
        self._making.close()

    def __await__(self) -> Any:
        return self._run().__await__()

    async def __aenter__(self) -> Any:
        self._result = await self._run()
        return await self._result.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._result.__aexit__(kind, error, trace)
