"""Loaded once a worker by LiveKit's forkserver, and shared by all its job processes.

Only imports, and what they compute: no threads, no loops, no sockets, no files that stay open.
"""

from __future__ import annotations

from importlib import import_module

from livekit_tokens.core import vocabulary
from livekit_tokens.core.clock import now
from livekit_tokens.prices import published
from livekit_tokens.settings import load_settings
from livekit_tokens.store.connection import StoreLedger

FIRST_USES = (
    "livekit.plugins.openai",
    "livekit_tokens.bootstrap",
    "livekit_tokens.capture.plugin",
    "livekit_tokens.capture.tracking",
    "livekit_tokens.capture.wire.sockets",
    "livekit_tokens.prices.book",
    "livekit_tokens.store.durable",
    "livekit_tokens.store.writing",
    "sqlalchemy.dialects.sqlite.aiosqlite",
)
"""What the first call of a process would otherwise import while somebody is waiting for an answer."""

for _name in FIRST_USES:
    import_module(_name)
vocabulary.load()
published.load(now())
StoreLedger(load_settings()[0].database_url).prepare()
