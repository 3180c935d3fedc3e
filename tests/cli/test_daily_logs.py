"""JSONL_DIR as an operator has it: real processes, one of them killed, `export`, `erase` and `doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.machine import CALL, Machine

KILLED = f"{CALL}\nos.kill(os.getpid(), 9)"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, {"LIVEKIT_TOKENS_JSONL_DIR": str(tmp_path / "logs")})


def logged(machine: Machine) -> list[str]:
    return [line for path in sorted((machine.home / "logs").glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_what_is_appended_is_what_export_writes(machine: Machine):
    """One process ended by itself, another was killed before it drained anything."""
    machine.python(CALL)
    machine.python(KILLED, check=False)
    exported = machine.command("export", "--jsonl", "-", "--days", "1")
    assert sorted(logged(machine)) == sorted(exported.stdout.splitlines())
    assert len(logged(machine)) == 2


def test_the_folder_is_not_exported_into(machine: Machine):
    """Both would write the same files."""
    machine.python(CALL)
    done = machine.command("export", "--jsonl", "logs")
    assert (done.returncode, "is JSONL_DIR" in done.stderr) == (2, True)
    assert len(logged(machine)) == 1


def test_an_erased_person_is_nowhere_in_the_files(machine: Machine):
    """The proof says how many lines these were; the figures stay."""
    machine.python(CALL)
    machine.python(KILLED, check=False)
    done = machine.command("erase", "--user", "ada", "--json")
    assert json.loads(done.stdout)["daily_logs"] == {"files_looked_at": 1, "lines": 2}
    assert [json.loads(line)["user_id"] for line in logged(machine)] == [None, None]
    assert [json.loads(line)["prompt_tokens"] for line in logged(machine)] == [7, 7]


def test_doctor_looks_at_the_folder(machine: Machine):
    """It tells of one that cannot be written; so does the process itself, which goes on."""
    (machine.home / "logs").write_text("no folder")
    done = machine.python(f"{CALL}\nprint(own.background.flush_blocking(60))")
    assert done.stdout == "True\n"
    assert "daily log files cannot be written" in done.stderr
    fault = machine.faults()["daily logs folder"]
    assert "cannot be written" in fault["told"]
    assert "JSONL_DIR" in fault["todo"]
