"""`livekit-tokens cost-analysis`: what each operation costs, and what could be cheaper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livekit_tokens.cli.options import Json
from livekit_tokens.cli.scope import Asked, Within, ask, scoped

if TYPE_CHECKING:
    from livekit_tokens.core.reports import CostAnalysis, Reports


@scoped
def cost_analysis(asked: Asked, *, json: Json = False) -> None:
    """Show what each operation costs, and what could be cheaper: with the figures behind it and the saving."""
    from livekit_tokens.cli.ledger import print_json  # noqa: PLC0415 - `--help` does not wait for it

    async def question(reports: Reports, about: Within) -> CostAnalysis:
        return await reports.cost_analysis(about.since, about.until, timezone=about.timezone, **asked.filters)

    answer, about = ask(asked, question)
    if json:
        print_json(answer.to_dict())
    else:
        from livekit_tokens.cli.analysis_table import analysis_text  # noqa: PLC0415

        print(analysis_text(answer, about.zone))
