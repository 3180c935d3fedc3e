"""What file system a path is on, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")

OF_ONE_KERNEL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs"})
"""File systems that only one kernel can have mounted (two would destroy it): whoever sees a file there is asked by the
same kernel for its lock (flock(2)). What containers with a kernel of their own see of them has another name (gVisor,
Firecracker and Kata: 9p, virtiofs; Docker's desktop: fuse)."""


def kind_of(path: Path) -> str | None:
    """The type of the file system that a path is on; None where nobody tells."""
    try:
        return file_system_of(path.resolve(), _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return None


def file_system_of(path: Path, mountinfo: str) -> str | None:
    """The type of the file system that an absolute path is on, by the text of /proc/self/mountinfo (proc(5))."""
    best, kind = -1, None
    for line in mountinfo.splitlines():
        before, sign, after = line.partition(" - ")
        fields = before.split(" ")
        if not sign or len(fields) < 5:
            continue
        point = Path(_unescaped(fields[4]))
        # Of two mounts on one point the later one is seen.
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    for octal, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, letter)
    return text
