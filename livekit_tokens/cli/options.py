"""Options that several commands have, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.periods import (
    DEFAULT_DAYS,
    Period,
    between,
    calendar_period,
    last_days,
    read_moment,
    read_zone,
)
from livekit_tokens.domain.times import Micros

if TYPE_CHECKING:
    from livekit_tokens.core.reports import FilterArguments

_PERIOD, _FILTERS, _OUTPUT = "Period", "Filters", "Output"

Days = Annotated[
    int | None,
    typer.Option(
        metavar="N", help=f"The last N x 24 hours up to now (default: {DEFAULT_DAYS}).", rich_help_panel=_PERIOD
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="From this time: 2026-11-22, '2026-11-22 15:00', RFC 3339.", rich_help_panel=_PERIOD
    ),
]
Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="Up to this time, which is left out.", rich_help_panel=_PERIOD)
]
Today = Annotated[bool, typer.Option("--today", help="The calendar day.", rich_help_panel=_PERIOD)]
ThisWeek = Annotated[bool, typer.Option("--this-week", help="The week from Monday.", rich_help_panel=_PERIOD)]
ThisMonth = Annotated[bool, typer.Option("--this-month", help="The calendar month.", rich_help_panel=_PERIOD)]
Zone = Annotated[
    str | None,
    typer.Option(
        "--tz",
        metavar="ZONE",
        help="Your time zone, as Europe/Berlin (default: the settings').",
        rich_help_panel=_PERIOD,
    ),
]


def _filter(help_: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(metavar="NAME", help=help_, rich_help_panel=_FILTERS)
    return option


User = Annotated[str | None, _filter("Only this user (the identity).")]
Service = Annotated[str | None, _filter("Only this service: agent, transcriber, tts, tool ...")]
Model = Annotated[str | None, _filter("Only this model.")]
Provider = Annotated[str | None, _filter("Only this provider.")]
Operation = Annotated[str | None, _filter("Only this operation.")]
Feature = Annotated[str | None, _filter("Only this feature.")]
Agent = Annotated[str | None, _filter("Only this agent.")]
Room = Annotated[str | None, _filter("Only this room.")]
Tenant = Annotated[str | None, _filter("Only this tenant.")]
Tag = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Only sessions with this tag; repeatable.", rich_help_panel=_FILTERS),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.", rich_help_panel=_OUTPUT)]
Csv = Annotated[bool, typer.Option("--csv", help="CSV on stdout.", rich_help_panel=_OUTPUT)]
By = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Group by service, kind, model, provider, user, tenant, room, agent, feature, operation or tag:KEY; at "
        "most two, as --by user --by model.",
        rich_help_panel="Groups",
    ),
]
Limit = Annotated[int, typer.Option(metavar="N", help="At most so many.", min=1, max=10_000)]


@dataclass(frozen=True, slots=True)
class Span:
    """The period as it was asked for on the command line."""

    days: int | None = None
    since: str | None = None
    until: str | None = None
    today: bool = False
    this_week: bool = False
    this_month: bool = False

    def period(self, now: Micros, zone_name: str) -> Period:
        """Raises BadSetting for values that cannot be read, and for two periods at once."""
        zone = read_zone(zone_name)
        asked = {
            "--days": self.days is not None,
            "--since/--until": self.since is not None or self.until is not None,
            "--today": self.today,
            "--this-week": self.this_week,
            "--this-month": self.this_month,
        }
        if len(given := [name for name, there in asked.items() if there]) > 1:
            raise BadSetting(f"{' and '.join(given)} are two periods; give one of them")
        if self.today:
            return calendar_period("today", now, zone)
        if self.this_week:
            return calendar_period("this-week", now, zone)
        if self.this_month:
            return calendar_period("this-month", now, zone)
        if asked["--since/--until"]:
            since, until = (None if text is None else read_moment(text, zone) for text in (self.since, self.until))
            return between(since, until, now)
        return last_days(DEFAULT_DAYS if self.days is None else self.days, now)


def read_filters(tags: Sequence[str] | None = None, **names: str | None) -> FilterArguments:
    """Filters as `Reports` takes them; raises BadSetting for a tag that is not KEY=VALUE."""
    read: dict[str, str] = {}
    for tag in tags or ():
        key, sign, value = tag.partition("=")
        if not (key and sign):
            raise BadSetting(f"--tag {tag!r} cannot be read; accepted: KEY=VALUE")
        if read.setdefault(key, value) != value:
            raise BadSetting(f"--tag {key} is given with two values; no session has both")
    given = {name: value for name, value in names.items() if value is not None}
    filters: FilterArguments = {**given, "tags": read}  # type: ignore[typeddict-item]
    return filters


def one_format(*, json: bool, csv: bool) -> None:
    if json and csv:
        raise BadSetting("--json and --csv are two formats; give one of them")
