"""Writing records into files, a few at a time in memory. A file is there under its name only once it is whole."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from livekit_tokens.cli.outcome import Failed
from livekit_tokens.cli.progress import counting
from livekit_tokens.core.known_formats import SHEET, day_of, log_line, sheet_row
from livekit_tokens.core.reports import Entry

Put = Callable[[Entry], None]
"""Takes the entries one by one, in their order."""

STDOUT = Path("-")


async def write(entries: AsyncIterator[Entry], target: AbstractContextManager[Put], many: int) -> int:
    """Write all entries, about `many`; answers how many there were."""
    written = 0
    with target as put, counting(many, "records") as shown:
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


@contextmanager
def whole_file(path: Path, *, replace: bool) -> Iterator[io.BufferedWriter]:
    """A file under another name until it is whole; readable by its owner alone, as the ledger is.

    Raises Failed where it is there already, or cannot be written.
    """
    if path.exists() and not replace:
        raise Failed(f"{path} is there already; give another name, or --replace")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
        part.replace(path)
    except OSError as fault:
        raise Failed(f"{path} cannot be written ({fault.strerror}); give another place") from fault
    finally:
        part.unlink(missing_ok=True)
