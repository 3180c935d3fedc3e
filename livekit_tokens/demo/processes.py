"""A child process whose log is read as it comes and which leaves nothing behind."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class ChildFailed(RuntimeError):
    """A child process ended, or did not say what was awaited, in time."""


class Child:
    """A process in a group of its own. A thread reads its output, so no event loop has to, and no pipe fills up."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        echo: Callable[[str], object] | None = None,
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        self._echo = echo
        self._news = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(  # noqa: S603
            list(command),
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        atexit.register(self.kill)
        threading.Thread(target=self._read, name=f"log of {name}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
            if self._echo:
                self._echo(line.rstrip("\n"))
        with self._news:
            self._ended = True
            self._news.notify_all()

    async def line(self, text: str, *, within: float, start: int = 0) -> str:
        """The first line from `start` on that holds `text`. Raises ChildFailed when it does not come in time."""
        return await asyncio.to_thread(self._wait_for_line, text, within, start)

    def _wait_for_line(self, text: str, within: float, start: int) -> str:
        until = time.monotonic() + within
        with self._news:
            while True:
                for line in self.lines[start:]:
                    if text in line:
                        return line
                start = len(self.lines)
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    what = "ended" if self._ended else f"has not said so for {within:g} s"
                    raise ChildFailed(f"waiting for {text!r}: {self.name} {what}; its last lines:\n{self.tail()}")
                self._news.wait(left)

    def wait(self, within: float) -> int:
        """Its exit code, for callers without a loop. Raises subprocess.TimeoutExpired."""
        return self._process.wait(within)

    async def ended(self, *, within: float) -> int:
        """Its exit code. Raises ChildFailed when it still runs after `within` seconds."""
        try:
            return await asyncio.to_thread(self._process.wait, within)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"{self.name} still runs after {within:g} s; its last lines:\n{self.tail()}") from None

    def tail(self, count: int = 25) -> str:
        return "\n".join(self.lines[-count:])

    def signal(self, number: int) -> None:
        """To the process alone, not to its children."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the whole group, also when the process itself has gone already."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        atexit.unregister(self.kill)

    async def stop(self, *, within: float = 5.0) -> None:
        """SIGTERM, and SIGKILL to the whole group for whoever is left."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(ChildFailed):
            await self.ended(within=within)
        await asyncio.to_thread(self.kill)
