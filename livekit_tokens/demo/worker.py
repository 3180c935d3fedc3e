"""A real LiveKit worker process, and its job processes."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from livekit_tokens.demo.processes import Child, ChildFailed

# Every log line that comes out of a job carries both, in this order (livekit-agents 1.8.9).
_JOB = re.compile(r'"pid": (\d+), "job_id": "(AJ_\w+)"')


class Worker(Child):
    """`python -m livekit.agents start AGENT.py --dev`: --dev, so that SIGTERM does not wait an hour for its jobs.

    Without `dev` it drains at SIGTERM, as in production. `options` are further ones of that command.
    """

    def __init__(
        self,
        agent: Path,
        env: Mapping[str, str],
        echo: Callable[[str], object] | None = None,
        *,
        dev: bool = True,
        options: Sequence[str] = (),
    ) -> None:
        command = [sys.executable, "-u", "-m", "livekit.agents", "start", str(agent)]
        super().__init__(
            f"worker of {agent.name}", [*command, *(["--dev"] if dev else []), *options], env=env, echo=echo
        )

    async def ready(self, within: float = 60.0) -> None:
        """Registered with the server; 7 s on a cold start, most of it LiveKit's preloading."""
        await self.line("registered worker", within=within)

    def job_pids(self) -> list[int]:
        """The job processes so far, in the order of their first words."""
        found = (_JOB.search(line) for line in self.lines)
        return list(dict.fromkeys(int(match[1]) for match in found if match))

    async def job(self, within: float = 60.0) -> int:
        """The process of the latest job, once one has said anything."""
        await self.line('"job_id": "AJ_', within=within)
        while not self.job_pids():
            await self.line('"job_id": "AJ_', within=within, start=len(self.lines))
        return self.job_pids()[-1]

    def kill_job(self, pid: int) -> None:
        """SIGKILL, as the kernel does when memory is short: nothing of the job's own runs any more."""
        os.kill(pid, signal.SIGKILL)

    async def job_ended(self, pid: int, within: float = 60.0) -> None:
        """Wait until the job's process is gone. Raises ChildFailed when it outlives `within` seconds."""
        if not await asyncio.to_thread(_gone, pid, within):
            raise ChildFailed(f"job process {pid} still runs after {within:g} s; last lines:\n{self.tail()}")


def _gone(pid: int, within: float) -> bool:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], within)[0])
    finally:
        os.close(process)
