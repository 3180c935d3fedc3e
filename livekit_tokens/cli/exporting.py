"""Writing records into files, a few at a time in memory. A file is there under its name only once it is whole."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import TextIO

from livekit_tokens.cli.files import STDOUT, whole_file
from livekit_tokens.cli.outcome import Failed
from livekit_tokens.cli.progress import counting
from livekit_tokens.core.known_formats import SHEET, day_of, log_line, sheet_row
from livekit_tokens.core.reports import Entry

Put = Callable[[Entry], None]
"""Takes the entries one by one, in their order."""


async def write(entries: AsyncGenerator[Entry], target: AbstractContextManager[Put], many: int) -> int:
    """Write all entries, about `many`; answers how many there were."""
    written = 0
    with target as put, counting(many, "records") as shown:
        async with aclosing(entries):
            async for entry in entries:
                put(entry)
                written += 1
                shown(written)
    return written


@contextmanager
def sheet(path: Path, *, replace: bool) -> Iterator[Put]:
    """The records as CSV."""
    with _text_at(path, replace=replace) as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(SHEET)
        yield lambda entry: rows.writerow(sheet_row(entry))


@contextmanager
def lines() -> Iterator[Put]:
    """The records as JSON lines on stdout."""
    yield lambda entry: print(log_line(entry))


@contextmanager
def daily_files(folder: Path, suffix: str, *, replace: bool) -> Iterator[Put]:
    """The records as JSON lines, a file for each UTC day. Days that are whole stay when a later one fails."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise Failed(f"the folder {folder} cannot be made ({fault.strerror}); give another one") from fault
    with ExitStack() as open_day:
        day = ""
        text: TextIO = io.StringIO()

        def put(entry: Entry) -> None:
            nonlocal day, text
            # Records come in the order of time: a day is whole when the next one begins.
            if (today := day_of(entry)) != day:
                open_day.close()
                text = open_day.enter_context(_text_at(folder / f"token_usage_{today}{suffix}", replace=replace))
                day = today
            print(log_line(entry), file=text)

        yield put


@contextmanager
def _text_at(path: Path, *, replace: bool) -> Iterator[TextIO]:
    """A text file, compressed where its name ends in .gz; stdout for `-`."""
    if path == STDOUT:
        yield sys.stdout
        return
    with whole_file(path, replace=replace) as raw, ExitStack() as layers:
        packed = path.suffix == ".gz"
        # Without a time in it, the same records make the same file.
        binary = layers.enter_context(gzip.GzipFile(path.stem, "wb", fileobj=raw, mtime=0)) if packed else raw
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()
