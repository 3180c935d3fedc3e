"""Versions, and whether they are in the ranges of the package's own metadata."""

from __future__ import annotations

import pytest

from livekit_tokens.core.installed import is_within, look_at_version, look_at_versions, requirements


@pytest.mark.parametrize(
    ("version", "accepted", "within"),
    [
        ("1.8.9", "<2,>=1.8", True),
        ("1.8", "<2,>=1.8", True),
        ("1.8.0rc1", "<2,>=1.8", True),
        ("1.10.0", "<2,>=1.8", True),
        ("1.7.99", "<2,>=1.8", False),
        ("2.0.0", "<2,>=1.8", False),
        ("2.2", "<2.2,>=2.0.36", False),
        ("3.13.1", ">=3.11", True),
    ],
)
def test_a_version_is_compared_number_by_number(version: str, accepted: str, within: bool) -> None:
    """Not by its text: 1.10 comes after 1.8."""
    assert is_within(version, accepted) is within


def test_what_is_not_installed_or_not_supported_is_a_fault() -> None:
    """With the command that mends it."""
    assert look_at_version("no-such-package", ">=1").told == "not installed; supported >=1"
    wrong = look_at_version("pytest", ">=1,<2")
    assert (wrong.state, wrong.todo) == ("fault", "pip install 'pytest>=1,<2'")


def test_extras_are_not_required() -> None:
    """asyncpg is needed only where PostgreSQL is named."""
    names = [name for name, _ in requirements()]
    assert "livekit-agents" in names
    assert "asyncpg" not in names


def test_this_environment_is_supported() -> None:
    """Every range in the metadata has both of the signs that are understood."""
    assert {finding.state for finding in look_at_versions()} == {"ok"}
    assert all(
        set(accepted) & {"<", ">"} and "~" not in accepted and "!" not in accepted for _, accepted in requirements()
    )
