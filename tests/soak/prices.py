"""What a record costs in a world: fixed, so that whoever finds one in a ledger can say what it must have cost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from livekit_tokens.domain.pricing import Price
from livekit_tokens.domain.units import INPUT, OUTPUT
from livekit_tokens.domain.usage import UsageRecord

PRICED = ("soak-voice", "soak-voice-mini")
MODELS = (*PRICED, "soak-transcriber")
"""Names that no price list has."""
NANOS = {**dict.fromkeys(INPUT, 7), **dict.fromkeys(OUTPUT, 11)}
"""Nano-dollars a token of the priced models."""


def cost_of(model: str, provenance: str, units: Mapping[str, int]) -> tuple[int | None, int | None]:
    """Input and output, in nano-dollars; None where there is no price."""
    if model not in PRICED or provenance == "unknown":
        return None, None
    costs = {name: NANOS[name] * quantity for name, quantity in units.items()}
    cost_in = sum(cost for name, cost in costs.items() if name in INPUT)
    return cost_in, sum(costs.values()) - cost_in


def price(record: UsageRecord) -> Price:
    """The `Pricing` of the ledgers that the children write into."""
    return Price(*cost_of(record.model, record.provenance, record.units))


def prices_file(folder: Path) -> Path:
    """The same prices for a child with the product's own wiring; whoever reads them meanwhile reads all."""
    path, half = folder / "prices.toml", folder / f"prices.{os.getpid()}"
    entries = ((model, unit, nanos) for model in PRICED for unit, nanos in NANOS.items())
    text = "".join(
        f'[[price]]\nprovider = "openai"\nmodel = "{model}"\nunit = "{unit}"\nprice = "0.{nanos:03}"\nper = "1M"\n'
        for model, unit, nanos in entries
    )
    half.write_text(text)
    return half.replace(path)
