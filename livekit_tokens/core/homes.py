"""Where the spools of this host are: under the folder of the settings, or the system's temporary one."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def host() -> str:
    """This host's name as a folder's name: sources of other hosts are never touched."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in socket.gethostname()).lstrip(".") or "localhost"


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
    found: set[str] = set()
    for home in homes(spool_dir):
        try:
            check_home(home, spool_dir)
            found |= {path.name for path in home.iterdir() if path.is_dir() and not path.name.startswith(".")}
        except OSError:
            continue
    return sorted(found)


def roots(spool_dir: Path, on_host: str) -> Iterator[Path]:
    """A host's folders with spools that may be trusted."""
    for home in homes(spool_dir):
        try:
            check_home(home, spool_dir)
            if (home / on_host).is_dir():
                yield home / on_host
        except OSError:
            continue
