"""The ledger as the commands open it, with the settings of the command line's environment."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from livekit_tokens.cli.outcome import Failed, awaited, warn
from livekit_tokens.cli.progress import waited
from livekit_tokens.domain.times import to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from livekit_tokens.core.reports import FilterArguments, Reports, Whose
    from livekit_tokens.settings import Settings

_T = TypeVar("_T")


def usable_settings() -> Settings:
    """The settings, with a warning for each that cannot be used."""
    from livekit_tokens.settings import load_settings  # noqa: PLC0415 - pydantic takes its time

    settings, complaints = load_settings()
    for complaint in complaints:
        # With the default in its place, the answer would be about another ledger.
        if _leaves_no_address(complaint.lower(), settings):
            raise Failed(complaint)
        warn(complaint)
    return settings


def _leaves_no_address(complaint: str, settings: Settings) -> bool:
    """Whether it is about DATABASE_URL itself, or about a name that was meant to be it."""
    if complaint.endswith("did you mean livekit_tokens_database_url?"):
        return "database_url" not in settings.model_fields_set
    return complaint.partition(" ")[0].removeprefix("livekit_tokens_") == "database_url"


def asked(question: Callable[[Reports], Awaitable[_T]], settings: Settings, *, shown: bool = False) -> _T:
    """Open the ledger and ask it; how long that takes is told on a terminal, unless it is `shown` otherwise."""
    from livekit_tokens.reading import open_ledger  # noqa: PLC0415 - SQLAlchemy takes its time

    async def ask() -> _T:
        async with open_ledger(settings) as reports:
            return await (question(reports) if shown else waited(question(reports)))

    return awaited(ask())


async def tell_pruned(reports: Reports, since: datetime) -> None:
    """Beside an answer about a time whose records are gone in part: what that means for it."""
    kept = await reports.kept_since()
    if kept is not None and since < kept:
        from livekit_tokens.cli.text import pruned_text  # noqa: PLC0415 - seldom needed

        warn(pruned_text(to_micros(kept)))


async def tell_unknown(reports: Reports, filters: FilterArguments) -> None:
    """Beside an answer about somebody of whom there is nothing at all: their name may be mistyped."""
    asked: dict[Whose, str | None] = {"user": filters.get("user"), "tenant": filters.get("tenant")}
    for whose, name in asked.items():
        if name is not None and not await reports.knows(whose, name):
            warn(f"note: no session of {whose} {name!r} in the ledger; `livekit-tokens top {whose}s` lists them")


def print_json(answer: object) -> None:
    # Letters beyond ASCII are escaped: whatever the terminal's encoding is, this stays JSON.
    print(json.dumps(answer, indent=2))
