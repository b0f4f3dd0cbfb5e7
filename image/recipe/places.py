"""Names and places of the image: what is made where, from which commit, and how large its partitions are.

Owns the paths below .cache/image and .build/image, the version, and the partition table as a list. Everybody in this
package asks here. Knows nothing of how a part is made. The trees and the chroot are those of the tests' guest.

    .cache/image/KEY/builder/root   a Debian 13 with the tools that make images
    .cache/image/KEY/base/root      the image's Debian 13 as packages make it
    .cache/image/KEY/.../root/work  one build: root/ with the product in it, slot.img, disk.img
    .build/image                    what is kept: levee-VERSION.img, .raucb, .packages, .contents, SHA256SUMS
"""

from __future__ import annotations

import subprocess
import tomllib
import uuid
from dataclasses import dataclass
from pathlib import Path

from guest.layout import GuestError, Layout

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "image"
OUT = REPOSITORY / ".build" / "image"
SOURCES = REPOSITORY / "image"
WORK = Path("/work")  # seen from within the builder

MIB = 1 << 20
SECTOR_BYTES = 512
# Identifiers that have to be unique on one disk only are derived from these words: two builds are equal.
NAMESPACE = uuid.UUID("6c657665-6500-4000-8000-696d61676500")


@dataclass(frozen=True)
class Partition:
    """`kind`: a type of sfdisk(8); `label`: what the boot finds it by, in /dev/disk/by-partlabel."""

    number: int
    label: str
    kind: str
    start_mib: int
    size_mib: int

    @property
    def first_sector(self) -> int:
        """Where it begins, in sectors."""
        return self.start_mib * MIB // SECTOR_BYTES


BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
BASIC_DATA = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
SLOT_MIB = 320
STICK_MIB = 384  # an update has to fit there
PARTITIONS = (
    Partition(1, "levee-bios", BIOS_BOOT, 1, 1),
    Partition(2, "levee-esp", EFI_SYSTEM, 2, 64),
    Partition(3, "levee-a", LINUX, 66, SLOT_MIB),
    Partition(4, "levee-b", LINUX, 66 + SLOT_MIB, SLOT_MIB),
    Partition(5, "LEVEE", BASIC_DATA, 66 + 2 * SLOT_MIB, STICK_MIB),
    Partition(6, "levee-data", LINUX, 66 + 2 * SLOT_MIB + STICK_MIB, 128),
)
DISK_MIB = PARTITIONS[-1].start_mib + PARTITIONS[-1].size_mib + 1


def partition(label: str) -> Partition:
    """The partition of that label."""
    return next(one for one in PARTITIONS if one.label == label)


def identifier(name: str) -> str:
    """A UUID that is always the same for this name."""
    return str(uuid.uuid5(NAMESPACE, name))


@dataclass(frozen=True)
class Trees:
    """The two Debian trees of one recipe; `work` is within the builder, where its tools can see it."""

    key: Path

    @property
    def builder(self) -> Layout:
        """The tree with the tools."""
        return Layout(self.key / "builder")

    @property
    def base(self) -> Layout:
        """The image's Debian as packages make it."""
        return Layout(self.key / "base")

    @property
    def work(self) -> Layout:
        """`work.root` is the image's root while it is being made."""
        return Layout(self.builder.root / WORK.relative_to("/"))

    @property
    def complete(self) -> Path:
        """Written last: the trees may be used."""
        return self.key / "complete"


def _git(*arguments: str) -> str:
    git = ["git", "-c", f"safe.directory={REPOSITORY}", "-C", str(REPOSITORY), *arguments]
    done = subprocess.run(git, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise GuestError(f"git failed: {done.stderr.strip()}", "the image is built from a git checkout")
    return done.stdout.strip()


@dataclass(frozen=True)
class Release:
    """What is built: a version for people and the commit's time, in seconds since 1970, for every date in the image."""

    version: str
    epoch_s: int

    @property
    def name(self) -> str:
        """What the files of this release begin with."""
        return f"levee-{self.version}"


def release() -> Release:
    """Of the working tree; one that differs from its commit says so in its version."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    commit, changed = _git("rev-parse", "--short=10", "HEAD"), _git("status", "--porcelain")
    version = f"{project['version']}+g{commit}{'.changed' if changed else ''}"
    return Release(version, int(_git("log", "-1", "--format=%ct")))
