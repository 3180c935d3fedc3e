"""Every setting with its value and where that came from. Never a password, never a key."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from pydantic import SecretStr

from livekit_tokens.core.findings import Finding
from livekit_tokens.domain.identity import Source
from livekit_tokens.settings import FILE, OTHER_NAMES, PREFIX, Settings
from livekit_tokens.store.address import address_of


def look_at_settings(settings: Settings, complaints: Sequence[str]) -> Iterator[Finding]:
    """One line a setting; a fault for each that cannot be used, with the default that is used in its place."""
    left = list(complaints)
    for name in Settings.model_fields:
        unusable = [line for line in left if _is_about(line, name)]
        left = [line for line in left if line not in unusable]
        value = shown(name, getattr(settings, name))
        if unusable:
            told = f"{unusable[0]}; {value} is used in its place"
            yield Finding("fault", f"setting {name}", told, "set it to what is accepted, or leave it out")
        else:
            yield Finding("ok", f"setting {name}", f"{value} ({origin_of(name, settings)})")
    for line in left:
        yield Finding(
            "fault", "settings", line, f"mend {FILE.absolute()}" if str(FILE) in line else "rename or unset it"
        )
    if not settings.enabled:
        yield Finding(
            "note", "settings", "tracking is switched off: calls go on, and nothing is counted", "set ENABLED"
        )


def origin_of(name: str, settings: Settings) -> str:
    """The name in the environment, the settings file, or the default."""
    for written in _names(name):
        if any(key.upper() == written and value for key, value in os.environ.items()):
            return f"from {written}"
    return f"from {FILE.absolute()}" if name in settings.model_fields_set else "default"


def shown(name: str, value: object) -> str:
    """A value as people write it; a database's address without user, password and options."""
    match value:
        case str() if name == "database_url":
            return str(address_of(value))
        case SecretStr():
            text = "set, not shown" if value.get_secret_value() else ""
        case Source():
            text = f"{value.kind}:{value.field}" if value.field else value.kind
        case dict():
            text = ",".join(f"{key}={text}" for key, text in value.items())
        case float():
            text = f"{value:g}"
        case _:
            text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text or "not set"


def _names(name: str) -> Iterable[str]:
    return filter(None, (f"{PREFIX}{name.upper()}", OTHER_NAMES.get(name)))


def _is_about(complaint: str, name: str) -> bool:
    """A complaint begins with the setting's name as it was written."""
    return complaint.startswith(tuple(f"{written} " for written in (*_names(name), name)))
