"""Tables for a terminal: numbers to the right, long names folded until all fits its width."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size

PIPED_WIDTH = 80
_GAP = 2
_NARROWEST = 8
"""A name keeps so many columns, also where the table is then wider than the terminal."""
_BOLD, _DIM = "1", "2"


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    foot: str = ""
    align: str = "left"
    least: int | None = None  # None: never folded

    def filled(self, piece: str, width: int) -> str:
        return " " * (width - cell_len(piece)) + piece if self.align == "right" else set_cell_size(piece, width)


@dataclass(slots=True)
class Table:
    """Rows of texts under names, with a last row of `foot`s where a column has one."""

    _columns: list[_Column] = field(default_factory=list)
    _rows: list[Sequence[str]] = field(default_factory=list)

    def names(self, name: str, foot: str = "", *, least: int = _NARROWEST) -> None:
        """Add a column of texts, which are folded where there is no room for them."""
        self._columns.append(_Column(name, foot, least=max(least, len(name))))

    def whole(self, name: str) -> None:
        """Add a column of texts that are never folded."""
        self._columns.append(_Column(name))

    def numbers(self, name: str, foot: str = "") -> None:
        """Add a column of numbers, which are never folded."""
        self._columns.append(_Column(name, foot, align="right"))

    def row(self, *cells: str) -> None:
        """Add a row; cells that are left out are empty."""
        self._rows.append((*cells, *[""] * (len(self._columns) - len(cells))))

    def lines(self, width: int, *, styled: bool = False) -> list[str]:
        """The table in at most `width` columns of the terminal; where its numbers leave no room, row by row."""
        has_foot = any(column.foot for column in self._columns)
        feet = [[column.foot for column in self._columns]] if has_foot else []
        rows = [[column.name for column in self._columns], *self._rows, *feet]
        limits = self._limits(rows, width)
        if _least_width(rows, limits) > width:
            return [line for row in (*self._rows, *feet) for line in self._by_itself(row, width, styled=styled)]
        folded = [[_folded(cell, limit) for cell, limit in zip(row, limits, strict=True)] for row in rows]
        widths = [max(max(map(cell_len, cell)) for cell in cells) for cells in zip(*folded, strict=True)]
        lines = [line for row in folded for line in self._lines_of(row, widths)]
        if styled:
            lines[0] = _styled(lines[0], _BOLD)
            lines[-1] = _styled(lines[-1], _BOLD) if has_foot else lines[-1]
        return lines

    def _lines_of(self, row: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
        """A row of cells, each of them its lines."""
        for pieces in zip_longest(*row, fillvalue=""):
            told = zip(self._columns, pieces, widths, strict=True)
            yield (" " * _GAP).join(column.filled(piece, width) for column, piece, width in told).rstrip()

    def _by_itself(self, row: Sequence[str], width: int, *, styled: bool) -> Iterator[str]:
        """A row as its names, and below them its numbers, each with its name: for a narrow terminal."""
        cells = [(column, cell) for column, cell in zip(self._columns, row, strict=True) if cell]
        for line in wrapped("  ".join(cell for column, cell in cells if column.align == "left"), width):
            yield _styled(line, _BOLD) if styled else line
        figures = ", ".join(f"{column.name} {cell}" for column, cell in cells if column.align == "right")
        yield from (f"  {line}" for line in wrapped(figures, width - 2))

    def _limits(self, rows: Sequence[Sequence[str]], width: int) -> list[int | None]:
        """How wide names may be, so that all of them fit beside what is never folded: the same for each."""
        widest = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
        least = {number: column.least for number, column in enumerate(self._columns) if column.least is not None}
        room = width - _GAP * (len(widest) - 1) - sum(w for number, w in enumerate(widest) if number not in least)
        limit = max((widest[number] for number in least), default=0)
        while limit and sum(min(widest[number], max(limit, few)) for number, few in least.items()) > room:
            limit -= 1
        return [max(limit, least[number]) if number in least else None for number in range(len(widest))]


def _folded(cell: str, limit: int | None) -> Sequence[str]:
    return (cell,) if limit is None else wrapped(cell, limit) or ("",)


def wrapped(text: str, width: int, *, first: str = "", rest: str = "") -> list[str]:
    """A text in lines of at most so many columns of the terminal, broken between words where it has some.

    `first` stands before the first line, `rest` before the others.
    """
    if cell_len(first + text) <= width:
        return [first + text] if text else []
    from rich import get_console  # noqa: PLC0415 - a tenth of what `report` imports, and most texts have room
    from rich.text import Text  # noqa: PLC0415

    lines = Text(text).wrap(get_console(), width - max(len(first), len(rest)), overflow="fold")
    return [f"{rest if number else first}{line.plain.rstrip()}" for number, line in enumerate(lines)]


def _least_width(rows: Sequence[Sequence[str]], limits: Sequence[int | None]) -> int:
    widest = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    each = [wide if limit is None else min(wide, limit) for wide, limit in zip(widest, limits, strict=True)]
    return sum(each) + _GAP * (len(each) - 1)


def drawn(table: Table | None, title: str, notes: Iterable[str | None] = ()) -> str:
    """Title, table and notes as text; with escape codes on a terminal only."""
    styled = is_styled()
    body = [] if table is None else table.lines(width(), styled=styled)
    below = [line for note in notes if note for line in _dim(note, styled=styled)]
    return "\n".join([*_dim(title, styled=styled), *body, *below])


def width() -> int:
    """The terminal's, in columns; 80 where there is none."""
    return max(40, shutil.get_terminal_size().columns) if sys.stdout.isatty() else PIPED_WIDTH


def is_styled() -> bool:
    """Whether the output is read on a terminal that knows escape codes, by somebody who wants them (no-color.org)."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def _dim(text: str, *, styled: bool) -> Iterator[str]:
    for line in text.split("\n"):
        for piece in wrapped(line, width()):
            yield _styled(piece, _DIM) if styled else piece


def _styled(line: str, style: str) -> str:
    return f"\x1b[{style}m{line}\x1b[0m" if line else line
