"""A person is looked for in every spool of the host, also in what a killed process has left half removed."""

from __future__ import annotations

from pathlib import Path

from livekit_tokens.core import forgetting, spool
from livekit_tokens.domain.erasure import Person
from tests.core.makers import a_part, a_recorder

ANN = Person(frozenset({"ann-4711"}))


def half_removed(root: Path) -> Path:
    """Its owner was killed between the folder's new name and its end."""
    recorder = a_recorder(root)
    recorder.put_part(a_part(user="ann-4711"))
    recorder.disown()
    gone = recorder.folder.with_name(f".gone-{recorder.folder.name}")
    recorder.folder.rename(gone)
    return gone


def test_what_was_left_half_removed_goes_with_the_person(tmp_path: Path) -> None:
    """All of it was in the ledger when its removal began."""
    gone = half_removed(tmp_path)
    assert b"ann-4711" in spool.segment_path(gone, 1).read_bytes()
    forgetting.sweep([tmp_path], {}, ANN, dry_run=False)
    assert not gone.exists()


def test_a_dry_run_removes_nothing(tmp_path: Path) -> None:
    """Not even what nobody needs."""
    gone = half_removed(tmp_path)
    forgetting.sweep([tmp_path], {}, ANN, dry_run=True)
    assert gone.exists()
