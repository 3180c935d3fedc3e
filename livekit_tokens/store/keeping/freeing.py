"""Records and sums freed of a person: ids, labels and metadata go, figures stay. And what is left, looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.erasure import Forgotten, Person, counts_of
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.usage import STRETCH_KEY
from livekit_tokens.store.keeping.forgotten import seal_keys
from livekit_tokens.store.schema import parts, records, sums
from livekit_tokens.store.statements import adding

_PAGE = 1000
_LABELS = ("agent", "feature")
_BOUGHT = ("service", "provider", "model", "operation", "error", "price_note")
"""What was bought, and what came of it: a price is found by them, so they stay; the proof looks at them."""


def pages(theirs: Sequence[Part]) -> Iterator[list[bytes]]:
    keys = [bytes.fromhex(part.key) for part in theirs]
    return (keys[begin : begin + _PAGE] for begin in range(0, len(keys), _PAGE))


async def free(conn: AsyncConnection, keys: list[bytes], person: Person, forgotten: Forgotten, *, theirs: bool) -> None:
    """Free the records of these parts: ids, labels and metadata that name the person, and in their own parts all that
    others gave.
    """
    await _relabel(conn, keys, person, forgotten)
    await seal_keys(conn, forgotten, parts.c.key.in_(keys))
    of_these = records.c.part.in_(keys)
    told = sa.select(*records.primary_key, records.c.metadata)
    for *this, metadata in (await conn.execute(told.where(of_these, records.c.metadata.is_not(None)))).all():
        if (kept := counts_of(metadata) if theirs else person.not_in(metadata)) != metadata:
            await conn.execute(sa.update(records).where(*_is(this)).values({"metadata": kept or sa.null()}))
    # Of a stretch of time the key is ours: what was told of it is told no second time.
    callers = sa.func.substr(records.c.idempotency_key, 1, len(STRETCH_KEY)) != STRETCH_KEY
    for given, others in ((records.c.request_id, sa.true()), (records.c.idempotency_key, callers)):
        there = sa.and_(of_these, given.is_not(None), others)
        if theirs:
            await conn.execute(sa.update(records).where(there).values({given: None}))
            continue
        for *this, text in (await conn.execute(sa.select(*records.primary_key, given).where(there))).all():
            if person.is_named_in(text):
                await conn.execute(sa.update(records).where(*_is(this)).values({given: None}))


def _is(this: Sequence[Any]) -> list[sa.ColumnElement[bool]]:
    return [column == value for column, value in zip(records.primary_key, this, strict=True)]


async def _relabel(conn: AsyncConnection, keys: list[bytes], person: Person, forgotten: Forgotten) -> None:
    pairs = sa.union(*(sa.select(t.c.agent, t.c.feature).where(t.c.part.in_(keys)) for t in (records, sums)))
    for agent, feature in (await conn.execute(pairs)).all():
        new = {
            "agent": forgotten.relabelled(agent, person.is_named_in),
            "feature": forgotten.relabelled(feature, person.is_named_in),
        }
        if new == {"agent": agent, "feature": feature}:
            continue
        of_pair = [(t.c.part.in_(keys), t.c.agent == agent, t.c.feature == feature) for t in (records, sums)]
        await conn.execute(sa.update(records).where(*of_pair[0]).values(new))
        # Two sums may now have one key: they are added up.
        moved = [{**row, **new} for row in (await conn.execute(sa.select(sums).where(*of_pair[1]))).mappings()]
        await conn.execute(sa.delete(sums).where(*of_pair[1]))
        insert: Any = (postgresql if conn.dialect.name == "postgresql" else sqlite).insert(sums)
        if moved:
            await conn.execute(adding(insert), moved)


class Held(NamedTuple):
    """Rows that hold the person: in texts that should be free of them, and only in what was bought."""

    freed: int = 0
    bought: int = 0


async def left_in(conn: AsyncConnection, keys: list[bytes], person: Person) -> Held:
    """How many rows of records and sums of these parts hold the person, in any text."""
    found, in_bought = 0, 0
    for table in (records, sums):
        free_texts = [*_LABELS, *(name for name in ("request_id", "idempotency_key", "metadata") if name in table.c)]
        bought = [name for name in _BOUGHT if name in table.c]
        told = sa.select(*(table.c[name] for name in (*free_texts, *bought))).where(table.c.part.in_(keys))
        for row in (await conn.execute(told)).mappings():
            if _holds(row, free_texts, person.is_named_in):
                found += 1
            else:
                in_bought += _holds(row, bought, person.is_surely_named_in)
    return Held(found, in_bought)


def _holds(row: Any, names: list[str], names_them: Callable[[str | None], bool]) -> bool:
    texts = (row[name] for name in names)
    return any(names_them(text if isinstance(text, str) else str(text)) for text in texts if text)
