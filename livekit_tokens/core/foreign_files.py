"""Files of other trackers, row by row, a row in memory at a time: JSON lines, JSON arrays, objects over several lines,
Cosmos DB's answers, CSV with commas, semicolons or tabs; also compressed.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.foreign import Row

_PIECE = 1 << 16
_DOCUMENTS = re.compile(r'[^\[\]{}]*"Documents"\s*:\s*(?=\[)')
"""What Cosmos DB writes before the documents of an answer, behind the brace that opens it."""
SQLITE_HEAD = b"SQLite format 3\0"


class Numbered(NamedTuple):
    """A row and the line (of JSON arrays and tables: the row) where it stands; without a row, what is wrong with it."""

    line: int
    row: Row | None
    fault: str = ""


def rows_of(path: Path) -> Iterator[Numbered]:
    """The rows of a text file, by what it begins with. Raises OSError, and LedgerUnavailable for what is no text."""
    with _opened(path) as text:
        begin = text.read(_PIECE)
        if "\0" in begin:
            raise LedgerUnavailable(f"{path} is neither text in UTF-8 nor SQLite")
        text.seek(0)
        body = begin.lstrip("\ufeff \t\r\n")
        if body.startswith("["):
            yield from _array(text)
        elif body.startswith("{") and _DOCUMENTS.match(body, 1):
            yield from _answers(text)
        elif body.startswith("{"):
            yield from _values(text, "", closed=False) if _over_several_lines(body) else _lines(text)
        else:
            yield from _sheet(text, next((sign for sign in ",;\t" if sign in body.split("\n", 1)[0]), ","))


def is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEAD)) == SQLITE_HEAD


def _opened(path: Path) -> TextIO:
    raw = path.open("rb")
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return io.TextIOWrapper(
        gzip.GzipFile(fileobj=raw) if packed else raw, encoding="utf-8-sig", errors="surrogateescape", newline=""
    )


def _over_several_lines(body: str) -> bool:
    try:
        _, end = json.JSONDecoder().raw_decode(body)
    except ValueError:  # a line that is damaged, before others that are not
        return False
    return "\n" in body[:end]


def _lines(text: Iterable[str]) -> Iterator[Numbered]:
    for number, line in enumerate(text, 1):
        if line.strip():
            yield _read(number, line)


def _read(number: int, line: str) -> Numbered:
    try:
        row = json.loads(line)
    except ValueError:
        return Numbered(number, None, "it is no JSON")
    return _checked(number, row, line)


def _checked(number: int, row: object, text: str) -> Numbered:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8 were read as what stands for them
        return Numbered(number, None, "it is no UTF-8; save the file as UTF-8")
    return Numbered(number, row) if isinstance(row, dict) else Numbered(number, None, "it is no JSON object")


def _sheet(text: Iterable[str], delimiter: str) -> Iterator[Numbered]:
    rows = csv.DictReader(text, delimiter=delimiter)
    try:
        for row in rows:
            if None in row or None in row.values():
                yield Numbered(rows.line_num, None, "it has more or fewer cells than the first line has names")
            else:
                yield _checked(rows.line_num, row, "".join(row.values()))
    except csv.Error as fault:
        yield Numbered(rows.line_num, None, f"it is no CSV ({fault}); what follows is left out")


def _array(text: TextIO) -> Iterator[Numbered]:
    yield from _values(text, text.read(_PIECE).lstrip()[1:])


def _answers(text: TextIO) -> Iterator[Numbered]:
    """The documents of Cosmos DB's answers, one after the other; what else stands in them are single values."""
    waiting, number = "", 0
    while True:
        if found := _DOCUMENTS.search(waiting):
            number, waiting = yield from _values(text, waiting[found.end() + 1 :], number)
        elif more := text.read(_PIECE):
            waiting += more
        else:
            return


def _values(
    text: TextIO, waiting: str, number: int = 0, *, closed: bool = True
) -> Generator[Numbered, None, tuple[int, str]]:
    """The objects up to the bracket that closes them, or, where none was opened (not `closed`), to the end of the
    file; piece by piece: an export of a document store may be larger than memory. Answers the last one's number, and
    what was read of the text behind them.
    """
    decode = json.JSONDecoder().raw_decode
    while True:
        waiting = waiting.lstrip(" \t\r\n,")
        if waiting.startswith("]"):
            return number, waiting[1:]
        try:
            row, end = decode(waiting)
            # A number at the end of a piece may go on in the next one; an object is whole.
            whole = bool(waiting) and (isinstance(row, (dict, list, str)) or end < len(waiting))
        except ValueError:
            whole = False
        if whole:
            number += 1
            yield _checked(number, row, waiting[:end])
            waiting = waiting[end:]
        elif more := text.read(
            max(_PIECE, len(waiting))
        ):  # twice as much each time: a long object is read in few steps
            waiting += more
        else:
            if waiting or closed:
                yield Numbered(
                    number + 1, None, "the text ends in the middle of it, or it is no JSON; the rest is left out"
                )
            return number, ""
