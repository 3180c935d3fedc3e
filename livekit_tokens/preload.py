"""Loaded once a worker by LiveKit's forkserver, and shared by all its job processes.

Only imports, and what they compute: no threads, no loops, no sockets, no files that stay open.
"""

from __future__ import annotations

import alembic.command
import alembic.config
import alembic.runtime.environment
import livekit.plugins.openai
import sqlalchemy.dialects.sqlite.aiosqlite

import livekit_tokens.bootstrap
import livekit_tokens.capture.tracking
import livekit_tokens.core.drain
import livekit_tokens.store.connection
from livekit_tokens.core import vocabulary
from livekit_tokens.settings import load_settings
from livekit_tokens.store.connection import StoreLedger

__all__ = ["warm"]


def warm() -> None:
    """Do once what the first use would do in a call: load the vocabulary, read the settings, prepare
    the engine and its statements."""
    vocabulary.load()
    settings, _ = load_settings()
    StoreLedger(settings.database_url)


warm()
