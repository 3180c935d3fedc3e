"""How long the audio of an answer lasts, from its first bytes and its size; pure.

Source: RIFF WAVE; MPEG-1/2 audio frame headers (ISO 11172-3, 13818-3), layer III, of constant bitrate.
"""

from __future__ import annotations

from livekit_tokens.core.estimates.framing import PCM16_BYTES_PER_MS

HEAD_BYTES = 4096
"""So much of the beginning holds all headers."""

# kbit/s by the header's index; MPEG-1 and MPEG-2/2.5, layer III.
_BITRATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_OTHER_MAGIC = (b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"\xff\xf1", b"\xff\xf9")


def milliseconds(head: bytes, size: int, media: str = "") -> int | None:
    """Length of audio of which `size` bytes are there, beginning with `head`; None for a format that does not tell.

    `media` is its type as the answer or the request says it: raw samples have no header to be known by.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _wav(head, size)
    if "pcm" in media:
        return size // PCM16_BYTES_PER_MS
    if head.startswith(_OTHER_MAGIC):
        return None
    return _mp3(head, size)


def _wav(head: bytes, size: int) -> int | None:
    form, data = head.find(b"fmt "), head.find(b"data")
    if form < 0 or data < 0:
        return None
    per_second = int.from_bytes(head[form + 16 : form + 20], "little")
    return max(0, size - data - 8) * 1000 // per_second if per_second else None


def _mp3(head: bytes, size: int) -> int | None:
    at = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        at = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    frame = head[at : at + 4]
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # sync, layer III
        return None
    rates = _BITRATES_1 if frame[1] & 0x18 == 0x18 else _BITRATES_2
    index = frame[2] >> 4
    bits_per_ms = rates[index] if index < len(rates) else 0
    return (size - at) * 8 // bits_per_ms if bits_per_ms else None
