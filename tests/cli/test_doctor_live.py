"""`livekit-tokens doctor --live`, the real command, with a stand-in for OpenAI."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.capture.wire.provider import Provider
from tests.cli.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "data").mkdir(mode=0o700)
    return Machine(tmp_path, env={"OPENAI_API_KEY": "not-a-key"})


def line(done: subprocess.CompletedProcess[str]) -> str:
    (found,) = [line for line in done.stdout.splitlines() if line[7:].startswith("live: ")]
    return found


async def asked(machine: Machine, **provider: int) -> tuple[str, int, Provider]:
    """Doctor's line of its call to a stand-in, its exit code, and the stand-in."""
    async with Provider().running() as stand_in:
        for name, value in provider.items():
            setattr(stand_in, name, value)
        machine.env["OPENAI_BASE_URL"] = stand_in.base_url
        done = await asyncio.to_thread(machine.doctor, "--live")
        return line(done).replace(stand_in.base_url, "HERE"), done.returncode, stand_in


async def test_it_shows_the_record_of_one_small_call(machine: Machine) -> None:
    """By the provider's own figures; nothing of it is in the ledger."""
    told, code, stand_in = await asked(machine)
    assert told.startswith(
        "ok     live: gpt-4o-mini by openai at HERE/: input_text 4, cached_input_text 3, output_text 8 (reported), "
    )
    assert (code, len(stand_in.bill), machine.ledger.exists()) == (0, 1, False)


async def test_a_refusal_is_a_fault_with_what_to_do(machine: Machine) -> None:
    told, code, _ = await asked(machine, refusals=1)
    assert told.startswith("fault  live: gpt-4o-mini at HERE/: InternalServerError, status 500 -> see whether the key")
    assert code == 1


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ada:hunter2@127.0.0.1:1/v1", "http://127.0.0.1:1/v1/"),
        ("http://127.0.0.1:1/v1?key=hunter2#hunter2", "http://127.0.0.1:1/v1"),
        ("http://ada:hunter2/3@127.0.0.1:1/v1", "OPENAI_BASE_URL cannot be read (InvalidURL)"),
    ],
    ids=["userinfo", "query", "unreadable"],
)
def test_the_address_is_shown_without_what_is_secret_in_it(
    machine: Machine, url: str, shown: str, option: tuple[str, ...]
) -> None:
    """Gateways are reached with a password in the address; a fault's own words may not quote it either."""
    machine.env["OPENAI_BASE_URL"] = url
    done = machine.doctor("--live", *option)
    assert shown in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_without_a_key_one_line_says_so(machine: Machine) -> None:
    machine.env["OPENAI_API_KEY"] = ""
    done = machine.doctor("--live")
    assert line(done) == (
        "fault  live: no call was made: OPENAI_API_KEY is not set -> "
        "set OPENAI_API_KEY, and OPENAI_BASE_URL for another address than OpenAI's"
    )
    assert done.returncode == 1


def test_it_calls_nobody_unless_it_is_told_to(machine: Machine) -> None:
    assert "live: " not in machine.doctor().stdout
