"""How a command ends: its exit code, and one line on stderr where it failed or was interrupted. Never a traceback by
default.

0 done (also where a reader, as head, has seen enough), 1 failed, 2 wrong usage or an unusable value of an option, 130
ended by Ctrl-C.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

from livekit_tokens.domain.errors import BadSetting, LiveKitTokensError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

_T = TypeVar("_T")


class Failed(LiveKitTokensError):
    """A command cannot do what it was asked; the message is the line to print."""


class Interrupted(LiveKitTokensError):
    """Ctrl-C has ended a command; the message is the line to print, none where it is empty."""


@contextmanager
def leaving(told: Callable[[], str]) -> Iterator[None]:
    """Whoever ends a command by Ctrl-C is told what it leaves."""
    try:
        yield
    except Interrupted:
        raise Interrupted(f"interrupted: {told()}") from None


def of(app: typer.Typer, name: str) -> int:
    """Run the command line and say how it ended, as an exit code."""
    try:
        code = _run(app, name)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # the latter is click's word for the former
        _let_go_of_stdout()  # the reader (head, less) has seen enough
        return 0
    except OSError as fault:
        if not _is_full(fault):
            raise
        _let_go_of_stdout()
        return _say(
            name, "the output cannot be written: no space left where it goes; free some, or give another place", FAILED
        )
    return code


def _is_full(fault: Exception) -> bool:
    return isinstance(fault, OSError) and fault.errno == errno.ENOSPC


def _let_go_of_stdout() -> None:
    """Python would complain once more when it flushes it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(app: typer.Typer, name: str) -> int:
    try:
        answer = app(prog_name=name, standalone_mode=False)
    except typer.Abort:  # Ctrl-C or Ctrl-D where the reader is asked something
        answer = INTERRUPTED
    except LiveKitTokensError as fault:
        return _say(name, str(fault), next((code for kind, code in _CODES.items() if isinstance(fault, kind)), FAILED))
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as fault:
        # Wrong usage; by its shape, as typer has its own copy of click from 0.20 on and click's before that.
        if callable(message := getattr(fault, "format_message", None)):
            code = int(getattr(fault, "exit_code", WRONG_USAGE))
            # No command at all: the help is printed already, and there is nothing to add.
            where = getattr(getattr(fault, "ctx", None), "command_path", None) or _command(app, name)
            return _say(name, f"{text} (see {where} --help)" if (text := str(message())) else "", code)
        if _is_full(fault) or os.environ.get("LIVEKIT_TOKENS_LOG_LEVEL", "").upper() == "DEBUG":
            raise
        told = f"unexpected {type(fault).__name__}: {fault}; LIVEKIT_TOKENS_LOG_LEVEL=DEBUG shows where"
        return _say(name, told, FAILED)
    if answer == INTERRUPTED:  # by typer, before the work was begun, or after it
        return _say(name, "interrupted", INTERRUPTED)
    return answer if isinstance(answer, int) else 0


def _command(app: typer.Typer, name: str) -> str:
    """The command that was given, as far as it is one: the parser does not say it of an option without its value."""
    words: list[str] = [name]
    command: object = typer.main.get_command(app)
    for word in sys.argv[1:]:
        if (command := getattr(command, "commands", {}).get(word)) is None:
            break
        words.append(word)
    return " ".join(words)


_CODES: Mapping[type[LiveKitTokensError], int] = {Interrupted: INTERRUPTED, BadSetting: WRONG_USAGE}

PATIENCE_SECONDS = 10.0
"""A Ctrl-C after the first one is not heeded for so long: what was begun is being taken away, and a half-made copy of a
ledger must not stay behind. Asyncio's own way would break that off."""


def awaited(work: Awaitable[_T]) -> _T:
    """Run a command's own work; Ctrl-C ends it, with what it has to clear away. Raises Interrupted then."""

    async def run() -> _T:
        with _ended_once(asyncio.current_task()):
            return await work

    coroutine: Coroutine[Any, Any, _T] = run()
    try:
        return asyncio.run(coroutine)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Interrupted("interrupted") from None


@contextmanager
def _ended_once(task: asyncio.Task[Any] | None) -> Iterator[None]:
    """The first Ctrl-C cancels the task, later ones do nothing until its patience is over."""
    if task is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, first = task.get_loop(), None

    def on_interrupt(_signal: int, _frame: object) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # it may be asleep
        elif time.monotonic() - first > PATIENCE_SECONDS:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def warn(line: str) -> None:
    """Something the reader should know, beside the answer."""
    print(line, file=sys.stderr)


def _say(name: str, text: str, code: int) -> int:
    if text:
        warn(f"{name}: {' '.join(text.split())}")
    return code
