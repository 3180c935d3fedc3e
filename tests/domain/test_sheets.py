"""What a spreadsheet would execute."""

from __future__ import annotations

import pytest

from livekit_tokens.domain.sheets import harmless


@pytest.mark.parametrize("text", ["=1+1", "+1-1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1", "\uff1d1"])
def test_a_formula_becomes_text(text):
    """By the apostrophe that every spreadsheet knows."""
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "ann", "a=b", "a-b", "-1.500000000", "12", "אבג", "🎉", "1e5"])
def test_all_else_stays(text):
    """Negative numbers too."""
    assert harmless(text) == text
