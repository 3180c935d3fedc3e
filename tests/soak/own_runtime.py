"""A child with the product's own wiring (`runtime.runtime`), where it is the wiring that an experiment is about."""

from __future__ import annotations

# What the first use would import while the clock is running.
import alembic.command  # noqa: F401
import sqlalchemy.dialects.sqlite.aiosqlite  # noqa: F401

from livekit_tokens import runtime
from livekit_tokens.core import homes
from livekit_tokens.runtime import Runtime
from livekit_tokens.settings import Settings
from tests.soak.prices import prices_file
from tests.soak.worlds import HOST, World


def runtime_in(world: World) -> Runtime:
    """This process's runtime, made at its first use, on that world."""
    homes.host = lambda _name=None: HOST
    return runtime.runtime(
        Settings(database_url=world.url, spool_dir=world.root.parent, prices_file=prices_file(world.folder))
    )
