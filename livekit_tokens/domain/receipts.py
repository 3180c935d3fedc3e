"""Totals as people read them in a receipt or a report: words beside rounded money. Pure."""

from __future__ import annotations

from livekit_tokens.domain import units as u
from livekit_tokens.domain.money import dollars_shown
from livekit_tokens.domain.totals import Totals


def receipt_line(totals: Totals) -> str:
    """Requests, tokens, cost, and what of them is estimated, failed or not known."""
    facts = [counted(totals.requests, "request"), counted(totals.total_tokens, "token"), cost_text(totals)]
    if totals.estimated_requests or totals.estimated_tokens:
        facts.append(
            f"estimated {totals.estimated_requests:,} of {counted(totals.requests, 'request')}"
            f" and {totals.estimated_tokens:,} of {counted(totals.total_tokens, 'token')}{estimated_cost_text(totals)}"
        )
    if totals.unknown_requests:
        facts.append(f"{totals.unknown_requests:,} unknown")
    if totals.failed_requests:
        facts.append(f"{totals.failed_requests:,} failed")
    return ", ".join(facts)


def cost_text(totals: Totals) -> str:
    """`$0.012346`, rounded for reading; `unpriced` where nothing has a price, and the unpriced share beside a part."""
    if totals.unpriced_requests and not totals.cost:
        return "unpriced"
    share = f" ({totals.unpriced_requests:,} unpriced)" if totals.unpriced_requests else ""
    return f"{dollars_shown(totals.cost)}{share}"


def estimated_cost_text(totals: Totals) -> str:
    """`, $0.000120 of $0.004262`, to be put behind what else is estimated; empty where that has no price."""
    if not totals.estimated_cost:
        return ""
    return f", {dollars_shown(totals.estimated_cost)} of {dollars_shown(totals.cost)}"


def units_text(totals: Totals) -> str:
    """Every unit by name; those that only inform are marked with a tilde."""
    billed = [f"{name} {totals.units[name]:,}" for name in u.REGISTRY if totals.units.get(name)]
    told = [f"~{name} {totals.informational[name]:,}" for name in u.REGISTRY if totals.informational.get(name)]
    return ", ".join(billed + told) + ("; " if billed or told else "")


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 record`, `2,000 records`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
