"""The documents say what there is: their commands can be given, the methods are all, the Python runs."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from itertools import dropwhile, groupby
from pathlib import Path

import pytest
import typer

from livekit_tokens.cli import view
from livekit_tokens.cli.app import app
from livekit_tokens.core.reports import Reports
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import SECOND, to_micros
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store import migrations
from livekit_tokens.store.connection import StoreLedger
from tests.store.batches import batch

ENTRIES = {"livekit-tokens": app, "view-token-usage": view.app, "token-usage-dashboard": view.dashboard}


def commands_in(line: str) -> Iterator[list[str]]:
    """The words of each of our commands in a line for a shell; in the README, a bar stands between several of one."""
    read = shlex.shlex(re.sub(r"\$\([^)]*\)", "ID", line), posix=True, punctuation_chars="|;&<>")
    read.whitespace_split = True
    entry = None
    for is_between, piece in groupby(read, lambda word: set(word) <= set("|;&<>")):
        words = [] if is_between else list(piece)
        words = list(dropwhile(lambda word: "=" in word, words))  # what is set for it alone
        if words and words[0] in ENTRIES:
            entry = words[0]
            yield words
        elif entry is not None and words and words[0] in NAMES:
            yield [entry, *words]


def is_group(command: object) -> bool:
    return hasattr(command, "resolve_command")


NAMES = typer.main.get_command(app).commands.keys()
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reports.md").read_text("utf-8")
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md"))
SHOWN = [
    (page.name, command)
    for page in PAGES
    for block in re.findall(r"```(?:console|text)\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    for line in re.findall(r"^\$ (.*)", block, re.MULTILINE)
    for command in commands_in(line)
]


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_a_command_that_is_shown_can_be_given(page, command):
    """In the words in which it stands there: every argument that it needs, every option that there is."""
    entry, *words = command
    group = typer.main.get_command(ENTRIES[entry])
    while is_group(group):
        entry, group, words = group.resolve_command(typer.Context(group), words)
    assert group.make_context(entry, words), page


def test_most_commands_are_shown():
    """A page whose blocks are not found would be held by nothing."""
    assert {page for page, _ in SHOWN} >= {"README.md", "keeping-house.md", "prices.md", "reports.md"}
    named = {words[1] for _, words in SHOWN if words[0] == "livekit-tokens"}
    assert NAMES - named == {"demo"}, "which prints no figures of a ledger, and stands in the README's first lines"


def test_a_revision_that_is_shown_is_this_versions():
    """What `make docs` puts in is of the schema that there is."""
    for page in PAGES:
        shown = re.findall(r"(?:schema|revision) (\d{4})\b", page.read_text("utf-8"))
        assert set(shown) <= {migrations.HEAD} or page.name in ("CHANGELOG.md", "ARCHITECTURE.md"), page.name


def test_it_names_every_question():
    """All public methods, and no other."""
    (listed,) = re.findall(r"Every command is a method: (.*?)\. They", PAGE, re.DOTALL)
    public = {name for name, _ in inspect.getmembers(Reports, inspect.isfunction) if not name.startswith("_")}
    assert set(re.findall(r"`(\w+)`", listed)) == public


async def test_its_python_runs(monkeypatch, tmp_path, capsys):
    """As it stands there, over a ledger with its session."""
    monkeypatch.setenv("LIVEKIT_TOKENS_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("LIVEKIT_TOKENS_SPOOL_DIR", str(tmp_path / "spool"))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(code, names)
    at = to_micros(names["datetime"].now(names["UTC"])) - 60 * SECOND
    part = Part("0a" * 16, "support-room_abc123def", at, user="ann", tenant="acme")
    spent = UsageRecord(part.key, at + SECOND, "agent", "openai", "m", "chat_completion", {"input_text": 7})
    ledger = StoreLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    connection = await ledger.connect()
    assert await connection.apply(batch(spent, parts=[part]))
    await connection.aclose()
    await ledger.aclose()
    await names["last_month"]()
    out = capsys.readouterr().out
    assert "support-room_abc123def {'input_text': 7} None" in out
    assert out.splitlines()[-1] == "1"
