"""Estimates for requests whose figures were cut off: pure functions on frozen values, each with its error and bounds.

An estimate says what it is: its record is marked `estimated` and carries bounds where they can be given. What a
conversation's own figures told is preferred to every constant; every constant names its source.

| asked | answered in |
|---|---|
| what a message, audio or a tool costs in tokens | `framing`; tools: `core/prompts` |
| what the next response will read, and how much of it from the cache | `conversation`, `prompt` |
| what the server has left out unseen, and will again | `left_out` |
| what a response had put out, delivered or not | `output` |
"""
