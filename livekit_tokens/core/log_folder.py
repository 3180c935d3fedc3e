"""A folder of daily log files that several processes append to, each line once: `token_usage_2026-11-22.jsonl`.

Under the folder's lock an append is written down first, then done, then the writer's own place is moved. Who finds an
append half done (its process was killed) settles it before anything else: whole, or not at all.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from livekit_tokens.core.files import make_folder
from livekit_tokens.core.spool import take_lock, unlock

_LOCK = ".appending"
_NAME = re.compile(r"token_usage_(\d{4}-\d\d-\d\d)\.jsonl(\.gz)?")
_PLACE_DIGITS = 20
_MOST_JOURNAL_BYTES = 1 << 20


class _Append(msgspec.Struct, frozen=True):
    """An append in progress: the size of each file before it and after it, and the place that moves with it."""

    place: str
    number: int
    sizes: dict[str, tuple[int, int]]


def name_of(day: str) -> str:
    return f"token_usage_{day}.jsonl"


class LogFolder:
    """One JSONL_DIR. Raises BlockingIOError while another process is at it, OSError for what a disk refuses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, texts: Mapping[str, bytes], place: Path, since: int, number: int) -> bool:
        """Append what comes after `since` to the files of these names, and note the number at `place`: all, or nothing.

        False, and nothing is appended, where the place is another: what comes after it was appended already, by a
        process that was killed before it could say so.
        """
        with self._alone() as journal, ExitStack() as opened:
            if (place_at(place) or 0) != since:
                return False
            files = {name: self._open(name, opened) for name in texts}
            found = {name: os.fstat(file).st_size for name, file in files.items()}
            # Somebody else's torn line must not swallow the next one.
            whole = {name: _after_newline(files[name], found[name], text) for name, text in texts.items()}
            sizes = {name: (found[name], found[name] + len(text)) for name, text in whole.items()}
            _write_journal(journal, _Append(str(place), number, sizes))
            try:
                for name, text in whole.items():
                    _write_all(files[name], text)
            except OSError:
                for name, file in files.items():
                    os.ftruncate(file, found[name])
                os.ftruncate(journal, 0)
                raise
            set_place(place, number)
            os.ftruncate(journal, 0)
            return True

    def remove_before(self, day: str) -> int:
        """Remove the files of earlier days; answers how many these were."""
        with self._alone():
            old = [path for path, of_day in self._files() if of_day < day]
            for path in old:
                path.unlink(missing_ok=True)
        return len(old)

    def rewrite(self, change: Callable[[bytes], bytes], *, dry_run: bool = False) -> tuple[int, int]:
        """Put each line through `change`; answers how many files were looked at and how many lines differ now."""
        if not self._folder.is_dir():
            return 0, 0
        with self._alone():
            files = [path for path, _ in self._files()]
            return len(files), sum(_rewritten(path, change, dry_run=dry_run) for path in files)

    def _files(self) -> Iterator[tuple[Path, str]]:
        for path in sorted(self._folder.iterdir()):
            if found := _NAME.fullmatch(path.name):
                yield path, found[1]

    def _open(self, name: str, opened: ExitStack) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._folder / name, flags, 0o600)
        opened.callback(os.close, file)
        return file

    @contextmanager
    def _alone(self) -> Iterator[int]:
        make_folder(self._folder)
        lock = take_lock(self._folder / _LOCK, os.O_CREAT)
        try:
            self._settle(lock)
            yield lock
        finally:
            unlock(lock)

    def _settle(self, journal: int) -> None:
        """Finish what a killed process had begun: its lines are all there and are noted, or they are taken back."""
        raw = os.pread(journal, _MOST_JOURNAL_BYTES, 0)
        if not raw:
            return
        with suppress(msgspec.MsgspecError):  # torn itself: nothing was appended yet
            begun = msgspec.json.decode(raw, type=_Append)
            if all(_size(self._folder / name) >= after for name, (_, after) in begun.sizes.items()):
                set_place(Path(begun.place), begun.number)
            else:
                for name, (before, _) in begun.sizes.items():
                    if _size(self._folder / name) > before:
                        os.truncate(self._folder / name, before)
        os.ftruncate(journal, 0)


def place_at(path: Path) -> int | None:
    """The number that was noted there; None if none was."""
    try:
        return int(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def set_place(path: Path, number: int) -> None:
    """Note a number; nothing to note it for, where its folder is gone."""
    with suppress(FileNotFoundError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Always as long: written over in one piece, it is the old one or the new one.
            os.pwrite(file, f"{number:0{_PLACE_DIGITS}d}\n".encode(), 0)
        finally:
            os.close(file)


def _write_journal(journal: int, append: _Append) -> None:
    os.ftruncate(journal, 0)
    _write_all(journal, msgspec.json.encode(append), at=0)


def _write_all(file: int, text: bytes, at: int | None = None) -> None:
    while text:
        written = os.write(file, text) if at is None else os.pwrite(file, text, at)
        text, at = text[written:], None if at is None else at + written


def _after_newline(file: int, size: int, text: bytes) -> bytes:
    return text if not size or os.pread(file, 1, size - 1) == b"\n" else b"\n" + text


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _rewritten(path: Path, change: Callable[[bytes], bytes], *, dry_run: bool) -> int:
    """How many lines of a file are others now. It is there whole under its name, before and after."""
    packed = path.suffix == ".gz"
    made = path.with_name(f".{path.name}.part")
    changed = 0
    try:
        with ExitStack() as opened:
            lines = opened.enter_context(gzip.GzipFile(path) if packed else path.open("rb"))
            raw = opened.enter_context(os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"))
            out = opened.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0)) if packed else raw
            for line in lines:
                told = change(line)
                changed += told != line
                out.write(told)
        if changed and not dry_run:
            made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return changed
