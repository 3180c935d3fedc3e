"""Undoing a body's compression, also of one that is cut off anywhere."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any


def decoder(encoding: str) -> Callable[[bytes], bytes]:
    """Undoes a Content-Encoding, also of a body that is cut off. LookupError for one that nobody here knows."""
    match encoding.strip().lower():
        case "" | "identity":
            return bytes
        case "gzip" | "deflate":
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
        case "br":
            # Asked for by httpx only where one of these is installed.
            made: Any = _first_of("brotli", "brotlicffi").Decompressor()
            process: Callable[[bytes], bytes] = getattr(made, "decompress", None) or made.process
            return process
        case "zstd":
            made = _first_of("compression.zstd", "backports.zstd").ZstdDecompressor()
            return lambda raw: bytes(made.decompress(raw))
        case other:
            raise LookupError(other)


def _first_of(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise LookupError(names[0])
