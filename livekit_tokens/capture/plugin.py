"""The plugin as LiveKit sees it: preloaded once a worker, asked before calls begin whether all it needs is there."""

from __future__ import annotations

import logging
import threading
from importlib import import_module

from livekit.agents import Plugin

from livekit_tokens import __version__

logger = logging.getLogger("livekit_tokens")

PRELOAD = "livekit_tokens.preload"


class LiveKitTokens(Plugin):
    """LiveKit puts `package` into its forkserver: what is heavy is loaded once a worker, and shared by its jobs."""

    def __init__(self) -> None:
        super().__init__("livekit-tokens", __version__, PRELOAD, logger)

    def download_files(self) -> None:
        """Nothing is downloaded; raises if what must be on disk before calls begin is not."""
        import_module(PRELOAD)  # it checks the vocabulary's hash, and needs everything that a call needs


def register() -> None:
    """Register once a process, on the main thread only (LiveKit refuses others)."""
    if threading.current_thread() is not threading.main_thread():
        return
    if not any(isinstance(plugin, LiveKitTokens) for plugin in Plugin.registered_plugins):
        Plugin.register_plugin(LiveKitTokens())
