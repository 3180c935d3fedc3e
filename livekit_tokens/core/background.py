"""The background of a process that writes: one daemon thread with its own event loop, which drains and does chores.

A call's loop is never used for it. Everything here can fail and be tried again: what counts is in the spool.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from livekit_tokens.core import faults, spool
from livekit_tokens.core.chores import EVERY_SECONDS, Chores
from livekit_tokens.core.clock import now
from livekit_tokens.core.drain import SpoolDrain
from livekit_tokens.core.health import Faults, leave_faults
from livekit_tokens.core.ledger import Ledger, LedgerConnection
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.domain.errors import LedgerCrowded, LedgerTooNew

if TYPE_CHECKING:
    from livekit_tokens.core.daily_logs import DailyLogs

logger = logging.getLogger("livekit_tokens")

GATHER_SECONDS = 0.5
"""How long lines are gathered before a drain: the ledger follows the call at about this distance."""

_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 30.0
_LONGEST_HOLD_SECONDS = 5.0
_LOOK_SECONDS = 2.0
"""How often a quiet process looks whether another asks for something: one `stat`."""
KEEP_SECONDS = 10.0
"""How long a connection of a server is kept idle. A call that goes on is heard of more often, and connects once."""
PAUSE_SECONDS = 0.05
"""Between two pieces of a chore: a drain comes in between, and a call has the processor."""
_PIECE_BYTES = 1 << 17
"""A call shares this process: small batches leave it the interpreter more often than large ones."""


class _DrainLoop(asyncio.SelectorEventLoop):
    """Finds hosts' addresses in its own thread: when a process ends, asyncio can start no other one for that."""

    async def getaddrinfo(self, *args: Any, **named: Any) -> Any:
        return socket.getaddrinfo(*args, **named)


class Background:
    """Drains one recorder's spool, and after that, the spools of dead owners on this host."""

    def __init__(self, recorder: Recorder, ledger: Ledger, chores: Chores, logs: DailyLogs | None = None) -> None:
        self._recorder = recorder
        self._ledger = ledger
        self._chores = chores
        self._logs = logs
        self._hold: Future[bool] | None = None
        self._dirty = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake, self._turn = asyncio.Event(), asyncio.Lock()
        self._connection: LedgerConnection | None = None
        self._drain: SpoolDrain | None = None
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self._keep_seconds = KEEP_SECONDS
        self._used_at = 0.0
        self.last_error: str | None = None
        self._in_ledger = 0
        self._behind_since: float | None = None
        self._told_faults: dict[str, int] = {}

    @property
    def behind(self) -> int:
        """Records that are not in the ledger yet."""
        return max(0, self._recorder.records - self._in_ledger)

    @property
    def lag_seconds(self) -> float:
        """How long the oldest of them has waited."""
        since = self._behind_since
        return 0.0 if since is None or not self.behind else time.monotonic() - since

    def start(self) -> None:
        # The loop is made here: what is asked for before the thread runs it waits in it, and nobody for the thread.
        self._loop = _DrainLoop()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="livekit-tokens", daemon=True)
        self._thread.start()

    def written(self) -> None:
        """Something was written to the spool. On the call's path: all but the first since a drain cost nothing."""
        if self._dirty:
            return
        self._dirty = True
        if self._behind_since is None:
            self._behind_since = time.monotonic()
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:  # the process is ending; the spool has it all
                self._dirty = False

    async def flush(self, seconds: float) -> bool:
        """Wait, from any loop, until all that is written now is in the ledger; False if it took longer or failed."""
        future = self._ask(self._drain_once())
        try:
            return future is not None and await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            return False

    def flush_blocking(self, seconds: float) -> bool:
        """The same for a process that is about to exit and has no loop any more."""
        future = self._ask(self._drain_once())
        try:
            return future is not None and future.result(seconds)
        except (TimeoutError, RuntimeError):
            return False

    def hold(self, seconds: float) -> bool:
        """Before a fork: let go of the database, and of nothing else, until `go_on`. True if that was possible.

        SQLite keeps its locks in the process: a child that inherited an open connection would believe in locks that
        the kernel never gave it, and write into a log that the others have removed.
        """
        has_let_go: Future[bool] = Future()
        self._hold = self._ask(self._keep_away(has_let_go))
        try:
            return self._hold is None or has_let_go.result(seconds)
        except TimeoutError:
            self.go_on()  # else it would be let go of later, and the next fork would wait in vain for that
            return False

    def go_on(self) -> None:
        """After the fork, in the parent."""
        if self._hold is not None:
            self._hold.cancel()

    def _ask(self, work: Coroutine[Any, Any, bool]) -> Future[bool] | None:
        """Run something in the thread's loop; None if that has ended, or was never started."""
        with suppress(RuntimeError):
            if self._loop is not None:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        return None

    # -- in the thread --------------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._live())
        except Exception as error:  # noqa: BLE001 - the spool keeps everything for whoever comes next
            self.last_error = faults.reason(error)
            faults.note("the drain has stopped", error)

    async def _live(self) -> None:
        while True:
            try:
                await self._go_round()
            except Exception as error:  # noqa: BLE001 - the folder cannot be looked into, say: it is tried again
                self.last_error = faults.reason(error)
                faults.note("the drain was stopped for a moment", error)
                self._ask_again()

    async def _go_round(self) -> None:
        if not self._dirty:
            await self._wait(EVERY_SECONDS)
        await asyncio.sleep(GATHER_SECONDS)
        if await self._drain_once():
            self._retry_seconds = _FIRST_RETRY_SECONDS
            await self._do_chores()
            await self._give_back()
        else:
            # Not all processes of a fleet at once, when a server comes back.
            await asyncio.sleep(self._retry_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            self._retry_seconds = min(2 * self._retry_seconds, _LAST_RETRY_SECONDS)

    async def _wait(self, seconds: float) -> None:
        """Until something is written, another process asks for something, or so long."""
        until = time.monotonic() + seconds
        while not self._wake.is_set() and time.monotonic() < until:
            if spool.is_asked_to_let_go(self._recorder.folder):
                break
            await self._give_back()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(_LOOK_SECONDS, seconds))
        self._wake.clear()

    async def _drain_once(self) -> bool:
        """Bring what the spool holds into the ledger; False if that could not be done."""
        began = time.monotonic()
        done = await self._try_to_drain()
        if self._drain is not None and self._drain.checkpoint is not None:
            self._in_ledger = self._drain.checkpoint.seq
        if done:
            self._behind_since = began if self.behind else None
        self._tell_faults()
        return done

    async def _try_to_drain(self) -> bool:
        async with self._turn:
            try:
                self._dirty = True  # what is written here is read below, and asks for no other drain
                self._recorder.tend()
                self._dirty = False  # before reading: what is written from now on asks again
                if self._recorder.has_unmade:  # it ended meanwhile, and could ask for nothing
                    self._ask_again()
                _, drain = await self._connect()
                await drain.drain()
                if self._recorder.disk_full:
                    await self._make_room(drain)
                if spool.is_asked_to_let_go(self._recorder.folder):
                    await self._let_go_of_past()
            except asyncio.CancelledError:  # who waited for it waits no longer
                self._ask_again()
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the drain for this process
                self.last_error = faults.reason(error)
                faults.note("the ledger cannot be written; the spool keeps it", error)
                if isinstance(error, LedgerTooNew):
                    self._retry_seconds = _LAST_RETRY_SECONDS
                if isinstance(error, LedgerCrowded):
                    self._keep_seconds = 0.0  # there are more of us than connections: from now on they go round
                await self._disconnect()
                self._ask_again()
                return False
            return self._has_drained()

    def _has_drained(self) -> bool:
        """The ledger could be written. False: some of it waits for the spool's disk, and is not in the ledger yet."""
        if self.last_error is not None:
            again = "the ledger is written again, after %.0f s; records that waited for it: %d"
            logger.info(again, self.lag_seconds, self.behind)
        self.last_error = None
        self._used_at = time.monotonic()
        if self._recorder.waiting_bytes:
            self._ask_again()
            return False
        return True

    def _tell_faults(self) -> None:
        """Where `doctor` looks for the faults of a living process."""
        counts = faults.counts()
        if counts != self._told_faults:
            self._told_faults = counts
            leave_faults(self._recorder.folder, Faults(now(), counts, faults.last(), self._recorder.unkept))

    async def _make_room(self, drain: SpoolDrain) -> None:
        """The spool's disk is full: what is in the ledger already is no longer kept for replays."""
        faults.note("the spool's disk is full; what is in the ledger is not kept there for replays any more")
        await drain.drain(replay_seconds=spool.NO_REPLAY)
        await self._chores.take_over(self._same_turn, spool.NO_REPLAY)
        self._recorder.tend()
        await (await self._connect())[1].drain()

    async def _let_go_of_past(self) -> None:
        """Somebody is erased: nothing is kept here that is in the ledger, but for what the new segment begins with."""
        self._recorder.begin_segment()
        await (await self._connect())[1].drain(replay_seconds=spool.NO_REPLAY)
        spool.has_let_go(self._recorder.folder)

    async def _keep_away(self, has_let_go: Future[bool]) -> bool:
        """Until it is cancelled, whatever it has come to by then."""
        async with self._turn:
            await asyncio.shield(self._disconnect())
            has_let_go.set_result(True)
            await asyncio.sleep(_LONGEST_HOLD_SECONDS)  # a fork that never came
        return True

    def _ask_again(self) -> None:
        """What was not brought is still to be brought, also when it was a `flush` that could not, and nobody writes."""
        self._dirty = True
        self._wake.set()

    async def _do_chores(self) -> None:
        if self._chores.are_due():
            await self._chores.take_over(self._next_turn)
            await self._piece_by_piece(self._chores.roll_up)
        if self._chores.retention_is_due():
            await self._piece_by_piece(self._chores.retain)

    async def _piece_by_piece(self, chore: Callable[[LedgerConnection], Awaitable[bool]]) -> None:
        while await self._do_piece(chore):
            await self._let_a_call_on()

    async def _let_a_call_on(self) -> None:
        """Between two pieces of a chore: it has the processor, and what it has written meanwhile is brought; who erases
        somebody waits no longer for this process than for a quiet one.
        """
        await asyncio.sleep(PAUSE_SECONDS)
        if self._dirty or spool.is_asked_to_let_go(self._recorder.folder):
            await self._drain_once()

    @asynccontextmanager
    async def _next_turn(self) -> AsyncIterator[LedgerConnection]:
        await self._let_a_call_on()
        async with self._turn, self._same_turn() as connection:
            yield connection

    @asynccontextmanager
    async def _same_turn(self) -> AsyncIterator[LedgerConnection]:
        yield (await self._connect())[0]

    async def _do_piece(self, chore: Callable[[LedgerConnection], Awaitable[bool]]) -> bool:
        async with self._turn:
            if self._connection is None or self._connection.stale():
                return False
            return await chore(self._connection)

    async def _give_back(self) -> None:
        """An idle connection goes back to its server, which has them for the whole fleet. SQLite's is our own file."""
        async with self._turn:
            idle = time.monotonic() - self._used_at >= self._keep_seconds
            if idle and self._connection is not None and self._connection.is_scarce:
                await self._disconnect()

    async def _connect(self) -> tuple[LedgerConnection, SpoolDrain]:
        """What there is, or anew; the caller has the turn."""
        if self._connection is not None and self._connection.stale():
            await self._disconnect()
        if self._connection is None or self._drain is None:
            self._connection = await self._ledger.connect()
            self._drain = SpoolDrain(
                self._recorder.folder,
                self._recorder.source,
                self._connection,
                piece=_PIECE_BYTES,
                logs=self._logs,
                write_on_behind=self._recorder.write_on_behind,
                sync=self._recorder.sync,
            )
        return self._connection, self._drain

    async def _disconnect(self) -> None:
        connection, self._connection, self._drain = self._connection, None, None
        if connection is not None:
            try:
                await connection.aclose()
            except Exception as error:  # noqa: BLE001 - it is being thrown away
                faults.note("a connection to the ledger did not close", error)
