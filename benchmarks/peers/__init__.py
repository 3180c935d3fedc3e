"""VoiceGateway beside livekit-tokens: the same calls, the same records, the same machine, each in its own environment.

VoiceGateway (PyPI `voicegateway`, MIT) is the nearest neighbour: `attach(session)` in one line, costs in SQLite.
"""
