"""The page in a real browser: light and dark, with its charts drawn."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from tests import lacking

CARDS = {"light": (255, 255, 255), "dark": (0x1B, 0x20, 0x27)}
BLUES = {"light": (0x2F, 0x6F, 0xDE), "dark": (0x6E, 0xA0, 0xFF)}


@pytest.fixture(scope="module")
def browser() -> str:
    """Chromium's command."""
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return next(found, None) or lacking.give_up("no Chromium here (apt-get install chromium)")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Of a small ledger of plausible traffic."""
    folder = tmp_path_factory.mktemp("page")
    mine = {"LIVEKIT_TOKENS_DATABASE_URL": f"sqlite:///{folder / 'ledger.db'}", "LIVEKIT_TOKENS_SPOOL_DIR": str(folder)}
    for words in (["demo", "--records", "5000"], ["report", "--html", str(folder / "page.html"), "--days", "60"]):
        command = [sys.executable, "-m", "livekit_tokens", *words]
        subprocess.run(command, env=os.environ | mine, check=True, capture_output=True, timeout=120)
    return folder / "page.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_in_the_readers_colours(browser, page, scheme, tmp_path):
    """The cards and the bars have the scheme's colours; it works with the policy that forbids every request."""
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
    subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True, timeout=120)
    colours = {pixel: count for count, pixel in Image.open(picture).convert("RGB").getcolors(2**24)}
    assert colours.get(CARDS[scheme], 0) > 100_000
    assert colours.get(BLUES[scheme], 0) > 5_000


class Tab:
    """A tab of Chromium, asked over its debugging protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._asked = 0
        self.requests: list[str] = []
        self.loaded = False

    async def ask(self, method: str, **params: object) -> dict[str, object]:
        self._asked += 1
        await self._socket.send_json({"id": self._asked, "method": method, "params": params})
        while (told := await self._told()).get("id") != self._asked:
            pass
        return told["result"]

    async def wait_until_loaded(self) -> None:
        while not self.loaded:
            await self._told()

    async def _told(self) -> dict[str, object]:
        told = await self._socket.receive_json(timeout=60)
        if told.get("method") == "Network.requestWillBeSent":
            self.requests.append(told["params"]["request"]["url"])
        self.loaded |= told.get("method") == "Page.loadEventFired"
        return told


PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
MEASURED = """JSON.stringify({
  wide: document.documentElement.scrollWidth,
  letters: Math.min(...[...document.querySelectorAll('svg text')].map(text => text.getBoundingClientRect().height)),
  cut: [...document.querySelectorAll('section, .figures > div, h1, h2, p, li')]
         .filter(box => box.getBoundingClientRect().right > innerWidth + 1).map(box => box.outerHTML.slice(0, 80)),
})"""


async def on_a_phone(browser: str, page: Path, profile: Path) -> tuple[dict[str, object], list[str]]:
    """What the page measures there, and every request that was made for it."""
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
    ]
    running = await asyncio.create_subprocess_exec(browser, *options, "about:blank", stderr=asyncio.subprocess.PIPE)
    try:
        while not (found := re.search(rb"ws://127.0.0.1:(\d+)/", line := await running.stderr.readline())):
            assert line, "Chromium ended before it listened"
        async with aiohttp.ClientSession() as http:
            tabs = await (await http.get(f"http://127.0.0.1:{int(found[1])}/json")).json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with http.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                await tab.ask("Network.enable")
                await tab.ask("Page.enable")
                await tab.ask("Emulation.setDeviceMetricsOverride", **PHONE)
                await tab.ask("Page.navigate", url=page.as_uri())
                await tab.wait_until_loaded()
                told = await tab.ask("Runtime.evaluate", expression=MEASURED, returnByValue=True)
                return json.loads(told["result"]["value"]), tab.requests
    finally:
        running.terminate()
        await running.wait()


async def test_on_a_phone_nothing_sticks_out_and_the_page_asks_for_nothing_more(browser, page, tmp_path):
    """Wide tables and charts scroll within themselves, and what charts say can be read."""
    measured, requests = await on_a_phone(browser, page, tmp_path / "profile")
    assert requests == [page.as_uri()]
    assert (measured["wide"], measured["cut"]) == (PHONE["width"], [])
    assert measured["letters"] >= 8
