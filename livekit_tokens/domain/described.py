"""What a caller says of a request beside its figures: names, times, scores, errors, labels; checked and bounded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from itertools import islice
from math import isfinite
from uuid import UUID

from livekit_tokens.domain.errors import BadSetting, ImpossibleUsage
from livekit_tokens.domain.times import Micros, to_micros
from livekit_tokens.domain.units import quantity_of
from livekit_tokens.domain.usage import OWN_KEYS

Label = str | int | float | bool | None

LONGEST = 200
"""Characters of a name or a label. What is longer is no label, and may be what somebody said."""
_MOST_LABELS = 50
_SAID = {
    "query",
    "prompt",
    "question",
    "messages",
    "message",
    "input",
    "output",
    "response",
    "answer",
    "reply",
    "completion",
    "text",
    "content",
    "transcript",
    "utterance",
    "instructions",
    "arguments",
}
"""Names under which OpenAI's protocol, frameworks and other trackers hand on what was said."""
_WORDS = (str, UUID, Decimal, date, Enum)
_LARGEST_INTEGER = 2**63

_ERROR = re.compile(r"([A-Za-z_][\w.\-]{0,99})(?::? ?(\d{3}))?(?=$|: )")


def id_of(value: object) -> str | None:
    """An id of the caller's own (a number, an object), as text; None where there is none, or an empty one."""
    return None if value is None else str(value) or None


def name_of(value: object) -> str | None:
    """The same for a name, which is not long."""
    return None if value is None else str(value)[:LONGEST] or None


def key_of(idempotency_key: object) -> str | None:
    """An idempotency key as text; a long one, and one that looks like ours, as its hash, which is as much its own."""
    text = "" if idempotency_key is None else str(idempotency_key)
    if len(text) > LONGEST or text.startswith(OWN_KEYS):
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return text or None


def moment(at: object) -> Micros:
    """When a request was, from an aware datetime. Raises BadSetting: a naive one's zone would be a guess."""
    if not isinstance(at, datetime):
        raise BadSetting(f"at is a {type(at).__name__}; expected an aware datetime such as datetime.now(UTC)")
    if at.utcoffset() is None:
        raise BadSetting(f"at {at.isoformat()} has no time zone; give an aware datetime such as datetime.now(UTC)")
    return to_micros(at)


def score(name: str, value: object) -> float | None:
    """A finite number, or None. Raises ImpossibleUsage."""
    if value is None:
        return None
    if isinstance(value, (int, float, Decimal)) and isfinite(number := float(value)):
        return number
    shown = value if isinstance(value, (int, float, Decimal)) else f"a {type(value).__name__}"
    raise ImpossibleUsage(f"{name} is {shown}; expected a finite number")


def milliseconds(name: str, value: object) -> int | None:
    """Whole milliseconds from 0, the nearest, or None. Raises ImpossibleUsage."""
    if value is None:
        return None
    return quantity_of(name, round(value) if isinstance(value, (float, Decimal)) and isfinite(value) else value)


def error_of(error: object) -> str | None:
    """An error's class, and its status where it has one; never its message, which may quote what was said.

    None where there is none, as an empty text says, too.
    """
    if isinstance(error, BaseException):
        status = getattr(error, "status_code", None)
        told = "" if type(status) is not int else f" {status}"
        return f"{type(error).__name__}{told}"
    if error is None or not str(error).strip():
        return None
    if (found := _ERROR.match(str(error))) is None:
        return "error"
    return " ".join(part for part in found.groups() if part)


def labels(metadata: object) -> dict[str, Label]:
    """Counts and labels as a record keeps them; other objects as their type's name.

    Of a text that is no label (longer than one, or under a name for what was said) only its length is kept, in
    characters; of what has such a text for its name nothing is.
    Raises ImpossibleUsage for what is no dict.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ImpossibleUsage(f"metadata is a {type(metadata).__name__}; expected a dict of labels and counts")
    named = ((str(name), value) for name, value in metadata.items())
    return dict(islice(((name, _label(name, value)) for name, value in named if len(name) <= LONGEST), _MOST_LABELS))


def _label(name: str, value: object) -> Label:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < _LARGEST_INTEGER:
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if not isinstance(value, _WORDS):
        return type(value).__name__
    text = str(value)
    return len(text) if len(text) > LONGEST or name.lower() in _SAID else text
