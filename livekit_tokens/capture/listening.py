"""Listening to other people's events without ever disturbing them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from livekit_tokens.core import faults

_ONE = inspect.Signature([inspect.Parameter("event", inspect.Parameter.POSITIONAL_ONLY)])
_TWO = inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("first", "second")])


def listener(handler: Callable[[Any], None], kind: str) -> Callable[[Any], None]:
    """A callback for LiveKit's EventEmitter: never raises, and costs the emitter little.

    EventEmitter re-raises a TypeError from a handler into LiveKit (seen on livekit 1.1.21: it broke
    `session.start()`), and inspects the signature at every event: 26 us for a bound method, 3.5 us for a
    function that carries its signature.
    """

    def listen(event: Any) -> None:
        try:
            handler(event)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not reach the call
            faults.note(kind, error)

    listen.__signature__ = _ONE  # type: ignore[attr-defined]
    return listen


def second_listener(handler: Callable[[Any], None], kind: str) -> Callable[[Any, Any], None]:
    """The same for an event whose second argument is the one that matters."""
    told = listener(handler, kind)

    def listen(_: Any, event: Any) -> None:
        told(event)

    listen.__signature__ = _TWO  # type: ignore[attr-defined]
    return listen
