"""What was pruned, as conditions: where records are no longer kept, only sums tell."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from livekit_tokens.domain.times import Micros
from livekit_tokens.store.schema import parts, prunings


async def pruned_until(conn: AsyncConnection) -> Micros:
    """Before this time records of somebody are not kept, or are being removed; 0 where all of them are."""
    found = await conn.execute(sa.select(sa.func.coalesce(sa.func.max(prunings.c.until), 0)))
    return int(found.scalar_one())


async def not_pruned(conn: AsyncConnection, table: sa.Table) -> list[sa.ColumnElement[bool]]:
    """Rows of `records` or `sums` of which both are kept."""
    at = table.c.bucket if "bucket" in table.c else table.c.at
    latest = sa.select(prunings.c.tenant, sa.func.max(prunings.c.until)).group_by(prunings.c.tenant)
    conditions = []
    for tenant, until in await conn.execute(latest):
        if tenant is None:
            conditions.append(at >= until)
        else:
            theirs = table.c.part.in_(sa.select(parts.c.key).where(parts.c.tenant == tenant))
            conditions.append(sa.or_(at >= until, sa.not_(theirs)))
    return conditions


async def tenants_pruned_away(conn: AsyncConnection) -> list[str]:
    """Tenants of whom only a pruning tells."""
    of_tenant = sa.exists().where(parts.c.tenant == prunings.c.tenant)
    told = sa.select(prunings.c.tenant).where(prunings.c.tenant.is_not(None), sa.not_(of_tenant)).distinct()
    return list((await conn.execute(told)).scalars())


async def rename_tenant(conn: AsyncConnection, tenant: str, new: str) -> None:
    """Sessions of a tenant are of another name now: what was pruned of it was pruned of them. The old name stays as
    long as others are of that tenant.
    """
    of_tenant = prunings.c.tenant == tenant
    others = sa.select(parts.c.key).where(parts.c.tenant == tenant).limit(1)
    if (await conn.execute(others)).first() is None:
        await conn.execute(sa.update(prunings).where(of_tenant).values(tenant=new))
        return
    for row in (await conn.execute(sa.select(prunings).where(of_tenant))).mappings().all():
        nothing = {"records": 0, "sums": None if row["sums"] is None else 0}
        twin = {**row, **nothing, "id": secrets.token_hex(16), "tenant": new}
        await conn.execute(sa.insert(prunings).values(twin))
