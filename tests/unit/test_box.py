"""`levee box`, from the operator's question to root's answer: mistakes, trials and ways back; without root's tools."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chassis import asked, ports, settings, stick

from appliance import cli, exits, requests
from appliance.errors import ConfigError, OperatorError
from appliance.requests import Requests

NEW = "version: 1\nname: gate\nmanagement: {address: 192.0.2.10/24, ntp: [192.0.2.1]}\n"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFr somebody\n"


class Box:
    """The folders, what answers in them, and what it did to the machine."""

    def __init__(self, folder: Path) -> None:
        self.run, self.state = folder / "run", folder / "state"
        for one in (self.run / "requests", self.run / "answers", self.state):
            one.mkdir(parents=True)
        self.applied: list[settings.Settings] = []
        self.ran: list[str] = []
        self.requests = Requests(self.run, self.state)
        self.asked = asked.Asked()

    def apply(self, new: settings.Settings, _before: settings.Settings) -> None:
        self.applied.append(new)

    def command(self, argv: list[str]) -> str:
        self.ran.append(" ".join(argv))
        return ""


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    made = Box(tmp_path)
    for name, path in (("REQUESTS", made.run / "requests"), ("ANSWERS", made.run / "answers")):
        monkeypatch.setattr(asked, name, path)
    monkeypatch.setattr(ports, "RUN", made.run)
    monkeypatch.setattr(ports, "TAKEN", made.state / "box.yaml")
    monkeypatch.setattr(ports, "ADDRESSED", made.run / "management")
    monkeypatch.setattr(stick, "KEYS", made.state / "authorized_keys")
    monkeypatch.setattr(ports, "apply", made.apply)
    monkeypatch.setattr(asked, "_run", made.command)
    over = threading.Event()

    def turns() -> None:
        while not over.is_set():
            made.asked.turn()
            time.sleep(0.01)

    root = threading.Thread(target=turns)
    root.start()
    yield made
    over.set()
    root.join()


def until(true: Callable[[], bool]) -> None:
    over_s = time.monotonic() + 30
    while not true():
        assert time.monotonic() < over_s
        time.sleep(0.01)


def test_a_change_is_in_force_on_trial_and_kept(box: Box) -> None:
    assert box.requests.settings() == requests.EMPTY_SETTINGS
    assert "on trial" in box.requests.ask("apply", NEW)
    assert box.applied[-1].name == "gate"
    assert box.requests.settings() == requests.EMPTY_SETTINGS
    left_s = box.requests.trial_left_s()
    assert left_s is not None
    assert 0 < left_s <= asked.TRIAL_S
    assert box.requests.ask("keep") == "kept"
    assert box.requests.trial_left_s() is None
    assert box.requests.settings() == NEW
    assert len(box.applied) == 1


def back(box: Box) -> None:
    box.requests.ask("undo")


def in_time(box: Box) -> None:
    assert box.asked.trial is not None
    box.asked.trial = asked.Trial(b"", box.asked.trial.settings, 0.0)
    until(lambda: box.requests.trial_left_s() is None)


@pytest.mark.parametrize("way", [back, in_time])
def test_what_is_not_kept_is_taken_back(box: Box, way: Callable[[Box], None]) -> None:
    box.requests.ask("apply", NEW)
    way(box)
    assert box.requests.trial_left_s() is None
    until(lambda: len(box.applied) == 2)
    assert box.applied[-1] == settings.Settings()
    assert box.requests.settings() == requests.EMPTY_SETTINGS
    with pytest.raises(OperatorError, match="nothing is on trial"):
        box.requests.ask("keep")


@pytest.mark.parametrize("what", ["check", "apply"])
def test_mistakes_have_their_places_and_change_nothing(box: Box, what: str) -> None:
    with pytest.raises(ConfigError) as found:
        box.requests.ask(what, "version: 1\nname: a b\nmanagement: {address: 192.0.2.10}\n")
    assert [one.key for one in found.value.problems] == ["name", "management.address"]
    assert box.applied == []
    assert box.requests.trial_left_s() is None


def test_data_ports_are_not_changed_while_packets_pass(box: Box) -> None:
    with pytest.raises(OperatorError, match="set up when the box starts"):
        box.requests.ask("apply", "version: 1\nmirror_links: true\n")
    assert box.applied == []


def test_keys_are_replaced_and_ssh_ends_with_the_last_one(box: Box) -> None:
    (box.run / "management").touch()
    assert box.requests.ask("keys", KEY) == "1 keys may log in as operator"
    assert box.requests.ssh_keys() == [KEY.strip()]
    assert "systemctl --no-block restart ssh.service" in box.ran
    with pytest.raises(OperatorError, match=r"this is no public key. It looks like a private key"):
        box.requests.ask("keys", "-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert box.requests.ssh_keys() == [KEY.strip()]
    assert box.requests.ask("keys", "") == "nobody may log in over SSH"
    assert box.requests.ssh_keys() == []
    assert "systemctl --no-block stop ssh.service" in box.ran


def test_a_restore_has_the_daemon_away_and_brings_it_back(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str]) -> str:
        if argv[:2] == ["levee", "restore"] and argv[2] != "--check":
            raise OperatorError("the disk is full")
        return box.command(argv[:3])

    monkeypatch.setattr(asked, "_run", run)
    with pytest.raises(OperatorError, match="the disk is full"):
        box.requests.ask("restore", "AAAA")
    assert box.ran == ["levee restore --check", "systemctl stop levee.service", "systemctl --no-block start"]
    assert not (box.run / "restore").exists()


def test_only_a_regular_file_is_a_request(box: Box, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"id": "1", "text": ""}))
    folder = box.run / "requests"
    (folder / "shutdown.ask").symlink_to(secret)
    os.mkfifo(folder / "undo.ask")
    (folder / "keep.ask").mkdir()
    (folder / "keys.ask").write_text("[]")
    until(lambda: not list(folder.iterdir()))
    assert list((box.run / "answers").iterdir()) == []
    assert box.requests.ask("shutdown").startswith("the box goes off")
    assert box.ran == ["systemctl --no-block poweroff"]
    assert secret.exists()


def test_what_nobody_knows_is_refused(box: Box) -> None:
    for name in ("format", requests.TRIAL):
        with pytest.raises(OperatorError, match=f"{name}: the box does not know this"):
            box.requests.ask(name)
    assert box.requests.trial_left_s() is None


def test_elsewhere_nothing_is_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OperatorError, match="this is not the bootable appliance; nothing was changed"):
        Requests(tmp_path, tmp_path).ask("shutdown")
    with pytest.raises(OperatorError, match="this is not the bootable appliance; nothing was changed"):
        Requests(tmp_path, tmp_path).restart()
    assert list(tmp_path.iterdir()) == []
    assert cli.main(["box", "show"]) == exits.ERROR
    assert "this is not the bootable appliance" in capsys.readouterr().err
