"""The commands. Each asks `core.reports` or another room and prints; nothing is summed here."""

from __future__ import annotations

import sys


def main() -> None:
    """`livekit-tokens`."""
    from livekit_tokens.cli import app, outcome  # noqa: PLC0415 - an import of this package stays light

    sys.exit(outcome.of(app.app, "livekit-tokens"))


def view_token_usage() -> None:
    """`view-token-usage`: the report under the name and with the flags that existing users know."""
    from livekit_tokens.cli import outcome, view  # noqa: PLC0415

    sys.exit(outcome.of(view.app, "view-token-usage"))


def token_usage_dashboard() -> None:
    """`token-usage-dashboard`: likewise."""
    from livekit_tokens.cli import outcome, view  # noqa: PLC0415

    sys.exit(outcome.of(view.dashboard, "token-usage-dashboard"))
