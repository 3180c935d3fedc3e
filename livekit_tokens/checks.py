"""What `livekit-tokens doctor` looks at, wired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from livekit_tokens import origins
from livekit_tokens.capture import preloaded
from livekit_tokens.core import backlog, findings, homes, installed, places, spool
from livekit_tokens.core.clock import now
from livekit_tokens.core.findings import Check, Finding
from livekit_tokens.prices import condition as prices
from livekit_tokens.runtime import new_key
from livekit_tokens.settings import Settings
from livekit_tokens.store import condition
from livekit_tokens.store.address import ledger_id
from livekit_tokens.store.clocks import look_at_clocks
from livekit_tokens.store.missing import look_at_missing


def checks(settings: Settings, complaints: Sequence[str], *, live: bool = False) -> list[Check]:
    """What `livekit-tokens doctor` looks at, with the settings as they are used and the complaints about them.

    `live`: also at one small call to OpenAI, which costs a few tokens.
    """
    url, host = settings.database_url, homes.host(settings.spool_host)
    looked_at = [places.spool_place(*homes.homes(settings.spool_dir)), *condition.places_of(url)]
    if settings.jsonl_dir:
        looked_at.append(places.Place("daily logs", settings.jsonl_dir, "JSONL_DIR", own=True))

    def waiting() -> Iterator[Finding]:
        known = partial(condition.checkpoints_of, url)
        roots = list(homes.within_reach(settings.spool_dir, host))
        yield from backlog.look_at_spools(roots, ledger_id(url), known, now(), stale_after=settings.stale_after)
        yield from backlog.look_at_other_hosts(homes.out_of_reach(settings.spool_dir, host))

    def missing() -> Iterator[Finding]:
        roots = homes.within_reach(settings.spool_dir, host)
        there = {folder.name for root in roots for folder in spool.sources_of(root)}
        return look_at_missing(url, host, there, now(), stale_after=settings.stale_after)

    return [
        Check("versions", installed.look_at_versions),
        Check("settings", lambda: origins.look_at_settings(settings, complaints)),
        Check("vocabulary", installed.look_at_vocabulary),
        Check("prices", lambda: prices.look_at_prices(settings.prices_file, now())),
        Check("preload", preloaded.look_at_preload, 2 * findings.LOOK_SECONDS),
        *(Check(f"{place.name} folder", partial(places.look_at_place, place)) for place in looked_at),
        Check("ledger", lambda: condition.look_at_ledger(url), 2 * findings.LOOK_SECONDS),
        Check("spools", waiting, 2 * findings.LOOK_SECONDS),
        Check("missing", missing),
        Check("clocks", lambda: look_at_clocks(url, now())),
        *([Check("live", _look_live)] if live else []),
        Check("faults", findings.look_at_faults),
    ]


def _look_live() -> Iterator[Finding]:
    from livekit_tokens.capture.wire.trial import look_live  # noqa: PLC0415 - only where it is asked for

    return look_live(now, new_key)
