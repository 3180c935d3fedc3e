"""Processes as LiveKit makes them for its jobs, each with a ledger of its own in a temporary folder."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

OURS = "livekit_tokens.preload"
PRELOADED = ["livekit.plugins.openai", OURS, "livekit.agents.ipc._preload", "livekit.agents.ipc._preload_freeze"]
"""As livekit-agents 1.8.9 does for an agent with the openai plugin and ours (`AgentServer.run`): the freeze is last."""


def warmed() -> Any:
    """A context whose processes are forked from one that has all of it loaded."""
    # LiveKit's own speech models: 240 MB that all jobs share, and nothing to do with us.
    os.environ.setdefault("LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE", "0")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def cold() -> Any:
    """A context whose processes have nothing loaded but what an agent's script imports (console, macOS, Windows)."""
    return multiprocessing.get_context("spawn")


def run(context: Any, work: Callable[..., Any], *given: Any, folder: str | None = None) -> Any:
    """What `work(*given)` answers in a new process; `folder` keeps its ledger for the next."""
    if folder is None:
        with tempfile.TemporaryDirectory() as own:
            return run(context, work, *given, folder=own)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, folder, context.get_start_method(), work, given))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} broke off in its process") from None
    finally:
        process.join()


def _work(answer: Any, folder: str, method: str, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    # A module that does not load is passed over by the forkserver without a word.
    assert (OURS in sys.modules) == (method == "forkserver")
    os.environ["LIVEKIT_TOKENS_SPOOL_DIR"] = f"{folder}/spool"
    os.environ["LIVEKIT_TOKENS_DATABASE_URL"] = f"sqlite:///{folder}/ledger.db"
    logging.getLogger("livekit_tokens").addHandler(logging.StreamHandler())
    answer.send(work(*given))
    answer.close()
