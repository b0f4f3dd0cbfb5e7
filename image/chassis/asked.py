"""What the operator, who is not root, asks of the box: another management address, SSH keys, a restore, power off.

Owns the judging and the doing, and a change of the address on trial: unless it is kept in time the box goes back, so
that nobody locks himself out over SSH. What is on trial is in force only; the file changes when it is kept, and so a
power cut ends a trial too. Run by levee-asked.service when a request (appliance/requests.py) is there, until none is
left and nothing is on trial. Files in the folder of requests are an operator's: they are opened as regular files or not
at all, and nothing is written there.
"""

import base64
import binascii
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance import durable
from appliance.errors import ConfigError, OperatorError
from appliance.requests import ANSWER, SUFFIX, TRIAL
from chassis import ports, settings, stick

REQUESTS, ANSWERS = ports.RUN / "requests", ports.RUN / "answers"
TRIAL_S = 120
POLL_S = 0.2
MAX_BYTES = 96 << 20  # a backup in base64
RESTORE_LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Trial:
    """What is in force, and back from it at over_s, of time.monotonic()."""

    data: bytes
    settings: settings.Settings
    over_s: float


class Asked:
    """Takes requests, one after the other."""

    def __init__(self) -> None:
        self.trial: Trial | None = None

    def turn(self) -> bool:
        """Everything that is there, and the end of a trial; whether there may be more to do."""
        found = sorted(REQUESTS.glob(f"*{SUFFIX}"))
        for file in found:
            self.serve(file)
        if self.trial is not None and time.monotonic() > self.trial.over_s:
            print("not kept: the box goes back", flush=True)
            self.back()
        return bool(found) or self.trial is not None

    def serve(self, file: Path) -> None:
        """Takes the file away, does what it asks for, and answers."""
        what, data = file.name.removesuffix(SUFFIX), _read(file)
        _take_away(file)
        try:
            found = json.loads(data)
            number, text = str(found["id"]), str(found["text"])
        except (ValueError, TypeError, KeyError):
            print(f"{file.name} is no request")
            return
        answer: dict[str, object] = {"id": number}
        try:
            answer["said"] = self._do(what, text)
        except ConfigError as error:
            answer["problems"] = [asdict(one) for one in error.problems]
        except OperatorError as error:
            answer |= {"error": error.message, "hint": error.hint}
        print(f"{what}: {'done' if 'said' in answer else 'refused'}", flush=True)
        durable.replace(ANSWERS / f"{what}{ANSWER}", json.dumps(answer).encode(), mode=0o644)

    def _do(self, what: str, text: str) -> str:
        known = {
            "check": self._check,
            "apply": self._apply,
            "keep": self._keep,
            "undo": self._undo,
            "keys": _keys,
            "restore": _restore,
            "shutdown": _shutdown,
        }
        if what not in known:
            raise OperatorError(f"{what}: the box does not know this", f"one of {', '.join(known)}")
        return known[what](text)

    def _check(self, text: str) -> str:
        """Raises ConfigError; also where it would change what only a start of the box can."""
        new, now = settings.loads(text.encode(), "box.yaml"), settings.load(ports.TAKEN)
        if (new.outside, new.inside, new.mtu, new.mirror_links) != (now.outside, now.inside, now.mtu, now.mirror_links):
            hint = "put box.yaml on the partition LEVEE, and start the box"
            raise OperatorError("outside, inside, mtu and mirror_links are set up when the box starts", hint)
        return "it is right"

    def _apply(self, text: str) -> str:
        self._check(text)
        data = text.encode()
        new, now = settings.loads(data, "box.yaml"), self._in_force()
        self.trial = Trial(data, new, time.monotonic() + TRIAL_S)
        durable.replace(ANSWERS / TRIAL, str(self.trial.over_s).encode(), mode=0o644)
        _put_in_force(new, now)
        return f"in force on trial for {TRIAL_S} s; then the box goes back, unless: levee box keep"

    def _in_force(self) -> settings.Settings:
        return self.trial.settings if self.trial else settings.load(ports.TAKEN)

    def _keep(self, _text: str) -> str:
        if self.trial is None:
            raise OperatorError("nothing is on trial", "levee box apply FILE")
        durable.replace(ports.TAKEN, self.trial.data, mode=0o644)
        self._ended()
        return "kept"

    def _undo(self, _text: str) -> str:
        if self.trial is None:
            raise OperatorError("nothing is on trial", "levee box apply FILE")
        self.back()
        return "as it was before"

    def back(self) -> None:
        """To what was kept last, if anything is on trial."""
        if self.trial is not None:
            now = self.trial.settings
            self._ended()
            _put_in_force(settings.load(ports.TAKEN), now)

    def _ended(self) -> None:
        self.trial = None
        (ANSWERS / TRIAL).unlink(missing_ok=True)


def _put_in_force(new: settings.Settings, before: settings.Settings) -> None:
    ports.apply(new, before)
    _services()


def _services() -> None:
    """SSH and the clock begin or end with what they need: an address, keys, servers."""
    for unit, wanted in (
        ("ssh", ports.ADDRESSED.exists() and stick.KEYS.exists()),
        ("systemd-timesyncd", ports.CLOCK.exists()),
    ):
        # A restarted SSH leaves the sessions that are open alone (KillMode=process in its unit).
        _run(["systemctl", "--no-block", "restart" if wanted else "stop", f"{unit}.service"])


def _keys(text: str) -> str:
    """In place of those that were there; without any SSH is off."""
    stick.check_keys(text.encode(), "authorized_keys")
    number = sum(1 for one in text.splitlines() if one.strip() and not one.startswith("#"))
    if number:
        durable.replace(stick.KEYS, text.encode(), mode=0o644)
    else:
        durable.remove(stick.KEYS)
    _services()
    return f"{number} keys may log in as operator" if number else "nobody may log in over SSH"


def _restore(text: str) -> str:
    """The daemon is away for that: what it knows would be written over what is put back."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise OperatorError("the backup was cut short on its way") from error
    file = ports.RUN / "restore"
    durable.replace(file, data)
    try:
        said = _run(["levee", "restore", "--check", str(file)])
        _run(["systemctl", "stop", "levee.service"])
        try:
            _run(["levee", "restore", str(file)])
        finally:
            _run(["systemctl", "--no-block", "start", "levee.service"])
    finally:
        file.unlink()
    return f"restored, and in force now\n{said}"


def _shutdown(_text: str) -> str:
    _run(["systemctl", "--no-block", "poweroff"])
    return "the box goes off; without power no packet passes it"


def _run(argv: list[str]) -> str:
    """What it prints. Raises OperatorError with what it says of its failure."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=RESTORE_LIMIT_S)
    if done.returncode != 0:
        said = done.stderr.strip().replace("levee: error: ", "").replace("\nlevee: hint: ", "; ")
        raise OperatorError(said or f"{' '.join(argv)}: exit code {done.returncode}")
    return done.stdout.strip()


def _take_away(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink()


def _read(file: Path) -> bytes:
    """A regular file's bytes; b"" for anything else, which is no request."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        print(f"{file.name} cannot be opened: {error.strerror}")
        return b""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return b""
    with os.fdopen(descriptor, "rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    return data if len(data) <= MAX_BYTES else b""


def run() -> None:
    """Until nothing is asked for and nothing is on trial; what is on trial then is taken back."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    asked = Asked()
    (ANSWERS / TRIAL).unlink(missing_ok=True)
    try:
        while asked.turn():
            time.sleep(POLL_S)
    finally:
        asked.back()
