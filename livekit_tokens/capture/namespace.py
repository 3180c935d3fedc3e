"""Installed as `livekit.plugins.livekit_tokens`: `python -m livekit.agents download-files` looks only there."""

from livekit_tokens.capture.plugin import LiveKitTokens, register

__all__ = ["LiveKitTokens"]

register()
