"""Files of other trackers, row by row: JSON lines, JSON arrays and CSV, also compressed; a row in memory at a time."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from livekit_tokens.domain.foreign import Row

_PIECE = 1 << 16
SQLITE_HEAD = b"SQLite format 3\0"


class Numbered(NamedTuple):
    """A row and the line (of JSON arrays and tables: the row) where it stands; without a row, what is wrong with it."""

    line: int
    row: Row | None
    fault: str = ""


def rows_of(path: Path) -> Iterator[Numbered]:
    """The rows of a text file, by what it begins with. Raises OSError, and UnicodeDecodeError for what is no text."""
    with _opened(path) as text:
        begin = text.read(_PIECE)
        text.seek(0)
        first = begin.lstrip("\ufeff \t\r\n")[:1]
        if first == "[":
            yield from _array(text)
        elif first == "{":
            yield from _lines(text)
        else:
            yield from _sheet(text)


def is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEAD)) == SQLITE_HEAD


def _opened(path: Path) -> TextIO:
    raw = path.open("rb")
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if packed else raw, encoding="utf-8-sig", newline="")


def _lines(text: Iterable[str]) -> Iterator[Numbered]:
    for number, line in enumerate(text, 1):
        if line.strip():
            yield _read(number, line)


def _read(number: int, line: str) -> Numbered:
    try:
        row = json.loads(line)
    except ValueError:
        return Numbered(number, None, "it is no JSON")
    return _checked(number, row)


def _checked(number: int, row: object) -> Numbered:
    return Numbered(number, row) if isinstance(row, dict) else Numbered(number, None, "it is no JSON object")


def _sheet(text: Iterable[str]) -> Iterator[Numbered]:
    rows = csv.DictReader(text)
    try:
        for row in rows:
            if None in row or None in row.values():
                yield Numbered(rows.line_num, None, "it has more or fewer cells than the first line has names")
            else:
                yield Numbered(rows.line_num, row)
    except csv.Error as fault:
        yield Numbered(rows.line_num, None, f"it is no CSV ({fault}); what follows is left out")


def _array(text: TextIO) -> Iterator[Numbered]:
    """The objects of a JSON array, piece by piece: an export of a document store may be larger than memory."""
    decode = json.JSONDecoder().raw_decode
    waiting, number = text.read(_PIECE).lstrip()[1:], 0
    while True:
        waiting = waiting.lstrip(" \t\r\n,")
        if waiting.startswith("]"):
            return
        try:
            row, end = decode(waiting)
            # A number at the end of a piece may go on in the next one; an object is whole.
            whole = bool(waiting) and (isinstance(row, (dict, list, str)) or end < len(waiting))
        except ValueError:
            whole = False
        if whole:
            number += 1
            yield _checked(number, row)
            waiting = waiting[end:]
        elif more := text.read(
            max(_PIECE, len(waiting))
        ):  # twice as much each time: a long object is read in few steps
            waiting += more
        else:
            yield Numbered(
                number + 1, None, "the array ends in the middle of it, or it is no JSON; the rest is left out"
            )
            return
