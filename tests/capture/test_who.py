"""Whose call it is, by what the settings say, the caller's participant and the job."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from livekit_tokens.capture.who import BY_IDENTITY, Naming, Who, Whose
from livekit_tokens.domain.identity import PLAIN, Identities, read_source

NUMBER = "+49301234567"
HASHED = Identities("hashed", "a secret")
CALLER = SimpleNamespace(identity="sip_ada", name="Ada Lovelace", attributes={"sip.phoneNumber": NUMBER})


def job(metadata: str) -> Any:
    return SimpleNamespace(job=SimpleNamespace(metadata=metadata))


def who(
    naming: Naming = BY_IDENTITY, metadata: object = None, *, user: str | None = None, tenant: str | None = None
) -> Who:
    return Who(naming, job(json.dumps(metadata)) if metadata is not None else None, user=user, tenant=tenant)


@pytest.mark.parametrize(
    ("keep", "whose"),
    [
        (PLAIN, Whose("sip_ada", "Ada Lovelace")),
        (HASHED, Whose(HASHED.identity("sip_ada"), None)),
        (Identities("none"), Whose(None, None)),
    ],
    ids=["plain", "hashed", "none"],
)
def test_of_the_caller_is_kept_what_may_be(keep: Identities, whose: Whose) -> None:
    """Identity and name, a hash, or nothing."""
    assert who(Naming(keep)).by(CALLER) == whose


@pytest.mark.parametrize(
    ("keep", "user"),
    [(PLAIN, NUMBER), (HASHED, HASHED.identity(NUMBER)), (Identities("none"), None)],
    ids=["plain", "hashed", "none"],
)
def test_the_user_is_read_from_where_user_from_says(keep: Identities, user: str | None) -> None:
    """SIP's number, say: the same caller by whatever identity a trunk gives them; kept as an identity is."""
    asked = who(Naming(keep, user_from=read_source("attribute:sip.phoneNumber")))
    assert asked.by(CALLER).user == user
    assert asked.at_start().user is None


@pytest.mark.parametrize("keep", [PLAIN, HASHED, Identities("none")], ids=["plain", "hashed", "none"])
def test_the_tenant_is_read_from_where_tenant_from_says(keep: Identities) -> None:
    """It is nobody's identity, so it is kept as it is; the job's metadata is known before anybody is there."""
    asked = who(Naming(keep, tenant_from=read_source("metadata:account.id")), {"account": {"id": 7}})
    assert (asked.at_start().tenant, asked.by(CALLER).tenant) == ("7", "7")


def test_without_tenant_from_there_is_no_tenant() -> None:
    """Nothing is guessed from metadata."""
    assert who(metadata={"tenant": "analytical"}).by(CALLER).tenant is None


def test_what_the_host_gave_goes_first() -> None:
    """`track(user=, tenant=)` knows better than the room, from the beginning."""
    naming = Naming(PLAIN, read_source("attribute:sip.phoneNumber"), read_source("metadata:tenant"))
    asked = who(naming, {"tenant": "analytical"}, user="customer-1", tenant="engines")
    assert asked.at_start() == Whose("customer-1", None, "engines")
    assert asked.by(CALLER) == Whose("customer-1", "Ada Lovelace", "engines")


def test_a_user_that_the_host_gave_is_kept_as_an_identity_is() -> None:
    """USER_IDENTITY says what may be stored, whoever told it."""
    assert who(Naming(HASHED), user="ada").at_start().user == HASHED.identity("ada")
    assert who(Naming(Identities("none")), user="ada").at_start().user is None


@pytest.mark.parametrize("metadata", ["", "not JSON", '["a", "list"]', "7"])
def test_metadata_that_is_no_object_names_nobody(metadata: str) -> None:
    """A job's metadata is the host's own; it need not be JSON at all."""
    naming = Naming(PLAIN, read_source("metadata:user"), read_source("metadata:tenant"))
    assert Who(naming, job(metadata), user=None, tenant=None).at_start() == Whose()
