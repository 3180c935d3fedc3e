"""A folder that several processes append to: each line once, whoever is killed when."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from livekit_tokens.core.log_folder import LogFolder, place_at, set_place

DAY = "token_usage_2026-11-22.jsonl"
NEXT = "token_usage_2026-11-23.jsonl"


class Killed(BaseException):
    """Nothing of ours catches it: what it leaves is what SIGKILL leaves."""


def append_rest(folder: Path, place: Path) -> None:
    """What a process does that comes after: lines 1 to 6, from where its place says on, two at a time over midnight."""
    while (at := place_at(place) or 0) < 6:
        texts = {DAY: b"line %d\n" % (at + 1), NEXT: b"line %d\n" % (at + 2)}
        LogFolder(folder).append(texts, place, at, at + 2)


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> bool:
    """Do the work, and be killed at one of its system calls; a write has taken half of its bytes by then."""
    left = [step]

    def counted(name: str) -> Callable[..., object]:
        call = getattr(os, name)

        def run(*given: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                if name in ("write", "pwrite"):
                    file, text, *rest = given
                    call(file, text[: len(text) // 2], *rest)
                raise Killed
            return call(*given)

        return run

    with monkeypatch.context() as patched:
        for name in ("open", "write", "pwrite", "ftruncate"):
            patched.setattr(os, name, counted(name))
        try:
            work()
        except Killed:
            return True
    return False


@pytest.mark.parametrize("first", ["another source", "the same source"])
def test_every_line_is_there_once_at_whichever_system_call_a_process_was_killed(tmp_path, monkeypatch, first):
    """Whoever comes first, and finds what was left half done: its lines may be there, and its place not moved yet."""
    step, killed = 0, True
    while killed:
        step += 1
        folder, place, other = tmp_path / f"{step}", tmp_path / f"place-{step}", tmp_path / f"other-{step}"
        killed = killed_at(step, monkeypatch, lambda: append_rest(folder, place))  # noqa: B023 - called at once
        if first == "the same source":
            append_rest(folder, place)
        LogFolder(folder).append({DAY: b"other\n"}, other, 0, 1)
        append_rest(folder, place)
        lines = [(folder / name).read_text().split("\n")[:-1] for name in (DAY, NEXT)]
        assert [sorted(found) for found in lines] == [
            ["line 1", "line 3", "line 5", "other"],
            ["line 2", "line 4", "line 6"],
        ]
    assert step > 20


APPENDER = """
import sys, time
from pathlib import Path
from livekit_tokens.core.log_folder import LogFolder, place_at
folder, place = Path(sys.argv[1]), Path(sys.argv[2])
number = place_at(place) or 0
while number < 300:
    try:
        line = b"%s %d\\n" % (place.name.encode(), number + 1)
        LogFolder(folder).append({sys.argv[3]: line}, place, number, number + 1)
        number = place_at(place)
    except BlockingIOError:
        time.sleep(0.0005)
"""


def test_processes_that_append_at_once_and_are_killed_leave_each_line_once(tmp_path):
    """Real processes, killed with SIGKILL at random moments, begun again where their places say."""
    chance, folder = random.Random(7), tmp_path / "logs"
    running = {name: appender(folder, tmp_path / name) for name in "abc"}
    for _ in range(12):
        time.sleep(chance.uniform(0.05, 0.2))
        name = chance.choice("abc")
        running[name].send_signal(signal.SIGKILL)
        running[name].wait()
        running[name] = appender(folder, tmp_path / name)
    assert [process.wait(60) for process in running.values()] == [0, 0, 0]
    lines = (folder / DAY).read_text().splitlines()
    assert sorted(lines) == sorted(f"{name} {number}" for name in "abc" for number in range(1, 301))


def appender(folder: Path, place: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", APPENDER, str(folder), str(place), DAY])


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    """The place stays where it was, and the same lines are appended when there is room again."""
    folder, place = LogFolder(tmp_path / "logs"), tmp_path / "place"
    folder.append({DAY: b"one\n"}, place, 0, 1)
    write = os.write

    def full(file: int, text: bytes) -> int:
        if text != b"three\n":
            return write(file, text)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            folder.append({DAY: b"two\n", NEXT: b"three\n"}, place, 1, 3)
    assert ((tmp_path / "logs" / DAY).read_text(), place_at(place)) == ("one\n", 1)
    folder.append({DAY: b"two\n", NEXT: b"three\n"}, place, 1, 3)
    assert (tmp_path / "logs" / DAY).read_text() == "one\ntwo\n"


def test_files_and_folder_are_their_owners_alone(tmp_path):
    """Whatever the umask is: they name callers."""
    LogFolder(tmp_path / "logs").append({DAY: b"one\n"}, tmp_path / "place", 0, 1)
    made = [tmp_path / "logs", *(tmp_path / "logs").iterdir(), tmp_path / "place"]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700, 0o600, 0o600, 0o600]


def test_a_torn_line_of_somebody_elses_does_not_swallow_the_next_one(tmp_path):
    """After a power cut, say."""
    (tmp_path / DAY).write_bytes(b'{"torn')
    LogFolder(tmp_path).append({DAY: b"one\n"}, tmp_path / "place", 0, 1)
    assert (tmp_path / DAY).read_bytes() == b'{"torn\none\n'


def test_a_folder_that_another_process_is_at_is_not_waited_for(tmp_path):
    """One that was stopped in the middle would stop all others."""
    folder = LogFolder(tmp_path)
    with folder._alone(), pytest.raises(BlockingIOError):
        LogFolder(tmp_path).append({DAY: b"one\n"}, tmp_path / "place", 0, 1)


def test_a_place_whose_folder_is_gone_is_no_fault(tmp_path):
    """A spool that is in the ledger and past is removed."""
    set_place(tmp_path / "gone" / "logged", 1)
    assert place_at(tmp_path / "gone" / "logged") is None


def test_old_days_are_removed_and_other_files_stay(tmp_path):
    """Compressed ones, too."""
    names = [DAY, NEXT, f"{DAY}.gz", "token_usage_mine.jsonl", "notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    assert LogFolder(tmp_path).remove_before("2026-11-23") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".appending",
        "notes.txt",
        NEXT,
        "token_usage_mine.jsonl",
    ]
