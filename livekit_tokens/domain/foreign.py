"""A row of another tracker's (a log line, a table's row, a document) as a usage record of ours. Pure.

Known are the fields of the formats that livekit-tokens replaces, under any of their names. A row without a time, a
model or its tokens is not guessed at: `Unmapped` says what is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from livekit_tokens.domain import described
from livekit_tokens.domain.billing import hears, speaks
from livekit_tokens.domain.errors import BadSetting, ImpossibleUsage
from livekit_tokens.domain.foreign_cells import Unmapped, cell, count, fraction, json_object, moment
from livekit_tokens.domain.given import figures_of
from livekit_tokens.domain.identity import PLAIN, Identities
from livekit_tokens.domain.periods import DAY
from livekit_tokens.domain.sessions import Part, suffix
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.units import MOST_HELD, Units, input_tokens, make_units, output_tokens
from livekit_tokens.domain.usage import EXPORTED_KEY, PROVENANCES, UNKNOWN_FEATURE, Provenance, UsageRecord

Row = Mapping[str, object]

_NAMES = {
    "id": ("id",),
    "at": ("timestamp", "time", "session_end", "session_start", "created_at", "date"),
    "born": ("created_at", "session_start", "timestamp", "time", "date"),
    "grows": ("session_start",),
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
    "first_ms": ("first_output_ms",),
    "audio": ("audio_seconds", "duration_seconds"),
    "success": ("success",),
    "error": ("error_message", "error"),
    "quality": ("quality_score",),
    "safety": ("safety_score",),
    "metadata": ("request_metadata", "metadata"),
    "units": ("units",),
    "informational": ("informational_units",),
    "provenance": ("provenance",),
}
COST = "imported_cost_usd"
_EXPORTED = re.compile(r"([0-9a-f]{32})-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Foreign:
    """A row as it goes into the ledger: the part that it belongs to, as far as this row tells of it, and its record."""

    part: Part
    record: UsageRecord
    identified: bool = False
    """It has an id: whoever tells of it again means the same row, also where other counts stand in it."""
    grows: bool = False
    """A row of `token_usage`, whose counts grow while its session goes on."""
    exported: tuple[str, int] | None = None
    """The key of a part and the number in it, where its id is one that our own export writes."""


class Terms(NamedTuple):
    """What an import goes by: what of an identity is kept; the import's own id (each numbers its records from 1, so
    each has parts of its own); and which service a model's price is for, where neither the row nor its name tells it.
    """

    keep: Identities = PLAIN
    run: str = ""
    sold_as: Callable[[str], str | None] = lambda _model: None


def foreign(row: Row, occurrence: int, terms: Terms = Terms()) -> Foreign:  # noqa: B008 - frozen
    """Map a row; `occurrence` tells apart rows of one file that are the same to the letter. Raises Unmapped."""
    try:
        cells = {str(name).strip().lower(): cell(value) for name, value in row.items()}
        return _mapped(cells, row, occurrence, terms)
    except (ImpossibleUsage, BadSetting) as fault:
        raise Unmapped(str(fault)) from fault


def row_digest(row: Row) -> bytes:
    """The same for the same row, from whichever file and however often."""
    return hashlib.blake2b(json.dumps(row, sort_keys=True, default=str).encode(), digest_size=16).digest()


def _mapped(row: Row, given: Row, occurrence: int, terms: Terms) -> Foreign:
    found = {name: next((row[n] for n in names if row.get(n) is not None), None) for name, names in _NAMES.items()}
    if found["at"] is None:
        raise Unmapped(f"it has no time ({', '.join(_NAMES['at'])})")
    at, model = moment(found["at"]), described.name_of(found["model"])
    born = at if found["born"] is None else moment(found["born"])
    if model is None:
        raise Unmapped("it names no model (model or model_name)")
    its = described.id_of(found["id"])
    exported = _exported(its)
    units, informational, provenance = _figures(model, found) if exported is None else _own_figures(model, found)
    name = described.id_of(found["user_name"])
    # Who is known by a name only is found and erased by it.
    user = terms.keep.identity(described.id_of(found["user"]) or name)
    session = described.id_of(found["session"]) or _session_of(user, born)
    operation = described.name_of(found["operation"])
    service = described.name_of(found["service"]) or _service_of(model, operation, terms.sold_as)
    part = _part(terms.run, session, user, terms.keep.name(name), at)
    grows = found["grows"] is not None
    told = f"import:{row_digest(given).hex()}:{occurrence}"
    if exported is not None:
        told = f"{EXPORTED_KEY}{its}"
    elif its is not None:
        told = "import:id:" + row_digest({"row": [its, session, model, service, born, grows]}).hex()
    record = UsageRecord(
        part=part.key,
        at=at,
        service=service,
        provider=described.name_of(found["provider"]) or "openai",
        model=model,
        operation=operation or _operation_of(service),
        units=units,
        informational=informational,
        provenance=provenance,
        agent=described.name_of(found["agent"]),
        feature=described.name_of(found["feature"]) or UNKNOWN_FEATURE,
        success=str(found["success"]).lower() not in ("false", "0", "no"),
        error=described.error_of(None if found["error"] is None else str(found["error"])),
        processing_ms=_milliseconds(found),
        first_output_ms=_whole_ms(fraction("first_output_ms", found["first_ms"])),
        idempotency_key=told,
        quality_score=described.score("quality_score", fraction("quality_score", found["quality"])),
        safety_score=described.score("safety_score", fraction("safety_score", found["safety"])),
        metadata=_metadata(found),
    )
    return Foreign(part, record, its is not None, grows, exported)


def _part(run: str, session: str, user: str | None, name: str | None, at: Micros) -> Part:
    key = hashlib.sha256(f"import\0{run}\0{session}\0{user}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Part(
        key=key,
        session_id=session,
        started_at=at,
        user=user,
        user_name=name,
        status="closed",
        ended_at=at,
        close_reason="imported",
    )


def _own_figures(model: str, found: Row) -> tuple[Units, Units, Provenance]:
    """Of a row that our own export wrote; one of before it told units is read as any other."""
    if (told := json_object(found["units"])) is None:
        return _figures(model, found)
    units = make_units(told, MOST_HELD)
    informational = make_units(json_object(found["informational"]) or {}, MOST_HELD)
    for name, sum_of in (("input", input_tokens), ("output", output_tokens)):
        tokens, whole = count(f"{name}_tokens", found[name]), sum_of(units) + sum_of(informational)
        if tokens not in (None, whole):
            raise Unmapped(f"its {name}_tokens are {str(tokens)[:20]}, its units' {whole}; expected the same")
    return units, informational, _provenance(found["provenance"])


def _figures(model: str, found: Row) -> tuple[Units, Units, Provenance]:
    told = {name: count(f"{name}_tokens", found[name]) for name in ("input", "output", "cached")}
    seconds = fraction("audio_seconds", found["audio"])
    if told["input"] is None and told["output"] is None and seconds is None:
        raise Unmapped("it tells no input or output tokens (a total alone has no price)")
    units, informs = figures_of(
        model,
        input_tokens=told["input"],
        output_tokens=told["output"],
        cached_tokens=told["cached"],
        audio_seconds=seconds,
    )
    if not units and not informs and fraction("cost", found["cost"]):
        return {}, {}, "unknown"  # it was billed by what these formats do not tell: seconds, or characters
    if informs:
        return units, informs, "unknown" if seconds is None else "reported"
    # Which of a realtime model's tokens were audio, other trackers do not say; here they stand as text.
    return units, {}, "estimated" if "realtime" in model else "reported"


def _provenance(told: object) -> Provenance:
    for provenance in PROVENANCES:
        if provenance == told:
            return provenance
    raise Unmapped(f"its provenance is {str(told)[:20]!r}; expected {', '.join(PROVENANCES)}")


def _metadata(found: Row) -> Mapping[str, str | int | float | bool | None]:
    labels = described.labels(json_object(found["metadata"]))
    if (cost := fraction("cost", found["cost"])) is not None:
        if cost < 0:
            raise Unmapped(f"cost is {str(cost)[:20]}; expected one from 0")
        labels[COST] = f"{cost:f}"
    return labels


def _milliseconds(found: Row) -> int | None:
    seconds = fraction("response_time", found["seconds"])
    milliseconds = fraction("processing_time_ms", found["milliseconds"])
    return _whole_ms(seconds * 1000 if seconds is not None else milliseconds)


def _whole_ms(number: Decimal | None) -> int | None:
    return None if number is None or not 0 <= number < 10**12 else round(number)


def _session_of(user: str | None, at: Micros) -> str:
    """For rows that name none: a session a user and UTC day."""
    whose = f"{user}\0{at // DAY}".encode("utf-8", "surrogatepass")
    return f"imported_{suffix(int.from_bytes(hashlib.sha256(whose).digest()))}"


def _exported(its: str | None) -> tuple[str, int] | None:
    found = _EXPORTED.fullmatch(its or "")
    return None if found is None else (found[1], int(found[2]))


def _service_of(model: str, operation: str | None, sold_as: Callable[[str], str | None]) -> str:
    if operation == "transcription" or hears(model):
        return "transcriber"
    if operation == "speech" or speaks(model):
        return "tts"
    return "agent" if operation else sold_as(model) or "agent"


def _operation_of(service: str) -> str:
    return {"transcriber": "transcription", "tts": "speech"}.get(service, "chat_completion")
