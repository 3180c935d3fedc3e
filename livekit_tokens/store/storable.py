"""What of a batch no database, or not this one, can hold, made into what it can. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from livekit_tokens.core.ledger import Batch
from livekit_tokens.domain.sessions import Part, Stay
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.rows import Numbered

_Line = TypeVar("_Line", Part, Stay, UsageRecord)

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_INDEXED = {"session_id", "user", "service", "provider", "model", "operation", "agent", "feature"}
_LONGEST_INDEXED = 400
"""Bytes. Six such names are in the key of a sum, and a row of PostgreSQL's B-tree holds 2,704 in all."""


def storable(batch: Batch) -> Batch:
    """The batch with U+FFFD in place of what a text cannot hold: NUL (PostgreSQL) and halves of surrogate pairs; names
    that are longer than an index holds (PostgreSQL) are cut, and end in a hash of the whole.

    One such character, or such a name, must not stop a source's whole spool for ever.
    """
    return replace(
        batch,
        parts=tuple(_storable(part) for part in batch.parts),
        stays=tuple(_storable(stay) for stay in batch.stays),
        records=tuple((seq, _storable(record)) for seq, record in batch.records),
    )


def without_figures(numbered: Numbered) -> Numbered:
    """The record as one of which nothing more is known than that there was one."""
    seq, record = numbered
    nothing: dict[str, Any] = dict.fromkeys(("low", "high", "processing_ms", "first_output_ms"))
    metadata = {"fault": "its figures cannot be stored"}
    return seq, replace(record, units={}, informational={}, provenance="unknown", metadata=metadata, **nothing)


def _storable(value: _Line) -> _Line:
    cleaned: dict[str, Any] = {f.name: _clean(getattr(value, f.name)) for f in fields(value)}
    indexed = {name: _cut(text) for name in _INDEXED & cleaned.keys() if (text := cleaned[name])}
    return replace(value, **cleaned | indexed)


def _cut(text: str) -> str:
    whole = text.encode()
    if len(whole) <= _LONGEST_INDEXED:
        return text
    digest = hashlib.sha256(whole).hexdigest()[:32]
    return f"{whole[: _LONGEST_INDEXED - len(digest) - 1].decode(errors='ignore')}~{digest}"


def _clean(value: object) -> object:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
