"""Forms, captures and a backup in the full screen, with a real daemon. By name only (make test-tasks)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chassis import asked, ports, settings, stick
from netlab.fingers import Screen, run
from netlab.screens import running
from netlab.session import Lab
from netlab.streams import connected

from appliance import backup
from appliance.requests import Requests


def test_a_service_is_changed(lab: Lab, unchanged: str) -> None:
    async def story(shown: Screen) -> None:
        await shown.choose_service("lab")
        await shown.press("m")
        await shown.sees("The service lab", "all")
        await shown.press("enter")
        await shown.write("1-60000")
        await shown.press("enter", "enter")
        await shown.sees("-    ports: all", "+    ports: [1-60000]")
        await shown.press("e")
        await shown.sees("nothing is in force before it is applied")
        await shown.press("escape")
        await shown.sees("Overview", without="nothing is in force")

    run(lab, story)
    assert running(lab) == unchanged


def test_limits_of_a_service_are_set(lab: Lab, unchanged: str) -> None:
    async def story(shown: Screen) -> None:
        await shown.choose_service("lab")
        await shown.press("l")
        await shown.sees("Limits of each source of lab")
        await shown.press(*"many", "enter", *"3", "enter", *"reset", "enter", "enter")
        await shown.sees("many", "Check, then apply")  # the daemon says where the mistake is
        await shown.press("escape")
        await shown.sees("Overview", without="Check, then")
        await shown.press("l")
        await shown.sees("Limits of each source of lab")
        await shown.press("enter", *"3", "enter", *"reset", "enter", "enter")
        await shown.sees("per_source: {open: 3, over: reset}", "No open connection is disturbed")
        await shown.press("y")
        await shown.sees("ON TRIAL")
        assert "per_source: {open: 3, over: reset}" in running(lab)
        await shown.press("u", "y")
        await shown.sees("levee", without="ON TRIAL")

    run(lab, story)
    assert running(lab) == unchanged


def test_a_backup_is_written_that_restore_believes(lab: Lab, tmp_path: Path) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("7", "w")
        await shown.sees("Backup of this box")
        await shown.press(*"box.levee", "enter", "enter")
        await shown.sees("does not say where")
        await shown.press("enter")
        await shown.sees("is in force", without="does not say where")
        await shown.press("w")
        await shown.sees("Backup of this box")
        await shown.press(*str(tmp_path / "b"), "enter")
        await shown.write("no")
        await shown.press("enter")
        await shown.sees("bytes", "levee restore FILE")

    run(lab, story)
    made = (tmp_path / "b").read_bytes()
    assert (tmp_path / "b").stat().st_mode & 0o077 == 0
    assert backup.check(backup.decode(made, "b"), "b").services.keys() == lab.status()["services"].keys()
    assert backup.SECRET not in backup.decode(made, "b").files


def test_packets_are_captured_with_what_became_of_them(lab: Lab) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("4", "t")
        await shown.sees("Which packets")
        await shown.press(*lab.client_address(4), "enter", "enter", "enter", "enter")
        await shown.sees("Capturing", "Another one")
        with connected(lab, 4, direct=False) as (caller, server):
            await asyncio.to_thread(caller.sendall, b"question")
            assert await asyncio.to_thread(server.recv, 10) == b"question"
            await shown.sees("TCP S seq", "sent by the box", lab.server_address(4))
        await shown.press("t")
        await shown.sees("Which packets")
        await shown.press("enter", "enter", *"nonsense", "enter", "enter")
        await shown.sees("nonsense is neither a reason nor a fate")
        await shown.press("enter", "escape")
        await shown.sees("Connections, all")

    run(lab, story)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Requests]:
    """The bootable appliance's side of the door; this machine's ports and power are left alone."""
    run_dir, state = tmp_path / "run", tmp_path / "state"
    for one in (run_dir / "requests", run_dir / "answers", state):
        one.mkdir(parents=True)
    monkeypatch.setattr(asked, "REQUESTS", run_dir / "requests")
    monkeypatch.setattr(asked, "ANSWERS", run_dir / "answers")
    monkeypatch.setattr(ports, "RUN", run_dir)
    monkeypatch.setattr(ports, "TAKEN", state / "box.yaml")
    monkeypatch.setattr(stick, "KEYS", state / "authorized_keys")
    monkeypatch.setattr(ports, "apply", lambda new, before: None)  # noqa: ARG005
    done: list[str] = []

    def command(argv: list[str]) -> str:
        done.append(" ".join(argv))
        return " ".join(argv[:2])

    monkeypatch.setattr(asked, "_run", command)
    root, over = asked.Asked(), threading.Event()

    def turns() -> None:
        while not over.is_set():
            root.turn()
            time.sleep(0.01)

    thread = threading.Thread(target=turns)
    thread.start()
    yield Requests(run_dir, state)
    over.set()
    thread.join()


def test_the_box_gets_a_name_and_an_address_on_trial(lab: Lab, box: Requests, unchanged: str) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("7", "o")
        await shown.sees("The box itself", "There is no password", "levee box shutdown", "Leave")
        await shown.press("s")
        await shown.sees("Name, management address, time")
        await shown.press(*"gate", "enter", *"192.0.2.10", "enter", "enter", "enter", "enter")
        await shown.sees("192.0.2.10 is not an address with its prefix length", "one like 192.0.2.10/24")
        await shown.press("end", *"/24", "enter", "enter", "enter", "enter")
        await shown.sees("+name:", "gate", "192.0.2.10/24", "In force for 120 s")
        await shown.press("y")
        await shown.sees("on trial for 120 s")
        await shown.press("enter")
        await shown.sees("ANOTHER ADDRESS ON TRIAL")
        assert box.settings() == "version: 1\n"
        await shown.press("c")
        await shown.sees("kept")
        await shown.press("enter")
        await shown.sees("192.0.2.10/24", without="ON TRIAL")

    run(lab, story, box)
    assert str(settings.loads(box.settings().encode(), "box.yaml").name) == "gate"
    assert running(lab) == unchanged


def test_keys_of_the_box_are_changed_and_a_backup_is_put_back(lab: Lab, box: Requests, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"a backup")

    async def story(shown: Screen) -> None:
        await shown.press("7", "o")
        await shown.sees("SSH keys     0")
        await shown.press("y")
        await shown.sees("Public SSH keys", "Key 1")
        await shown.write("rsa")
        await shown.press("enter")
        await shown.sees("1 keys instead of 0?")
        await shown.press("y")
        await shown.sees("this is no public key")
        await shown.press("enter", "y")
        await shown.sees("Key 1")
        await shown.write("ssh-ed25519 AAAA me")
        await shown.press("enter")
        await shown.sees("1 keys instead of 0?")
        await shown.press("y")
        await shown.sees("1 keys may log in")
        await shown.press("enter", "i")
        await shown.sees("Restore from a backup", "/media/stick/box.levee")
        await shown.press(*str(tmp_path / "missing"), "enter")
        await shown.sees("daemon is away")
        await shown.press("y")
        await shown.sees("missing: cannot be")
        await shown.press("enter", "i")
        await shown.sees("/media/stick/box.levee")
        await shown.press(*str(tmp_path / "b"), "enter")
        await shown.sees("daemon is away")
        await shown.press("y")
        await shown.sees("restored, and in force now")

    run(lab, story, box)
    assert box.ssh_keys() == ["ssh-ed25519 AAAA me"]


def test_power_is_asked_for_twice_and_an_update_needs_the_image(lab: Lab, box: Requests, tmp_path: Path) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("7", "o")
        await shown.sees("SSH keys     0")
        await shown.press("v")
        await shown.sees("Another version", "raucb")
        await shown.press(*str(tmp_path / "new.raucb"), "enter")
        await shown.sees("in the other slot?")
        await shown.press("y")
        await shown.sees("this is not the bootable appliance, which alone has slots")
        await shown.press("enter", "0")
        await shown.sees("factory reset?", "last line")
        await shown.press("n", "p")
        await shown.sees("Power the box OFF?")
        await shown.press("n", "z")
        await shown.sees("Restart the box?")
        assert list((tmp_path / "run/requests").iterdir()) == []
        await shown.press("y")
        await shown.sees("the box restarts now")
        await shown.press("enter", "p", "y")
        await shown.sees("the box goes off")

    run(lab, story, box)
    assert (tmp_path / "run/requests/restart").exists()


def test_elsewhere_the_page_of_the_box_says_so_and_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    async def story(shown: Screen) -> None:
        await shown.press("7", "o")
        await shown.sees("not the bootable appliance")
        for key in ("s", "y", "v", "z", "p", "0"):
            await shown.press(key)
            await shown.sees("nothing was changed")
            await shown.press("enter")
            await shown.sees("Factory reset", without="nothing was changed")
        await shown.press("i")
        await shown.sees("systemctl stop levee; levee restore FILE")

    run(lab, story, Requests(tmp_path / "none", tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []
