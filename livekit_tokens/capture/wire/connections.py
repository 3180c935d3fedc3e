"""Sockets that a metered client opens by the `websockets` library. What goes over them is not seen, and is billed: each
connection is one record, `unknown`.

By the public `connect` of its resources. Seen on openai 3.54.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from livekit_tokens.capture.spending import Spender
from livekit_tokens.capture.wire.requests import UNKNOWN_MODEL
from livekit_tokens.core import faults
from livekit_tokens.domain.providers import provider_of

_RESOURCES = {"responses": "chat_completion", "realtime": "realtime_response", "live": "realtime_response"}
"""What can be connected, and what for."""


def note_connections(client: Any, pays: Callable[[], Spender | None]) -> None:
    """Note each connection that this client opens, for whom `pays` says then. Its resources are made when the host
    asks for them, as before: making them all would take 0.1 s."""
    kind: Any = type(client)
    client.__class__ = _noting(kind)
    client.livekit_tokens_pays = pays


@cache
def _noting(kind: Any) -> Any:
    """This class of clients, noting."""

    class Noting(kind):  # type: ignore[misc]
        livekit_tokens_pays: Callable[[], Spender | None]

    for name in _RESOURCES:
        if hasattr(kind, name):
            setattr(Noting, name, property(_resource(Noting, name)))
    Noting.__name__, Noting.__qualname__, Noting.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Noting


def _resource(noting: Any, name: str) -> Callable[[Any], Any]:
    def found(client: Any) -> Any:
        resource = getattr(super(noting, client), name)
        connect = getattr(resource, "connect", None)
        if connect is not None and not hasattr(connect, "livekit_tokens_noted"):
            resource.connect = _noted(connect, client, name)
        return resource

    return found


def _noted(connect: Callable[..., Any], client: Any, name: str) -> Callable[..., Any]:
    @wraps(connect)
    def connecting(*args: Any, **options: Any) -> Any:
        try:
            _note(client, name, options.get("model"))
        except Exception as error:  # noqa: BLE001 - the connection is the host's in any case
            faults.note("a connection could not be noted", error)
        return connect(*args, **options)

    connecting.livekit_tokens_noted = True  # type: ignore[attr-defined]
    return connecting


def _note(client: Any, name: str, model: object) -> None:
    if (spender := client.livekit_tokens_pays()) is None:
        return
    record = spender.new_record(
        service="tool",
        provider=provider_of(str(client.base_url.netloc, "ascii")),
        model=model[:200] if isinstance(model, str) and model else UNKNOWN_MODEL,
        operation=_RESOURCES[name],
        units={},
        provenance="unknown",
        metadata={"connection": "websockets"},
    )
    spender.writer.write(record)
