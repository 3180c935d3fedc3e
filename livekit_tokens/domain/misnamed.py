"""Names that were written for a setting, and are none."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Misnamed:
    """A name as it was `written`, the setting that was probably meant (None: none is near), and a line about it."""

    written: str
    near: str | None
    line: str


def misnamed(name: str, settings: Collection[str], where: str = "", spelt: Callable[[str], str] = str) -> Misnamed:
    """About a `name` that is none of these `settings`; `spelt` says how either is written at that place."""
    near = next(iter(get_close_matches(name, settings, n=1)), None)
    meant = f"did you mean {spelt(near)}?" if near else f"accepted: {', '.join(map(spelt, settings))}"
    return Misnamed(spelt(name), near, f"{spelt(name)}{where} is no setting and is left aside; {meant}")
