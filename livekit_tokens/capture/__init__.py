"""The only door to LiveKit: turns its events and the provider's into usage records. Nothing here raises into a call."""
