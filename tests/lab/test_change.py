"""From one configuration to the next, with a way back: what is in force whatever happens.

Each test looks at three things: the rules in the kernel, the operator's file byte for byte, and what the daemon says.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from netlab.daemonbox import LIMIT_S, SERVICES, Box, end
from netlab.process import run

from appliance import exits

OTHER = """\
# a comment that stays
services:
  mail: {addresses: [198.19.0.25], ports: [25]}   # and this one
"""
WEB, MAIL = "198.19.0.1 . 80", "198.19.0.25 . 25"
NOBODY = 65534


def configuration(box: Box) -> dict[str, Any]:
    found: dict[str, Any] = box.status()["configuration"]
    return found


def in_force(box: Box, here: str, gone: str) -> bool:
    rules = box.rules()
    return here in rules and gone not in rules


def settled(box: Box, text: str) -> None:
    """The first configuration is in force, in the file, and nothing is pending."""
    box.wait(lambda: box.answers() and in_force(box, WEB, MAIL) and configuration(box)["pending"] is None)
    assert box.config_file.read_text() == text
    assert not (box.folder / "state" / "pending.json").exists()


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_what_is_confirmed_stays(box: Box) -> None:
    child = box.start()
    box.configure(OTHER)
    text = box.config_file.read_text()
    said = done(box.levee("apply", "--confirm", "60", "--comment", "mail moves"))
    assert "configuration 2 is in force\nit goes back in 60 s" in said
    assert in_force(box, MAIL, WEB)
    pending = configuration(box)["pending"]
    assert (pending["number"], pending["back_to"], pending["user"]) == (2, 1, "root")
    assert 0 < pending["left_s"] <= 60
    assert re.search(
        r"on trial +change 2 by root: back to 1 in \d+ s, unless: levee confirm", done(box.levee("status"))
    )
    assert done(box.levee("confirm")) == "configuration 2 stays in force\n"
    assert configuration(box)["pending"] is None
    child.kill()
    child.wait()
    child = box.start()
    assert in_force(box, MAIL, WEB)
    assert box.config_file.read_text() == text
    history = done(box.levee("history")).splitlines()
    assert re.match(r"\*   2  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  apply     root +mail moves$", history[-1])
    assert end(child)[0] == 0


def test_what_is_not_confirmed_goes_back(box: Box) -> None:
    child = box.start()
    text = box.config_file.read_text()
    box.configure(OTHER)
    done(box.levee("apply", "--confirm", "1"))
    settled(box, text)
    assert "(taken back)" in done(box.levee("history")).splitlines()[-1]
    assert configuration(box)["number"] == 1
    assert "configuration 1 is in force again instead of 2: it was not confirmed in time" in end(child)[1]


def test_it_can_be_taken_back_at_once_and_not_be_confirmed_then(box: Box) -> None:
    child = box.start()
    text = box.config_file.read_text()
    box.configure(OTHER)
    done(box.levee("apply"))
    assert box.levee("apply").stderr.startswith("levee: error: change 2 by root waits for its confirmation, 1")
    assert "configuration 1 is in force" in done(box.levee("rollback"))
    settled(box, text)
    result = box.levee("confirm")
    assert (result.returncode, "there is nothing to confirm" in result.stderr) == (exits.ERROR, True)
    end(child)


def test_a_killed_daemon_comes_back_on_trial_and_still_goes_back(box: Box) -> None:
    child = box.start()
    text = box.config_file.read_text()
    box.configure(OTHER)
    done(box.levee("apply", "--confirm", "6"))
    child.kill()
    child.wait()
    child = box.start()
    assert configuration(box)["pending"]["left_s"] <= 6
    assert in_force(box, MAIL, WEB)
    settled(box, text)
    end(child)


def test_time_goes_on_while_no_daemon_runs(box: Box) -> None:
    child = box.start()
    text = box.config_file.read_text()
    box.configure(OTHER)
    done(box.levee("apply", "--confirm", "1"))
    child.kill()
    child.wait()
    time.sleep(1.5)  # the window of one second is over, whatever the machine is busy with
    child = box.start()
    settled(box, text)
    log = end(child)[1]
    assert log.index("configuration 1 is in force again") < log.index("protecting web"), "it began with the trial"


def test_a_loss_of_power_takes_it_back(box: Box) -> None:
    """The record of another boot has run out, however much time there was."""
    child = box.start()
    text = box.config_file.read_text()
    box.configure(OTHER)
    done(box.levee("apply", "--confirm", "3600"))
    child.kill()
    child.wait()
    record = box.folder / "state" / "pending.json"
    found = json.loads(record.read_text())
    record.write_text(json.dumps(found | {"boot": "00000000-0000-0000-0000-000000000000"}))
    child = box.start()
    settled(box, text)
    end(child)


def test_killed_at_any_moment_it_ends_in_the_old_configuration(box: Box) -> None:
    chance = random.Random(5)
    text = box.config_file.read_text()
    box.configure(OTHER)
    other = box.folder / "other.yaml"
    other.write_text(box.config_file.read_text())
    box.config_file.write_text(text)
    for _ in range(8):
        child = box.start()
        command = subprocess.Popen(
            ["setsid", *box.argv("apply", str(other), "--confirm", "1")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.1, 0.9))
        child.kill()
        child.wait()
        command.wait(LIMIT_S)
        child = box.start()
        settled(box, text)
        assert end(child)[0] == 0


def test_hand_edits_are_shown_and_not_lost(box: Box) -> None:
    child = box.start()
    text = box.config_file.read_text()
    assert done(box.levee("diff")) == ""
    box.configure(OTHER)
    edited = box.config_file.read_text()
    box.wait(lambda: bool(configuration(box)["edited"]))
    assert "edited    the file is not what is in force: levee diff, levee apply" in done(box.levee("status"))
    result = box.levee("diff")
    assert result.returncode == 1
    assert "+  mail: {addresses: [198.19.0.25], ports: [25]}   # and this one" in result.stdout.splitlines()
    assert result.stdout.splitlines()[-1] == "# disturbs no open connection"
    third = box.folder / "third.yaml"
    third.write_text(text.replace("[80]", "[81]"))
    said = done(box.levee("apply", str(third), "--confirm", "0"))
    assert "the file was edited by hand: kept as 2 in the history\nconfiguration 3 is in force\n" in said
    assert box.config_file.read_text() == third.read_text()
    assert done(box.levee("history", "2")) == edited
    assert not configuration(box)["edited"]
    assert in_force(box, "198.19.0.1 . 81", MAIL)
    assert "configuration 4 is in force" in done(box.levee("rollback", "--comment", "oh no"))
    settled(box, text)
    assert "rollback  root              to 1: oh no" in done(box.levee("history")).splitlines()[-1]
    end(child)


def test_what_only_a_restart_can_change_is_changed_by_making_the_parts_anew(box: Box) -> None:
    child = box.start()
    text = box.config_file.read_text()
    box.config_file.write_text(text.replace("flows: 4096", "flows: 8192"))
    result = box.levee("diff", "file", "running")
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].startswith("# starts the parts anew, for limits")
    said = done(box.levee("apply", "--confirm", "60"))
    assert "the parts were started anew, for limits" in said
    assert box.status()["flows"]["capacity"] >= 8192
    assert configuration(box)["pending"]["number"] == 2
    assert "configuration 1 is in force" in done(box.levee("rollback"))
    settled(box, text)
    assert box.status()["flows"]["capacity"] < 8192
    assert child.poll() is None
    code, log = end(child)
    assert (code, "Traceback" in log) == (0, False), log


@pytest.mark.parametrize("seconds", ["0", "60"])
def test_what_cannot_be_started_is_taken_back(box: Box, seconds: str) -> None:
    child = box.start()
    text = box.config_file.read_text()
    box.configure(nfqueue="queues: 2, first_queue: 7")
    with box.taken_queue(8):
        result = box.levee("apply", "--confirm", seconds)
        assert (result.returncode, result.stdout) == (exits.ERROR, "")
        assert "the box could not start with it, and has gone back" in result.stderr
        settled(box, text)
    log = end(child)[1]
    assert "entry 2 of the history cannot be started: " in log
    assert "Traceback" not in log


def test_a_mistake_changes_nothing_and_has_its_place(box: Box) -> None:
    child = box.start()
    wrong = box.folder / "wrong.yaml"
    box.configure(SERVICES.replace("[80]", "[0]"))
    wrong.write_text(box.config_file.read_text())
    result = box.levee("apply")
    assert result.returncode == exits.ERROR
    assert re.match(rf"{box.config_file}:\d+:\d+: services\.web\.ports\[0\]: 0 is not a port", result.stderr)
    assert re.match(rf"{wrong}:\d+:\d+: services\.web", box.levee("apply", str(wrong)).stderr)
    assert in_force(box, WEB, MAIL)
    box.config_file.write_text(wrong.read_text().replace("[0]", "[80]").replace("/run\n", "/run2\n"))
    assert "runtime_dir cannot be changed while levee runs" in box.levee("apply").stderr
    end(child)


def test_without_room_on_the_disk_nothing_is_changed(box: Box) -> None:
    state = box.folder / "state"
    state.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(state)])
    try:
        child = box.start()
        text = box.config_file.read_text()
        room = os.statvfs(state)
        (state / "filler").write_bytes(bytes(room.f_bavail * room.f_bsize))
        other = box.folder / "other.yaml"
        box.configure(OTHER)
        other.write_text(box.config_file.read_text())
        box.config_file.write_text(text)
        result = box.levee("apply", str(other))
        assert result.returncode == exits.ERROR
        assert "cannot be written: No space left on device" in result.stderr
        settled(box, text)
        (state / "filler").unlink()
        assert "configuration 2 is in force" in done(box.levee("apply", str(other), "--confirm", "0"))
        end(child)
    finally:
        run(["umount", str(state)])


@pytest.mark.deep
def test_damaged_records_are_told_and_left_out(box: Box) -> None:
    child = box.start()
    box.configure(OTHER)
    done(box.levee("apply", "--confirm", "0"))
    child.kill()
    child.wait()
    (box.folder / "state" / "history" / "000001.json").write_text('{"number": 1')
    (box.folder / "state" / "pending.json").write_text("[]")
    child = box.start()
    assert in_force(box, MAIL, WEB)
    assert "there is no earlier configuration" in box.levee("rollback").stderr
    assert "there is no entry 1 in the history" in box.levee("rollback", "1").stderr
    log = end(child)[1]
    assert "000001.json: is damaged and left out of the history" in log
    assert "pending.json: is damaged; kept as pending.json.unreadable" in log


def test_a_reader_looks_and_changes_nothing_and_a_stranger_does_not_even_look(box: Box) -> None:
    box.config_file.write_text(box.config_file.read_text() + "control: {readers: daemon, changers: adm}\n")
    text = box.config_file.read_text()
    child = box.start()

    def ask(groups: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={groups}")
        return box.levee(*arguments, prefix=prefix)

    assert done(ask("daemon", "history")).startswith("*   1")
    box.configure(OTHER)
    for change in (["apply"], ["confirm"], ["rollback"]):
        result = ask("daemon", *change)
        assert result.returncode == exits.ERROR
        assert "you may look, but not change anything" in result.stderr
    assert in_force(box, WEB, MAIL)
    for command in ("history", "status", "apply"):
        result = ask(str(NOBODY), command)
        assert (result.returncode, "you may not use this socket" in result.stderr) == (exits.ERROR, True)
    box.config_file.write_text(text.replace("[80]", "[81]"))
    assert "configuration 2 is in force" in done(ask("daemon,adm", "apply", "--confirm", "0"))
    assert re.search(r"apply     nobody", done(ask("daemon", "history")))
    end(child)


def test_reload_is_in_the_history_and_refused_while_something_is_on_trial(box: Box) -> None:
    child = box.start()
    text = box.config_file.read_text()
    box.configure(OTHER)
    child.send_signal(signal.SIGHUP)
    box.settle()
    assert in_force(box, MAIL, WEB)
    assert done(box.levee("history")).splitlines()[-1].split()[4:6] == ["reload", "-"]
    box.config_file.write_text(text)
    done(box.levee("apply"))
    box.configure(OTHER)
    child.send_signal(signal.SIGHUP)
    box.settle()
    settled_now = box.rules()
    assert WEB in settled_now
    assert "not reloaded: change 3 by root waits for its confirmation" in end(child)[1]


def test_the_file_keeps_its_mode_and_a_link_stays_a_link(box: Box) -> None:
    target = box.folder / "target.yaml"
    box.config_file.rename(target)
    box.config_file.symlink_to(target)
    target.chmod(0o640)
    os.chown(target, NOBODY, NOBODY)
    child = box.start()
    other = box.folder / "other.yaml"
    other.write_text(Path(target).read_text().replace("[80]", "[81]"))
    done(box.levee("apply", str(other), "--confirm", "0"))
    assert box.config_file.is_symlink()
    status = target.stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o640, NOBODY)
    assert target.read_text() == other.read_text()
    end(child)
