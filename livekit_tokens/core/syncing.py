"""Against a power cut: what was written is brought to the disk soon, by a thread that no call waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from livekit_tokens.core import faults

Durability = Literal["process", "power"]
"""What a record survives once it is written: the end of its process, however that ends; or the machine's, too."""

SYNC_SECONDS = 0.1
"""How long a record may be on its way to the disk, beside what one fsync takes. One fsync is for all of them: each
record with its own would be 10 to 100 times as many (benchmarks/durability.py)."""


class Syncing:
    """Calls `sync` once within SYNC_SECONDS of anything being written; again, as long as it answers False."""

    def __init__(self, sync: Callable[[], bool]) -> None:
        self._sync = sync
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="livekit-tokens sync", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def written(self) -> None:
        """On the call's path: all but the first since a sync cost nothing."""
        if not self._asked.is_set():
            self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            time.sleep(SYNC_SECONDS)
            self._asked.clear()  # before: what is written from now on asks again
            if not self._is_synced():
                self._asked.set()

    def _is_synced(self) -> bool:
        try:
            return self._sync()
        except Exception as error:  # noqa: BLE001 - this thread is all that a power cut has against it
            faults.note("the spool could not be synced", error)
            return False
