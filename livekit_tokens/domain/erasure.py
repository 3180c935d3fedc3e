"""A person, forgotten: what of a part, a stay and a record names them, and what stands in its place. Pure.

What is forgotten is remembered as digests under a key of the ledger's own, so that nobody comes back by a spool that
arrives late: of identities, names and parts, and of the names of rooms and sessions that had the person's name in them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from livekit_tokens.domain.once import digest as once_digest
from livekit_tokens.domain.sessions import Part, Stay, suffix
from livekit_tokens.domain.stretches import is_stretch
from livekit_tokens.domain.times import Micros
from livekit_tokens.domain.usage import UNKNOWN_FEATURE, UsageRecord

Kind = Literal["identity", "name", "part", "visit", "session", "room", "tenant", "label"]

ERASED = "erased_"
_SEALED = b"\1"
"""So begins the digest of an idempotency key that is sealed: it is a byte longer than one that is not."""
_SHORT = 4
"""A name of fewer letters is only looked for as a whole word: `Jo` is not in `join-room`."""
_LONG = 6
"""A shorter one is only looked for as the whole, where words stand that are not the person's."""
_MOST_WORDS = 64
_LONGEST_RUN = 8
"""Words: a name of more is not looked for by its digest within a longer text. A UUID has five."""
_COUNTS = frozenset(("cancelled", "characters", "generations", "inferred_audio_ms", "messages_count")) | {
    *("status_code", "tools_count", "uncounted_images"),
}
_WORDS = {
    "status": frozenset(("cancelled", "completed", "failed", "in_progress", "incomplete")),
    "audio_from": frozenset(("inferred", "measured")),
    "counted_by": frozenset(("cl100k", "o200k", "words")),
}
"""Metadata of our own, that names nobody: counts by their names, and words by names and values."""

Metadata = Mapping[str, str | int | float | bool | None]


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

    def is_surely_named_in(self, text: str | None) -> bool:
        """In words that are not the person's: a short name is only looked for as the whole, as Nova is no `nova-2`."""
        return Person(frozenset(n for n in self.identities | self.names if len(n) >= _LONG or n == text)).is_named_in(
            text
        )

    def not_in(self, metadata: Metadata) -> dict[str, str | int | float | bool | None]:
        return {n: v for n, v in metadata.items() if not (self.is_named_in(n) or self.is_named_in(str(v)))}

    def __or__(self, other: Person) -> Person:
        return Person(self.identities | other.identities, self.names | other.names)


NOBODY = Person(frozenset())


def _someone(identity: str | None, name: str | None) -> Person:
    return Person(frozenset(filter(None, [identity])), frozenset(filter(None, [name])))


@dataclass(frozen=True, slots=True)
class Seen:
    """What is told of forgotten people in one part, and the moment of the latest erasure that is meant."""

    person: Person
    at: Micros
    theirs: bool
    """The part is theirs; not only one in whose room they were."""


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
        digest = self.digest(kind, text)
        self.known[digest] = max(at, self.known.get(digest, at))

    def remember_person(self, person: Person, at: Micros) -> None:
        for identity in person.identities:
            self.remember("identity", identity, at)
        self.remember_names(person, at)

    def remember_names(self, person: Person, at: Micros) -> None:
        """They may come again with a part or a stay that does not tell whose they are."""
        for name in person.identities | person.names:
            self.remember("name", _squeezed(name) or name, at)

    def has(self, kind: Kind, text: str | None, since: Micros = 0) -> bool:
        """`since`: when it began; what begins after an erasure is not meant by it."""
        return self.at(kind, text, since) is not None

    def at(self, kind: Kind, text: str | None, since: Micros = 0) -> Micros | None:
        """When it was forgotten; None: never, or before it began."""
        at = None if text is None else self.known.get(self.digest(kind, text))
        return None if at is None or at < since else at

    def sealed(self, digest: bytes) -> bytes:
        """A digest that anybody could work out, who guesses at what it is made of, as only this ledger can."""
        return _SEALED + hmac.digest(self.key, b"once\0" + digest, hashlib.sha256)

    def known_as(self, session_id: str, idempotency_key: str) -> tuple[bytes, ...]:
        """The digests by which a record that counts once may be known in a ledger with erasures; the last one is that
        by which it is known from now on, whether its session is told of by its own name or by the neutral one.
        """
        plain = once_digest(session_id, idempotency_key)
        if not self.has("session", session_id):
            return plain, self.sealed(plain)
        neutral = once_digest(self.neutral("session", session_id), idempotency_key)
        return plain, self.sealed(plain), self.sealed(neutral)

    def asked_by(self, parts: Iterable[Part], stays: Iterable[Stay], records: Iterable[str]) -> set[bytes]:
        """The digests that may be meant by what has arrived: those that are to be looked up."""
        asked: set[tuple[Kind, str | None]] = set()
        for key in records:
            asked |= {("part", key), ("visit", key)}
        for part in parts:
            asked |= {("part", part.key), ("visit", part.key), ("session", part.session_id), ("room", part.room)}
            asked.add(_whose(part.user, part.user_name))
        asked |= {_whose(stay.identity, stay.name) for stay in stays}
        return {self.digest(kind, text) for kind, text in asked if text}

    def asked_by_imports(self, parts: Iterable[Part]) -> set[bytes]:
        told = list(parts)
        of_rows = {self.digest(kind, text) for part in told for kind, text in _imported_by(part) if text}
        return of_rows | {self.digest("session", part.session_id) for part in told}

    def is_imported(self, part: Part) -> bool:
        """Whether a part that is to be imported is of somebody who was forgotten after that."""
        return any(self.has(kind, text, part.started_at) for kind, text in _imported_by(part))

    def seen(self, parts: Iterable[Part], stays: Iterable[Stay], records: Iterable[str]) -> dict[str, Seen]:
        """By the key of a part: whom of the forgotten it tells of, itself, by a stay, or by what is known of it."""
        found: dict[str, Seen] = {}

        def add(key: str, at: Micros | None, person: Person = NOBODY, *, theirs: bool = False) -> None:
            if at is not None:
                before = found.get(key, Seen(NOBODY, at, theirs=False))
                found[key] = Seen(before.person | person, max(before.at, at), before.theirs or theirs)

        for part in parts:
            own = _someone(part.user, part.user_name)
            add(part.key, self.at(*_whose(part.user, part.user_name), part.started_at), own, theirs=True)
            add(part.key, self.at("part", part.key), own, theirs=True)
            add(part.key, self.at("session", part.session_id, part.started_at))
            add(part.key, self.at("room", part.room, part.started_at))
        for stay in stays:
            person = _someone(stay.identity, stay.name)
            add(stay.part, self.at(*_whose(stay.identity, stay.name), stay.joined_at), person)
        for key in {*records, *(part.key for part in parts)}:
            add(key, self.at("part", key), theirs=True)
            add(key, self.at("visit", key))
        return found

    def names_in(self, texts: Iterable[str]) -> set[bytes]:
        """The digests of all that may be a name in these texts."""
        return {self.digest("name", piece) for text in texts for piece in _pieces(text)}

    def tells_of_in(self, text: str | None, person: Person) -> bool:
        """Whether a text names the person, or anybody who is forgotten, as a run of its words."""
        return bool(text) and (person.is_named_in(text) or any(self.has("name", name) for name in _pieces(text or "")))

    def part(self, part: Part, seen: Seen | None) -> Part:
        """The part without who is forgotten; what it newly tells of them is remembered."""
        if seen is not None:
            self.remember_names(seen.person, seen.at)
            self.remember("part" if seen.theirs else "visit", part.key, seen.at)
            if self.tells_of_in(part.session_id, seen.person):
                self.remember("session", part.session_id, seen.at)
            if part.room and self.tells_of_in(part.room, seen.person):
                self.remember("room", part.room, seen.at)
            part = self.without(part, lambda text: self.tells_of_in(text, seen.person), theirs=seen.theirs)
        return self.renamed(part)

    def without(self, part: Part, names_them: Callable[[str | None], bool], *, theirs: bool = True) -> Part:
        """A part without a person; its session and room keep their names, its user does where it is not `theirs`."""
        tags = {key: text for key, text in part.tags.items() if not (names_them(text) or names_them(key))}
        tenant = self.neutral("tenant", part.tenant or "") if names_them(part.tenant) else part.tenant
        dispatched = None if names_them(part.agent_name) else part.agent_name
        user, name = (None, None) if theirs else (part.user, part.user_name)
        return replace(part, user=user, user_name=name, tenant=tenant, agent_name=dispatched, tags=tags)

    def renamed(self, part: Part) -> Part:
        """The part under the neutral names of its session and room, where their own named somebody when it began."""
        if self.has("session", part.session_id, part.started_at):
            part = replace(part, session_id=self.neutral("session", part.session_id))
        if self.has("room", part.room, part.started_at):
            part = replace(part, room=self.neutral("room", part.room or ""))
        return part

    def stay(self, stay: Stay) -> Stay:
        return nobodys(stay) if self.has(*_whose(stay.identity, stay.name), stay.joined_at) else stay

    def record(self, record: UsageRecord, seen: Seen | None) -> UsageRecord:
        if seen is None:
            return record
        if seen.theirs:
            key = record.idempotency_key if is_stretch(record) else None
            record = replace(record, request_id=None, idempotency_key=key, metadata=counts_of(record.metadata))

        def names_them(text: str | None) -> bool:
            return self.tells_of_in(text, seen.person)

        told = {n: v for n, v in record.metadata.items() if not (names_them(n) or names_them(str(v)))}
        agent = None if record.agent is None else self.relabelled(record.agent, names_them)
        return replace(record, agent=agent, feature=self.relabelled(record.feature, names_them), metadata=told)

    def relabelled(self, label: str, names_them: Callable[[str | None], bool]) -> str:
        return self.neutral("label", label) if label != UNKNOWN_FEATURE and names_them(label) else label


def is_neutral(name: str) -> bool:
    """Whether it stands in the place of another: it is not replaced once more, what comes late would not find it."""
    return re.fullmatch(rf"{ERASED}[0-9a-z]{{9}}", name) is not None


def is_sealed(digest: bytes) -> bool:
    return len(digest) == len(_SEALED) + hashlib.sha256().digest_size


def texts_of_record(record: UsageRecord) -> Iterable[str]:
    told = (record.agent, record.feature, *record.metadata.keys(), *map(str, record.metadata.values()))
    return [text for text in told if text]


def texts_of(part: Part) -> Iterable[str]:
    """All texts of a part that may have a name in them."""
    told = (part.session_id, part.room, part.tenant, part.agent_name, *part.tags.keys(), *part.tags.values())
    return [text for text in told if text]


def nobodys(stay: Stay) -> Stay:
    return replace(stay, identity=None, name=None)


def counts_of(metadata: Metadata) -> dict[str, str | int | float | bool | None]:
    """Metadata without what the caller may have given, names and values: either may be anybody's."""
    return {
        name: value
        for name, value in metadata.items()
        if (name in _COUNTS and not isinstance(value, str)) or value in _WORDS.get(name, ())
    }


def _squeezed(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _whose(identity: str | None, name: str | None) -> tuple[Kind, str | None]:
    """By what a part or a stay is looked for: its identity; where there is none, its display name."""
    return ("identity", identity) if identity or not name else ("name", _squeezed(name) or name)


def _imported_by(part: Part) -> Iterable[tuple[Kind, str | None]]:
    """A row that has only a display name is of a user of that name."""
    yield "identity", part.user
    if part.user == part.user_name:
        yield _whose(None, part.user_name)


def _pieces(text: str) -> set[str]:
    """The runs of words in a text, squeezed as names are: a digest can only be compared with a whole."""
    words = [squeezed for word in re.split(r"[\W_]+", text)[:_MOST_WORDS] if (squeezed := _squeezed(word))]
    ends = range(1, _LONGEST_RUN + 1)
    runs = {"".join(words[begin : begin + length]) for begin in range(len(words)) for length in ends}
    return runs or {text}
