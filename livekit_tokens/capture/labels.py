"""What part of the product the running code is: `with feature("introspection"):`."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from livekit_tokens.capture.nested import Nested


@dataclass(slots=True, eq=False)
class _Label:
    name: str
    over: bool = False


_labels: Nested[_Label] = Nested("livekit_tokens_feature")


def labelled() -> str | None:
    """What the running code is a part of, if `feature` says so."""
    label = _labels.innermost()
    return None if label is None else label.name


class feature:  # noqa: N801 - used as `with feature("introspection"):`
    """Labels every request that is made inside, sync or async; the innermost counts.

    May be entered again, also while it is entered elsewhere, and left by another task than has entered it.
    """

    def __init__(self, name: str) -> None:
        self._name = str(name)
        self._entered: dict[_Label, None] = {}  # in their order

    def __enter__(self) -> None:
        label = _Label(self._name)
        self._entered[label] = None
        _labels.enter(label)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # This context's; where it has none, the latest.
        left = _labels.leave(self._entered.__contains__) or [*self._entered][-1]
        self._entered.pop(left, None)
        left.over = True

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
