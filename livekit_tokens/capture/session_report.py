"""What a call spent, in LiveKit's own session report: as tags of the job.

A report is made from the session's own events and collector (`JobContext.make_session_report`); the job's tagger is
the one public way into it. The tags stand in `SessionReport.tags` and in its `to_dict()`, in console's
session_report.json, and, where recording is on, in LiveKit Cloud, with the services as metadata of the first. They
hold figures and models, nobody's name. Seen on livekit-agents 1.8.9; 1.8.0 has the tagger, and no tags in the report.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from livekit.agents import JobContext

from livekit_tokens.core import faults
from livekit_tokens.domain.money import dollars_text
from livekit_tokens.domain.summary import SessionSummary
from livekit_tokens.domain.totals import Totals

PREFIX = "livekit_tokens."

_reports: WeakKeyDictionary[JobContext, _JobReport] = WeakKeyDictionary()


def tell(ctx: JobContext, final: SessionSummary) -> None:
    """A part of this job has ended so; or it had, and has its prices now."""
    try:
        report = _reports.get(ctx)
        if report is None:
            report = _reports[ctx] = _JobReport(ctx.tagger)
        report.tell(final)
    except Exception as error:  # noqa: BLE001 - the end of the call goes on
        faults.note("LiveKit's session report could not be told", error)


class _JobReport:
    """Sums what the parts of a job spent, and keeps the job's tags at that."""

    def __init__(self, tagger: Any) -> None:
        self._tagger = tagger
        self._parts: dict[str, SessionSummary] = {}
        self._tags: list[str] = []

    def tell(self, final: SessionSummary) -> None:
        self._parts[final.parts[0].key] = final
        for tag in self._tags:
            self._tagger.remove(tag)
        self._tags = tags_of(sum((part.totals for part in self._parts.values()), Totals()))
        for number, tag in enumerate(self._tags):
            self._tagger.add(tag, metadata=None if number else self._services())

    def _services(self) -> dict[str, Any]:
        sums: dict[tuple[str, str, str], Totals] = {}
        for part in self._parts.values():
            for line in part.services:
                key = (line.service, line.provider, line.model)
                sums[key] = sums.get(key, Totals()) + line.totals
        return {
            "services": [
                {"service": service, "provider": provider, "model": model, **totals.to_dict()}
                for (service, provider, model), totals in sums.items()
            ]
        }


def tags_of(totals: Totals) -> list[str]:
    """`key:value`, as LiveKit's tags are; a cost where anything is priced, what qualifies a figure where it is so."""
    values: dict[str, object] = {"requests": totals.requests, "total_tokens": totals.total_tokens}
    if totals.cost or not totals.unpriced_requests:
        values["cost_usd"] = dollars_text(totals.cost)
    for name in ("unpriced_requests", "estimated_requests", "unknown_requests", "failed_requests"):
        if count := getattr(totals, name):
            values[name] = count
    return [f"{PREFIX}{name}:{value}" for name, value in values.items()]
