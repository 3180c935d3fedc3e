"""`livekit-tokens recover`: bring home what killed processes of this host have left behind."""

from __future__ import annotations

from livekit_tokens.cli.options import Json


def recover(json: Json = False) -> None:
    """Write what killed processes of this host left in their spools into the ledger."""
    from livekit_tokens import bootstrap  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.ledger import print_json, usable_settings  # noqa: PLC0415
    from livekit_tokens.cli.outcome import awaited  # noqa: PLC0415

    found = awaited(bootstrap.recover(usable_settings())).to_dict()
    if json:
        print_json(found)
        return
    for name, value in found.items():
        print(f"{name.replace('_', ' ')}: {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return (", ".join(map(str, value)) or "none") if isinstance(value, (list, tuple)) else str(value)
