"""Folders and what they are on, as `doctor` looks at them; real mounts are in tests/cli/test_doctor.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from livekit_tokens.core import mounts
from livekit_tokens.core.mounts import file_system_of
from livekit_tokens.core.places import Place, existing, look_at_file_system, look_at_rights, size_text

MOUNTS = r"""22 1 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/a - b
23 22 0:22 / /data rw shared:1 master:2 - ext4 /dev/vda rw
24 23 0:23 / /data/net rw - nfs4 server:/x rw
25 23 0:24 / /data/with\040space rw - fuse.sshfs me@there: rw
26 22 0:25 / /twice rw - ext4 /dev/vdb rw
27 26 0:26 / /twice rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ada", "overlay"),
        ("/data", "ext4"),
        ("/database", "overlay"),
        ("/data/net/deep/er", "nfs4"),
        ("/data/with space/x", "fuse.sshfs"),
        ("/twice/x", "tmpfs"),
    ],
)
def test_a_path_is_on_the_longest_mount_above_it(path: str, kind: str) -> None:
    """By whole names; of two mounts on one point, the later."""
    assert file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("ext4", "ok"),
        ("tmpfs", "note"),
        ("overlay", "note"),
        ("nfs4", "fault"),
        ("cifs", "fault"),
        ("fuse.s3fs", "fault"),
    ],
)
def test_what_a_file_system_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, state: str) -> None:
    """One that does not last is noted, one whose locks are not to be relied on is a fault."""
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 0:21 / / rw - {kind} x rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", table)
    assert look_at_file_system(Place("spool", tmp_path, "SPOOL_DIR"), tmp_path).state == state


def test_where_there_is_no_list_of_mounts_it_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS."""
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "nothing")
    assert look_at_file_system(Place("spool", tmp_path, "SPOOL_DIR"), tmp_path).state == "note"


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    """It is not made."""
    folder = tmp_path / "a" / "b"
    assert existing(folder) == tmp_path
    assert look_at_rights(Place("spool", folder, "SPOOL_DIR", own=True), tmp_path).state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_others_may_look_into_is_noted(tmp_path: Path) -> None:
    """It names callers. The folder above may be open: what counts is whether a host's folder can be reached."""
    host = tmp_path / "host"
    host.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    spools = Place("spool", tmp_path, "SPOOL_DIR", own=True)
    assert look_at_rights(spools, tmp_path).state == "ok"
    host.chmod(0o755)
    found = look_at_rights(spools, tmp_path)
    assert (found.state, found.todo) == ("note", f"chmod 700 {tmp_path}")


def test_sizes_are_told_in_powers_of_1000() -> None:
    """As df -H has them."""
    assert [size_text(n) for n in (0, 999, 1500, 2_097_152, 10**13)] == ["0 B", "999 B", "1.5 kB", "2.1 MB", "10.0 TB"]
