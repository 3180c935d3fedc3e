"""One request, one witness: what the wire has seen of a component's call, its metrics tell in vain.

The rule is the table in `components.py`. How it is kept: the public methods by which a component is asked are marked
on the instance, so that each call of them has a mark of its own in its context. A stream's tasks inherit it: the one
that sends and the one that reports (measured on livekit-agents 1.8.9; so do the tasks of a FallbackAdapter and its
recoveries). A request that the wire records leaves its kind and provider at the mark; a metric or an error of the
same call, kind and provider is then silent. Where nothing was seen (a provider with a WebSocket or a client of its
own, a request that failed before it was sent), the metrics speak.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from functools import wraps
from typing import Any, Protocol
from weakref import WeakSet

from livekit_tokens.capture import spending

_METHODS = ("chat", "recognize", "stream", "synthesize")
_MOST_PARTS = 64
_MOST_MODELS = 8
_MOST_UNREAD = 64


class Seen(Protocol):
    """A request that the wire records. It may cost microseconds to answer, so it is asked when something is told."""

    @property
    def operation(self) -> str: ...
    @property
    def provider(self) -> str: ...
    def model(self) -> str: ...


class Mark:
    """One call of a component: what the wire saw of it. `service` is what the component is for, `provider` its own."""

    __slots__ = ("_seen", "_unread", "outer", "provider", "service")

    def __init__(self, service: str = "", provider: str = "", outer: Mark | None = None) -> None:
        self.service = service
        self.provider = provider
        self.outer = outer  # an adapter's call, which this one was made within
        self._unread: deque[Seen] = deque(maxlen=_MOST_UNREAD)
        self._seen: dict[tuple[str, str], deque[Seen]] = {}

    def see(self, request: Seen) -> None:
        self._unread.append(request)
        if self.outer is not None:
            self.outer.see(request)

    @property
    def has_seen_any(self) -> bool:
        return bool(self._seen or self._unread)

    def has_seen(self, operation: str, provider: str, model: str | None = None) -> bool:
        """`model` tells the components of an adapter apart; Azure is asked for deployments, not for models."""
        while self._unread:
            request = self._unread.popleft()
            self._seen.setdefault((request.operation, request.provider), deque(maxlen=_MOST_MODELS)).append(request)
        requests = self._seen.get((operation, provider))
        if requests is None or model is None or provider == "azure":
            return requests is not None
        return any(request.model() == model for request in requests)


_mark: ContextVar[Mark | None] = ContextVar("livekit_tokens_mark", default=None)
_marked: WeakSet[Any] = WeakSet()
_outside: dict[str, Mark] = {}
"""By part: what was seen outside of any marked call, as of a stream that was open before its session was tracked."""


def mark(component: Any, service: str) -> None:
    """Mark the calls of this llm, stt or tts from now on; once is enough."""
    if component in _marked:
        return
    _marked.add(component)
    for name in _METHODS:
        if (method := getattr(component, name, None)) is not None:
            setattr(component, name, _marking(method, component, service))


def _marking(method: Callable[..., Any], component: Any, service: str) -> Callable[..., Any]:
    def begin() -> Token[Mark | None]:
        return _mark.set(Mark(service, _provider_of(component), _mark.get()))

    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def asked(*args: Any, **kwargs: Any) -> Any:
            token = begin()
            try:
                return await method(*args, **kwargs)
            finally:
                _mark.reset(token)

        return asked

    @wraps(method)
    def begun(*args: Any, **kwargs: Any) -> Any:
        token = begin()
        try:
            return method(*args, **kwargs)
        finally:
            _mark.reset(token)

    return begun


def _provider_of(component: Any) -> str:
    # Before livekit-agents 1.8.9 a FallbackAdapter names itself, and livekit as its provider: it is nobody's.
    return "" if component.model == "FallbackAdapter" else component.provider


def begin_call() -> Mark:
    """From here on, in this context, a call that another framework tells of, too (LangChain's callbacks)."""
    outer = _mark.get()
    made = Mark("tool", "", None) if outer is None else Mark(outer.service, outer.provider, outer)
    _mark.set(made)
    return made


def end_call(call: Mark) -> None:
    """The call is over; where this is another context than it began in, there is nothing to undo."""
    if _mark.get() is call:
        _mark.set(call.outer)


def here() -> Mark | None:
    """The component's call that this code runs for."""
    return _mark.get()


def outside(part: str) -> Mark:
    """Of this part's requests that are made outside of any marked call."""
    found = _outside.get(part)
    if found is None:
        found = _outside[part] = Mark()
        if len(_outside) > _MOST_PARTS:
            del _outside[next(iter(_outside))]
    return found


def is_told(fields: Mapping[str, Any], *, of_model: bool = False) -> bool:
    """Whether the wire has recorded what a component tells of now, in its own context, by these fields of a record."""
    found = _mark.get() or _outside_of_calls()
    model = fields["model"] if of_model else None
    return found is not None and found.has_seen(fields["operation"], fields["provider"], model)


def _outside_of_calls() -> Mark | None:
    told = spending.whose() if _outside else None
    return None if told is None else _outside.get(told.payer.writer.part.key)
