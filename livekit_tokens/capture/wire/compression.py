"""Undoing a body's compression, also of one that is cut off anywhere: whatever httpx and httpx2 ask for."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

Undo = Callable[[bytes], bytes]


def decoder(encoding: str) -> Undo:
    """Undoes a Content-Encoding, also of a body that is cut off. LookupError for one that nobody here knows."""
    undoing = [_undo(one.strip()) for one in reversed(encoding.lower().split(","))]  # the last one was put on last
    if len(undoing) == 1:
        return undoing[0]

    def undo_all(raw: bytes) -> bytes:
        for undo in undoing:
            raw = undo(raw)
        return raw

    return undo_all


def _undo(encoding: str) -> Undo:
    match encoding:
        case "" | "identity":
            return bytes
        case "gzip" | "x-gzip":
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
        case "deflate":
            return _inflating()
        case "br":
            # Asked for by the clients only where one of these is installed; likewise the next.
            made: Any = _first_of("brotli", "brotlicffi").Decompressor()
            process: Undo = getattr(made, "decompress", None) or made.process
            return process
        case "zstd":
            return _of_frames(_zstd())
        case other:
            raise LookupError(other)


def _inflating() -> Undo:
    """`deflate` means zlib's format, but some servers send what is within it. Source: RFC 9110, 8.4.1.2."""
    head, inflate = b"", None

    def undo(raw: bytes) -> bytes:
        nonlocal head, inflate
        if inflate is None:
            head += raw
            if len(head) < 2:
                return b""
            # RFC 1950, 2.2: the method (8), and two bytes that are a multiple of 31.
            is_zlib = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
            inflate = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS).decompress
            raw, head = head, b""
        return inflate(raw)

    return undo


def _of_frames(make: Callable[[], Any]) -> Undo:
    """zstd: a body may be several frames, one after the other."""
    frame = make()

    def undo(raw: bytes) -> bytes:
        nonlocal frame
        undone = b""
        while raw:
            if frame.eof:
                frame = make()
            undone += frame.decompress(raw)
            raw = frame.unused_data if frame.eof else b""
        return undone

    return undo


def _zstd() -> Callable[[], Any]:
    """What makes a decompressor of one frame: httpx2's and Python 3.14's, or httpx's."""
    library = _first_of("compression.zstd", "backports.zstd", "zstandard")
    make: Callable[[], Any] = library.ZstdDecompressor
    return make if library.__name__ != "zstandard" else lambda: make().decompressobj()


def _first_of(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise LookupError(names[0])
