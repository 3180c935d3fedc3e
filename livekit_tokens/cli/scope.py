"""What a command is about: the options of period and filters that most commands have, read once."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from livekit_tokens.cli.options import (
    Agent,
    Days,
    Feature,
    Model,
    Operation,
    Provider,
    Room,
    Service,
    Since,
    Span,
    Tag,
    Tenant,
    ThisMonth,
    ThisWeek,
    Today,
    Until,
    User,
    Zone,
    read_filters,
)
from livekit_tokens.domain.periods import read_zone
from livekit_tokens.domain.times import Micros, to_datetime

if TYPE_CHECKING:
    from livekit_tokens.core.reports import FilterArguments, Reports
    from livekit_tokens.settings import Settings

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Asked:
    """Period, zone and filters as they were asked for on the command line."""

    span: Span = field(default_factory=Span)
    zone: str | None = None
    filters: FilterArguments = field(default_factory=read_filters)


@dataclass(frozen=True, slots=True)
class Within:
    """The same with the settings' zone and the present moment: what the reports are asked with."""

    since: datetime
    until: datetime
    timezone: str
    now: Micros

    @property
    def zone(self) -> tzinfo:
        return read_zone(self.timezone)


def within(asked: Asked, settings: Settings, now: Micros) -> Within:
    """Raises BadSetting for values that cannot be read."""
    timezone = asked.zone or settings.timezone
    period = asked.span.period(now, timezone)
    return Within(to_datetime(period.since), to_datetime(period.until), timezone, now)


def ask(
    asked: Asked, question: Callable[[Reports, Within], Awaitable[_T]], *, shown: bool = False
) -> tuple[_T, Within]:
    """Open the ledger and ask it about what was asked for; filters are for the question to pass on.

    `shown`: the question shows its progress itself.
    """
    from livekit_tokens.cli import ledger  # noqa: PLC0415 - `--help` does not wait for it

    settings = ledger.usable_settings()

    async def put(reports: Reports) -> tuple[_T, Within]:
        about = within(asked, settings, reports.now())
        answer = await question(reports, about)
        await ledger.tell_pruned(reports, about.since)
        await ledger.tell_unknown(reports, asked.filters)
        return answer, about

    # Before the ledger is opened: a zone that does not exist is wrong usage, whatever the ledger is like.
    read_zone(asked.zone or settings.timezone)
    return ledger.asked(put, settings, shown=shown)


def _options(
    *,
    days: Days = None,
    since: Since = None,
    until: Until = None,
    today: Today = False,
    this_week: ThisWeek = False,
    this_month: ThisMonth = False,
    tz: Zone = None,
    user: User = None,
    service: Service = None,
    model: Model = None,
    provider: Provider = None,
    operation: Operation = None,
    feature: Feature = None,
    agent: Agent = None,
    room: Room = None,
    tenant: Tenant = None,
    tag: Tag = None,
) -> Asked:
    filters = read_filters(
        tag,
        user=user,
        service=service,
        model=model,
        provider=provider,
        operation=operation,
        feature=feature,
        agent=agent,
        room=room,
        tenant=tenant,
    )
    return Asked(Span(days, since, until, today, this_week, this_month), tz, filters)


_OPTIONS = inspect.signature(_options, eval_str=True).parameters


def scoped(command: Callable[Concatenate[Asked, _P], None]) -> Callable[..., None]:
    """The command with the options of period and filters, which it gets as its first parameter."""
    _, *own = inspect.signature(command, eval_str=True).parameters.values()

    @wraps(command)
    def run(**given: Any) -> None:
        asked = _options(**{name: given.pop(name) for name in _OPTIONS})
        command(asked, **given)  # type: ignore[call-arg]

    parameters = [*own, *_OPTIONS.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
