"""The folders that spools and the ledger are in: whether they take writes, what is left, and whether they last."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from livekit_tokens.core import mounts
from livekit_tokens.core.findings import Finding
from livekit_tokens.core.spool import REPLAY_BYTES

LITTLE_BYTES = REPLAY_BYTES
"""Less room is a fault: a single process may keep as much as this for its replay window."""

LOW_BYTES = 1 << 30

_PROBE_BYTES = 64 << 10

_EPHEMERAL = {
    "tmpfs": "is in memory: a restart loses it",
    "ramfs": "is in memory: a restart loses it",
    "overlay": "is the container's own layer: it goes with the container",
    "aufs": "is the container's own layer: it goes with the container",
    "fuse.fuse-overlayfs": "is the container's own layer: it goes with the container",
}
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "gpfs",
    "fuse",
}

_TODO = {
    errno.EROFS: "mount it writable, or point {setting} to a place that can be written",
    errno.EACCES: "give it to the agent's user (chown, chmod 700), or point {setting} to a place that can be written",
    errno.EPERM: "give it to the agent's user (chown, chmod 700), or point {setting} to a place that can be written",
    errno.ENOSPC: "free some space, or point {setting} to a larger disk",
    errno.EDQUOT: "free some space, or point {setting} to a larger disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.ENOLCK: "point {setting} to a local disk: locks do not work here",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with the setting that names it. `own`: it should be the agent's user's alone."""

    name: str
    folder: Path
    setting: str
    own: bool = False
    instead: str = ""


def spool_place(folder: Path, *fallbacks: Path) -> Place:
    """Where spools are, and where they go while they cannot be written there."""
    instead = "".join(f"; until then, spools go to {fallback}" for fallback in fallbacks)
    return Place("spool", folder, "SPOOL_DIR", own=True, instead=instead)


def look_at_place(place: Place) -> Iterator[Finding]:
    """Rights, room and file system of a folder, or of where it will be made."""
    there = existing(place.folder)
    yield look_at_rights(place, there)
    yield look_at_room(place, there)
    yield look_at_file_system(place, there)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def look_at_rights(place: Place, there: Path) -> Finding:
    """By writing and locking a file there: root and read-only mounts make a liar of the file modes."""
    subject = f"{place.name} folder"
    where = str(place.folder) if there == place.folder else f"{place.folder} (to be made in {there})"
    try:
        found = there.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is no folder")
        _probe(there)
    except OSError as fault:
        todo = _TODO.get(fault.errno or 0, "point {setting} to a place that can be written").format(
            setting=place.setting
        )
        return Finding("fault", subject, f"{where} cannot be written: {fault.strerror or fault}", todo + place.instead)
    if there == place.folder and place.own and found.st_uid != os.getuid():
        told = f"{where} belongs to user {found.st_uid}, and this is user {os.getuid()}"
        return Finding("note", subject, told, "run doctor as the agent's user: what it may do is what counts")
    if there == place.folder and place.own and (open_ones := _open_to_others(place.folder)):
        told = f"{open_ones[0]} can be looked into by others; it names callers"
        return Finding("note", subject, told, f"chmod 700 {place.folder}")
    return Finding("ok", subject, f"{where} takes writes and locks")


def _open_to_others(folder: Path) -> list[Path]:
    """The folders right below it that others may look into: one that is closed to them closes what is below."""
    if not folder.stat().st_mode & 0o077:
        return []
    return [path for path in folder.iterdir() if path.is_dir() and path.stat().st_mode & 0o077]


def _probe(folder: Path) -> None:
    # Unnamed where the file system can (O_TMPFILE): nothing is left even if we are killed.
    with tempfile.TemporaryFile(dir=folder, prefix=".doctor-") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(b"\0" * _PROBE_BYTES)
        file.flush()
        os.fsync(file.fileno())


def look_at_room(place: Place, there: Path) -> Finding:
    found = os.statvfs(there)
    free = found.f_bavail * found.f_frsize
    told = f"{size_text(free)} free of {size_text(found.f_blocks * found.f_frsize)}"
    subject = f"{place.name} disk"
    todo = f"free some space, or point {place.setting} to a larger disk"
    if found.f_files and not found.f_favail:
        return Finding("fault", subject, f"{told}, but no file can be added (no inode is left)", todo)
    if free < LITTLE_BYTES:
        return Finding("fault", subject, f"{told}; less than {size_text(LITTLE_BYTES)} is no room for a call", todo)
    return Finding("note", subject, told, todo) if free < LOW_BYTES else Finding("ok", subject, told)


def look_at_file_system(place: Place, there: Path) -> Finding:
    subject = f"{place.name} file system"
    kind = mounts.kind_of(there)
    if kind is None:
        return Finding("note", subject, "cannot be told on this platform", "see that it is a local disk that lasts")
    if told := _EPHEMERAL.get(kind):
        return Finding("note", subject, f"{kind} {told}", f"mount a volume and point {place.setting} to it")
    if kind in _NETWORK or kind.startswith("fuse."):
        told = f"{kind} is a network file system, whose locks are not to be relied on"
        return Finding("fault", subject, told, f"point {place.setting} to a local disk")
    return Finding("ok", subject, f"{kind}, local")


def size_text(size: int) -> str:
    """`1.5 GB`, in powers of 1000, as df -H has it."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
