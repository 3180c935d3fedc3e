"""The commands. Each asks `core.reports` or another room and prints; nothing is summed here."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def main() -> None:
    """`livekit-tokens`."""

    def app() -> typer.Typer:
        from livekit_tokens.cli import app  # noqa: PLC0415 - an import of this package stays light

        return app.app

    _run(app, "livekit-tokens")


def view_token_usage() -> None:
    """`view-token-usage`: the report under the name and with the flags that existing users know."""

    def app() -> typer.Typer:
        from livekit_tokens.cli import view  # noqa: PLC0415

        return view.app

    _run(app, "view-token-usage")


def token_usage_dashboard() -> None:
    """`token-usage-dashboard`: likewise."""

    def app() -> typer.Typer:
        from livekit_tokens.cli import view  # noqa: PLC0415

        return view.dashboard

    _run(app, "token-usage-dashboard")


def _run(app: Callable[[], typer.Typer], name: str) -> None:
    _collect_seldom()
    try:
        from livekit_tokens.cli import outcome  # noqa: PLC0415

        code = outcome.of(app(), name)
    except KeyboardInterrupt:  # while it was still being imported, or read its arguments
        print(f"{name}: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def _collect_seldom() -> None:
    """Let the garbage collector be: a command lives for half a second, and most of that are imports.

    Looking through what they make, again and again and once more at the end, takes a fifth of the time (measured on
    `report`: 0.76 s with it, 0.62 s without). A command that goes on for long is still collected: when it holds twice
    what the largest of the others, `report --html`, has made.
    """
    gc.set_threshold(200_000, 20, 20)
    atexit.register(gc.freeze)
