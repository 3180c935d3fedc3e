"""Where the spools of this host are: under the folder of the settings, or the system's temporary one."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from livekit_tokens.core import mounts


def host(name: str | None = None) -> str:
    """The name of this host's folder: the setting's, or the machine's own."""
    return (
        "".join(c if c.isalnum() or c in "-." else "_" for c in name or socket.gethostname()).lstrip(".") or "localhost"
    )


def homes(spool_dir: Path) -> Iterator[Path]:
    """Folders that spools can be in: the settings' folder, and a fallback where that cannot be written."""
    yield spool_dir
    try:
        yield Path(tempfile.gettempdir()) / f"livekit-tokens-{os.getuid()}"
    except OSError:  # no temporary folder at all
        return


def check_home(home: Path, spool_dir: Path) -> None:
    """Raise PermissionError for a fallback folder that somebody else may have prepared; the settings' is trusted."""
    if home == spool_dir:
        return
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "somebody else may write it", str(home))


def hosts(spool_dir: Path) -> list[str]:
    """All that have ever had a folder here."""
    return sorted({folder.name for home in _trusted(spool_dir) for folder in _folders_of(home)})


def roots(spool_dir: Path, on_host: str) -> Iterator[Path]:
    """A host's folders with spools that may be trusted."""
    for home in _trusted(spool_dir):
        yield from (folder for folder in _folders_of(home) if folder.name == on_host)


def within_reach(spool_dir: Path, own: str) -> Iterator[Path]:
    """The folders whose spools this host brings home: its own first, and those of other names where a lock says for
    certain who lives. There a pod of Kubernetes finds what the one before it has left, which had another host name.
    """
    yield from roots(spool_dir, own)
    for home in _trusted(spool_dir):
        if (others := _others_of(home, own)) and mounts.kind_of(home) in mounts.OF_ONE_KERNEL:
            yield from (folder for folder in others if os.access(folder, os.R_OK | os.W_OK | os.X_OK))


def out_of_reach(spool_dir: Path, own: str) -> Iterator[Path]:
    """The folders of other names that it leaves alone: over a network file system a free lock says nothing."""
    for home in _trusted(spool_dir):
        if (others := _others_of(home, own)) and mounts.kind_of(home) not in mounts.OF_ONE_KERNEL:
            yield from others


def _trusted(spool_dir: Path) -> Iterator[Path]:
    for home in homes(spool_dir):
        try:
            check_home(home, spool_dir)
        except OSError:
            continue
        yield home


def _folders_of(home: Path) -> list[Path]:
    try:
        return sorted(path for path in home.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []


def _others_of(home: Path, own: str) -> list[Path]:
    return [folder for folder in _folders_of(home) if folder.name != own]
