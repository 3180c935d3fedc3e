"""The ledger of what a LiveKit voice agent spends: every billed token of every call, durable and exact.

Importing this package imports neither livekit nor a database library; the first use of a name does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "track": "livekit_tokens.bootstrap",
    "active_sessions": "livekit_tokens.bootstrap",
    "cost": "livekit_tokens.priced",
    "open_ledger": "livekit_tokens.reading",
    "record_usage": "livekit_tokens.recording",
    "record_cache_hit": "livekit_tokens.recording",
    "usage_session": "livekit_tokens.recording",
    "track_usage": "livekit_tokens.recording",
    "metered": "livekit_tokens.recording",
    "feature": "livekit_tokens.capture.labels",
    "Tracking": "livekit_tokens.capture.tracking",
    "LiveKitTokens": "livekit_tokens.capture.plugin",
    "SessionSummary": "livekit_tokens.domain.summary",
    "UsageRecord": "livekit_tokens.domain.usage",
    "count_tokens": "livekit_tokens.core.vocabulary",
}
_REGISTERING = ("track", "Tracking", "LiveKitTokens")
"""Who uses one of these has an agent: LiveKit must know of the plugin before it starts its forkserver."""
_IN_A_CALL = ("livekit_tokens.capture.tracking", "livekit_tokens.capture.wire.sockets", "livekit_tokens.prices.book")
"""What the line in the entrypoint needs: imported with its name, before a loop waits for it."""

__all__ = [
    "LiveKitTokens",
    "SessionSummary",
    "Tracking",
    "UsageRecord",
    "__version__",
    "active_sessions",
    "cost",
    "count_tokens",
    "feature",
    "metered",
    "open_ledger",
    "record_cache_hit",
    "record_usage",
    "track",
    "track_usage",
    "usage_session",
]

if TYPE_CHECKING:
    from livekit_tokens.bootstrap import active_sessions, track
    from livekit_tokens.capture.labels import feature
    from livekit_tokens.capture.plugin import LiveKitTokens
    from livekit_tokens.capture.tracking import Tracking
    from livekit_tokens.core.vocabulary import count_tokens
    from livekit_tokens.domain.summary import SessionSummary
    from livekit_tokens.domain.usage import UsageRecord
    from livekit_tokens.priced import cost
    from livekit_tokens.reading import open_ledger
    from livekit_tokens.recording import metered, record_cache_hit, record_usage, track_usage, usage_session


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415 - keeps the face light

    if name not in _HOMES:
        raise AttributeError(f"module 'livekit_tokens' has no attribute {name!r}")
    if name in _REGISTERING:
        import_module("livekit_tokens.capture.plugin").register()
        for needed in _IN_A_CALL:
            import_module(needed)
    return getattr(import_module(_HOMES[name]), name)
