"""The FAT partition LEVEE: what somebody put there with a laptop is taken if it is right.

Owns the rule of taking: a file counts once, when its bytes are others than the last ones seen, so that a change made
on the box is not undone by an old file at the next start. A file with mistakes changes nothing; FILE.refused beside it
says what is wrong. Run by levee-stick.service before the daemon. Must not know what the keys of the files mean. Bundles
on the same partition are update.py's.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance import config, durable
from appliance.errors import OperatorError
from chassis import ports, settings

DEVICE = Path("/dev/disk/by-partlabel/LEVEE")
MOUNTED = ports.RUN / "stick"
STATE = Path("/var/lib/levee-box")
SEEN = STATE / "seen"
KEYS = STATE / "authorized_keys"
LEVEE = Path("/etc/levee/levee.yaml")
MAX_FILE_BYTES = config.MAX_FILE_BYTES
KEY_KINDS = ("ssh-ed25519 ", "ecdsa-sha2-nistp", "sk-ssh-ed25519@openssh.com ", "ssh-rsa ")


@dataclass(frozen=True, slots=True)
class Item:
    """One file: how it is checked (raises OperatorError), where it goes, and with which rights."""

    name: str
    check: Callable[[bytes, str], object]
    target: Path
    mode: int
    owner: tuple[str, str] = ("root", "root")


def check_keys(data: bytes, file: str) -> None:
    """Public keys, one a line, without options. Raises OperatorError."""
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if text and not text.startswith("#") and not text.startswith(KEY_KINDS):
            private = " It looks like a private key: keep that to yourself." if "PRIVATE KEY" in text else ""
            raise OperatorError(f"{file}:{number}: this is no public key.{private}", "the text of id_ed25519.pub")


ITEMS = (
    Item("box.yaml", settings.loads, ports.TAKEN, 0o644),
    Item("levee.yaml", config.loads, LEVEE, 0o664, ("levee", "levee-admin")),
    Item("authorized_keys", check_keys, KEYS, 0o644),
)


def refuse(answer: Path, name: str, error: OperatorError) -> None:
    """Writes beside a file why it was not taken, with the ends of lines that every editor knows."""
    hint = f"\nhint: {error.hint}" if error.hint else ""
    text = f"{name} was not taken; the box goes on with what it had.\n\n{error.message}{hint}\n"
    answer.write_text(text.replace("\n", "\r\n"), newline="")


def take(item: Item, folder: Path, seen: Path) -> str | None:
    """Takes one file if it is new and right; returns a line for the journal, None if there was nothing to do.

    Whatever is wrong is written to NAME.refused in `folder`, which is gone again once the file is right.
    """
    source, refused = folder / item.name, folder / f"{item.name}.refused"
    if not source.is_file():
        return None
    with source.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    try:
        item.check(data, item.name)
    except OperatorError as error:
        refuse(refused, item.name, error)
        return f"{item.name} refused: {error.message}"
    refused.unlink(missing_ok=True)
    digest, mark = hashlib.sha256(data).hexdigest(), seen / item.name
    if item.target.exists() and mark.exists() and mark.read_text() == digest:
        return None
    durable.replace(item.target, data, mode=item.mode)
    shutil.chown(item.target, *item.owner)
    durable.replace(mark, digest.encode())
    return f"{item.name} taken"


@contextmanager
def mounted() -> Iterator[Path | None]:
    """The partition's folder, None if there is no such partition or it is no file system."""
    MOUNTED.mkdir(parents=True, exist_ok=True)
    options = "nodev,nosuid,noexec,umask=0077"
    done = subprocess.run(
        ["mount", "-t", "vfat", "-o", options, str(DEVICE), str(MOUNTED)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if done.returncode != 0:
        print(f"the partition LEVEE cannot be read: {done.stderr.strip()}")
        yield None
        return
    try:
        yield MOUNTED
    finally:
        subprocess.run(["umount", str(MOUNTED)], check=True, timeout=60)


def run() -> None:
    """Takes what is new; sets the ports up again if their file has changed."""
    SEEN.mkdir(parents=True, exist_ok=True)
    with mounted() as folder:
        said = [take(item, folder, SEEN) for item in ITEMS] if folder else []
        if folder and (ports.RUN / "PORTS.txt").exists():
            (folder / "PORTS.txt").write_bytes((ports.RUN / "PORTS.txt").read_bytes().replace(b"\n", b"\r\n"))
    for line in filter(None, said):
        print(line)
    if not LEVEE.exists():
        shutil.copy("/usr/share/levee/stick/levee.yaml", LEVEE)
        shutil.chown(LEVEE, "levee", "levee-admin")
        print("no configuration yet: the one as delivered is used")
    if "box.yaml taken" in said:
        ports.run()
    if ports.CLOCK.exists():
        # Started here and not by its own unit, which wants to run before there is a management address.
        subprocess.run(["systemctl", "--no-block", "restart", "systemd-timesyncd.service"], check=True, timeout=60)
