"""The spool folder cannot be written any more, or is removed, or nothing can be opened, while calls go on."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from livekit_tokens.core import spool
from livekit_tokens.core.lines import Head
from livekit_tokens.core.reading import head_of
from tests.soak.database_faults import database_fault
from tests.soak.result import Result
from tests.soak.worlds import World, Worlds

Say = Callable[[str], None]


def read_only_spools(world: World, seconds: float) -> None:
    """Nobody may make a file in the folders of the sources: no segment can begin, the open ones go on."""
    folders = [world.root, *(path for path in world.root.iterdir() if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    time.sleep(seconds)
    for folder in folders:
        folder.chmod(0o755)


def no_descriptors(world: World, seconds: float) -> None:
    """The living writers may open nothing more for a while, as where the host's own code has used them all up."""
    pids = _of_the_living(world).values()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [(pid, resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, most))) for pid in pids]
    time.sleep(seconds)
    for pid, limit in limits:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


def removed_spools(worlds: Worlds, result: Result, seconds: int, seed: int, say: Say) -> None:
    """A cleaner of temporary files removes the spool of every living process, twice.

    What had reached neither the ledger nor the newest segment is lost, and counted.
    """

    def removed(world: World, seconds: float) -> None:
        for _ in range(2):
            for path in _of_the_living(world):
                shutil.rmtree(path, ignore_errors=True)
            time.sleep(seconds / 2)

    result.goal = "lost = counted, 0 twice"
    with worlds.new() as world:
        database_fault(world, result, removed, seconds, seed, say, counts_losses=True)


def _of_the_living(world: World) -> dict[Path, int]:
    """Their spools and processes. A lock that is held says too little: it may be a taker's, of a dead one's spool."""
    heads = {folder: _head(folder) for folder in spool.sources_of(world.root)}
    return {
        folder: head.pid for folder, head in heads.items() if head is not None and Path(f"/proc/{head.pid}").exists()
    }


def _head(folder: Path) -> Head | None:
    """Of the oldest segment that says it: the newest may just be begun."""
    return next(filter(None, (head_of(folder, number) for number in spool.segments_of(folder))), None)
