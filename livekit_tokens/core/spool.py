"""The spool on disk: a folder a source, append-only segments, and the lock that says whether the owner lives.

`<spool folder>/<host>/<source>/` holds `lock` and `00000001.jsonl`, `00000002.jsonl`, ..., read by `reading`, and
the note of `replay`. Only processes of the same host look into a host's folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from livekit_tokens.core.files import make_folder

SEGMENT_BYTES = 4 << 20
REPLAY_SECONDS = 3600
REPLAY_BYTES = 64 << 20
"""What is in the ledger is kept this long and this large, so that a restored or deleted one can be told again."""

NO_REPLAY = float("-inf")
"""In place of REPLAY_SECONDS where the disk is full: what is in the database is not kept at all."""

_LOCK = "lock"
_LET_GO = "let-go"


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.jsonl"


def segments_of(folder: Path) -> list[int]:
    """Numbers of the segments that are there, ascending."""
    try:
        found = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(path.stem) for path in found if path.suffix == ".jsonl" and path.stem.isdigit())


def size_of(folder: Path, number: int) -> int:
    """A segment's bytes; 0 where it is not there, or not any more."""
    try:
        return segment_path(folder, number).stat().st_size
    except FileNotFoundError:
        return 0


def create(root: Path, source: str) -> tuple[Path, int]:
    """Make a source's folder with its lock already held; returns the folder and the lock's file descriptor.

    The folder appears under its name only when the lock is held: nobody can take over a source that is being born.
    """
    unborn = root / f".new-{source}"
    try:
        make_folder(unborn)
    except FileNotFoundError:  # another process has just removed the host's folder, in which nothing was for an hour
        make_folder(unborn)
    lock = _locked(unborn / _LOCK, os.O_CREAT)
    folder = root / source
    try:
        unborn.rename(folder)
    except OSError:
        os.close(lock)
        raise
    return folder, lock


def lock_path(folder: Path) -> Path:
    return folder / _LOCK


def lock_again(folder: Path, held: int) -> int:
    """A new lock in place of a held one whose file was removed, with the folder or without; the old one is closed.

    Raises OSError where somebody else has it.
    """
    if not folder.exists():
        _, lock = create(folder.parent, folder.name)
    elif lock_path(folder).exists():
        lock = _locked(lock_path(folder))
    else:
        # Under its name only when it is held, as in `create`: nobody can come between.
        unborn = folder / f".new-{_LOCK}"
        lock = _locked(unborn, os.O_CREAT)
        unborn.rename(lock_path(folder))
    os.close(held)
    return lock


def _locked(path: Path, flags: int = 0) -> int:
    """A lock on a file, which is not waited for; raises OSError where somebody else has it."""
    lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def sources_of(root: Path) -> list[Path]:
    """Folders of all sources of this host, oldest first."""
    if not root.is_dir():
        return []
    found = []
    for path in root.iterdir():
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            found.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:  # another process has just removed it
            continue
    return [path for _, path in sorted(found)]


def try_lock(folder: Path) -> int | None:
    """Take the lock of a source whose owner is dead; None while it is held or when the folder is gone."""
    try:
        lock = take_lock(lock_path(folder))
    except (FileNotFoundError, NotADirectoryError, BlockingIOError):
        return None
    if not is_at(lock, lock_path(folder)):  # removed, or put anew, between open and lock
        unlock(lock)
        return None
    return lock


def take_lock(path: Path, flags: int = 0) -> int:
    """A lock that is held for a while only, until `unlock`. Raises BlockingIOError where somebody else has it."""
    lock = _locked(path, flags)
    _taken.add(lock)
    return lock


def unlock(lock: int) -> None:
    """Give it back, also where a child was forked meanwhile that still has its descriptor."""
    _taken.discard(lock)
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def _let_go_of_taken() -> None:
    """In a forked child: a taker that is killed must not leave its locks to a child that lives on."""
    while _taken:
        os.close(_taken.pop())


_taken: set[int] = set()
os.register_at_fork(after_in_child=_let_go_of_taken)


def is_at(fd: int, path: Path) -> bool:
    """Whether the open file is the one that is found at the path."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def remove(folder: Path) -> None:
    """Remove a source's folder, whose lock the caller holds; it vanishes from the host's folder at once."""
    gone = folder.with_name(f".gone-{folder.name}")
    with suppress(FileNotFoundError):  # somebody else has removed it
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def remove_gone(root: Path) -> None:
    """Remove what was left half removed: whoever began that had all of it in the ledger."""
    for path in root.glob(".gone-*"):
        shutil.rmtree(path, ignore_errors=True)


def sweep(root: Path) -> None:
    """Remove what was left half made or half removed; the caller is the host's only taker."""
    for path in root.iterdir():
        if path.name.startswith((".new-", ".gone-")) and _age(path) > REPLAY_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    """In seconds; of what has gone meanwhile (a source that was being born is one now), none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def ask_to_let_go(folder: Path) -> None:
    """Ask a living owner to begin a new segment, and to keep nothing for replays of what is in the ledger."""
    with suppress(FileNotFoundError):  # it has just been removed
        os.close(os.open(folder / _LET_GO, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def is_asked_to_let_go(folder: Path) -> bool:
    return (folder / _LET_GO).exists()


def has_let_go(folder: Path) -> None:
    """The owner's answer."""
    (folder / _LET_GO).unlink(missing_ok=True)


def is_empty(folder: Path) -> bool:
    """Whether its owner had written nothing at all."""
    return not any(size_of(folder, number) for number in segments_of(folder))
