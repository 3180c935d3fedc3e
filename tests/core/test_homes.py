"""Whose spools a host brings home: its own, and others' where a lock says for certain who lives."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from livekit_tokens.bootstrap import recover
from livekit_tokens.checks import checks
from livekit_tokens.core import homes, mounts, spool
from livekit_tokens.core.chores import Chores
from livekit_tokens.core.ledger import Source
from livekit_tokens.core.recorder import Recorder
from livekit_tokens.settings import Settings
from tests.core.makers import a_part, a_record, a_recorder
from tests.core.memory_ledger import MemoryLedger

POD, OLD_POD = "agent-7f9c-b", "agent-7f9c-a"
On = Callable[[str], None]


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> On:
    """Says what file system everything is on."""
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "_MOUNTS", table)
    monkeypatch.setattr(homes.tempfile, "gettempdir", lambda: str(tmp_path / "no temporary folder"))
    return lambda kind: table.write_text(f"22 1 0:21 / / rw - {kind} x rw\n") and None


@pytest.fixture
def killed(tmp_path: Path) -> Recorder:
    """What a pod that was killed has left on a volume."""
    recorder = a_recorder(tmp_path / "spool" / OLD_POD)
    recorder.put_part(a_part())
    recorder.record(a_record())
    recorder.disown()
    return recorder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{tmp_path / 'ledger.db'}", spool_dir=tmp_path / "spool", spool_host=POD)


def silence(folder: Path) -> None:
    """Nobody has written there for two hours."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (time.time() - 7200,) * 2)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs"])
async def test_the_spool_of_a_killed_pod_comes_home_by_its_successor_under_another_name(
    on: On, killed: Recorder, settings: Settings, kind: str
) -> None:
    """Only one kernel has such a volume, so a lock that is free has no owner, whatever the host was called."""
    on(kind)
    assert (await recover(settings)).records == 1
    assert (await recover(settings)).records == 0


async def test_a_living_pods_spool_is_left_to_it(on: On, tmp_path: Path, settings: Settings) -> None:
    """Beside it on the same node: its lock is held."""
    on("ext4")
    living = a_recorder(tmp_path / "spool" / OLD_POD)
    living.put_part(a_part())
    living.record(a_record())
    recovered = await recover(settings)
    assert (recovered.held, recovered.records) == (1, 0)


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "9p", "virtiofs", "overlay"])
async def test_over_a_network_the_spools_of_other_names_are_left_alone_and_told_of(
    on: On, killed: Recorder, settings: Settings, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A lock of another machine may not be seen. One line says that they lie there, if nobody has written for long."""
    on(kind)
    assert (await recover(settings)).records == 0
    assert caplog.text == ""
    silence(killed.folder)
    assert (await recover(settings)).records == 0
    assert f"1 spool of other hosts in {settings.spool_dir} ({OLD_POD}), silent for an hour or more" in caplog.text
    assert "SPOOL_HOST" in caplog.text
    assert (await recover(settings, on_host=OLD_POD)).records == 1


@pytest.mark.parametrize(("kind", "state"), [("ext4", "fault"), ("nfs4", "note")])
def test_doctor_tells_of_a_killed_pods_spool(
    on: On, killed: Recorder, settings: Settings, kind: str, state: str
) -> None:
    """As an orphan that should have come home where it can; else with what to do where its host is gone."""
    on(kind)
    silence(killed.folder)
    (look,) = (check.look for check in checks(settings, []) if check.subject == "spools")
    (found,) = (finding for finding in look() if finding.state != "ok")
    assert (found.state, "livekit-tokens recover" in found.todo) == (state, True)


async def test_pods_of_one_name_bring_home_what_those_before_them_left(
    on: On, killed: Recorder, settings: Settings
) -> None:
    """SPOOL_HOST is the node's name, say, on a volume that all nodes share."""
    on("nfs4")
    assert (await recover(settings.model_copy(update={"spool_host": OLD_POD}))).records == 1


def test_the_setting_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the machine does; what no folder may be called is replaced."""
    monkeypatch.setattr(homes.socket, "gethostname", lambda: ".my host/1")
    assert homes.host() == "my_host_1"
    assert homes.host("node-1.example") == "node-1.example"


async def test_a_process_says_once_that_spools_lie_elsewhere(
    killed: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Every five minutes would be a nuisance; never would be silence."""
    silence(killed.folder)
    ledger = MemoryLedger()
    chores = Chores(Source("own", POD, 1, 0), list, others=lambda: [killed.folder.parent])
    with caplog.at_level(logging.WARNING):
        await chores.take_over(lambda: nullcontext(ledger))
        await chores.take_over(lambda: nullcontext(ledger))
    assert caplog.text.count(OLD_POD) == 1


async def test_the_folder_of_a_pod_that_has_left_nothing_is_removed(on: On, killed: Recorder, tmp_path: Path) -> None:
    """Each start makes one. Not one of which the host may be just beginning, and not our own."""
    root, ledger = killed.folder.parent, MemoryLedger()
    chores = Chores(Source("own", POD, 1, 0), lambda: [root])
    await chores.take_over(lambda: nullcontext(ledger), spool.NO_REPLAY)
    assert (len(ledger.records), root.exists(), killed.folder.exists()) == (1, True, False)
    silence(root)
    await Chores(Source("own", OLD_POD, 1, 0), lambda: [root]).take_over(lambda: nullcontext(ledger))
    assert root.exists()
    silence(root)
    await chores.take_over(lambda: nullcontext(ledger))
    assert not root.exists()
    await chores.take_over(lambda: nullcontext(ledger))
