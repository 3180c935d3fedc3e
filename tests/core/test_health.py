"""What a process tells of itself, and what of that another process finds."""

from __future__ import annotations

from pathlib import Path

from livekit_tokens.core.health import Faults, Health, faults_in, leave_faults


def test_faults_are_found_as_they_were_left(tmp_path: Path) -> None:
    """By `doctor`, in the folder of the process's spool."""
    faults = Faults(at=5, counts={"spool cannot be written": 3}, last="spool cannot be written: full", unkept=2)
    leave_faults(tmp_path, faults)
    assert faults_in(tmp_path) == faults
    assert [path.name for path in tmp_path.iterdir()] == ["faults.json"]


def test_no_faults_and_unreadable_ones_are_none(tmp_path: Path) -> None:
    """Whatever stands in the file: who looks at a sick machine must not fall over it."""
    assert faults_in(tmp_path) is None
    for text in ("", "{", "[]", '{"at": 1}', '{"at": "x", "counts": {}, "last": null, "unkept": 0}', "\x00" * 9):
        (tmp_path / "faults.json").write_text(text)
        assert faults_in(tmp_path) is None


def test_a_disk_that_refuses_them_is_no_further_fault(tmp_path: Path) -> None:
    """They are told where disks are full."""
    leave_faults(tmp_path / "gone", Faults(1, {}, None))


def test_what_waits_is_told_in_one_line_with_the_reason() -> None:
    """Only where something does."""
    assert Health(records=7, faults={"a": 2}, last_error="a").waits is None
    assert (
        Health(records=7, behind=3, lag_seconds=12.3, waiting_bytes=4096, unkept=2, last_error="disk full").waits
        == "records not in the ledger: 3, the oldest for 12 s; "
        "bytes in memory, as the spool's disk refuses them: 4,096; records lost: 2; last error: disk full"
    )
    assert Health(behind=1, lag_seconds=2, last_error="old", ledger_error="database is locked").waits == (
        "records not in the ledger: 1, the oldest for 2 s; last error: database is locked"
    )


def test_health_as_json_names_everything() -> None:
    """As the REST route and the tests of others read it."""
    assert Health(records=3, behind=1, lag_seconds=0.12345, faults={"a": 2, "b": 1}, last_error="b").to_dict() == {
        "records": 3,
        "unkept": 0,
        "waiting_bytes": 0,
        "behind": 1,
        "lag_seconds": 0.123,
        "failures": 3,
        "faults": {"a": 2, "b": 1},
        "last_error": "b",
        "ledger_error": None,
    }
