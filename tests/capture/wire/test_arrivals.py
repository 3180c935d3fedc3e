"""A library is told of once it is imported, by whoever imports it; no import fails, waits or happens because of us."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from livekit_tokens.capture.wire import tee
from livekit_tokens.capture.wire.arrivals import no_longer, when_imported
from tests.waiting import PATIENCE_SECONDS

NAME = "a_library_of_the_hosts"
Library = Callable[[str], None]


@pytest.fixture(autouse=True)
def _wire() -> None:
    """Nothing of the wire is in: it waits for libraries too."""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Write the library that can then be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)

    def write(text: str) -> None:
        (tmp_path / f"{NAME}.py").write_text(text)
        importlib.invalidate_caches()

    write("value = 1")
    yield write
    no_longer(NAME)
    sys.modules.pop(NAME, None)
    assert sys.meta_path == finders


@pytest.fixture
def told() -> list[ModuleType]:
    return []


@pytest.fixture
def waiting(library: Library, told: list[ModuleType]) -> Library:
    when_imported(NAME, told.append)
    return library


def test_a_library_that_is_there_is_told_of_at_once(library: Library, told: list[ModuleType]) -> None:
    """Without a finder that comes and goes with each call."""
    finders = sys.meta_path
    there = importlib.import_module(NAME)
    when_imported(NAME, told.append)
    assert told == [there]
    assert sys.meta_path is finders


@pytest.mark.usefixtures("waiting")
def test_waiting_for_a_library_does_not_import_it(told: list[ModuleType]) -> None:
    assert NAME not in sys.modules
    assert told == []


@pytest.mark.usefixtures("waiting")
def test_a_library_is_told_of_when_it_is_imported_whole(told: list[ModuleType]) -> None:
    there = importlib.import_module(NAME)
    assert told == [there]
    assert told[0].value == 1


def test_nothing_waits_in_the_import_system_once_it_has_come(library: Library, told: list[ModuleType]) -> None:
    finders = list(sys.meta_path)
    when_imported(NAME, told.append)
    assert sys.meta_path[1:] == finders
    importlib.import_module(NAME)
    assert sys.meta_path == finders


@pytest.mark.usefixtures("waiting")
def test_others_find_the_librarys_own_loader() -> None:
    """As inspect and importlib.resources ask for it: of what was imported and of what only was found."""
    found = importlib.util.find_spec(NAME)
    there = importlib.import_module(NAME)
    no_longer(NAME)
    bare = importlib.util.spec_from_file_location(NAME, there.__file__)
    assert found is not None
    assert bare is not None
    assert found.loader.get_filename(NAME) == there.__file__  # type: ignore[union-attr]
    assert there.__spec__ is not None
    assert type(there.__spec__.loader) is type(there.__loader__) is type(bare.loader)


def test_looking_whether_a_library_is_installed_tells_of_nothing(waiting: Library, told: list[ModuleType]) -> None:
    assert importlib.util.find_spec(NAME) is not None
    assert told == []


def test_an_import_that_fails_fails_as_ever_and_the_next_one_is_told_of(
    waiting: Library, told: list[ModuleType]
) -> None:
    waiting("raise OSError('no such card')")
    with pytest.raises(OSError, match="no such card"):
        importlib.import_module(NAME)
    assert told == []
    waiting("value = 2, 'mended'")
    assert importlib.import_module(NAME).value == (2, "mended")
    assert len(told) == 1


def test_a_library_that_is_not_there_is_not_found_as_ever(told: list[ModuleType]) -> None:
    when_imported("no_library_at_all", told.append)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_library_at_all'"):
        importlib.import_module("no_library_at_all")
    no_longer("no_library_at_all")
    assert told == []


def test_who_is_told_may_fail_and_the_import_does_not(library: Library, noted: list[str]) -> None:
    def fails(module: ModuleType) -> None:
        raise RuntimeError(module.__name__)

    when_imported(NAME, fails)
    assert importlib.import_module(NAME).value == 1
    assert noted == [f"{NAME} could not be followed"]


@pytest.mark.usefixtures("waiting")
def test_a_reload_tells_of_nothing_more(told: list[ModuleType]) -> None:
    there = importlib.import_module(NAME)
    assert importlib.reload(there) is there
    assert told == [there]


def test_a_stand_in_of_a_test_is_reloaded_as_ever(waiting: Library, told: list[ModuleType]) -> None:
    """A module without a spec, put into sys.modules while we wait, and then the real one in its place."""
    sys.modules[NAME] = stand_in = ModuleType(NAME)
    assert importlib.reload(stand_in).value == 1


@pytest.mark.usefixtures("waiting")
def test_who_no_longer_waits_is_not_told(told: list[ModuleType]) -> None:
    no_longer(NAME)
    importlib.import_module(NAME)
    assert told == []


def test_no_longer_waiting_leaves_a_walk_along_the_finders_undisturbed(library: Library) -> None:
    """Python before 3.13.8 walks the list itself: a finder taken out of it makes it skip the next one (gh-130094)."""
    when_imported(NAME, lambda _: None)
    walk = iter(sys.meta_path)
    next(walk)
    no_longer(NAME)
    assert list(walk) == sys.meta_path


class Slow(list[Any]):
    """Finders; while one is put before them, the library is imported."""

    def insert(self, at: Any, finder: Any) -> None:
        importlib.import_module(NAME)
        super().insert(at, finder)


def test_an_import_while_we_begin_to_wait_is_told_of(
    library: Library, told: list[ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", Slow(before))
    when_imported(NAME, told.append)
    assert told == [sys.modules[NAME]]
    assert sys.meta_path == before


def test_an_import_that_is_under_way_in_a_thread_is_waited_for(library: Library) -> None:
    """Nobody told us of it: it began before we waited."""
    library("import hooks; hooks.begun.set(); hooks.go_on.wait(); value = 1")
    hooks: Any = ModuleType("hooks")
    hooks.begun, hooks.go_on = threading.Event(), threading.Event()
    told: list[bool] = []
    sys.modules["hooks"] = hooks
    importing = threading.Thread(target=importlib.import_module, args=(NAME,))
    importing.start()
    assert hooks.begun.wait(PATIENCE_SECONDS)
    asking = threading.Thread(target=when_imported, args=(NAME, lambda module: told.append(hasattr(module, "value"))))
    asking.start()
    hooks.go_on.set()
    for thread in (importing, asking):
        thread.join(PATIENCE_SECONDS)
    del sys.modules["hooks"]
    assert told == [True]


@pytest.mark.parametrize("round_", range(20))
@pytest.mark.usefixtures("round_")
def test_threads_that_import_at_once_all_have_it_and_it_is_told_of(library: Library, told: list[ModuleType]) -> None:
    """While one of them begins to wait for it, whichever comes first."""
    start, have = threading.Barrier(5), []

    def run(what: Callable[[], object]) -> None:
        start.wait(PATIENCE_SECONDS)
        what()

    doing = [lambda: when_imported(NAME, told.append)]
    doing += [lambda: have.append(importlib.import_module(NAME))] * 4
    threads = [threading.Thread(target=run, args=(what,)) for what in doing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    there = sys.modules[NAME]
    when_imported(NAME, told.append)  # as each further call's `track` asks again
    assert have == [there] * 4
    assert set(told) == {there}


def test_a_child_after_a_fork_is_told_by_its_own_import(waiting: Library, told: list[ModuleType]) -> None:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(NAME)
        finally:
            os._exit(len(told))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert told == []


class Another(MetaPathFinder):
    """Another one's finder that asks all finders, ours too, as wrapt's does."""

    def __init__(self) -> None:
        self.asking = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != NAME or self.asking:
            return None
        self.asking = True
        try:
            return importlib.util.find_spec(fullname)
        finally:
            self.asking = False


@pytest.mark.parametrize("first", [True, False])
def test_beside_another_ones_finder_of_the_same_kind_it_is_told_of(
    library: Library, told: list[ModuleType], monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    before = list(sys.meta_path)
    if first:
        sys.meta_path.insert(0, Another())
    when_imported(NAME, told.append)
    if not first:
        sys.meta_path.insert(0, Another())
    there = importlib.import_module(NAME)
    no_longer(NAME)
    sys.meta_path[:] = before
    assert set(told) == {there}


def followed(code: str) -> str:
    """What is printed by a process that has not imported httpx, and notes which requests would be followed."""
    begin = "import sys; from livekit_tokens.capture.wire import tee; asked = []; tee.install(asked.append)\n"
    ask = "httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))).get('http://here/')\n"
    whole = code.replace("INSTALL\n", begin).replace("ASK\n", ask) + "print(len(asked))"
    return subprocess.run([sys.executable, "-c", whole], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("name", tee.LIBRARIES)
def test_a_library_that_is_imported_later_is_followed(name: str) -> None:
    assert followed(f"INSTALL\nassert {name!r} not in sys.modules\nimport {name} as httpx\nASK\n") == "1\n"


def test_a_client_that_was_made_before_is_followed() -> None:
    made = "import httpx\nclient = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200)))\n"
    assert followed(f"{made}INSTALL\nclient.get('http://here/')\n") == "1\n"


def test_a_library_that_stands_for_another_one_is_followed_once() -> None:
    """With `alias_httpx` both names are one library's."""
    assert followed("import httpx2\nhttpx2.alias_httpx()\nINSTALL\nimport httpx\nASK\n") == "1\n"


def test_what_was_taken_out_is_not_put_into_what_is_imported_later() -> None:
    assert followed("INSTALL\ntee.uninstall()\nimport httpx\nASK\n") == "0\n"
