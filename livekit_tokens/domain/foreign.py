"""A row of another tracker's (a log line, a table's row, a document) as a usage record of ours. Pure.

Known are the fields of the formats that livekit-tokens replaces, under any of their names. A row without a time, a
model or its tokens is not guessed at: `Unmapped` says what is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from livekit_tokens.domain import described
from livekit_tokens.domain.errors import BadSetting, ImpossibleUsage, LiveKitTokensError
from livekit_tokens.domain.given import units_of
from livekit_tokens.domain.identity import PLAIN, Identities
from livekit_tokens.domain.periods import DAY, LAST, read_moment
from livekit_tokens.domain.sessions import Part, suffix
from livekit_tokens.domain.times import SECOND, Micros
from livekit_tokens.domain.units import Units, make_units
from livekit_tokens.domain.usage import UNKNOWN_FEATURE, Provenance, UsageRecord

Row = Mapping[str, object]

_NAMES = {
    "at": ("timestamp", "time", "session_end", "session_start", "created_at", "date"),
    "model": ("model", "model_name"),
    "input": ("input_tokens", "prompt_tokens"),
    "output": ("output_tokens", "completion_tokens"),
    "cached": ("cached_tokens", "cached_input_tokens"),
    "session": ("thread_id", "session_id", "conversation_id"),
    "user": ("user_id", "user", "userid"),
    "user_name": ("user_name", "username"),
    "service": ("service_type", "service"),
    "operation": ("operation_type", "operation"),
    "agent": ("agent_name", "agent"),
    "feature": ("feature",),
    "provider": ("provider",),
    "cost": ("total_cost", "total_cost_usd", "cost_usd", "cost_estimate", "cost"),
    "seconds": ("response_time",),
    "milliseconds": ("processing_time_ms", "response_time_ms"),
    "audio": ("audio_seconds", "duration_seconds"),
    "success": ("success",),
    "error": ("error_message", "error"),
    "quality": ("quality_score",),
    "safety": ("safety_score",),
    "metadata": ("request_metadata", "metadata"),
}
_SAID = {
    "query",
    "prompt",
    "question",
    "messages",
    "input",
    "output",
    "response",
    "answer",
    "text",
    "content",
    "transcript",
}
"""Labels under which other trackers keep what was said: they stay behind."""
_EMPTY = ("", "null", "none", "nan")
_MILLISECONDS_FROM = 10**11
"""A number of seconds this large would be in the year 5138: it counts milliseconds."""


class Unmapped(LiveKitTokensError):
    """A row that cannot be a usage record; the message says why."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A row as it goes into the ledger: the part that it belongs to, as far as this row tells of it, and its record."""

    part: Part
    record: UsageRecord


def foreign(row: Row, occurrence: int, keep: Identities = PLAIN, *, run: str = "") -> Foreign:
    """Map a row; `occurrence` tells apart rows of one file that are the same to the letter, `keep` says what of an
    identity is kept, `run` is the import's own id: each numbers its records from 1, so each has parts of its own.
    Raises Unmapped.
    """
    try:
        cells = {str(name).strip().lower(): _text(value) for name, value in row.items()}
        return _mapped(cells, row, occurrence, keep, run)
    except (ImpossibleUsage, BadSetting) as fault:
        raise Unmapped(str(fault)) from fault


def row_digest(row: Row) -> bytes:
    """The same for the same row, from whichever file and however often."""
    return hashlib.blake2b(json.dumps(row, sort_keys=True, default=str).encode(), digest_size=16).digest()


def _mapped(row: Row, given: Row, occurrence: int, keep: Identities, run: str) -> Foreign:
    found = {name: next((row[n] for n in names if row.get(n) is not None), None) for name, names in _NAMES.items()}
    at, model = _moment(found["at"]), described.name_of(found["model"])
    if model is None:
        raise Unmapped("it names no model (model or model_name)")
    units, informational, provenance = _figures(model, found)
    user, session = keep.identity(described.id_of(found["user"])), described.id_of(found["session"])
    service = described.name_of(found["service"]) or "agent"
    session = session or _session_of(user, at)
    key = hashlib.sha256(f"import\0{run}\0{session}\0{user}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    part = Part(
        key=key,
        session_id=session,
        started_at=at,
        user=user,
        user_name=keep.name(described.id_of(found["user_name"])),
        status="closed",
        ended_at=at,
        close_reason="imported",
    )
    record = UsageRecord(
        part=key,
        at=at,
        service=service,
        provider=described.name_of(found["provider"]) or "openai",
        model=model,
        operation=described.name_of(found["operation"]) or _operation_of(service),
        units=units,
        informational=informational,
        provenance=provenance,
        agent=described.name_of(found["agent"]),
        feature=described.name_of(found["feature"]) or UNKNOWN_FEATURE,
        success=str(found["success"]).lower() not in ("false", "0", "no"),
        error=described.error_of(None if found["error"] is None else str(found["error"])),
        processing_ms=_milliseconds(found),
        idempotency_key=f"import:{row_digest(given).hex()}:{occurrence}",
        quality_score=described.score("quality_score", _number(found["quality"])),
        safety_score=described.score("safety_score", _number(found["safety"])),
        metadata=_metadata(found),
    )
    return Foreign(part, record)


def _figures(model: str, found: Row) -> tuple[Units, Units, Provenance]:
    told = {name: _count(name, found[name]) for name in ("input", "output", "cached")}
    seconds = _number(found["audio"])
    if told["input"] is None and told["output"] is None and seconds is None:
        raise Unmapped("it tells no input or output tokens (a total alone has no price)")
    if model.startswith("whisper"):  # billed by its duration: its tokens were an estimate, and only inform
        informs = make_units({"input_audio": told["input"], "output_text": told["output"]})
        return units_of(model, audio_seconds=seconds), informs, "unknown" if seconds is None else "reported"
    units = units_of(
        model,
        input_tokens=told["input"],
        output_tokens=told["output"],
        cached_tokens=told["cached"],
        audio_seconds=seconds,
    )
    # Which of a realtime model's tokens were audio, other trackers do not say; here they stand as text.
    return units, {}, "estimated" if "realtime" in model else "reported"


def _metadata(found: Row) -> Mapping[str, str | int | float | bool | None]:
    own = found["metadata"]
    if isinstance(own, str):
        try:
            own = json.loads(own)
        except ValueError:
            own = None
    kept = {n: v for n, v in own.items() if str(n).lower() not in _SAID} if isinstance(own, Mapping) else {}
    labels = described.labels(kept)
    if (cost := _number(found["cost"])) is not None:
        labels["imported_cost_usd"] = f"{cost:f}"
    return labels


def _moment(value: object) -> Micros:
    """A text as ISO or RFC 3339 has it (UTC without an offset), or a number of seconds or milliseconds since 1970."""
    if value is None:
        raise Unmapped(f"it has no time ({', '.join(_NAMES['at'])})")
    if (number := _number(value, strict=False)) is not None:
        seconds = number / 1000 if abs(number) >= _MILLISECONDS_FROM else number
        at = int(seconds * SECOND)
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


def _count(name: str, value: object) -> int | None:
    number = _number(value)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise Unmapped(f"{name} tokens are {str(value)[:20]!r}; expected a whole number")
    return int(number)


def _number(value: object, *, strict: bool = True) -> Decimal | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value).replace(",", "").removeprefix("$"))
    except InvalidOperation:
        number = None
    if number is not None and number.is_finite():
        return number
    if strict:
        raise Unmapped(f"{str(value)[:20]!r} is not a number")
    return None


def _milliseconds(found: Row) -> int | None:
    seconds, milliseconds = _number(found["seconds"]), _number(found["milliseconds"])
    number = seconds * 1000 if seconds is not None else milliseconds
    return None if number is None or not 0 <= number < 10**12 else round(number)


def _session_of(user: str | None, at: Micros) -> str:
    """For rows that name none: a session a user and UTC day."""
    whose = f"{user}\0{at // DAY}".encode("utf-8", "surrogatepass")
    return f"imported_{suffix(int.from_bytes(hashlib.sha256(whose).digest()))}"


def _operation_of(service: str) -> str:
    return {"transcriber": "transcription", "tts": "speech"}.get(service, "chat_completion")


def _text(value: object) -> object:
    """A cell without what stands for nothing, and without the sign that keeps a spreadsheet from running it."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@"):
        text = text[1:]
    return None if text.lower() in _EMPTY else text
