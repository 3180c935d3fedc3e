"""Only public names of other people's objects: what remains is named here, each with its reason."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path

import aiosqlite

import livekit_tokens

PACKAGE = Path(livekit_tokens.__file__).parent

FOREIGN = {
    "engines.py: _thread": "aiosqlite 0.20 gives its thread no other name, and it must not keep an interpreter alive",
}
"""Underscored names of others that are read, and why. Adding one needs a test that fails when it moves."""

PUBLIC = {"_replace", "_asdict", "_mapping", "_exit"}
"""Public names all the same: a named tuple's and a SQLAlchemy row's, to stay clear of their fields; `os._exit`."""

HOW = {"getattr", "setattr", "hasattr", "delattr"}


def underscored(source: Path) -> Iterator[str]:
    """Private names that a file reads of anything but itself: by attribute, by name, by import."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in HOW:
            named = node.args[1] if len(node.args) > 1 else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str) and _is_private(named.value):
                yield named.value
        elif isinstance(node, ast.Import | ast.ImportFrom):
            of = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            places = ".".join([*of, *(alias.name for alias in node.names)]).split(".")
            yield from filter(_is_private, places)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def test_only_public_names_are_used() -> None:
    """LiveKit, the SDKs and the drivers may rename what is theirs at any time."""
    found = {f"{path.name}: {name}" for path in PACKAGE.rglob("*.py") for name in underscored(path)}
    assert found == set(FOREIGN)


def test_aiosqlites_thread_has_the_name_that_it_is_looked_for_by() -> None:
    """Else it would keep an interpreter alive that wants to exit."""
    assert isinstance(aiosqlite.connect(":memory:")._thread, threading.Thread)


def test_what_it_looks_for_is_found(tmp_path: Path) -> None:
    """Else a short list would show nothing."""
    source = tmp_path / "module.py"
    source.write_text(
        "import openai._base_client\nfrom openai._models import BaseModel\nfrom openai import _types\n"
        "client._client\nself._own\ngetattr(session, '_room')\nx.__dict__\n"
    )
    assert sorted(underscored(source)) == ["_base_client", "_client", "_models", "_room", "_types"]
