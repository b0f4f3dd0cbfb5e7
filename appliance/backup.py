"""Everything of a box that is worth keeping, in one file: configuration, history, what was learned, lists, secret.

Owns the file's format, its checks, and the order in which a restore replaces things. Called by commands/backup.py and
commands/restore.py; no daemon takes part: a backup reads files that are whole at any moment, a restore wants the daemon
stopped. The file is JSON: the version of the format, the files as text, and a digest of them, so that one that was cut
off or edited is noticed. Nothing is replaced before all of it has been read and understood, and what was there is kept
in a backup of its own. A change on trial is not kept: after a restore nothing is on trial.

LIMIT: the digest notices accidents, not somebody who means it.
LIMIT: killed in the middle of a restore, some files are new and some old; the way back is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import backends, blocking, blocklist, config, durable, events, history, pending, secret, statefile
from appliance.errors import ConfigError, OperatorError
from appliance.instance import LOCK_NAME
from appliance.statefile import UnreadableError
from appliance.version import version

if TYPE_CHECKING:
    from appliance.models import Config

VERSION = 1
KIND = "levee_backup"
MAX_FILE_BYTES = 128 << 20
MAX_FILES = 1000
CONFIGURATION, SECRET, HISTORY = "levee.yaml", "secret", "history"
STATE = (backends.FILE_NAME, blocking.FILE_NAME, events.FILE_NAME)
WAY_BACK = "before-restore.levee"
CONFIG_MODE = 0o644
HINT = "is it a file that `levee backup` wrote, and whole?"


@dataclass(frozen=True, slots=True)
class Backup:
    """files: their texts by name; those of the history are history/NUMBER.json."""

    made_by: str
    made_s: int  # since 1970
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a box are."""

    config_file: Path
    state_dir: Path
    secret_file: Path

    @classmethod
    def of(cls, config_file: Path, found: Config) -> Places:
        """As a configuration says."""
        return cls(config_file, found.state_dir, found.secret_file)

    def path(self, name: str) -> Path:
        """Of a file by its name in a backup."""
        return {CONFIGURATION: self.config_file, SECRET: self.secret_file}.get(name, self.state_dir / name)


def collect(places: Places, *, with_secret: bool = True) -> Backup:
    """What is there now; files that are missing are left out. Raises OperatorError."""
    names = [CONFIGURATION, *STATE, *([SECRET] if with_secret else [])]
    folder = places.state_dir / HISTORY
    try:
        entries = sorted(path.name for path in folder.glob("*.json") if path.stem.isdecimal())
    except OSError as error:
        raise OperatorError(f"{folder}: cannot be read: {error.strerror}", "as root, or as levee's user") from error
    files: dict[str, str] = {}
    for name in [*names, *(f"{HISTORY}/{entry}" for entry in entries)]:
        path = places.path(name)
        try:
            files[name] = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OperatorError(f"{path}: cannot be read: {error.strerror}", "as root, or as levee's user") from error
        except UnicodeDecodeError as error:
            raise OperatorError(f"{path}: is not text", "move it away; levee makes a new one") from error
    return Backup(version(), int(time.time()), files)


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def encode(backup: Backup) -> bytes:
    """The bytes of the file."""
    content = {
        KIND: VERSION,
        "made_by": backup.made_by,
        "made_s": backup.made_s,
        "sha256": _digest(backup.files),
        "files": dict(backup.files),
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def decode(data: bytes, name: str) -> Backup:
    """What encode() made; `name` is the file's in messages. Raises OperatorError."""
    if len(data) > MAX_FILE_BYTES:
        raise OperatorError(f"{name}: has more than {MAX_FILE_BYTES} bytes", HINT)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise OperatorError(f"{name}: is no backup, or not a whole one: {error}", HINT) from error
    if not isinstance(content, dict) or KIND not in content:
        raise OperatorError(f"{name}: is no backup of levee", HINT)
    if content[KIND] != VERSION:
        raise OperatorError(
            f"{name}: is a backup of version {content[KIND]!r}, this levee reads version {VERSION}",
            "restore it with the version that made it, or a later one",
        )
    files, made_by, made_s = content.get("files"), content.get("made_by"), content.get("made_s")
    if not isinstance(files, dict) or not isinstance(made_by, str) or type(made_s) is not int:
        raise OperatorError(f"{name}: lacks what a backup has", HINT)
    if len(files) > MAX_FILES or not all(isinstance(one, str) for one in files.values()):
        raise OperatorError(f"{name}: its files are not texts, or more than {MAX_FILES}", HINT)
    if content.get("sha256") != _digest(files):
        raise OperatorError(f"{name}: was changed since it was made: its digest is another one", HINT)
    return Backup(made_by, made_s, files)


def check(backup: Backup, name: str) -> Config:
    """Reads every file of it as a start would. The configuration in it. Raises OperatorError, ConfigError."""
    if CONFIGURATION not in backup.files:
        raise OperatorError(f"{name}: has no configuration in it", HINT)
    try:
        found = config.loads(backup.files[CONFIGURATION].encode(), f"{CONFIGURATION} in {name}")
    except ConfigError as error:
        raise ConfigError(error.file, error.problems) from error
    with tempfile.TemporaryDirectory(prefix="levee-") as folder:
        for each, text in backup.files.items():
            if each not in (CONFIGURATION, SECRET, *STATE) and not _is_history(each):
                raise OperatorError(f"{name}: has a file that is none of levee's: {each!r}", HINT)
            path = Path(folder) / each.replace("/", "-")
            path.write_text(text, encoding="utf-8")
            path.chmod(0o600)
            try:
                _understand(each, path)
            except UnreadableError as error:
                raise OperatorError(f"{name}: {each} {error}", HINT) from error
            except OperatorError as error:
                raise OperatorError(f"{name}: {each}: {error.message}", error.hint) from error
    return found


def _is_history(name: str) -> bool:
    head, _, tail = name.partition("/")
    return head == HISTORY and tail.endswith(".json") and tail.removesuffix(".json").isdecimal()


def _understand(name: str, path: Path) -> None:
    if name == SECRET:
        secret.load_or_create(path)
    elif name == backends.FILE_NAME:
        backends.parse(statefile.read(path) or {}, time.time())
    elif name == blocking.FILE_NAME:
        blocklist.load(path)
    elif name == events.FILE_NAME:
        events.parse(statefile.read(path) or {})
    elif name != CONFIGURATION:
        statefile.record(history.Entry, statefile.read(path) or {})


@contextmanager
def stopped(runtime_dir: Path) -> Iterator[None]:
    """No daemon runs, and none starts meanwhile, once there has been one. Raises OperatorError."""
    with contextlib.ExitStack() as undo:
        try:
            lock = undo.enter_context((runtime_dir / LOCK_NAME).open("rb"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # there has been no daemon since the machine started
        except BlockingIOError as error:
            hint = "systemctl stop levee, or: levee stop; what is at work in the kernel stays at work"
            raise OperatorError("levee is running: it would write over what is restored", hint) from error
        yield


def restore(backup: Backup, places: Places) -> Path:
    """Replaces everything, files that are not in the backup too. Where the way back is. Raises OperatorError.

    A backup without a secret leaves the one that is there.
    """
    way_back = places.state_dir / WAY_BACK
    try:
        places.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (places.state_dir / HISTORY).mkdir(mode=0o700, exist_ok=True)
        owner = places.state_dir.stat()
        _hand_over(places.state_dir / HISTORY, owner)
        before = collect(places)
        _write(way_back, encode(before), owner)
        for name in sorted(backup.files, key=lambda each: each == CONFIGURATION):
            data = backup.files[name].encode()
            if name == CONFIGURATION:
                _write_config(places.config_file.resolve(), data)
            else:
                _write(places.path(name), data, owner)
        for name in before.files.keys() - backup.files.keys() - {SECRET}:
            durable.remove(places.path(name))
        durable.remove(places.state_dir / pending.FILE_NAME)
    except OSError as error:
        raise OperatorError(
            f"{error.filename or places.state_dir}: cannot be written: {error.strerror}",
            f"when it can: levee restore {way_back}, if that file is there, brings back what was before",
        ) from error
    return way_back


def _write(path: Path, data: bytes, owner: os.stat_result) -> None:
    durable.replace(path, data)
    _hand_over(path, owner)


def _hand_over(path: Path, owner: os.stat_result) -> None:
    """To whom the state folder belongs: the daemon's user, when root restores."""
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def _write_config(path: Path, data: bytes) -> None:
    """The operator's file keeps its mode and its owner."""
    before = path.stat() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(path, data, mode=before.st_mode & 0o777 if before else CONFIG_MODE)
    if before is not None and os.geteuid() == 0:
        os.chown(path, before.st_uid, before.st_gid)
