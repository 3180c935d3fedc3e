"""What a process was doing when it was killed: a few bytes of shared memory that outlive it."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("connecting", "migrating", "draining", "recording", "rotating", "ending a part", "taking over")


class Phases:
    """The killed process's side: `with phases.during("draining"): ...`."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(len(NAMES)))
        with file.open("r+b") as opened:
            self._bytes = mmap.mmap(opened.fileno(), len(NAMES))

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        place = NAMES.index(name)
        self._bytes[place] = 1
        try:
            yield
        finally:
            self._bytes[place] = 0


def phases_in(file: Path) -> list[str]:
    """The phases that the killed process was in."""
    raw = file.read_bytes() if file.exists() else b""
    return [name for name, flag in zip(NAMES, raw, strict=False) if flag]
