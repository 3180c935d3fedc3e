"""Child processes that are made to be killed: forked from a warmed server, and never left behind.

A forkserver has imported what the children need, as LiveKit's own has: a child lives after some milliseconds, so
that hundreds of them can be killed in a minute.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from tests.soak.jumps import SIGNALS
from tests.soak.told import Listener, Teller, Told

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.soak.writer", "tests.soak.taker", "tests.soak.own_runtime"])
_alive: weakref.WeakSet[Victim] = weakref.WeakSet()

_ended = threading.Event()

_PR_SET_PDEATHSIG = 1
_WHOLE = "a whole end"
"""What a child tells last, whose work is done."""
_UNKNOWN = 255


class Victim:
    """A child that runs `work(teller, *args)`; `kill` is SIGKILL and returns when it is gone.

    One that ends in any other way than by that or by itself, whole, is a fault that is told: a product that breaks
    must not pass for a process that was killed.
    """

    def __init__(self, work: Callable[..., None], *args: Any) -> None:
        if _ended.is_set():
            raise InterruptedError
        ours, theirs = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_live, args=(theirs, work, args), daemon=True)
        self._process.start()
        theirs.close()
        self._listener = Listener(ours)
        self._killed = False
        _alive.add(self)

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def wait_for(self, moment: str, within: float = 60.0) -> None:
        """Until the child tells of that moment; one that does not is a fault."""
        if not self._listener.wait_for(moment, within, 1):
            self._is_at_fault(f"did not come to {moment!r} within {within:g} s")

    def look_for(self, moment: str, within: float = 60.0, times: int = 1) -> None:
        """The same where it may as well not come."""
        self._listener.wait_for(moment, within, times)

    def kill(self) -> Told:
        if self._process.is_alive():
            self._killed = True
            self._process.kill()
        return self.end(10)

    def go(self) -> None:
        """What a child waits for that was told to wait."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGUSR1)

    def jump(self, seconds: int) -> None:
        """The child's wall clock jumps by one of the steps that it knows."""
        assert self._process.pid is not None
        os.kill(self._process.pid, SIGNALS[seconds])

    def stop(self) -> None:
        """Ask it to end by itself, as SIGTERM does."""
        self._process.terminate()

    def end(self, within: float, *, may_kill_itself: bool = False) -> Told:
        """Wait until it has ended and give what it told. One that does not end in time is killed, and says so."""
        self._process.join(within)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(10)
            self._is_at_fault(f"did not end within {within:g} s")
        _alive.discard(self)
        told = self._listener.all_told()
        if not self._has_ended_well(may_kill_itself=may_kill_itself):
            self._is_at_fault(f"ended with exit code {self._process.exitcode}")
        return told

    def _has_ended_well(self, *, may_kill_itself: bool) -> bool:
        if self._listener.wait_for(_WHOLE, 0, 1):
            return True
        # Two threads that start and join children may ask for one child at the same time: who comes second is told
        # _UNKNOWN by multiprocessing (popen_forkserver.Popen.poll, 3.11).
        return self._process.exitcode in (-signal.SIGKILL, _UNKNOWN) and (self._killed or may_kill_itself)

    def _is_at_fault(self, why: str) -> None:
        self._listener.told.said.append({"fault": f"a child {why}"})


def kill_all(*, for_good: bool = False) -> None:
    """Nobody is left, whatever interrupted the experiments; `for_good`: and nobody more is born."""
    if for_good:
        _ended.set()
    for victim in list(_alive):
        victim.kill()


def _live(pipe: Connection, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    # Ctrl-C goes to the whole group of the terminal; the parent decides what happens then. A parent that is killed
    # takes the forkserver with it, and that its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    teller = Teller(pipe)
    work(teller, *args)
    teller.moment(_WHOLE)


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)
