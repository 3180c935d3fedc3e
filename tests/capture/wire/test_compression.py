"""Compressed bodies: whatever a client asks for is read, in pieces, and as far as it came."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

import httpx
import httpx2
import pytest

from livekit_tokens.capture.wire.compression import decoder
from tests.capture.wire.conftest import Paper

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
BODY = json.dumps({"id": "c", "model": "gpt-4o", "choices": [], "usage": USAGE}).encode()
ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def deflated(body: bytes, wbits: int = zlib.MAX_WBITS) -> bytes:
    squeeze = zlib.compressobj(wbits=wbits)
    return squeeze.compress(body) + squeeze.flush()


def brotli(body: bytes) -> bytes:
    made: bytes = import_module("brotli").compress(body)
    return made


def zstd(body: bytes) -> bytes:
    made: bytes = import_module("zstandard").ZstdCompressor().compress(body)
    return made


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": deflated,
    "br": brotli,
    "zstd": zstd,
}


def client_of(library: Any, encoding: str, body: bytes) -> Any:
    """A client whose transport answers with this body, byte by byte."""

    class Squeezed(library.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for at in range(len(body)):
                yield body[at : at + 1]

    headers = {"content-type": "application/json", "content-encoding": encoding}
    answer = library.MockTransport(lambda _: library.Response(200, headers=headers, stream=Squeezed()))
    return library.AsyncClient(transport=answer)


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_an_answer_in_any_encoding_that_a_client_asks_for_is_read(tracked: Paper, library: Any) -> None:
    advertised = library.Client().headers["accept-encoding"].split(", ")
    assert {"gzip", "deflate"} <= set(advertised)
    for encoding in advertised:
        async with client_of(library, encoding, COMPRESS[encoding](BODY)) as client:
            told = await client.post("https://api.openai.com/v1/chat/completions", json=ASKED)
        assert told.json()["usage"] == USAGE
    read = [(record.provenance, record.units) for record in tracked.records]
    assert read == [("reported", {"input_text": 7, "output_text": 3})] * len(advertised)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("deflate", deflated(BODY)),
        ("deflate", deflated(BODY, -zlib.MAX_WBITS)),
        ("deflate, gzip", gzip.compress(deflated(BODY))),
        ("zstd", zstd(BODY)),
        ("zstd", zstd(BODY[:20]) + zstd(BODY[20:])),
        ("GZip", gzip.compress(BODY)),
        ("identity", BODY),
    ],
    ids=["gzip", "deflate", "raw deflate", "two", "zstd", "two frames", "capitals", "none"],
)
@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_a_body_is_undone_however_it_is_cut_up(encoding: str, body: bytes, piece: int) -> None:
    undo = decoder(encoding)
    assert b"".join(undo(body[at : at + piece]) for at in range(0, len(body), piece)) == BODY


def test_an_encoding_that_nobody_knows_is_said() -> None:
    with pytest.raises(LookupError, match="snappy"):
        decoder("gzip, snappy")
