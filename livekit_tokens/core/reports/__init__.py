"""Reports: the only code that adds up usage. Every roof (CLI, REST, dashboard, metrics) asks here and sums nothing.

What the store must answer is the protocol in `reader`.
"""

from livekit_tokens.core.reports.advice import Advice
from livekit_tokens.core.reports.analysis import CostAnalysis, OperationCost
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
from livekit_tokens.core.reports.cache_hits import CacheHits, CacheReport
from livekit_tokens.core.reports.comparison import Change, Comparison
from livekit_tokens.core.reports.economy import SessionCosts, ShareReport
from livekit_tokens.core.reports.entries import Entry
from livekit_tokens.core.reports.groups import Group
from livekit_tokens.core.reports.live import Live, LivePart, LiveSession
from livekit_tokens.core.reports.measures import Key, Measured, Scores, Unpriced
from livekit_tokens.core.reports.overview import Overview
from livekit_tokens.core.reports.performance import Performance, PerformanceReport
from livekit_tokens.core.reports.reader import Calls, Running, UsageReader, UsageStore
from livekit_tokens.core.reports.series import Point, Series, SeriesLine
from livekit_tokens.core.reports.service import Reports, open_reports
from livekit_tokens.core.reports.sessions import SessionLine, SessionList
from livekit_tokens.core.reports.spending import Report
from livekit_tokens.core.reports.statement import Statement, Whose
from livekit_tokens.core.reports.timeline import Event, Timeline
from livekit_tokens.core.reports.top import KINDS, Top, TopRequests, check_kind
from livekit_tokens.core.reports.unpriced import Missing

__all__ = [
    "DEFAULT_BY",
    "DEFAULT_LIMIT",
    "GROUPINGS",
    "KINDS",
    "Advice",
    "CacheHits",
    "CacheReport",
    "Calls",
    "Change",
    "Comparison",
    "CostAnalysis",
    "Entry",
    "Event",
    "FilterArguments",
    "Filters",
    "Group",
    "Key",
    "Live",
    "LivePart",
    "LiveSession",
    "Measured",
    "Missing",
    "OperationCost",
    "Overview",
    "Performance",
    "PerformanceReport",
    "Point",
    "Question",
    "Report",
    "Reports",
    "Running",
    "Scores",
    "Series",
    "SeriesLine",
    "SessionCosts",
    "SessionLine",
    "SessionList",
    "ShareReport",
    "Statement",
    "Timeline",
    "Top",
    "TopRequests",
    "Unpriced",
    "UsageReader",
    "UsageStore",
    "Whose",
    "check_by",
    "check_kind",
    "open_reports",
    "period_dict",
]
