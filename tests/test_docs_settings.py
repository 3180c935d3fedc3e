"""docs/settings.md has every setting, and the default that it names is the default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from livekit_tokens.origins import shown
from livekit_tokens.settings import Settings

PAGE = (Path(__file__).parents[1] / "docs" / "settings.md").read_text("utf-8")
DEFAULTS = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*?) \|", PAGE, re.MULTILINE))
DESCRIBED = {"DATABASE_URL", "SPOOL_DIR", "SPOOL_HOST", "RETENTION_DAYS", "JSONL_KEEP_DAYS"}
"""Whose default is said in words, because it is a machine's or is nothing."""


def test_the_page_has_each_setting_and_no_other():
    assert [name.lower() for name in sorted(DEFAULTS)] == sorted(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(DEFAULTS.keys() - DESCRIBED))
def test_a_default_that_it_names_is_the_default(name):
    """As doctor shows it."""
    field = Settings.model_fields[name.lower()]
    assert DEFAULTS[name].strip("`") == shown(name.lower(), field.get_default(call_default_factory=True))
