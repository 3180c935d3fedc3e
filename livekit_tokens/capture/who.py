"""Whose call it is: user, display name and tenant, from the caller and the job, as far as they may be kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from livekit_tokens.domain.identity import IDENTITY, PLAIN, Identities, Source
from livekit_tokens.domain.sessions import Part, session_id, suffix
from livekit_tokens.domain.times import Micros

if TYPE_CHECKING:  # recording by hand needs no LiveKit
    from livekit.agents import JobContext


@dataclass(frozen=True, slots=True)
class Naming:
    """The settings that say where a user and a tenant are read from, and what of an identity is kept."""

    identities: Identities = PLAIN
    user_from: Source = IDENTITY
    tenant_from: Source | None = None


BY_IDENTITY = Naming()


@dataclass(frozen=True, slots=True)
class Whose:
    """User, display name and tenant of a part; None where it is not known (yet), or not to be kept."""

    user: str | None = None
    user_name: str | None = None
    tenant: str | None = None


class Who:
    """Answers whose call it is. What the host gave to `track` goes first."""

    def __init__(self, naming: Naming, ctx: JobContext | None, *, user: str | None, tenant: str | None) -> None:
        self._naming = naming
        self._metadata = _metadata_of(ctx)
        self._user = user
        self._tenant = tenant

    def at_start(self) -> Whose:
        """What is known before anybody is in the room."""
        return self._whose(None, None, {})

    def by(self, participant: Any) -> Whose:
        """What the caller's participant tells."""
        return self._whose(participant.identity, participant.name, participant.attributes)

    def _whose(self, identity: str | None, name: str | None, attributes: Mapping[str, str]) -> Whose:
        keep, naming = self._naming.identities, self._naming
        user = self._user or naming.user_from.read(identity, attributes, self._metadata)
        tenant = self._tenant
        if tenant is None and naming.tenant_from is not None:
            tenant = naming.tenant_from.read(identity, attributes, self._metadata)
        return Whose(keep.identity(user), keep.name(name), tenant)


def part_of(ctx: JobContext | None, key: str, at: Micros, whose: Whose, tags: Mapping[str, str]) -> Part:
    """A part that begins now, of the session that the job's room is; without a room, of a session of its own."""
    room = None if ctx is None or ctx.is_fake_job() or not ctx.job.room.sid else ctx.job.room
    return Part(
        key=key,
        session_id=session_id(room.name, room.sid) if room else f"local_{suffix(int(key, 16))}",
        started_at=at,
        room=room.name if room else None,
        job=ctx.job.id if ctx else None,
        agent_name=(ctx.job.agent_name or None) if ctx else None,
        user=whose.user,
        user_name=whose.user_name,
        tenant=whose.tenant,
        tags=dict(tags),
    )


def _metadata_of(ctx: JobContext | None) -> Mapping[str, object]:
    """The job's metadata, where it is a JSON object."""
    try:
        read = json.loads(ctx.job.metadata) if ctx is not None and ctx.job.metadata else {}
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
