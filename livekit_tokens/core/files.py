"""A segment's file: brought to the disk, put back, written anew; and the folder that a file is in."""

from __future__ import annotations

import os
from pathlib import Path

from livekit_tokens.core import faults

OPEN = os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
"""How a segment is opened to be written."""


def make_folder(path: Path) -> None:
    """A folder that its owner alone may look into, and likewise those on the way that are not there yet."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)


def synced(fd: int) -> bool:
    """Whether what was written to it is on the disk now."""
    try:
        os.fsync(fd)
    except OSError as error:
        faults.note("spool could not be synced", error)
        return False
    return True


def folder_synced(path: Path) -> bool:
    """The same of the names in a folder."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        faults.note("spool could not be synced", error)
        return False
    try:
        return synced(fd)
    finally:
        os.close(fd)


def copied(fd: int, path: Path) -> int:
    """A new file there with all that the open one holds, which is closed. Raises OSError."""
    made = _copy(fd, path)
    os.close(fd)
    return made


def _copy(fd: int, path: Path) -> int:
    made = os.open(path, OPEN | os.O_EXCL, 0o600)
    try:
        rest = os.pread(fd, os.fstat(fd).st_size, 0)
        while rest:
            rest = rest[os.write(made, rest) :]
    except OSError:
        os.close(made)
        path.unlink(missing_ok=True)
        raise
    return made


def rewrite(path: Path) -> None:
    """Write a file anew in its own place, and on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    again = path.with_suffix(".again")
    try:
        again.unlink(missing_ok=True)
        made = _copy(fd, again)
        try:
            os.fsync(made)
        finally:
            os.close(made)
        again.replace(path)
    finally:
        os.close(fd)
