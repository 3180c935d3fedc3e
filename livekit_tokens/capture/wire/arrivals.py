"""Tells of a library when the host imports it, so that following it never imports it: httpx alone is 100 ms of a loop.

A finder before all others answers for a library that is waited for by what they find, with a loader around theirs
that tells once it is done. It takes no lock: nobody's import waits for us, and a fork finds nothing held. The few
well-kept packages that do this (wrapt and what was made of it) would be a dependency more for a file of our own.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from livekit_tokens.core import faults

Tell = Callable[[ModuleType], None]
"""Given a library that was imported, in the thread that did. It may be told again: whoever is told counts once."""


def when_imported(name: str, tell: Tell) -> None:
    """Tell of a top-level module now, if it is there, or else when it is imported.

    Asked again, it looks again: what a finder in front of ours has brought meanwhile is told of then.
    """
    if _told_if_there(name, tell):
        return
    _finder.wait(name, tell)
    if _told_if_there(name, tell):  # imported between the two
        _finder.forget(name)


def no_longer(name: str) -> None:
    """Who waited for it does no more."""
    _finder.forget(name)


def _told_if_there(name: str, tell: Tell) -> bool:
    if name not in sys.modules:
        return False
    try:
        module = import_module(name)  # another thread may be at it: what it has not imported whole is waited for
    except Exception:  # noqa: BLE001 - it is not there after all; its importer is told why
        return False
    _tell(name, tell, module)
    return True


def _tell(name: str, tell: Tell, module: ModuleType) -> None:
    try:
        tell(module)
    except Exception as error:  # noqa: BLE001 - the import is the host's
        faults.note(f"{name} could not be followed", error)


class _Finder(MetaPathFinder):
    """Finds what the others find."""

    def __init__(self) -> None:
        self._awaited: dict[str, Tell] = {}
        self._asking = threading.local()

    def wait(self, name: str, tell: Tell) -> None:
        self._awaited[name] = tell
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def forget(self, name: str) -> None:
        self._awaited.pop(name, None)
        if not self._awaited and self in sys.meta_path:
            # A new list: Python before 3.13.8 walks the list itself, and an import in another thread would skip a
            # finder, and find nothing (gh-130094).
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]
            if self._awaited:  # another thread has begun to wait meanwhile
                sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, *_: object, **__: object) -> ModuleSpec | None:
        # A name that has a module is reloaded. Who asks the others again is not asked by them in turn, or a finder
        # that does as this one does would never come to an end.
        if fullname not in self._awaited or fullname in sys.modules or hasattr(self._asking, "now"):
            return None
        self._asking.now = True
        try:
            spec = find_spec(fullname)
        finally:
            del self._asking.now
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, lambda module: self._has_come(fullname, module))
        return spec

    def _has_come(self, name: str, module: ModuleType) -> None:
        if (tell := self._awaited.get(name)) is not None:
            _tell(name, tell, module)
            self.forget(name)


class _Loader(Loader):
    """Another loader, that tells of the module once it has run. The module keeps the other one."""

    def __init__(self, loader: Any, told: Tell) -> None:
        self._loader = loader
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__.loader = self._loader
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._told(module)


_finder = _Finder()
