"""Naming a provider by the host that its API is reached at."""

from __future__ import annotations

from functools import lru_cache

_KNOWN = {
    "openai.com": "openai",
    "azure.com": "azure",
    "livekit.cloud": "livekit",
}
_LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")


@lru_cache(256)
def provider_of(host: str, protocol: str = "openai") -> str:
    """The provider behind a host, with or without a port: `api.openai.com` is openai, a resource of Azure's is azure.

    A host on this machine stands for the vendor whose protocol it speaks (a proxy, a stand-in); any other
    host is named by itself, in lower case and without its port, so that a gateway's prices stay its own.
    """
    name = host.lower().rsplit("@", 1)[-1]
    if not name.endswith("]"):
        name = name.rsplit(":", 1)[0] if name.count(":") == 1 else name
    if name.startswith("[") and "]:" in name:
        name = name[: name.index("]:") + 1]
    if not name or name in _LOCAL:
        return protocol
    for domain, provider in _KNOWN.items():
        if name == domain or name.endswith("." + domain):
            return provider
    return name
