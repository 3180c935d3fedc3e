"""`livekit-tokens performance`: how the requests went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livekit_tokens.cli.options import Csv, Json, one_format
from livekit_tokens.cli.scope import Asked, Within, ask, scoped

if TYPE_CHECKING:
    from livekit_tokens.core.reports import PerformanceReport, Reports


@scoped
def performance(asked: Asked, *, json: Json = False, csv: Csv = False) -> None:
    """Show success and errors, response times and scores by provider, model and operation."""
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it

    one_format(json=json, csv=csv)

    async def question(reports: Reports, about: Within) -> PerformanceReport:
        return await reports.performance(about.since, about.until, timezone=about.timezone, **asked.filters)

    answer, about = ask(asked, question)
    if json:
        print_json(answer.to_dict())
    elif csv:
        from livekit_tokens.cli.sheet import performance_csv  # noqa: PLC0415

        print(performance_csv(answer))
    else:
        from livekit_tokens.cli.performance_table import performance_text  # noqa: PLC0415

        print(performance_text(answer, about.zone))
