"""One request, one witness: what the wire has seen of a component's call, its metrics tell in vain.

The rule is the table in `components.py`. How it is kept: the public methods by which a component is asked are marked
on the instance, so that each call of them has a mark of its own in its context. A stream's tasks inherit it: the one
that sends and the one that reports (measured on livekit-agents 1.8.9; so do the tasks of a FallbackAdapter and its
recoveries). A request that the wire records leaves its operation at the mark; a metric or an error of the same call
and operation is then silent, whatever its component calls its model and provider. They are no pairs: a voice tells of
each segment, a client's own retries are requests of their own. It speaks only if neither its names nor its tokens are
those of any request that was seen, and all of these are told: a model of another's, before which OpenAI's was asked
(a router, a guardrail). Only where several components may have been asked, in
an adapter's call, are they told apart by their names. Where nothing was seen (a provider with a WebSocket or a client
of its own, a request that failed before it was sent), the metrics speak.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from livekit_tokens.capture import spending
from livekit_tokens.capture.spending import Writer
from livekit_tokens.domain.units import input_tokens, output_tokens

_METHODS = ("chat", "recognize", "stream", "synthesize")
_MOST_SEEN = 64

Names = tuple[str, str]
"""Provider and model."""
Tokens = tuple[int, int]
"""Read and made."""


class Seen:
    """One request that the wire records: enough to know it again, and nothing of what it holds.

    `names` may take a look into its body: so they are asked for only where names matter, until they are known.
    `tokens` are there once its provider has told them.
    """

    __slots__ = ("names", "operation", "tokens")

    def __init__(self, operation: str, names: Callable[[], Names]) -> None:
        self.operation = operation
        self.names = names
        self.tokens: Tokens | None = None


class Mark:
    """One call of a component: what the wire saw of it. `service` is what the component is for, `provider` its own.

    `of_several`: the component is an adapter, within whose call others are asked.
    """

    __slots__ = ("_of_several", "_seen", "_told_as", "outer", "provider", "runs", "service", "within")

    def __init__(
        self, service: str = "", provider: str = "", outer: Mark | None = None, *, of_several: bool = False
    ) -> None:
        self.service = service
        self.provider = provider
        self.outer = outer  # an adapter's call, which this one was made within
        self.runs: int | None = None
        """Of another framework's runs that are this call: how many have not ended."""
        self.within: object = None
        """And the run that they are part of."""
        self._of_several = of_several
        self._seen: deque[Seen] = deque(maxlen=_MOST_SEEN)
        self._told_as: dict[Names, Names | None] = {}

    def see(self, request: Seen) -> None:
        if not (self._seen and self._seen[-1] is request):
            self._seen.append(request)
        if self.outer is not None:
            self.outer.see(request)

    def is_joined_by(self, within: object) -> bool:
        """Whether a run that begins now, as a part of another one, is begun together with those of this call."""
        return bool(self.runs) and self.within == within and not self._seen

    def has_seen(self, operation: str, names: Names, tokens: Tokens) -> bool:
        """Whether what a component tells of, by its own names, is what the wire has seen in this call."""
        seen = [request for request in list(self._seen) if request.operation == operation]
        if self._of_several:
            return self._is_told_as(names, [request.names() for request in seen]) is not None
        return bool(seen) and not _is_anothers(names, tokens, seen)

    def _is_told_as(self, names: Names, seen: list[Names]) -> Names | None:
        """By which names the wire has seen this component of an adapter's: mostly by its own.

        One that names nobody, or its maker, or a model where Azure is asked for a deployment, is the first that no
        other component is; what it was found to be, or not to be, it stays.
        """
        if names in seen:
            self._told_as[names] = names
        elif names not in self._told_as:
            free = (one for one in seen if one not in self._told_as.values())
            self._told_as[names] = next(free, None)
        return self._told_as[names]


def _is_anothers(names: Names, tokens: Tokens, seen: list[Seen]) -> bool:
    """Whether a request is none of those that were seen. A component may tell the sum of several as one."""
    told = [request.tokens for request in seen if request.tokens is not None]
    read, made = (sum(numbers) for numbers in zip(*told, strict=True)) if told else (0, 0)
    if len(told) < len(seen) or tokens in ((0, 0), (read, made), *told):
        return False
    return not any(mine == its for request in seen for mine, its in zip(names, request.names(), strict=True))


_mark: ContextVar[Mark | None] = ContextVar("livekit_tokens_mark", default=None)
_marked: WeakSet[Any] = WeakSet()
_outside: WeakKeyDictionary[Writer, set[tuple[str, str]]] = WeakKeyDictionary()
"""By part: operation and provider of what was seen outside of any marked call, as of a stream that was open before its
session was tracked."""
_unlooked: deque[Callable[[], None]] = deque()
_looking = threading.Lock()


def mark(component: Any, service: str, *, of_several: bool = False) -> None:
    """Mark the calls of this llm, stt or tts from now on; once is enough."""
    if component in _marked:
        return
    _marked.add(component)
    for name in _METHODS:
        if (method := getattr(component, name, None)) is not None:
            setattr(component, name, _marking(method, lambda: _called(component, service, of_several)))


def _called(component: Any, service: str, of_several: bool) -> Mark:
    return Mark(service, _provider_of(component), here(), of_several=of_several)


def _marking(method: Callable[..., Any], called: Callable[[], Mark]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def asked(*args: Any, **kwargs: Any) -> Any:
            token = _mark.set(called())
            try:
                return await method(*args, **kwargs)
            finally:
                _mark.reset(token)

        return asked

    @wraps(method)
    def begun(*args: Any, **kwargs: Any) -> Any:
        token = _mark.set(called())
        try:
            return method(*args, **kwargs)
        finally:
            _mark.reset(token)

    return begun


def _provider_of(component: Any) -> str:
    try:
        # Before livekit-agents 1.8.9 a FallbackAdapter names itself, and livekit as its provider: it is nobody's.
        return "" if component.model == "FallbackAdapter" else component.provider
    except Exception:  # noqa: BLE001 - a property of the host's own; who asks the component is not to hear of it
        return ""


def begin_call(within: object) -> Mark:
    """From here on, in this context, a call that another framework tells of, too (LangChain's callbacks).

    A batch begins all of its runs before it asks for one, and ends them when it has asked for all: they are one call.
    """
    outer = here()
    if outer is not None and outer.is_joined_by(within):
        outer.runs = (outer.runs or 0) + 1
        return outer
    made = Mark("tool", "", None) if outer is None else Mark(outer.service, outer.provider, outer)
    made.runs, made.within = 1, within
    _mark.set(made)
    return made


def end_call(call: Mark) -> None:
    """One of its runs has ended, maybe in another context than it began in."""
    call.runs = (call.runs or 1) - 1
    if call.runs == 0 and _mark.get() is call:
        _mark.set(call.outer)


def here() -> Mark | None:
    """The component's call that this code runs for."""
    found = _mark.get()
    while found is not None and found.runs == 0:  # it has ended in another context
        found = found.outer
    return found


def see_outside(leave: Callable[[], None]) -> None:
    """A request is made outside of any marked call: when somebody looks, it is left with the part that pays for it."""
    _unlooked.append(leave)


def look_outside() -> None:
    """Leave with their parts what was seen since the last look."""
    with _looking:
        while _unlooked:
            _unlooked.popleft()()


def leave_with_part(operation: str, provider: str) -> None:
    """In the context of a request that was made outside of any marked call."""
    if (told := spending.whose()) is not None:
        _outside.setdefault(told.payer.writer, set()).add((operation, provider))


def is_told(fields: Mapping[str, Any]) -> bool:
    """Whether the wire has recorded what a component tells of now, in its own context, by these fields of a record."""
    operation, provider = fields["operation"], fields["provider"]
    if (found := here()) is not None:
        tokens = (input_tokens(fields["units"]), output_tokens(fields["units"]))
        return found.has_seen(operation, (provider, fields["model"]), tokens)
    look_outside()
    told = spending.whose() if _outside else None
    return told is not None and (operation, provider) in _outside.get(told.payer.writer, ())


def _forget() -> None:
    """A forked child has neither its parent's requests nor the thread that may hold the lock."""
    global _looking  # noqa: PLW0603 - one a process
    _looking = threading.Lock()
    _unlooked.clear()


os.register_at_fork(after_in_child=_forget)
