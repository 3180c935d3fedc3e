"""`livekit-tokens report --html FILE`: one page with charts, complete in itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from livekit_tokens.cli.scope import Asked, Within, ask

if TYPE_CHECKING:
    from livekit_tokens.core.reports import Overview, Reports

_MOST_DAYS = 92
"""Longer periods are drawn by week."""


def write_page(asked: Asked, path: Path) -> None:
    """Write the page of what was asked for; a page that is there already is replaced once the new one is whole."""
    from livekit_tokens.cli.files import STDOUT, whole_file  # noqa: PLC0415 - `--help` does not wait for it
    from livekit_tokens.cli.outcome import Failed  # noqa: PLC0415
    from livekit_tokens.cli.page.document import is_page, page_of  # noqa: PLC0415

    async def question(reports: Reports, about: Within) -> Overview:
        days = (about.until - about.since).days
        cutting = "hour" if days <= 2 else ("day" if days <= _MOST_DAYS else "week")
        return await reports.overview(
            about.since, about.until, cutting=cutting, timezone=about.timezone, **asked.filters
        )

    if path != STDOUT and path.is_file() and not is_page(path):
        raise Failed(f"{path} is there already, and no page of ours; give another name")
    answer, about = ask(asked, question)
    filters = {name: str(value) for name, value in asked.filters.items() if value}
    text = page_of(answer, filters, about.now)
    if path == STDOUT:
        print(text)
        return
    with whole_file(path, replace=True) as file:
        file.write(text.encode())
