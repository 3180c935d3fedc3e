"""Only public names of other people's objects: what remains is named here, each with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import livekit_tokens.capture

CAPTURE = Path(livekit_tokens.capture.__file__).parent

FOREIGN: dict[str, str] = {}
"""Underscored attributes of others that capture reads, and why. Adding one needs a test that fails when it moves."""

PUBLIC = {"_replace", "_asdict"}
"""A named tuple's public methods, underscored by the standard library to stay clear of its fields."""

HOW = {"getattr", "setattr", "hasattr", "delattr"}


def underscored(source: Path) -> Iterator[str]:
    """Private names that a file reads of anything but itself, by attribute or by name."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in HOW:
            named = node.args[1] if len(node.args) > 1 else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str) and _is_private(named.value):
                yield named.value


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def test_capture_uses_public_names_only() -> None:
    """The goal is an empty list: LiveKit and the SDKs may rename what is theirs at any time."""
    found = {f"{path.name}: {name}" for path in CAPTURE.rglob("*.py") for name in underscored(path)}
    assert found == set(FOREIGN)


def test_what_it_looks_for_is_found(tmp_path: Path) -> None:
    """Else an empty list would show nothing."""
    source = tmp_path / "module.py"
    source.write_text("client._client\nself._own\ngetattr(session, '_room')\nx.__dict__\n")
    assert list(underscored(source)) == ["_client", "_room"]
