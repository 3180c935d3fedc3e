"""A cell of another tracker's row: a time, a count, a number; what can be read in two ways is not guessed at. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from livekit_tokens.domain import described
from livekit_tokens.domain.errors import BadSetting, LiveKitTokensError
from livekit_tokens.domain.periods import LAST, read_moment
from livekit_tokens.domain.times import SECOND, Micros

_EMPTY = ("", "null", "none", "nan")
_MILLISECONDS_FROM = 10**11
"""A number of seconds this large would be in the year 5138: it counts milliseconds."""
_DAY = re.compile(r"(20\d\d)(\d\d)(\d\d)")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_ONE_COMMA = re.compile(r"[^,.]*,[^,.]*")
"""Of a fraction, "1,234" may be 1234 or, in half of the world, 1.234."""


class Unmapped(LiveKitTokensError):
    """A row that cannot be a usage record; the message says why."""


def cell(value: object) -> object:
    """A cell without what stands for nothing, and without the sign that keeps a spreadsheet from running it."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@"):
        text = text[1:]
    return None if text.lower() in _EMPTY else text


def moment(value: object) -> Micros:
    """A text as ISO or RFC 3339 has it (UTC without an offset), or a number of seconds or milliseconds since 1970.

    Eight digits are a day, 20261122: as seconds they would lie in 1970.
    """
    if (day := _DAY.fullmatch(str(value))) is not None:
        value = "-".join(day.groups())
    try:
        number = None if isinstance(value, bool) else Decimal(str(value))
    except InvalidOperation:
        number = None
    if number is not None and number.is_finite():
        at = int((number / 1000 if abs(number) >= _MILLISECONDS_FROM else number) * SECOND)
    else:
        at = _read(str(value))
    if not 0 < at <= LAST:
        raise Unmapped(f"its time {str(value)[:40]!r} is out of range; expected one from 1970 to 2999")
    return at


def _read(text: str) -> Micros:
    try:
        return read_moment(text, UTC)
    except BadSetting:
        pass
    try:  # more digits of a second, week dates: whatever else ISO 8601 allows
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Unmapped(f"its time {text[:40]!r} cannot be read; expected 2026-11-22T15:00:00Z or a number") from None
    return described.moment(at if at.tzinfo else at.replace(tzinfo=UTC))


def count(name: str, value: object) -> int | None:
    """A whole number; commas may stand between its thousands."""
    number = _number(name, value, whole=True)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise Unmapped(f"{name} is {str(value)[:20]!r}; expected a whole number")
    return int(number)


def fraction(name: str, value: object) -> Decimal | None:
    """A number, with a point before its decimals."""
    return _number(name, value, whole=False)


def json_object(value: object) -> Mapping[str, object] | None:
    """A JSON object, as such or as a cell's text; None for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, Mapping) else None


def _number(name: str, value: object, *, whole: bool) -> Decimal | None:
    if value is None or isinstance(value, bool):
        return None
    text = str(value).removeprefix("$")
    if "," in text:
        if _THOUSANDS.fullmatch(text) is None or (not whole and _ONE_COMMA.fullmatch(text)):
            raise Unmapped(f"{name} is {text[:20]!r}; expected a point before decimals, as in 1234.5 or 1,234.5")
        text = text.replace(",", "")
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise Unmapped(f"{name} is {str(value)[:20]!r}, which is not a number")
    return number
