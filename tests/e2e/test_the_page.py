"""The page in a real browser: light and dark, with its charts drawn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CARDS = {"light": (255, 255, 255), "dark": (0x1B, 0x20, 0x27)}
BLUES = {"light": (0x2F, 0x6F, 0xDE), "dark": (0x6E, 0xA0, 0xFF)}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Of a small ledger of plausible traffic."""
    folder = tmp_path_factory.mktemp("page")
    mine = {"LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{folder / 'ledger.db'}", "LIVEKIT_TOKENS_SPOOL_DIR": str(folder)}
    for words in (["demo", "--records", "5000"], ["report", "--html", str(folder / "page.html"), "--days", "60"]):
        command = [sys.executable, "-m", "livekit_tokens", *words]
        subprocess.run(command, env=os.environ | mine, check=True, capture_output=True, timeout=120)
    return folder / "page.html"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here (apt-get install chromium)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_in_the_readers_colours(page, scheme, tmp_path):
    """The cards and the bars have the scheme's colours; it works with the policy that forbids every request."""
    assert BROWSER is not None
    picture = tmp_path / f"{scheme}.png"
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=1120,2400",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        f"--screenshot={picture}",
    ]
    subprocess.run([BROWSER, *options, page.as_uri()], check=True, capture_output=True, timeout=120)
    colours = {pixel: count for count, pixel in Image.open(picture).convert("RGB").getcolors(2**24)}
    assert colours.get(CARDS[scheme], 0) > 100_000
    assert colours.get(BLUES[scheme], 0) > 5_000
