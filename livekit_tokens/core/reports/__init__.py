"""Reports: the only code that adds up usage. Every roof (CLI, REST, dashboard, metrics) asks here and sums nothing.

What the store must answer is the protocol in `reader`.
"""

from livekit_tokens.core.reports.asking import (
    DEFAULT_BY,
    DEFAULT_LIMIT,
    GROUPINGS,
    FilterArguments,
    Filters,
    Question,
    check_by,
    period_dict,
)
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.live import Live, LiveSession
from livekit_tokens.core.reports.reader import Calls, UsageReader, UsageStore
from livekit_tokens.core.reports.service import Reports, open_reports
from livekit_tokens.core.reports.sessions import SessionLine, SessionList
from livekit_tokens.core.reports.spending import Report

__all__ = [
    "DEFAULT_BY",
    "DEFAULT_LIMIT",
    "GROUPINGS",
    "Calls",
    "FilterArguments",
    "Filters",
    "Group",
    "Live",
    "LiveSession",
    "Question",
    "Report",
    "Reports",
    "SessionLine",
    "SessionList",
    "UsageReader",
    "UsageStore",
    "check_by",
    "open_reports",
    "period_dict",
]
