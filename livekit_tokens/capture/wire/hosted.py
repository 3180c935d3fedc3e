"""Calls of the tools that a provider hosts, as a response's output items tell them: billed beside its tokens.

Sources: OpenAI API reference, Responses, output items; guide "Web search": "search actions incur a tool call cost". To
open a page, or to search in it, is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

_READS_ON = ("open_page", "find_in_page")
IMAGE = "image_generation_calls"

_NAMES = {
    "web_search_call": "web_search_calls",
    "file_search_call": "file_search_calls",
    "code_interpreter_call": "code_interpreter_calls",
    "image_generation_call": IMAGE,
}
"""Output item -> what it is counted as (`domain.pricing.CALLS`)."""


def call_of(kind: object, action: object) -> str | None:
    """What an output item of this kind is counted as; None where nothing is billed for it by the call."""
    if isinstance(action, Mapping) and action.get("type") in _READS_ON:
        return None
    return _NAMES.get(kind) if isinstance(kind, str) else None


def calls_in(items: Iterable[tuple[object, object]]) -> Counter[str]:
    """How many of each, of the items' kinds and actions."""
    return Counter(name for kind, action in items if (name := call_of(kind, action)) is not None)
