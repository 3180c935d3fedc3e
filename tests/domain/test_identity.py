"""Whose call it is, and how much of that may be kept."""

from __future__ import annotations

import pytest

from livekit_tokens.domain.errors import BadSetting
from livekit_tokens.domain.identity import IDENTITY, Identities, Source, read_source


def test_a_hashed_identity_is_always_the_same_and_tells_nothing() -> None:
    """Groups and budgets go on working; the name is not kept."""
    hashed = Identities("hashed", "a secret")
    assert hashed.identity("ada") == hashed.identity("ada") != hashed.identity("bob")
    assert hashed.identity("ada") != Identities("hashed", "another").identity("ada")
    assert "ada" not in str(hashed.identity("ada"))
    assert hashed.name("Ada Lovelace") is None


def test_nothing_is_kept_where_nothing_may_be() -> None:
    """Neither identity nor name."""
    assert Identities("none").identity("ada") is None
    assert Identities("none").name("Ada") is None
    assert (Identities().identity("ada"), Identities().name("Ada"), Identities().name("")) == ("ada", "Ada", None)


def test_a_hash_without_a_key_is_refused() -> None:
    """Who knows an identity could find its hash."""
    with pytest.raises(BadSetting, match="USER_IDENTITY_KEY"):
        Identities("hashed")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("identity", "ada"),
        ("attribute:sip.phoneNumber", "+4930123"),
        ("attribute:missing", None),
        ("metadata:customer", "c1"),
        ("metadata:account.id", "42"),
        ("metadata:account", None),
        ("metadata:missing.field", None),
    ],
)
def test_a_user_is_read_from_where_the_setting_says(text: str, value: str | None) -> None:
    """The identity, an attribute (SIP's among them), or a field of the job's metadata."""
    metadata = {"customer": "c1", "account": {"id": 42}}
    assert read_source(text).read("ada", {"sip.phoneNumber": "+4930123"}, metadata) == value


@pytest.mark.parametrize("text", ["", "attribute", "attribute:", "phone", "identity:x"])
def test_an_unreadable_source_is_refused(text: str) -> None:
    """What is accepted is said."""
    with pytest.raises(BadSetting, match="accepted: identity, attribute:NAME, metadata:FIELD"):
        read_source(text)


def test_a_source_is_a_value() -> None:
    """Two that read alike are alike."""
    assert read_source(" identity ") == IDENTITY == Source("identity")
