"""`livekit-tokens prices reprice`: the records of a period, priced anew by the prices as they are known now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Json, Model, Provider, Until, Zone
from livekit_tokens.core.clock import now

if TYPE_CHECKING:
    from livekit_tokens.core.repricing import ModelChange, Repricing


def reprice(  # noqa: PLR0917 - typer's way to name options
    since: Annotated[
        str, typer.Option(metavar="TIME", help="From this time: 2026-11-22, '2026-11-22 15:00', RFC 3339.")
    ],
    until: Until = None,
    tz: Zone = None,
    provider: Provider = None,
    model: Model = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    unprice: Annotated[
        bool, typer.Option("--unprice", help="Take the price from records that none is known for any more.")
    ] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for the audit row.")] = None,
    json: Json = False,
) -> None:
    """Price the records of a period anew: sums and an audit row (table repricings) follow in the same transaction."""
    from livekit_tokens import housekeeping  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited, leaving  # noqa: PLC0415
    from livekit_tokens.cli.progress import counting  # noqa: PLC0415
    from livekit_tokens.core.repricing import Asked  # noqa: PLC0415
    from livekit_tokens.domain.periods import between, read_moment, read_zone  # noqa: PLC0415

    settings = usable_settings()
    zone = read_zone(tz or settings.timezone)
    begin, end = (None if text is None else read_moment(text, zone) for text in (since, until))
    asked = Asked(between(begin, end, now()), provider, model, unprice, reason)
    with leaving(lambda: "no price was changed"), counting(0, "records") as on_progress:
        done = awaited(housekeeping.reprice(settings, asked, dry_run=dry_run, on_progress=on_progress))
    if json:
        print_json(done.to_dict())
    else:
        print("\n".join(_lines(done, zone, tz or settings.timezone)))


def _lines(done: Repricing, zone: tzinfo, zone_name: str) -> Iterator[str]:
    from livekit_tokens.cli.text import period_text, plain  # noqa: PLC0415

    would = "would change" if done.dry_run else "changed"
    whole = done.total
    yield f"{period_text(done.asked.period, zone, zone_name)}: {whole.changed:,} of {whole.records:,} records {would}"
    for change in done.by_model:
        yield f"{plain(change.provider)} {plain(change.model)}: {_change(change)}"
    if len(done.models) > 1:
        yield f"total: {_change(whole)}"
    if whole.no_longer_known:
        told = f"{whole.no_longer_known:,} records have a price that is not known any more"
        yield f"{told}: " + ("they lose it" if done.asked.unprice else "they keep it (--unprice takes it away)")
    for span in done.pruned:
        named = f"{span.requests:,} requests from {period_text(span.period, zone, zone_name)}"
        yield f"not touched: {named}: their records are pruned, only sums are left"


def _change(change: ModelChange) -> str:
    from livekit_tokens.domain.money import dollars_shown  # noqa: PLC0415

    told = f"{change.changed:,} of {change.records:,} records"
    told += f", {dollars_shown(change.cost_before)} -> {dollars_shown(change.cost_after)}"
    if change.newly_priced:
        told += f", {change.newly_priced:,} newly priced"
    if change.unpriced_before != change.unpriced_after:
        told += f", unpriced {change.unpriced_before:,} -> {change.unpriced_after:,}"
    elif change.unpriced_after:
        told += f", {change.unpriced_after:,} unpriced"
    return told
