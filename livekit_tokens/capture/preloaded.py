"""Whether LiveKit finds the plugin and would preload it: asked of a new process, as a worker's start would do it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from livekit_tokens.core.findings import Finding

_SECONDS = 25.0

# In a process of its own: plugins register on a main thread only, and importing LiveKit may take seconds.
_ASK = """
import json
import livekit.plugins.livekit_tokens
from livekit.agents import Plugin
print(json.dumps([plugin.package for plugin in Plugin.registered_plugins]))
"""
_PRELOAD = "livekit_tokens.preload"
_TODO = "pip install --force-reinstall livekit-tokens in the agent's environment"


def look_at_preload() -> Iterator[Finding]:
    """The namespace package is found, and LiveKit's list for its forkserver has us."""
    subject = "preload"
    try:
        # -P: a folder named livekit in the working directory is not the agent's.
        asked = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-P", "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        yield Finding("fault", subject, f"livekit.agents could not be imported in {_SECONDS:g} s", _TODO)
        return
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield Finding("fault", subject, f"livekit.plugins.livekit_tokens is not found: {reason}", _TODO)
    elif _PRELOAD not in json.loads(asked.stdout.splitlines()[-1]):
        yield Finding("fault", subject, f"livekit.agents has not registered {_PRELOAD}", _TODO)
    else:
        yield Finding("ok", subject, f"livekit.agents finds the plugin and registers {_PRELOAD}")
