"""`livekit-tokens prices diff` and `check`: where prices differ, and whether a prices file can be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livekit_tokens.cli.options import Json
from livekit_tokens.cli.outcome import FAILED, Failed, warn
from livekit_tokens.core.clock import now

if TYPE_CHECKING:
    from livekit_tokens.prices.contracts import Contracts


def diff(json: Json = False) -> None:
    """Show where our own entries differ from the price library, and PRICES_FILE from the published prices."""
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.prices.tables import differences_text  # noqa: PLC0415
    from livekit_tokens.prices import comparison, prices_file  # noqa: PLC0415

    path, at = usable_settings().prices_file, now()
    ours = list(comparison.from_library(at))
    users = [] if path is None else list(comparison.from_published(prices_file.read(path), at))
    if json:
        print_json({"from_library": [d.to_dict() for d in ours], "from_published": [d.to_dict() for d in users]})
        return
    print(differences_text("Our entries beside genai-prices", "Ours", "Library", ours))
    print()
    if path is None:
        print("PRICES_FILE is not set: the published prices hold.")
    else:
        print(differences_text(f"{path.name} beside the published prices", "Yours", "Published", users))


def check(
    file: Annotated[Path | None, typer.Argument(help="The file (default: the one that PRICES_FILE names).")] = None,
    json: Json = False,
) -> None:
    """Check a prices file: every entry that cannot be used, with its line and the reason (then exit 1)."""
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415 - pydantic takes its time
    from livekit_tokens.prices import prices_file  # noqa: PLC0415

    path = file or usable_settings().prices_file
    if path is None:
        raise Failed("PRICES_FILE is not set; give a file")
    contracts, complaints = prices_file.check(path)
    if json:
        said = [str(complaint) for complaint in complaints]
        print_json({"file": str(path), "usable": not said, "entries": _counts(contracts), "complaints": said})
    elif complaints:
        for complaint in complaints:
            warn(str(complaint))
    else:
        print(f"{path} can be used: {', '.join(f'{number} {kind}' for kind, number in _counts(contracts).items())}")
    if complaints:
        raise typer.Exit(FAILED)


def _counts(contracts: Contracts) -> dict[str, int]:
    return {
        "price": len(contracts.prices),
        "discount": len(contracts.discounts),
        "deployment": len(contracts.deployments),
        "fallback": len(contracts.fallbacks),
    }
