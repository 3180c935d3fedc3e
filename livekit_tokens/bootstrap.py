"""Wires the rooms for a process that writes: the face of the package, over the runtime of this process."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livekit_tokens.core import elsewhere, faults, homes
from livekit_tokens.core.clock import now
from livekit_tokens.core.takeover import Recovered, take_over
from livekit_tokens.domain import described
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.runtime import UnopenedLedger, daily_logs, new_key, price_book, running, runtime
from livekit_tokens.settings import Settings, load_settings
from livekit_tokens.store.address import ledger_id

if TYPE_CHECKING:
    from livekit.agents import AgentSession, JobContext

    from livekit_tokens.capture.part import OnEnd, OnUsage, Process
    from livekit_tokens.capture.tracking import Tracking
    from livekit_tokens.domain.summary import SessionSummary

logger = logging.getLogger("livekit_tokens")


def track(
    session: AgentSession[Any] | None,
    ctx: JobContext | None = None,
    *,
    user: str | None = None,
    tenant: str | None = None,
    feature: str | None = None,
    tags: Mapping[str, str] | None = None,
    on_end: OnEnd | None = None,
    on_usage: OnUsage | None = None,
    settings: Settings | None = None,
) -> Tracking:
    """Track a call: one line in the entrypoint, before `session.start`.

    Everything that `session` is billed for becomes a durable usage record; the summary is there when the caller
    leaves, and `on_end` (sync or async) receives it. `ctx=None` serves console mode and tests, `session=None` a
    process without an AgentSession. `user` and `tenant` are taken from the call when they are not given; `feature`
    labels every record, `tags` the part; `on_usage` (sync) gets each record as it is written.
    Does not wait for any disk or network, and does not raise for a fault of theirs.
    """
    from livekit_tokens.capture import tracking  # noqa: PLC0415 - imports livekit
    from livekit_tokens.capture.part import Process  # noqa: PLC0415

    try:
        own = runtime(settings)
        process = own.process()
        if not own.settings.enabled:
            own.say_disabled()
            return tracking.inert(process)
        given = tracking.Given(
            user=_text(user),
            tenant=_text(tenant),
            feature=_text(feature),
            tags={**own.settings.tags, **_tags(tags)},
            on_end=on_end,
            on_usage=on_usage,
        )
        return tracking.begin(session, ctx, recording, given)
    except Exception as error:  # noqa: BLE001 - the call goes on, untracked, and it is said
        faults.note("a call could not be tracked", error)
        return tracking.inert(Process.of_nobody(now, new_key), on_end=on_end)


def _tags(given: object) -> dict[str, str]:
    if given is not None and not isinstance(given, Mapping):
        kind = type(given).__name__
        logger.warning('tags is of the class %s; expected a dict such as {"env": "prod"}: the call has none', kind)
    return described.tags(given) if isinstance(given, Mapping) else {}


def _text(value: object) -> str | None:
    """What the host gives as a name may be a number or an id object of its own."""
    return None if value is None else str(value)


def active_sessions() -> list[SessionSummary]:
    """The sessions that are tracked in this process now, as their parts stand; oldest first, from memory, no I/O."""
    return [] if (own := running()) is None else own.open_sessions()


def recording() -> Process:
    """What recording by hand needs of this process."""
    own = runtime()
    if not own.settings.enabled:
        own.say_disabled()
    return own.process()


def _roots(settings: Settings, on_host: str | None) -> list[Path]:
    if on_host is not None:
        return list(homes.roots(settings.spool_dir, on_host))
    own = homes.host(settings.spool_host)
    if told := elsewhere.told_of(homes.out_of_reach(settings.spool_dir, own)):
        logger.warning("%s", told)
    return list(homes.within_reach(settings.spool_dir, own))


async def recover(
    settings: Settings | None = None, *, on_host: str | None = None, any_ledger: bool = False
) -> Recovered:
    """Bring home what dead processes of this host have left in their spools.

    `on_host` names another host's folder under the same SPOOL_DIR; only for a host that will not come back.
    `any_ledger` also takes spools that were written for another DATABASE_URL.
    Raises LedgerUnavailable or LedgerTooNew, and BadSetting for a host that has no folder.
    """
    settings = settings or load_settings()[0]
    if on_host is not None and on_host not in (known := homes.hosts(settings.spool_dir)):
        raise BadSetting(
            f"host {on_host!r} has no spools in {settings.spool_dir}; those that have: {', '.join(known) or 'none'}"
        )
    prices = price_book(settings)
    ledger = UnopenedLedger(settings.database_url, prices)
    wanted = "" if any_ledger else ledger_id(settings.database_url)
    return await take_over(
        _roots(settings, on_host),
        ledger,
        ledger_id=wanted,
        session_charges=prices.session_charges,
        logs=daily_logs(settings),
    )
