"""docs/reports.md says what there is: its commands exist, its methods are all, its Python runs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import typer

from livekit_tokens.cli.app import app
from livekit_tokens.core.reports import Reports
from livekit_tokens.domain.sessions import Part
from livekit_tokens.domain.times import SECOND, to_micros
from livekit_tokens.domain.usage import UsageRecord
from livekit_tokens.store.connection import StoreLedger
from tests.store.batches import batch

PAGE = (Path(__file__).parents[1] / "docs" / "reports.md").read_text("utf-8")


def test_its_commands_exist():
    """With every option that it shows."""
    group = typer.main.get_command(app)
    context = typer.Context(group)
    shown = re.findall(r"livekit-tokens ([a-z-]+)([^\n|;&$`)]*)", PAGE)
    assert len(shown) > 20
    for name, words in shown:
        command = group.get_command(context, name)
        assert command is not None, name
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", words)) <= options, name


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
