"""The ledger's entries: usage records, each with whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from livekit_tokens.domain.summary import RecordLine


@dataclass(frozen=True, slots=True)
class Entry:
    """One usage record with its price, and the session, user, tenant, room and tags of its part."""

    line: RecordLine
    session_id: str
    user: str | None
    user_name: str | None
    tenant: str | None
    room: str | None
    tags: Mapping[str, str]

    def to_dict(self) -> dict[str, object]:
        """The record of a session's JSON, after whose it is."""
        return {
            "session_id": self.session_id,
            "user": self.user,
            "user_name": self.user_name,
            "tenant": self.tenant,
            "room": self.room,
            "tags": dict(self.tags),
            **self.line.to_dict(),
        }
