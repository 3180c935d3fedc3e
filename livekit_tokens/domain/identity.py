"""Whose call it is, and how much of that may be kept."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from livekit_tokens.domain.errors import BadSetting

Kept = Literal["plain", "hashed", "none"]

_HASH_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Identities:
    """What of an identity is kept. `hashed` needs a key: without it, who knows an identity could find its hash."""

    kept: Kept = "plain"
    key: str = ""

    def __post_init__(self) -> None:
        if self.kept == "hashed" and not self.key:
            raise BadSetting("USER_IDENTITY is hashed, but USER_IDENTITY_KEY is not set; set it to a secret text")

    def identity(self, identity: str | None) -> str | None:
        """The identity as it may reach the spool: the same one always gives the same text."""
        if identity is None or self.kept == "none":
            return None
        if self.kept == "plain":
            return identity
        return hmac.new(self.key.encode(), identity.encode(), hashlib.sha256).hexdigest()[:_HASH_DIGITS]

    def name(self, name: str | None) -> str | None:
        """A display name says who it is: it is kept only where identities are."""
        return (name or None) if self.kept == "plain" else None


PLAIN = Identities()


@dataclass(frozen=True, slots=True)
class Source:
    """Where a user or a tenant is read from: the caller's identity or attributes, or the job's metadata."""

    kind: Literal["identity", "attribute", "metadata"]
    field: str = ""

    def read(self, identity: str | None, attributes: Mapping[str, str], metadata: Mapping[str, object]) -> str | None:
        """The value, or None where it is not there (yet)."""
        if self.kind == "identity":
            return identity or None
        value: object = attributes.get(self.field) if self.kind == "attribute" else found(metadata, self.field)
        return str(value) if isinstance(value, (str, int)) and str(value) else None


IDENTITY = Source("identity")


def read_source(text: str) -> Source:
    """`identity`, `attribute:sip.phoneNumber` or `metadata:customer.id`; raises BadSetting for anything else."""
    kind, _, field = text.strip().partition(":")
    if kind == "identity" and not field:
        return IDENTITY
    if kind in ("attribute", "metadata") and field:
        return Source(kind, field)  # type: ignore[arg-type]
    raise BadSetting(f"{text!r} cannot be read; accepted: identity, attribute:NAME, metadata:FIELD")


def found(metadata: Mapping[str, object], path: str) -> object:
    """A field of the job's JSON metadata, by its name or by a path such as `customer.id`."""
    if path in metadata:
        return metadata[path]
    value: object = metadata
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
