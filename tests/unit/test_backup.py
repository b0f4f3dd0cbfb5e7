"""A backup: what is in it, what is noticed of one that is not right, and a restore that has a way back."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance import backup, blocking, blocklist, config, durable, events, secret
from appliance.addresses import parse_addresses
from appliance.backup import Backup, Places
from appliance.blocklist import Blocklist, Entry
from appliance.errors import ConfigError, OperatorError
from appliance.history import Entry as HistoryEntry
from appliance.history import History
from appliance.instance import LOCK_NAME
from appliance.tui import backup_file

CONFIG = """\
version: 1
mode: routed
outside: wan0   # a comment that stays
inside: lan0
state_dir: {0}/state
runtime_dir: {0}/run
services: {{web: {{addresses: [198.19.0.1], ports: [{1}]}}}}
"""
NOBODY = 65534


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A box with something of everything."""
    path = tmp_path / "levee.yaml"
    path.write_text(CONFIG.format(tmp_path, 80))
    found = Places.of(path, config.load(path))
    secret.load_or_create(found.secret_file)
    history = History(found.state_dir / "history")
    for text in ("one", "two"):
        history.add(HistoryEntry(0, 5, "root", "apply", "", True, text))
    entry = Entry(parse_addresses("192.0.2.0/24"), "block", 1, None, "why not")
    blocklist.save(found.state_dir / blocking.FILE_NAME, Blocklist((entry,)))
    events.Events(found.state_dir, config.load(path).on_attack).take([])
    return found


def everything(places: Places) -> dict[str, bytes]:
    """Every file of the box but the way back."""
    found = {path for path in places.state_dir.rglob("*") if path.is_file() and path.name != backup.WAY_BACK}
    return {str(path): path.read_bytes() for path in sorted(found | {places.config_file})}


def test_there_and_back(places: Places, tmp_path: Path) -> None:
    before = everything(places)
    made = backup.decode(backup.encode(backup.collect(places)), "a file")
    names = {"levee.yaml", "secret", "blocklist.json", "history/000001.json", "history/000002.json"}
    assert set(made.files) == names
    assert backup.check(made, "a file").services.keys() == {"web"}
    places.config_file.write_text(CONFIG.format(tmp_path, 81))
    places.secret_file.unlink()
    History(places.state_dir / "history").add(HistoryEntry(0, 6, "root", "apply", "", True, "three"))
    (places.state_dir / "pending.json").write_text("{}")
    changed = everything(places)
    way_back = backup.restore(made, places)
    assert everything(places) == before
    backup.restore(replace(again := backup.decode(way_back.read_bytes(), "the way back"), files=again.files), places)
    del changed[str(places.state_dir / "pending.json")]
    changed[str(places.secret_file)] = before[str(places.secret_file)]  # there was none to bring back
    assert everything(places) == changed


def test_without_the_secret_that_of_the_box_stays(places: Places) -> None:
    made = backup.collect(places, with_secret=False)
    assert "secret" not in made.files
    places.secret_file.write_text("00" * 32 + "\n")
    backup.restore(made, places)
    assert places.secret_file.read_text() == "00" * 32 + "\n"


def test_on_a_new_box(places: Places, tmp_path: Path) -> None:
    made = backup.collect(places)
    new = Places(tmp_path / "new" / "levee.yaml", tmp_path / "new" / "state", tmp_path / "new" / "state" / "secret")
    backup.restore(made, new)
    assert new.config_file.read_text() == made.files["levee.yaml"]
    assert new.secret_file.stat().st_mode & 0o777 == 0o600
    assert [one.text for one in History(new.state_dir / "history").entries()] == ["one", "two"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_belong_to_whom_the_folder_belongs(places: Places) -> None:
    made = backup.collect(places)
    os.chown(places.state_dir, NOBODY, NOBODY)
    os.chown(places.config_file, NOBODY, 0)
    places.config_file.chmod(0o664)
    backup.restore(made, places)
    assert places.secret_file.stat().st_uid == NOBODY
    assert (places.state_dir / "history" / "000001.json").stat().st_uid == NOBODY
    status = places.config_file.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (NOBODY, 0o664)


def changed(places: Places, change: Callable[[dict[str, Any]], None]) -> bytes:
    content = json.loads(backup.encode(backup.collect(places)))
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(levee_backup=2), "is a backup of version 2, this levee reads version 1"),
        (lambda content: content.pop("levee_backup"), "is no backup of levee"),
        (lambda content: content.pop("files"), "lacks what a backup has"),
        (lambda content: content.update(made_s="now"), "lacks what a backup has"),
        (lambda content: content["files"].update(secret="00" * 32), "was changed since it was made"),
        (lambda content: content["files"].pop("secret"), "was changed since it was made"),
    ],
)
def test_one_that_is_not_right(places: Places, change: Callable[[dict[str, Any]], None], said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        backup.decode(changed(places, change), "a file")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(OperatorError, match="a file: is no backup"):
        backup.decode(data, "a file")


def test_one_that_was_cut_off(places: Places) -> None:
    data = backup.encode(backup.collect(places))
    with pytest.raises(OperatorError, match="or not a whole one"):
        backup.decode(data[:-10], "a file")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("blocklist.json", '{"version": 9}', "blocklist.json is of version 9"),
        ("backends.json", "{}", "backends.json is of version None"),
        ("events.json", "[]", "events.json is not a JSON object"),
        ("history/000001.json", "{}", "history/000001.json"),
        ("secret", "short", "has 5 characters"),
        ("../../etc/passwd", "x", "has a file that is none of levee's"),
        ("history/../x.json", "{}", "has a file that is none of levee's"),
        ("levee.yaml", "version: 1\n", "levee.yaml in a file"),
    ],
)
def test_nothing_is_replaced_before_all_of_it_is_understood(places: Places, name: str, text: str, said: str) -> None:
    made = backup.collect(places)
    spoilt = Backup(made.made_by, made.made_s, {**made.files, name: text})
    with pytest.raises((OperatorError, ConfigError), match=said):
        backup.check(spoilt, "a file")


def test_one_without_a_configuration() -> None:
    with pytest.raises(OperatorError, match="has no configuration"):
        backup.check(Backup("1", 1, {}), "a file")


def test_not_while_a_daemon_runs(tmp_path: Path) -> None:
    with backup.stopped(tmp_path):
        pass
    with (tmp_path / LOCK_NAME).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OperatorError, match="levee is running"), backup.stopped(tmp_path):
            pass


def test_a_disk_that_takes_nothing_leaves_the_way_back(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half way through the files: what was there before is in one piece."""
    made, before = backup.collect(places), backup.encode(backup.collect(places))
    real, written = durable.replace, list[Path]()

    def full(path: Path, data: bytes, *, mode: int = 0o600) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        real(path, data, mode=mode)

    monkeypatch.setattr(durable, "replace", full)
    with pytest.raises(OperatorError, match="No space left on device") as caught:
        backup.restore(made, places)
    way_back = places.state_dir / backup.WAY_BACK
    assert str(way_back) in str(caught.value.hint)
    kept = backup.decode(way_back.read_bytes(), "the way back")
    assert kept.files == backup.decode(before, "before").files


def test_a_stick_that_knows_no_rights_takes_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT refuses to be told them (fat_sanitize_mode); elsewhere a backup is for its owner alone."""

    def refuse(descriptor: int, mode: int) -> None:  # noqa: ARG001
        raise PermissionError(errno.EPERM, "Operation not permitted")

    backup_file.write(str(tmp_path / "a"), b"1")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(os, "fchmod", refuse)
    assert backup_file.write(str(tmp_path / "b"), b"22") == f"2 bytes are in {tmp_path / 'b'}"
    assert (tmp_path / "b").read_bytes() == b"22"
    with pytest.raises(OperatorError, match="cannot be written"):
        backup_file.write(str(tmp_path / "none" / "b"), b"1")
    with pytest.raises(OperatorError, match="does not say where"):
        backup_file.write("b", b"1")
