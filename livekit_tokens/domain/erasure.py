"""A person, forgotten: what of a part, a stay and a record names them, and what stands in its place. Pure.

What is forgotten is remembered as digests under a key of the ledger's own, so that nobody comes back by a spool that
arrives late: of identities and parts, and of the names of rooms and sessions that had the person's name in them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from livekit_tokens.domain.sessions import Part, Stay, suffix
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UsageRecord

Kind = Literal["identity", "part", "session", "room", "tenant"]

ERASED = "erased_"
_SHORT = 4
"""A name of fewer letters is only looked for as a whole word: `Jo` is not in `join-room`."""
_KEPT_LABELS = frozenset({"status", "cancelled"})
"""Texts of a record's metadata that are ours and name nobody: reports ask for them. All others may be anything."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who is to be forgotten: identities as they are stored, and the display names that were seen with them."""

    identities: frozenset[str]
    names: frozenset[str] = frozenset()

    def is_named_in(self, text: str | None) -> bool:
        """`support-room-john-doe` names John Doe: letter case and what stands between letters do not matter."""
        if not text:
            return False
        squeezed, words = _squeezed(text), {_squeezed(word) for word in re.split(r"[\W_]+", text)}
        for name in (*self.identities, *self.names):
            sought = _squeezed(name)
            if (len(sought) >= _SHORT and sought in squeezed) or (sought and sought in words) or name == text:
                return True
        return False


@dataclass(slots=True)
class Forgotten:
    """The digests that are remembered, each with the moment from which on the person counts as a new one."""

    key: bytes
    known: dict[bytes, Micros] = field(default_factory=dict)

    def digest(self, kind: Kind, text: str) -> bytes:
        return hmac.digest(self.key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256)

    def neutral(self, kind: Kind, text: str) -> str:
        """What stands in the place of a room's, session's or tenant's name, from whichever process it comes."""
        return f"{ERASED}{suffix(int.from_bytes(self.digest(kind, text)))}"

    def remember(self, kind: Kind, text: str, at: Micros) -> None:
        self.known[self.digest(kind, text)] = at

    def has(self, kind: Kind, text: str | None, since: Micros = 0) -> bool:
        """`since`: when it began; what begins after an erasure is not meant by it."""
        return text is not None and self.known.get(self.digest(kind, text), -1) >= since

    def asked_by(self, parts: Iterable[Part], stays: Iterable[Stay], records: Iterable[str]) -> set[bytes]:
        """The digests that may be meant by what has arrived: those that are to be looked up."""
        asked: set[tuple[Kind, str]] = {("part", key) for key in records}
        for part in parts:
            asked |= {("part", part.key), ("session", part.session_id)}
            asked |= {("identity", part.user)} if part.user else set()
            asked |= {("room", part.room)} if part.room else set()
        asked |= {("identity", stay.identity) for stay in stays if stay.identity}
        return {self.digest(kind, text) for kind, text in asked}

    def part(self, part: Part) -> Part:
        """The part without who is forgotten; what it newly tells of them is remembered."""
        if self.has("identity", part.user, part.started_at) or self.has("part", part.key):
            at = self.known.get(self.digest("identity", part.user or ""), part.started_at)
            person = Person(frozenset(filter(None, [part.user])), frozenset(filter(None, [part.user_name])))
            self.remember("part", part.key, at)
            for kind, text in (("session", part.session_id), ("room", part.room)):
                if text and person.is_named_in(text):
                    self.remember(kind, text, at)  # type: ignore[arg-type]
            part = self.without(part, person)
        return self.renamed(part)

    def without(self, part: Part, person: Person) -> Part:
        """A part of the person's, without them; its session and room keep their names."""
        tags = {key: text for key, text in part.tags.items() if not person.is_named_in(text)}
        named = part.tenant is not None and person.is_named_in(part.tenant)
        tenant = self.neutral("tenant", part.tenant or "") if named else part.tenant
        return replace(part, user=None, user_name=None, tenant=tenant, tags=tags)

    def renamed(self, part: Part) -> Part:
        """The part under the neutral names of its session and room, where their own named somebody."""
        if self.has("session", part.session_id):
            part = replace(part, session_id=self.neutral("session", part.session_id))
        if self.has("room", part.room):
            part = replace(part, room=self.neutral("room", part.room or ""))
        return part

    def stay(self, stay: Stay) -> Stay:
        return nobodys(stay) if self.has("identity", stay.identity, stay.joined_at) else stay

    def record(self, record: UsageRecord) -> UsageRecord:
        if not self.has("part", record.part):
            return record
        return replace(record, request_id=None, idempotency_key=None, metadata=counts_of(record.metadata))


def nobodys(stay: Stay) -> Stay:
    return replace(stay, identity=None, name=None)


def counts_of(metadata: Mapping[str, str | int | float | bool | None]) -> dict[str, str | int | float | bool | None]:
    """Metadata without the caller's own texts, which may name anybody."""
    return {name: value for name, value in metadata.items() if not isinstance(value, str) or name in _KEPT_LABELS}


def _squeezed(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
