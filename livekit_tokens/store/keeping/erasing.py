"""A person erased from the ledger, in one transaction: their sessions' parts, their stays, what their records carry.

Sums stay: there is no person in them. Looked at again afterwards, in a snapshot of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.erasure import Forgotten, Person, is_neutral, texts_of
from livekit_tokens.domain.errors import LedgerUnavailable
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import Micros
from livekit_tokens.store.connection import StoreLedger
from livekit_tokens.store.keeping.forgotten import KEY, KEY_NAME, recall, remember, rename, write_again
from livekit_tokens.store.keeping.freeing import Held, free, left_in, pages
from livekit_tokens.store.keeping.pruned import rename_tenant, tenants_pruned_away
from livekit_tokens.store.locks import be_alone
from livekit_tokens.store.rolling import drop_unrolled
from livekit_tokens.store.schema import erasure_keys, erasures, parts, records, sources, stays
from livekit_tokens.store.values import part_of


@dataclass(slots=True)
class Erased:
    """What was found of the person and is gone, or would be; `left` is what was found when all was looked at again,
    `left_in_models` those rows of it that only have a name of theirs in a model's, a provider's or an operation's.
    """

    parts: int = 0
    stays: int = 0
    records: int = 0
    sessions_renamed: int = 0
    rooms_renamed: int = 0
    left: int = 0
    left_in_models: int = 0

    def to_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


async def erase(
    ledger: StoreLedger, identities: frozenset[str], now: Micros, *, all_rooms: bool, dry_run: bool
) -> tuple[Erased, Person]:
    """Forget whoever is stored under these identities; `all_rooms` also renames rooms and sessions of theirs that do
    not seem to name them. Raises LedgerUnavailable or LedgerTooNew; then nothing has changed.
    """
    await ledger.check_is_there()
    opened: AbstractAsyncContextManager[AsyncConnection] = ledger.reader() if dry_run else ledger.writer()
    async with opened as conn:
        if not dry_run:
            await _alone(conn)
        person, theirs, shared = await _found(conn, identities, now)
        erasing = _Erasing(conn, person, Forgotten(b"" if dry_run else await _key(conn)), now)
        erased = await erasing.count(theirs, shared, all_rooms=all_rooms)
        if not dry_run:
            await erasing.forget(theirs, shared)
    if not dry_run:
        async with ledger.reader() as conn:
            held = await _left(conn, person, [*theirs, *shared], now)
            erased.left, erased.left_in_models = sum(held), held.bought
    return erased, person


async def _alone(conn: AsyncConnection) -> None:
    if conn.dialect.name == "postgresql":
        # Every drain begins with its source's row: it is finished, or waits, and then knows whom to forget.
        await be_alone(conn, sources.name)


async def _key(conn: AsyncConnection) -> bytes:
    of_name = erasure_keys.c.name == KEY_NAME
    key = (await conn.execute(sa.select(erasure_keys.c.value).where(of_name))).scalar()
    if key is None:
        key = secrets.token_bytes(32)
        await conn.execute(sa.insert(erasure_keys).values(name=KEY_NAME, value=key))
    return bytes(key)


async def _found(
    conn: AsyncConnection, identities: frozenset[str], now: Micros
) -> tuple[Person, list[Part], list[Part]]:
    """The person, the parts that are theirs, and the others of their sessions and of those they visited."""
    person = Person(identities)
    stayed = _stayed(person, now)
    seen = sa.select(parts.c.user_name).where(_begun(person, now)).union(sa.select(stays.c.name).where(stayed))
    person |= Person(frozenset(), frozenset(name for name in (await conn.execute(seen)).scalars() if name))
    begun, stayed = _begun(person, now), _stayed(person, now)
    own = [part_of(row) for row in await conn.execute(sa.select(parts).where(begun))]
    # Also the other parts of their sessions: a transcriber of its own may have the labels of the call.
    beside = sa.and_(parts.c.session_id.in_(sa.select(parts.c.session_id).where(begun)), parts.c.started_at <= now)
    visited = sa.select(parts).where(sa.or_(parts.c.key.in_(sa.select(stays.c.part).where(stayed)), beside))
    theirs = {part.key for part in own}
    others = [part for row in await conn.execute(visited) if (part := part_of(row)).key not in theirs]
    return person, own, others


async def only_named(ledger: StoreLedger, names: frozenset[str]) -> list[str]:
    """The identities that have one of these as their display name, where nobody is known by it alone."""
    person, ends = Person(names), 2**63 - 1
    async with ledger.reader() as conn:
        known = (
            sa.select(parts.c.key).where(_begun(person, ends)),
            sa.select(stays.c.part).where(_stayed(person, ends)),
        )
        for asked in known:
            if (await conn.execute(asked.limit(1))).first() is not None:
                return []
        found = sa.select(parts.c.user_id).where(parts.c.user_name.in_(sorted(names)))
        found_staying = sa.select(stays.c.identity).where(stays.c.name.in_(sorted(names)))
        return sorted(name for name in (await conn.execute(found.union(found_staying))).scalars() if name)


@dataclass(slots=True)
class _Erasing:
    conn: AsyncConnection
    person: Person
    forgotten: Forgotten
    now: Micros

    async def count(self, theirs: Sequence[Part], shared: Sequence[Part], *, all_rooms: bool) -> Erased:
        """What there is; the names that must go are remembered."""
        both = [*theirs, *shared]
        rooms = {p.room for p in both if p.room and self._must_go(p.room, all_rooms)}
        sessions = {p.session_id for p in both if self._must_go(p.session_id, all_rooms)}
        for room in rooms:
            self.forgotten.remember("room", room, self.now)
        for session in sessions:
            self.forgotten.remember("session", session, self.now)
        stayed = sa.select(sa.func.count()).select_from(stays).where(_stayed(self.person, self.now))
        counted = 0
        for keys in pages(theirs):
            of_theirs = sa.select(sa.func.count()).select_from(records).where(records.c.part.in_(keys))
            counted += (await self.conn.execute(of_theirs)).scalar_one()
        return Erased(len(theirs), (await self.conn.execute(stayed)).scalar_one(), counted, len(sessions), len(rooms))

    def _must_go(self, name: str, all_rooms: bool) -> bool:
        return (all_rooms or self.person.is_named_in(name)) and not is_neutral(name)

    async def forget(self, theirs: Sequence[Part], shared: Sequence[Part]) -> None:
        named = [(part.session_id, part.room) for part in (*theirs, *shared)]
        # A backup may be of before an erasure that renamed more.
        await recall(self.conn, self.forgotten, self.forgotten.asked_by([*theirs, *shared], (), ()))
        await rename(self.conn, self.forgotten, named)
        for part in theirs:
            await write_again(self.conn, self.forgotten.without(part, self.person.is_named_in))
        for part in shared:
            await write_again(self.conn, self.forgotten.without(part, self.person.is_named_in, theirs=False))
        tenants = {part.tenant for part in (*theirs, *shared) if part.tenant and self.person.is_named_in(part.tenant)}
        tenants |= {tenant for tenant in await tenants_pruned_away(self.conn) if self.person.is_named_in(tenant)}
        for tenant in sorted(tenants):
            await rename_tenant(self.conn, tenant, self.forgotten.neutral("tenant", tenant))
        for own, those in ((True, theirs), (False, shared)):
            for keys in pages(those):
                await free(self.conn, keys, self.person, self.forgotten, theirs=own)
        await self.conn.execute(sa.update(stays).where(_stayed(self.person, self.now)).values(identity=None, name=None))
        await drop_unrolled(self.conn)
        self.forgotten.remember_person(self.person, self.now)
        for part in theirs:
            self.forgotten.remember("part", part.key, self.now)
        for part in shared:
            self.forgotten.remember("visit", part.key, self.now)
        await remember(self.conn, self.forgotten.known)


def _begun(person: Person, now: Micros) -> sa.ColumnElement[bool]:
    """Their parts that began by then: who comes back later is a new person."""
    return sa.and_(_is(person, parts.c.user_id, parts.c.user_name), parts.c.started_at <= now)


def _stayed(person: Person, now: Micros) -> sa.ColumnElement[bool]:
    return sa.and_(_is(person, stays.c.identity, stays.c.name), stays.c.joined_at <= now)


def _is(person: Person, identity: sa.ColumnElement[Any], name: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """By identity; by display name only where there is none: others may have the same name."""
    by_name = sa.and_(identity.is_(None), name.in_(sorted(person.identities | person.names)))
    return sa.or_(identity.in_(sorted(person.identities)), by_name)


async def _left(conn: AsyncConnection, person: Person, seen: Sequence[Part], now: Micros) -> Held:
    """How many rows still hold an identity or a display name of the person's: as a user or by a stay anywhere, as a
    tenant of whom only a pruning tells, in any text of the parts that were seen to be theirs or to have them in their
    room.
    """
    of_tenant = sa.and_(parts.c.tenant.in_(sorted(person.identities)), parts.c.started_at <= now)
    theirs = sa.select(parts.c.key).where(sa.or_(_begun(person, now), of_tenant))
    known = set((await conn.execute(theirs)).scalars())
    of_stay = sa.select(sa.func.count()).select_from(stays).where(_stayed(person, now))
    found = int((await conn.execute(of_stay)).scalar_one())
    found += sum(map(person.is_named_in, await tenants_pruned_away(conn)))
    bought = 0
    for keys in pages(seen):
        for row in await conn.execute(sa.select(parts).where(parts.c.key.in_(keys))):
            if any(map(person.is_named_in, texts_of(part_of(row)))):
                known.add(row.key)
        held = await left_in(conn, keys, person)
        found, bought = found + held.freed, bought + held.bought
    return Held(found + len(known), bought)


async def remembered(ledger: StoreLedger) -> Forgotten | None:
    """All whom the ledger has forgotten; None where there is nobody, or no ledger that can be read."""
    try:
        async with ledger.reader() as conn:
            return await forgotten_by(conn)
    except LedgerUnavailable:
        return None


async def forgotten_by(conn: AsyncConnection) -> Forgotten | None:
    if (key := (await conn.execute(KEY)).scalar()) is None:
        return None
    return Forgotten(bytes(key), {bytes(row.digest): row.at for row in await conn.execute(sa.select(erasures))})


async def forget_again(backup: StoreLedger, forgotten: Forgotten) -> int:
    """Take out of a backup, before it is restored, whom the ledger has forgotten. Answers how many were in it.

    Raises LedgerUnavailable, also for a backup of another ledger, whose own erasures are under another key.
    """
    async with backup.writer() as conn:
        there = (await conn.execute(KEY)).scalar()
        if there is None:
            await conn.execute(sa.insert(erasure_keys).values(name=KEY_NAME, value=forgotten.key))
        elif there != forgotten.key:
            raise LedgerUnavailable(
                "the backup is another ledger's, with erasures of its own, and whom this one has forgotten cannot be "
                "found in it; nothing is changed: name an empty database in DATABASE_URL, restore, and erase there"
            )
        await remember(conn, forgotten.known)
        whose = (sa.func.coalesce(parts.c.user_id, parts.c.user_name), sa.func.coalesce(stays.c.identity, stays.c.name))
        known = [sa.select(called).distinct() for called in whose]
        people = {name for asked in known for name in (await conn.execute(asked)).scalars() if name}
    again = {name: forgotten.digest("identity", name) for name in people if forgotten.has("identity", name)}
    for name, digest in sorted(again.items()):
        await erase(backup, frozenset({name}), forgotten.known[digest], all_rooms=False, dry_run=False)
    return len(again)
