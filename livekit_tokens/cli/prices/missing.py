"""`livekit-tokens prices missing`: what stands in the ledger without a price, and what to do about it."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING

from livekit_tokens.cli.options import Json
from livekit_tokens.cli.scope import Asked, Within, ask, scoped

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Missing, Reports


@scoped
def missing(asked: Asked, *, json: Json = False) -> None:
    """List what is in the ledger without a price: model, reason, requests, first and last seen, what to do."""
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it

    async def question(reports: Reports, about: Within) -> Missing:
        return await reports.missing(about.since, about.until, timezone=about.timezone, **asked.filters)

    answer, about = ask(asked, question)
    if json:
        print_json(answer.to_dict())
    else:
        print(_text(answer, about.zone))


def _text(answer: Missing, zone: tzinfo) -> str:
    from livekit_tokens.cli.text import period_text, plain, time_text  # noqa: PLC0415
    from livekit_tokens.core.reports.unpriced import remedy  # noqa: PLC0415
    from livekit_tokens.domain.times import to_datetime  # noqa: PLC0415

    period = period_text(answer.period, zone, answer.timezone)
    if not answer.found:
        return f"Everything has a price from {period}."
    lines = [f"{answer.requests:,} requests without a price from {period}"]
    for group, now in answer.found:
        first, last = (time_text(to_datetime(at), zone) for at in (group.first_at, group.last.at))
        lines += [
            "",
            f"{plain(group.last.provider)} {plain(group.last.model)}: {group.requests:,} requests",
            f"  why: {plain(group.why) if group.why else 'written before there were prices'}",
            f"  seen: {first} to {last}",
            f"  do: {plain(remedy(group, now))}",
        ]
    return "\n".join(lines)
