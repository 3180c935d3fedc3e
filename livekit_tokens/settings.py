"""The settings: from the environment (LIVEKIT_TOKENS_...), then livekit-tokens.toml in the working directory.

A call is never refused because of a setting: `load_settings` answers with defaults in place of what cannot be used.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from livekit_tokens.core.homes import host
from livekit_tokens.core.syncing import Durability
from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.identity import IDENTITY, Identities, Kept, Source, read_source
from livekit_tokens.domain.misnamed import Misnamed, misnamed
from livekit_tokens.domain.periods import read_zone
from livekit_tokens.domain.times import SECOND, Micros
from livekit_tokens.store.address import ACCEPTED, address_of

FILE = Path("livekit-tokens.toml")
PREFIX = "LIVEKIT_TOKENS_"
OTHER_NAMES = {"enabled": "USAGE_TRACKING_ENABLED"}
"""Names that users of other trackers have in their environments; ours goes first where both are set."""

_ACCEPTED = {
    "database_url": ACCEPTED,
    "spool_dir": "a folder's path",
    "spool_host": "a name of letters, digits, '.', '-' and '_'",
    "enabled": "true or false",
    "rejoin_grace_seconds": "a number of seconds from 0 to 3600",
    "stale_after_seconds": "a number of seconds from 1 to 86400",
    "user_identity": "plain, hashed (with USER_IDENTITY_KEY) or none",
    "user_identity_key": "a secret text",
    "user_from": "identity, attribute:NAME (such as attribute:sip.phoneNumber) or metadata:FIELD",
    "tenant_from": "attribute:NAME or metadata:FIELD",
    "timezone": "an IANA name such as Europe/Berlin, or UTC",
    "tags": "key=value pairs such as env=prod,version=1.4",
    "durability": "process (a killed process loses nothing) or power (nor does a power cut, but the last moment)",
    "prices_file": "a TOML file's path",
    "retention_days": "a whole number of days from 1, or nothing to keep records for ever",
    "jsonl_dir": "a folder's path",
    "jsonl_keep_days": "a whole number of days from 1, or nothing to keep the files for ever",
    "log_level": "DEBUG, INFO, WARNING, ERROR or CRITICAL",
}
_SECRET = ("database_url", "user_identity_key")
_PRIVACY = {"user_identity", "user_identity_key"}
_OF_OTHERS = ("NO_SKIPS", "TEST_POSTGRES", "SERVICE_", "PORT")
"""What else begins with our prefix: our own tests' switches, and what Kubernetes tells every pod of a service that is
called livekit-tokens (kubernetes.io, "Accessing the Service", environment variables)."""


def user_data_dir() -> Path:
    """Where the ledger and the spool are by default, by the platform's custom."""
    return user_data_path("livekit-tokens", appauthor=False)


def default_database_url() -> str:
    return f"sqlite:///{user_data_dir() / 'ledger.db'}"


def _read_tags(value: object) -> object:
    """`env=prod,version=1.4`, or a table of the settings file."""
    if not isinstance(value, str):
        return value
    tags: dict[str, str] = {}
    for pair in value.split(","):
        if not pair.strip():
            continue
        key, sign, text = (piece.strip() for piece in pair.partition("="))
        if not (key and sign):
            raise ValueError(f"{pair.strip()!r} is not key=value")
        tags[key] = text
    return tags


def _read_source(value: object) -> object:
    return read_source(value) if isinstance(value, str) else value


class Settings(BaseSettings):
    """Every setting that does something now, checked. Frozen."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    def __init__(self, **values: Any) -> None:
        """Arguments, then the environment (ours, then the other names), then the file.

        Past `BaseSettings`, which makes readers of the environment, of .env (an agent's own affair) and of secrets
        before it asks which are wanted: a quarter of the first `track()`.
        """
        found = {**_file()[0], **_other_names(), **_environment(), **values}
        super(BaseSettings, self).__init__(**found)

    database_url: str = Field(default_factory=default_database_url)
    spool_dir: Path = Field(default_factory=lambda: user_data_dir() / "spool")
    spool_host: str | None = None
    enabled: bool = True
    rejoin_grace_seconds: float = Field(default=15.0, ge=0, le=3600, allow_inf_nan=False)
    stale_after_seconds: float = Field(default=300.0, ge=1, le=86_400, allow_inf_nan=False)
    user_identity_key: SecretStr = SecretStr("")
    user_identity: Kept = "plain"
    user_from: Annotated[Source, NoDecode, BeforeValidator(_read_source)] = IDENTITY
    tenant_from: Annotated[Source | None, NoDecode, BeforeValidator(_read_source)] = None
    timezone: str = "UTC"
    tags: Annotated[dict[str, str], NoDecode, BeforeValidator(_read_tags)] = Field(default_factory=dict)
    durability: Durability = "process"
    prices_file: Path | None = None
    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    jsonl_dir: Path | None = None
    jsonl_keep_days: int | None = Field(default=None, ge=1, le=36_500)
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        BeforeValidator(lambda value: value.strip().upper() if isinstance(value, str) else value),
    ] = "INFO"

    @field_validator("database_url")
    @classmethod
    def _names_a_database(cls, value: str) -> str:
        address_of(value)
        return value

    @field_validator("spool_dir")
    @classmethod
    def _is_a_folder(cls, value: Path) -> Path:
        # Made absolute now: a later chdir of the agent must not make a second spool.
        try:
            found = value.expanduser().absolute()
            if found.exists() and not found.is_dir():
                raise ValueError("it is not a folder")
        except (OSError, RuntimeError) as fault:  # no right to look, a name too long, no such user
            raise ValueError(f"it cannot be looked at ({fault})") from fault
        return found

    @field_validator("spool_host")
    @classmethod
    def _is_a_folders_name(cls, value: str | None) -> str | None:
        if value is not None and value != host(value):
            raise ValueError("it is no folder's name")
        return value

    @field_validator("prices_file", "jsonl_dir")
    @classmethod
    def _is_absolute(cls, value: Path | None) -> Path | None:
        # What is there is for its user to judge: what is wrong, or not there yet, may be mended meanwhile.
        try:
            return None if value is None else value.expanduser().absolute()
        except (OSError, RuntimeError) as fault:  # no such user
            raise ValueError(f"it cannot be looked at ({fault})") from fault

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        read_zone(value)
        return value

    @field_validator("user_identity")
    @classmethod
    def _has_its_key(cls, value: Kept, info: ValidationInfo) -> Kept:
        Identities(value, info.data.get("user_identity_key", SecretStr("")).get_secret_value())
        return value

    @property
    def stale_after(self) -> Micros:
        """What waits for longer is a fault to `doctor`; a ledger that nobody has written for longer may be replaced."""
        return round(self.stale_after_seconds * SECOND)

    @property
    def identities(self) -> Identities:
        """What of an identity is kept."""
        return Identities(self.user_identity, self.user_identity_key.get_secret_value())


def read_settings(**values: Any) -> Settings:
    """The settings; raises BadSetting with one line for the first that cannot be used."""
    try:
        settings = Settings(**values)
    except ValidationError as faults:
        raise BadSetting(_lines(faults, values)[0]) from faults
    for complaint in (*_file()[1], *(name.line for name in _misnamed())):
        raise BadSetting(complaint)
    return settings


def load_settings(**values: Any) -> tuple[Settings, list[str]]:
    """The settings, with defaults in place of what cannot be used, and a line to warn about each of those.

    Who wants less of an identity kept must not get more by a mistyped word: then nothing of it is kept.
    """
    strange = _misnamed()
    complaints = [*_file()[1], *(name.line for name in strange)]
    try:
        settings = Settings(**values)
    except ValidationError as faults:
        unusable = {str(fault["loc"][0]) for fault in faults.errors()}
        defaults = {name: Settings.model_fields[name].get_default(call_default_factory=True) for name in unusable}
        if unusable & _PRIVACY:
            defaults["user_identity"] = "none"
        settings = Settings(**{**values, **defaults})
        complaints += _lines(faults, values)
    meant = [name for name in strange if name.near in _PRIVACY]
    if meant and "user_identity" not in settings.model_fields_set:
        complaints.append(
            f"user_identity is not set, but {meant[0].written} may mean it: nothing of an identity is kept"
        )
        settings = settings.model_copy(update={"user_identity": "none"})
    return settings, complaints


def _environment() -> dict[str, Any]:
    """What stands under our prefix, in capital letters or not; what is empty counts as not set."""
    found = {name.upper(): value for name, value in os.environ.items() if value}
    return {_field_of(name): value for name, value in found.items() if name.startswith(PREFIX)}


def _other_names() -> dict[str, Any]:
    return {name: os.environ[other] for name, other in OTHER_NAMES.items() if os.environ.get(other)}


def _file() -> tuple[dict[str, Any], list[str]]:
    """What the settings file says, and why it cannot be read. Capital letters are accepted in its names."""
    try:
        found = tomllib.loads(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError) as fault:
        reason = (str(fault) or type(fault).__name__).splitlines()[0]
        return {}, [
            f"{FILE} cannot be read ({reason}) and is left aside; accepted: TOML with lines such as timezone = 'UTC'"
        ]
    return {_field_of(name): value for name, value in found.items()}, []


def _misnamed() -> list[Misnamed]:
    """What looks like a setting's name, in the file and in the environment, and is none: silence would leave the
    reader believing that it works.
    """
    fields = Settings.model_fields
    others = tuple(f"{PREFIX}{name}" for name in _OF_OTHERS)
    set_here = (name.upper() for name, value in os.environ.items() if value)
    ours = (_field_of(name) for name in set_here if name.startswith(PREFIX) and not name.startswith(others))
    return [
        *(misnamed(name, fields, f" in {FILE}") for name in _file()[0] if name not in fields),
        *(
            misnamed(name, fields, spelt=lambda field: f"{PREFIX}{field.upper()}")
            for name in ours
            if name not in fields
        ),
    ]


def _field_of(written: str) -> str:
    return written.lower().removeprefix(PREFIX.lower())


def _lines(faults: ValidationError, given: Mapping[str, Any]) -> list[str]:
    """One line a setting: its name as it was written, the value's fault, what is accepted."""
    lines: dict[str, str] = {}
    for fault in faults.errors():
        name = str(fault["loc"][0])
        reason = fault["msg"].removeprefix("Value error, ")
        if name in _SECRET and fault["type"] == "value_error":
            # Not the value: it holds a password. The address says by itself what it accepts.
            line = f"{_written(name, given)} {reason.removeprefix('DATABASE_URL ')}"
        elif name in _SECRET:
            line = f"{_written(name, given)} is no text; accepted: {_ACCEPTED[name]}"
        else:
            value = repr(fault["input"])[:80]
            line = f"{_written(name, given)} is {value}: {reason.partition(';')[0]}; accepted: {_ACCEPTED[name]}"
        lines.setdefault(name, line)
    return list(lines.values())


def _written(name: str, given: Mapping[str, Any]) -> str:
    """The setting's name where its value came from."""
    ours = f"{PREFIX}{name.upper()}"
    if name in given:
        return name
    if any(key.upper() == ours and value for key, value in os.environ.items()):
        return ours
    if os.environ.get(OTHER_NAMES.get(name, "")):
        return OTHER_NAMES[name]
    return f"{name} in {FILE}"
