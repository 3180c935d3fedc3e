"""Cells of a sheet: what a spreadsheet would take for a formula is kept from it. Pure."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


def harmless(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would execute it; numbers stay numbers.

    Source: OWASP, CSV Injection: cells that begin with = + - @, tab or carriage return, or their full-width forms;
    some programs skip white space before them.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
