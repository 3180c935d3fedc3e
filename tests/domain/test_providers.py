"""Naming a provider by its host."""

from __future__ import annotations

import pytest

from livekit_tokens.domain.providers import provider_of


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com:443", "openai"),
        ("my-resource.openai.azure.com", "azure"),
        ("127.0.0.1:43211", "openai"),
        ("localhost", "openai"),
        ("[::1]:80", "openai"),
        ("", "openai"),
        ("Gateway.Example.com:8443", "gateway.example.com"),
        ("openai.com.evil.example", "openai.com.evil.example"),
    ],
)
def test_a_provider_is_named_by_its_host(host: str, provider: str) -> None:
    """Known vendors by their name, this machine by the protocol's vendor, anybody else by their own host."""
    assert provider_of(host) == provider
