"""The background of a process that writes: one daemon thread with its own event loop, which drains and takes over.

A call's loop is never used for it. Everything here can fail and be tried again: what counts is in the spool.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from pathlib import Path

from livekit_tokens.core import faults
from livekit_tokens.core.drain import SpoolDrain
from livekit_tokens.core.ledger import Ledger, LedgerConnection
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.core.takeover import take_over
from livekit_tokens.domain.errors import LedgerTooNew

GATHER_SECONDS = 0.5
"""How long lines are gathered before a drain: the ledger follows the call at about this distance."""

_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 30.0
_TAKEOVER_EVERY_SECONDS = 300.0


class Background:
    """Drains one recorder's spool, and after that, the spools of dead owners on this host."""

    def __init__(self, recorder: Recorder, ledger: Ledger, root: Path) -> None:
        self._recorder = recorder
        self._ledger = ledger
        self._root = root
        self._dirty = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._turn: asyncio.Lock | None = None
        self._started = threading.Event()
        self._connection: LedgerConnection | None = None
        self._drain: SpoolDrain | None = None
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self._took_over_at = -_TAKEOVER_EVERY_SECONDS
        self._thread = threading.Thread(target=self._run, name="livekit-tokens", daemon=True)
        self.last_error: str | None = None

    def start(self) -> None:
        self._thread.start()

    def written(self) -> None:
        """Something was written to the spool. On the call's path: all but the first since a drain cost nothing."""
        if self._dirty:
            return
        self._dirty = True
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            try:
                loop.call_soon_threadsafe(wake.set)
            except RuntimeError:  # the process is ending; the spool has it all
                self._dirty = False

    async def flush(self, seconds: float) -> bool:
        """Wait, from any loop, until all that is written now is in the ledger; False if it took longer or failed."""
        if not await asyncio.to_thread(self._started.wait, seconds) or self._loop is None:
            return False
        draining = self._drain_once()
        try:
            future = asyncio.run_coroutine_threadsafe(draining, self._loop)
        except RuntimeError:  # the thread has ended
            draining.close()
            return False
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            return False

    def flush_blocking(self, seconds: float) -> bool:
        """The same for a process that is about to exit and has no loop any more."""
        if not self._started.wait(seconds) or self._loop is None:
            return False
        draining = self._drain_once()
        try:
            future = asyncio.run_coroutine_threadsafe(draining, self._loop)
        except RuntimeError:  # the thread has ended
            draining.close()
            return False
        try:
            return future.result(seconds)
        except (TimeoutError, RuntimeError):
            return False

    # -- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except Exception as error:  # noqa: BLE001 - the spool keeps everything for whoever comes next
            faults.note("the drain has stopped", error)

    async def _live(self) -> None:
        self._wake, self._turn = asyncio.Event(), asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._started.set()
        while True:
            if not self._dirty:
                await self._wait(_TAKEOVER_EVERY_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)
            if await self._drain_once():
                self._retry_seconds = _FIRST_RETRY_SECONDS
                await self._take_over_sometimes()
            else:
                await asyncio.sleep(self._retry_seconds)
                self._retry_seconds = min(2 * self._retry_seconds, _LAST_RETRY_SECONDS)

    async def _wait(self, seconds: float) -> None:
        assert self._wake is not None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        self._wake.clear()

    async def _drain_once(self) -> bool:
        assert self._turn is not None
        async with self._turn:
            self._recorder.tend()
            self._dirty = False  # before reading: what is written from now on asks again
            try:
                if self._connection is not None and self._connection.stale():
                    await self._disconnect()
                if self._connection is None or self._drain is None:
                    self._connection = await self._ledger.connect()
                    self._drain = SpoolDrain(self._recorder.folder, self._recorder.source, self._connection)
                await self._drain.drain()
            except asyncio.CancelledError:  # who waited for it waits no longer
                self._ask_again()
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the drain for this process
                self.last_error = faults.reason(error)
                faults.note("the ledger cannot be written; the spool keeps it", error)
                if isinstance(error, LedgerTooNew):
                    self._retry_seconds = _LAST_RETRY_SECONDS
                await self._disconnect()
                self._ask_again()
                return False
            self.last_error = None
            return True

    def _ask_again(self) -> None:
        """What was not brought is still to be brought, also when it was a `flush` that could not, and nobody writes."""
        assert self._wake is not None
        self._dirty = True
        self._wake.set()

    async def _take_over_sometimes(self) -> None:
        if time.monotonic() - self._took_over_at < _TAKEOVER_EVERY_SECONDS or self._connection is None:
            return
        self._took_over_at = time.monotonic()
        assert self._turn is not None
        async with self._turn:
            try:
                await take_over(self._root, self._connection, own=self._recorder.source.id)
            except Exception as error:  # noqa: BLE001 - as above
                faults.note("spools of dead processes could not be taken over", error)
                await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection, self._drain = self._connection, None, None
        if connection is not None:
            try:
                await connection.aclose()
            except Exception as error:  # noqa: BLE001 - it is being thrown away
                faults.note("a connection to the ledger did not close", error)
