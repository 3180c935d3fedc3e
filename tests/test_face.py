"""The package's face: light to import, complete, typed."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import livekit_tokens


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout


def test_importing_the_package_imports_neither_livekit_nor_a_database_library() -> None:
    """Nor a web framework, nor anything else that is heavy."""
    heavy = "livekit", "sqlalchemy", "pydantic", "msgspec", "tiktoken", "typer", "aiosqlite", "fastapi"
    out = python(f"import sys, livekit_tokens; print([name for name in {heavy!r} if name in sys.modules])")
    assert out.strip() == "[]"


def test_importing_track_registers_the_plugin_with_its_preload_package() -> None:
    """LiveKit puts it into its forkserver only if it knows of it before the worker starts."""
    code = (
        "from livekit_tokens import track\n"
        "from livekit.agents import Plugin\n"
        "print([p.package for p in Plugin.registered_plugins])"
    )
    assert "livekit_tokens.preload" in python(code)


def test_the_package_knows_the_version_that_is_installed() -> None:
    """LiveKit is told it, and reading it from the installed files would be memory of each job process."""
    assert livekit_tokens.__version__ == metadata.version("livekit-tokens")


def test_registering_twice_registers_once() -> None:
    """The shim under livekit's namespace and the face may both be imported."""
    code = (
        "import livekit_tokens, livekit.plugins.livekit_tokens; livekit_tokens.track; livekit_tokens.Tracking\n"
        "from livekit.agents import Plugin\n"
        "print([p.package for p in Plugin.registered_plugins].count('livekit_tokens.preload'))"
    )
    assert python(code).strip() == "1"


def test_importing_track_off_the_main_thread_is_harmless() -> None:
    """LiveKit refuses a registration there; the name is there all the same."""
    code = (
        "import threading, livekit_tokens\n"
        "thread = threading.Thread(target=lambda: print(callable(livekit_tokens.track)))\n"
        "thread.start(); thread.join()"
    )
    assert python(code).strip() == "True"


def test_livekits_own_download_command_finds_the_plugin() -> None:
    """It looks under livekit.plugins only; what must be on disk before calls begin is checked there."""
    done = subprocess.run(
        [sys.executable, "-m", "livekit.agents", "download-files"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    assert "finished downloading files for livekit_tokens.preload" in done.stdout + done.stderr


def test_preloading_starts_no_thread() -> None:
    """The forkserver forks: a thread or a loop of the parent's would be missing in the child."""
    code = "import threading, livekit_tokens.preload; print(threading.active_count())"
    assert python(code).strip() == "1"


def test_a_preloaded_process_imports_nothing_more_for_its_first_track(tmp_path: Path) -> None:
    """A module that is read and compiled there is time that a caller waits, and memory of each process."""
    code = (
        "import asyncio, os, sys, livekit_tokens.preload\n"
        "from livekit.agents import AgentSession\n"
        "before = set(sys.modules)\n"
        "from livekit_tokens import track\n"
        f"os.environ['LIVEKIT_TOKENS_SPOOL_DIR'] = {str(tmp_path)!r}\n"
        f"os.environ['LIVEKIT_TOKENS_DATABASE_URL'] = 'sqlite:///{tmp_path}/ledger.db'\n"
        "async def work():\n"
        "    tracking = track(AgentSession())\n"
        "    print(sorted(set(sys.modules) - before), flush=True)\n"
        "    await tracking.aclose()\n"
        "asyncio.run(work())"
    )
    assert python(code).strip() == "[]"


def test_the_line_in_the_entrypoint_waits_for_no_import(tmp_path: Path) -> None:
    """In console mode it is the call's loop that would wait; a client's library is the host's to import."""
    code = (
        "import asyncio, os, sys\n"
        "from livekit.agents import AgentSession\n"
        "from livekit_tokens import track\n"
        "before = set(sys.modules)\n"
        f"os.environ['LIVEKIT_TOKENS_SPOOL_DIR'] = {str(tmp_path)!r}\n"
        f"os.environ['LIVEKIT_TOKENS_DATABASE_URL'] = 'sqlite:///{tmp_path}/ledger.db'\n"
        "async def work():\n"
        "    tracking = track(AgentSession())\n"
        "    more = set(sys.modules) - before  # the background thread is importing the database's, too\n"
        "    print([name for name in more if name.startswith(('livekit_tokens.capture', 'httpx', 'click', 'rich'))])\n"
        "    await tracking.aclose()\n"
        "assert 'httpx' not in before\n"
        "asyncio.run(work())"
    )
    assert python(code).strip() == "[]"


def test_every_name_of_the_face_is_there() -> None:
    """Also those that are loaded when they are first used."""
    for name in livekit_tokens.__all__:
        assert getattr(livekit_tokens, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = livekit_tokens.no_such_name
